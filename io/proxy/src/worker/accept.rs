//! Connections that come in through a door: when they are accepted, and who gets a task.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tidegate_model::traffic::ProxyProtocolIn;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::{Door, Worker};
use crate::census::Place;
use crate::listener::BACKLOG;
use crate::relay::Guest;
use crate::table::Kind;

/// Connections accepted before those that are open have their turn: who opens more than can be served delays nobody else
/// for longer.
const ACCEPTS_AT_ONCE: u32 = 4;

/// How long accepting pauses when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Between two lines of the log that say so, for each socket.
const ACCEPT_TOLD_EACH: Duration = Duration::from_secs(10);

/// Accepts until the door closes, then takes in who is waiting already.
pub(super) async fn accept(worker: Rc<Worker>, door: Rc<Door>, listener: Rc<TcpListener>) {
    let mut told = None;
    for count in 1_u32.. {
        if count.is_multiple_of(ACCEPTS_AT_ONCE) {
            worker.turns.next_arrival().await;
        }
        let accepted = tokio::select! {
            biased;
            () = door.closed() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(&worker, &door, stream, peer),
            Err(error) if is_about_one(&error) => {}
            Err(error) => {
                if told.is_none_or(|told: Instant| told.elapsed() >= ACCEPT_TOLD_EACH) {
                    told = Some(Instant::now());
                    tracing::warn!(socket = %door.key, %error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closing the socket would reset those in its queue; also one that was handed over may be wanted no longer.
    for _ in 0..BACKLOG {
        let Ok((stream, peer)) = SockRef::from(&*listener).accept() else { break };
        if let Some(peer) = peer.as_socket()
            && stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream.into())
        {
            admit(&worker, &door, stream, peer);
        }
    }
}

/// A connection's task. A panic in it ends this connection only: the runtime catches it.
fn admit(worker: &Rc<Worker>, door: &Rc<Door>, stream: TcpStream, peer: SocketAddr) {
    let table = door.table();
    if !table.entrance.client.admits(peer.ip()) {
        worker.metrics.connections_excluded.inc();
        return;
    }
    let limits = &table.entrance.client.limits;
    let (resting, now) = (&worker.resting, worker.clock.now());
    let Some(mut place) = Place::take(&worker.shared, &table.census, limits, resting, now) else { return };
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if table.entrance.client.proxy_protocol == ProxyProtocolIn::Off
        && !place.name(peer.ip(), &table.entrance.client, resting)
    {
        return;
    }
    let guest = Guest { worker: worker.clone(), door: door.clone(), stream, peer, client: peer, asked: None };
    // A future of its own for each kind: who waits is not to pay for the size of the others.
    match table.kind {
        _ if table.entrance.client.proxy_protocol != ProxyProtocolIn::Off => {
            drop(spawn_local(guest.introduce(table, place)));
        }
        Kind::Http => guest.into_http(&place).settle(place),
        _ => drop(spawn_local(guest.serve(table, place))),
    }
}

/// Errors of the connection that was about to be accepted, not of accepting.
fn is_about_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use std::sync::Arc;

    use tidegate_model::traffic::ClientLimits;

    use super::*;
    use crate::limits::Limits;
    use crate::metrics::Metrics;
    use crate::resting::Resting;
    use crate::worker::Shared;

    /// A panic in one connection's task ends that task, gives its place back, and leaves the worker running.
    #[test]
    fn a_panic_ends_one_connection() {
        let shared = Arc::new(Shared::new(Limits::default(), Metrics::default(), &[], None));
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        let runtime = builder.build_local(tokio::runtime::LocalOptions::default()).unwrap();
        let after = runtime.block_on(async {
            let place =
                Place::take(&shared, &Arc::default(), &ClientLimits::default(), &Resting::default(), 0);
            let broken = spawn_local(async move {
                let _place = place;
                panic!("as a bug would");
            });
            assert!(broken.await.is_err());
            spawn_local(async { "served" }).await
        });
        assert_eq!((after.unwrap(), shared.connections.load(Ordering::Relaxed)), ("served", 0));
    }
}
