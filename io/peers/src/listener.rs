//! Listens at one address of this gateway.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_peering::{Fault, Link};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::carry::Carriage;
use crate::hub::{Displaced, Guest, Hub};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Between two attempts at what failed.
const AGAIN: Duration = Duration::from_secs(1);

/// For ever; cancelled, with the links that came by it, when the address goes.
pub(crate) async fn listen(hub: Arc<Hub>, address: SocketAddr) {
    let mut links = JoinSet::new();
    loop {
        let listener = match open(address) {
            Ok(listener) => listener,
            Err(error) => {
                hub.listens(address, Some(error.to_string()));
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        hub.listens(address, None);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        if let Some((guest, displaced)) = hub.enter(from.ip().to_canonical()) {
                            links.spawn(answer(hub.clone(), stream, from, guest, displaced));
                        }
                    }
                    Err(error) if passes(&error) => {}
                    Err(error) => {
                        hub.listens(address, Some(error.to_string()));
                        break;
                    }
                },
                // Who has ended is not kept.
                Some(_) = links.join_next() => {}
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether an error is about one connection that went before it was accepted (accept(2)).
fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// Bound whether or not the address is there yet, as listeners of the proxy are.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn answer(hub: Arc<Hub>, stream: TcpStream, from: SocketAddr, guest: Guest, displaced: Displaced) {
    let terms = hub.terms();
    match Link::answer(&terms.secret, &terms.roster, Instant::now()) {
        Ok(link) => {
            let carriage = Carriage { hub: hub.clone(), terms, link, guest: Some(guest), at: from };
            tokio::select! {
                ride = carriage.run(stream) => hub.ended(ride.name.as_deref(), from, &ride.fault),
                () = displaced.displaced() => hub.ended(None, from, &Fault::Displaced),
            }
        }
        Err(fault) => hub.ended(None, from, &fault),
    }
}
