//! Endpoints, routes and sockets change under load, and nothing is lost.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::*;
use crate::{Limits, SocketKey, SocketState};

/// Asks without pause over kept connections and over new ones until told to stop; the number of requests, all of which must succeed.
fn load(address: SocketAddr, stop: &AtomicBool, served: &AtomicUsize) {
    let mut kept = Wire::connect(address);
    while !stop.load(Ordering::SeqCst) {
        let (head, _) = kept.ask(GET);
        assert_eq!(status(&head), 200, "{head}");
        let mut fresh = Wire::connect(address);
        let (head, _) = fresh.ask(GET);
        assert_eq!(status(&head), 200, "{head}");
        served.fetch_add(2, Ordering::SeqCst);
    }
}

/// Tells clients to stop when dropped.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `change` while clients ask; it must leave enough time for requests between its steps.
fn under_load(address: SocketAddr, change: impl FnOnce(&AtomicUsize)) {
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| load(address, &stop, &served))).collect();
        // Also by a panic of `change`: the scope waits for the clients.
        let told = Stop(&stop);
        change(&served);
        drop(told);
        for client in clients {
            client.join().unwrap();
        }
    });
    assert!(served.load(Ordering::SeqCst) > 0);
}

/// Endpoints come and go under load without a failed request, and one that is gone gets nothing more and loses its connections.
#[test]
fn endpoints_change_under_load() {
    let (a, b) = (Origin::text("a"), Origin::text("b"));
    let web = backend("web", &[a.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    under_load(gateway.address, |served| {
        for step in 0..30 {
            let seen = served.load(Ordering::SeqCst);
            web.endpoints.store(usable(&[if step % 2 == 0 { b.address } else { a.address }]));
            until("requests go on", || served.load(Ordering::SeqCst) > seen + 10);
        }
        web.endpoints.store(usable(&[b.address]));
        let seen = served.load(Ordering::SeqCst);
        until("requests go on", || served.load(Ordering::SeqCst) > seen + 20);
        let before = a.requests();
        until("requests go on", || served.load(Ordering::SeqCst) > seen + 60);
        assert_eq!(a.requests(), before);
    });
    assert!(a.requests() > 0 && b.requests() > 0);
}

/// A slow response of an endpoint that was removed, from a route and a socket that were removed too, arrives whole.
#[test]
fn a_removed_endpoint_finishes() {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        thread::sleep(Duration::from_millis(1500));
        wire.try_send("-last")
    });
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    let mut client = gateway.client();
    client.send(GET);
    let head = client.head().unwrap();
    web.endpoints.store(usable(&[]));
    gateway.apply(traffic(&[free_address()], &[]));
    assert_eq!(status(&head), 200);
    assert_eq!(client.exactly(10), "first-last");
    assert!(client.is_closed());
}

/// Every worker follows an update before it is told as applied.
#[test]
fn an_update_is_applied_by_all() {
    let (a, b) = (Origin::text("a"), Origin::text("b"));
    let gateway = Gateway::before(&a);
    let mut clients: Vec<_> = (0..8).map(|_| gateway.client()).collect();
    for round in 0..20 {
        let (origin, text) = if round % 2 == 0 { (&b, "b") } else { (&a, "a") };
        gateway.apply(traffic(&[gateway.address], &[(1, &backend(text, &[origin.address]))]));
        for client in &mut clients {
            assert_eq!(client.ask(GET).1, text);
        }
    }
}

/// Sockets are added and removed while another serves without a failed request; a removed one refuses, and one that stays
/// is never opened anew.
#[test]
fn sockets_change_under_load() {
    let origin = Origin::text("a");
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    under_load(gateway.address, |served| {
        for _ in 0..10 {
            let seen = served.load(Ordering::SeqCst);
            let other = free_address();
            gateway.apply(traffic(&[gateway.address, other], &[(1, &web)]));
            let mut idle = Wire::connect(other);
            assert_eq!(status(&idle.ask(GET).0), 200);
            gateway.apply(traffic(&[gateway.address], &[(1, &web)]));
            until("the socket refuses", || TcpStream::connect(other).is_err());
            // A connection that was idle may send one more request and is told that it was the last.
            assert_eq!(field(&idle.ask(GET).0, "connection"), Some("close"));
            until("requests go on", || served.load(Ordering::SeqCst) > seen + 10);
        }
    });
}

/// A connection that waits in the queue of a socket being removed is served.
#[test]
fn queued_connections_are_served() {
    let origin = Origin::text("a");
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    let mut clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = gateway.client();
            client.send(GET);
            client
        })
        .collect();
    gateway.apply(traffic(&[free_address()], &[(1, &web)]));
    for client in &mut clients {
        assert_eq!(status(&client.response().0), 200);
    }
}

/// A socket that cannot be opened says why, does not disturb the others, and is opened once it can be.
#[test]
fn bind_errors_are_told_and_retried() {
    let origin = Origin::text("a");
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    let blocker = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = blocker.local_addr().unwrap();
    gateway.apply(traffic(&[gateway.address, taken], &[(1, &web)]));
    let observed = gateway.proxy.observed();
    let state = |address: &SocketAddr| observed.borrow().sockets.get(&SocketKey::tcp(*address)).cloned();
    let SocketState::Failed(words) = state(&taken).unwrap() else { panic!("the port is taken") };
    let port = taken.port();
    let expected =
        format!("port {port} on 127.0.0.1 is in use by another program; stop it or choose another port");
    assert_eq!(words, expected);
    assert_eq!(state(&gateway.address), Some(SocketState::Listening));
    assert_eq!(status(&gateway.client().ask(GET).0), 200);
    drop(blocker);
    until("the socket is opened", || state(&taken) == Some(SocketState::Listening));
    assert_eq!(status(&Wire::connect(taken).ask(GET).0), 200);
}

/// A farewell tells everybody to go and turns nobody away: kept connections end with their next answer, those that come
/// now with their first, and it is over once nobody is there.
#[test]
fn farewell() {
    let origin = Origin::start(|head, wire| {
        thread::sleep(Duration::from_millis(if head.starts_with("GET /slow") { 800 } else { 0 }));
        wire.try_send(ok("whole"))
    });
    let limits = Limits { close_grace: PATIENCE * 2, ..Limits::default() };
    let gateway = Arc::new(Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits));
    let mut kept = gateway.client();
    assert_eq!(field(&kept.ask(GET).0, "connection"), None);
    let mut busy = gateway.client();
    busy.send("GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    until("the request is at the origin", || origin.requests() == 2);
    let leaving = gateway.clone();
    let farewell = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(leaving.proxy.farewell(PATIENCE * 2))
    });
    until("who comes now is told to go", || {
        field(&gateway.client().ask(GET).0, "connection") == Some("close")
    });
    assert!(!farewell.is_finished(), "a request is in flight, and a connection is kept");
    let (head, body) = busy.response();
    assert_eq!((body.as_str(), field(&head, "connection")), ("whole", Some("close")));
    assert!(!farewell.is_finished(), "a connection is kept");
    assert_eq!(field(&kept.ask(GET).0, "connection"), Some("close"));
    assert_eq!(farewell.join().unwrap(), 0);
    assert_eq!(status(&gateway.client().ask(GET).0), 200, "still open");
}

/// Draining finishes what is in flight, tells clients, closes idle connections, and returns as soon as all are gone.
#[test]
fn draining() {
    let origin = Origin::start(|head, wire| {
        thread::sleep(Duration::from_millis(if head.starts_with("GET /slow") { 800 } else { 0 }));
        wire.try_send(ok("whole"))
    });
    let gateway = Arc::new(Gateway::before(&origin));
    let mut idle = gateway.client();
    idle.ask(GET);
    let mut busy = gateway.client();
    busy.send("GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    until("the request is at the origin", || origin.requests() == 2);
    let draining = gateway.clone();
    let (started, drain) = (
        Instant::now(),
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(draining.proxy.drain(PATIENCE))
        }),
    );
    let (head, body) = busy.response();
    assert_eq!((body.as_str(), field(&head, "connection")), ("whole", Some("close")));
    assert_eq!(drain.join().unwrap(), 0);
    assert!(started.elapsed() < PATIENCE / 2);
    assert!(idle.is_closed());
    assert!(TcpStream::connect(gateway.address).is_err());
}
