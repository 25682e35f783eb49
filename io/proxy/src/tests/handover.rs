//! One proxy hands its sockets to the next, as two processes would, and nobody notices.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tidegate_model::Traffic;

use super::datagram::{Echo, ask, client, udp};
use super::harness::*;
use super::streams::*;
use crate::{Limits, SocketKey, SocketState};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// The next process takes over from `old` with this Traffic and so many workers.
fn successor(old: &Gateway, traffic: &Arc<Traffic>, workers: usize) -> Gateway {
    let new = Gateway::with_workers(workers, true, Limits::default());
    let (giver, taker) = (old.proxy.handover(), new.proxy.handover());
    wait(async {
        taker.inherit(giver.sockets().await).await;
        new.apply(traffic.clone());
        assert!(new.proxy.observed().borrow().sockets.is_empty(), "what is held opens nothing");
        let sessions = giver.suspend().await;
        giver.retire().await;
        taker.release(sessions).await;
    });
    let observed = new.proxy.observed().borrow().sockets.clone();
    assert!(observed.values().all(|state| *state == SocketState::Listening), "{observed:?}");
    assert!(old.proxy.observed().borrow().sockets.is_empty());
    new
}

/// Asks over kept connections, until they are closed in good order, and over new ones.
fn load(address: SocketAddr, stop: &AtomicBool, served: &AtomicUsize) {
    let mut kept = Wire::connect(address);
    while !stop.load(Ordering::SeqCst) {
        let (head, _) = kept.ask(GET);
        assert_eq!(status(&head), 200, "{head}");
        if field(&head, "connection") == Some("close") {
            kept = Wire::connect(address);
        }
        let mut fresh = Wire::connect(address);
        let (head, _) = fresh.ask(GET);
        assert_eq!(status(&head), 200, "{head}");
        served.fetch_add(2, Ordering::SeqCst);
    }
}

/// Any number of workers follows any other under load, and no connection is lost, also of those that wait in queues.
#[test]
fn connections_survive() {
    let origin = Origin::text("a");
    let web = backend("web", &[origin.address]);
    let mut gateways = vec![Gateway::start(&[(1, &web)])];
    let address = gateways[0].address;
    let traffic = traffic(&[address], &[(1, &web)]);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| load(address, &stop, &served))).collect();
        for workers in [1, 3, 2, 4, 1, 2] {
            let seen = served.load(Ordering::SeqCst);
            until("requests go on", || served.load(Ordering::SeqCst) > seen + 20);
            gateways.push(successor(gateways.last().unwrap(), &traffic, workers));
        }
        let seen = served.load(Ordering::SeqCst);
        until("requests go on", || served.load(Ordering::SeqCst) > seen + 20);
        stop.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    let (last, before) = gateways.split_last().unwrap();
    assert!(last.metric("tidegate_http_connections_total") > 0);
    for old in before {
        until("those who took over have all connections", || old.proxy.connections() == 0);
    }
}

/// What the old process has begun it ends: a response under way arrives whole, an idle connection is not closed, and
/// its next request is answered.
#[test]
fn the_old_process_finishes() {
    let origin = Origin::start(|head, wire| {
        if head.starts_with("GET /slow") {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
            thread::sleep(Duration::from_millis(600));
            return wire.try_send("-last");
        }
        wire.try_send(ok("quick"))
    });
    let web = backend("web", &[origin.address]);
    let limits = Limits { close_grace: Duration::from_millis(100), ..Limits::default() };
    let old = Gateway::with_limits(&[(1, &web)], limits);
    let (mut slow, mut idle) = (old.client(), old.client());
    idle.ask(GET);
    slow.send("GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert_eq!(status(&slow.head().unwrap()), 200);
    let new = successor(&old, &traffic(&[old.address], &[(1, &web)]), 2);
    assert_eq!(slow.exactly(10), "first-last");
    // Longer than an idle connection lives on a socket that was closed.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(idle.ask(GET).1, "quick");
    // Its answer had begun before anybody knew of the hand-over, so that one may ask again.
    drop(slow);
    until("the old process has nothing left", || old.proxy.connections() == 0);
    assert_eq!(new.metric("tidegate_http_connections_total"), 0);
}

/// A session keeps its socket towards the endpoint over hand-overs to any number of workers, and what was sent in the
/// middle of one arrives.
#[test]
fn sessions_travel() {
    let echo = Echo::start("");
    let dns = backend("dns", &[echo.address]);
    let first = Gateway::bare(Limits::default());
    let address = first.address;
    let traffic = udp(address, &[(1, &dns)]);
    first.apply(traffic.clone());
    let clients: Vec<_> = (0..12).map(|_| client()).collect();
    for client in &clients {
        ask(client, address, b"begin");
    }
    let mut gateways = vec![first];
    for (round, workers) in [1, 3, 2].into_iter().enumerate() {
        let old = gateways.last().unwrap();
        let sender = &clients[0];
        sender.send_to(b"on its way", address).unwrap();
        let new = successor(old, &traffic, workers);
        let mut room = [0; 64];
        let (count, from) = sender.recv_from(&mut room).unwrap();
        assert_eq!((&room[..count], from), (&b"on its way"[..], address));
        for client in &clients {
            assert_eq!(ask(client, address, b"go on"), b"go on", "round {round}");
        }
        assert_eq!((old.proxy.sessions(), new.proxy.sessions()), (0, 12));
        gateways.push(new);
    }
    assert_eq!(echo.clients(), 12, "no session got another socket");
}

/// A session whose endpoint the next process does not know ends with the old one.
#[test]
fn sessions_without_an_endpoint_stay_behind() {
    let (a, b) = (Echo::start("a"), Echo::start("b"));
    let old = Gateway::bare(Limits::default());
    old.apply(udp(old.address, &[(1, &backend("dns", &[a.address]))]));
    let client = client();
    assert_eq!(ask(&client, old.address, b""), b"a");
    let new = successor(&old, &udp(old.address, &[(1, &backend("dns", &[b.address]))]), 2);
    assert_eq!(new.proxy.sessions(), 0);
    assert_eq!(ask(&client, old.address, b""), b"b");
}

/// If the other fails before it has taken over, everything goes on: what was sent meanwhile arrives, in order.
#[test]
fn a_failed_take_over_changes_nothing() {
    let (echo, origin) = (Echo::start(""), Origin::text("a"));
    let old = Gateway::bare(Limits::default());
    let web = backend("web", &[origin.address]);
    let dns = udp(old.address, &[(1, &backend("dns", &[echo.address]))]);
    let mut both = Traffic::clone(&traffic(&[old.address], &[(1, &web)]));
    both.entrances.extend(dns.entrances.iter().cloned());
    old.apply(Arc::new(both));
    let client = client();
    ask(&client, old.address, b"begin");
    for _ in 0..3 {
        let giver = old.proxy.handover();
        wait(async {
            let sockets = giver.sockets().await;
            assert_eq!(sockets.len(), 4);
            let sessions = giver.suspend().await;
            assert_eq!(sessions.len(), 1);
            for text in ["one", "two"] {
                client.send_to(text.as_bytes(), old.address).unwrap();
            }
            assert_eq!(status(&old.client().ask(GET).0), 200);
            drop((sockets, sessions));
            giver.resume().await;
        });
        let mut room = [0; 8];
        for text in ["one", "two"] {
            assert_eq!(client.recv_from(&mut room).unwrap().0, 3);
            assert_eq!(&room[..3], text.as_bytes());
        }
    }
    assert_eq!((echo.clients(), old.proxy.sessions()), (1, 1));
}

/// What the next process wants beside what it inherits is opened, and what it does not want is closed.
#[test]
fn sockets_that_differ() {
    let origin = Origin::text("a");
    let web = backend("web", &[origin.address]);
    let old = Gateway::start(&[(1, &web)]);
    let other = free_address();
    let new = successor(&old, &traffic(&[other], &[(1, &web)]), 2);
    assert_eq!(status(&Wire::connect(other).ask(GET).0), 200);
    until("the old socket is closed", || std::net::TcpStream::connect(old.address).is_err());
    assert_eq!(
        new.proxy.observed().borrow().sockets.get(&SocketKey::tcp(other)),
        Some(&SocketState::Listening)
    );
    // Nothing of UDP was there; the address is free for it.
    drop(UdpSocket::bind(old.address).unwrap());
}

/// A relayed connection goes on in the process in which it began.
#[test]
fn tunnels_stay() {
    let server = Server::echo();
    let first = Gateway::bare(Limits::default());
    let address = first.address;
    let traffic = tcp(address, &[(1, &backend("db", &[server.address]))]);
    first.apply(traffic.clone());
    let mut tunnel = dial(address);
    let mut echo = |text: &str| {
        std::io::Write::write_all(&mut tunnel, text.as_bytes()).unwrap();
        assert_eq!(exactly(&mut tunnel, text.len()), text.as_bytes());
    };
    echo("before");
    let second = successor(&first, &traffic, 2);
    echo("after one");
    let third = successor(&second, &traffic, 1);
    echo("after two");
    assert_eq!((first.proxy.connections(), third.proxy.connections()), (1, 0));
}
