//! Calls one gateway, and again whenever the link has ended.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_peering::{Calling, Fault, Link};
use tokio::net::{TcpSocket, TcpStream};

use crate::carry::{Carriage, Ride};
use crate::hub::Hub;

/// How long an address may take to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// For ever; cancelled when the gateway, or one of its addresses, goes.
pub(crate) async fn call(hub: Arc<Hub>, name: String, addresses: Vec<SocketAddr>) {
    let mut calling = Calling::new(addresses);
    loop {
        match calling.address() {
            None => hub.nowhere(&name),
            Some(address) => {
                let ride = attempt(&hub, &name, address).await;
                if ride.name.is_some() {
                    calling.reached();
                }
                hub.ended(Some(&name), address, &ride.fault);
            }
        }
        tokio::time::sleep(calling.ended()).await;
    }
}

async fn attempt(hub: &Arc<Hub>, name: &str, address: SocketAddr) -> Ride {
    let failed = |fault| Ride { name: None, fault };
    let terms = hub.terms();
    let stream = match connect(terms.roster.calls_from(address.ip()), address).await {
        Ok(stream) => stream,
        Err(error) => return failed(Fault::Io(error.to_string())),
    };
    match Link::call(&terms.secret, &terms.roster, name, Instant::now()) {
        Ok(link) => Carriage { hub: hub.clone(), terms, link, guest: None, at: address }.run(stream).await,
        Err(fault) => failed(fault),
    }
}

/// From that address, if this machine has it; else from one that the kernel chooses.
async fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        // An address that is not here is not bound; the port is the kernel's to choose.
        let _ = socket.bind(SocketAddr::new(from, 0));
    }
    match tokio::time::timeout(CONNECT_WITHIN, socket.connect(to)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection")),
    }
}
