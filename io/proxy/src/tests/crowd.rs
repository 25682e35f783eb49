//! When there are more connections than the process may have: who makes room, and that no client takes what is others'.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::harness::*;
use crate::Limits;

/// A connection from an address of loopback.
fn from(last: u8, gateway: &Gateway) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let address: IpAddr = Ipv4Addr::new(127, 0, 1, last).into();
    socket.bind(&SocketAddr::new(address, 0).into()).unwrap();
    socket.connect(&gateway.address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A gateway with one worker, which has all connections, before an origin that answers but for `/hang`.
fn gateway(origin: &Origin, limits: Limits) -> Gateway {
    let gateway = Gateway::with_workers(1, false, limits);
    gateway.apply(traffic(&[gateway.address], &[(1, &backend("web", &[origin.address]))]));
    gateway
}

fn evicted(gateway: &Gateway) -> u64 {
    gateway.metric("tidegate_http_evicted_connections_total")
}

/// An address that opens thousands of silent connections closes its own; others get in, and keep what they have.
#[test]
fn one_address_leaves_room() {
    let origin = Origin::text("a");
    let gateway = gateway(&origin, Limits { connections: 60, ..Limits::default() });
    let mut kept = gateway.client();
    assert_eq!(status(&kept.ask(GET).0), 200);
    let flood: Vec<_> = (0..300).map(|_| from(1, &gateway)).collect();
    until("it has its share", || evicted(&gateway) >= 300 - 30);
    until("and no more", || gateway.proxy.connections() <= 31);
    for _ in 0..10 {
        assert_eq!(status(&gateway.client().ask(GET).0), 200);
    }
    assert_eq!(status(&kept.ask(GET).0), 200);
    drop(flood);
}

/// A full process closes silent connections first, then those that are idle longest; whatever they are, who comes is served.
#[test]
fn silent_connections_make_room() {
    let origin = Origin::text("a");
    let gateway = gateway(&origin, Limits { connections: 40, ..Limits::default() });
    let mut kept: Vec<_> = (0..5).map(|_| gateway.client()).collect();
    kept.iter_mut().for_each(|kept| assert_eq!(status(&kept.ask(GET).0), 200));
    let mut silent: Vec<_> = (2..250).map(|last| from(last, &gateway)).collect();
    until("most made room", || evicted(&gateway) >= 248 + 5 - 40);
    kept.iter_mut().for_each(|kept| assert_eq!(status(&kept.ask(GET).0), 200));
    assert_eq!(status(&gateway.client().ask(GET).0), 200);
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0, "closed without a word");
}

/// Parts of heads and HTTP/2 connections without a stream make room like silent ones.
#[test]
fn beginnings_make_room() {
    let origin = Origin::text("a");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for beginning in [&b"GET / HTTP/1.1\r\nHo"[..], preface] {
        let gateway = gateway(&origin, Limits { connections: 20, ..Limits::default() });
        let mut begun: Vec<_> = (1..=60).map(|last| from(last, &gateway)).collect();
        for stream in &mut begun {
            let _ = stream.write_all(beginning);
        }
        let mut late: Vec<_> = (61..=120).map(|last| from(last, &gateway)).collect();
        for stream in &mut late {
            let _ = stream.write_all(beginning);
        }
        until("most made room", || evicted(&gateway) >= 100);
        assert_eq!(status(&gateway.client().ask(GET).0), 200);
        let mut said = Vec::new();
        let _ = begun[50].read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP/1.1 408"), "it was not late");
    }
}

/// Who connects and asks nothing is closed when a head would be late; who has asked may be idle for longer.
#[test]
fn the_first_request_is_waited_for_as_a_head() {
    let origin = Origin::text("a");
    let limits = Limits { request_head: Duration::from_millis(300), ..Limits::default() };
    let gateway = gateway(&origin, limits);
    let mut kept = gateway.client();
    assert_eq!(status(&kept.ask(GET).0), 200);
    assert_eq!(from(1, &gateway).read(&mut [0]).unwrap(), 0);
    assert_eq!(status(&kept.ask(GET).0), 200);
}

/// A client that waits for many answers leaves connections to endpoints for others, also to the same backend; what it asks
/// beyond its share is 503, and a descriptor is never missing.
#[test]
fn one_client_leaves_connections_to_endpoints() {
    static HANGS: AtomicBool = AtomicBool::new(true);
    let origin = Origin::start(|head, wire| {
        while head.starts_with("GET /hang") && HANGS.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(10));
        }
        wire.try_send(ok("a"))
    });
    let gateway = gateway(&origin, Limits { upstream_connections: 60, ..Limits::default() });
    let mut hanging: Vec<_> = (0..40).map(|_| from(1, &gateway)).collect();
    for stream in &mut hanging {
        stream.write_all(b"GET /hang HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
    }
    until("its share hangs", || origin.requests() == 30);
    until("the rest is refused", || gateway.metric("tidegate_backend_refusals_total") == 10);
    for _ in 0..5 {
        assert_eq!(status(&gateway.client().ask(GET).0), 200);
    }
    HANGS.store(false, Ordering::SeqCst);
    let refused = gateway.log(15).iter().filter(|line| line["reason"] == "NoConnections").count();
    assert_eq!(refused, 10);
    until("its share is free again", || {
        let mut again = from(1, &gateway);
        again.write_all(GET.as_bytes()).unwrap();
        let mut said = [0; 12];
        again.read_exact(&mut said).is_ok() && said == *b"HTTP/1.1 200"
    });
    drop(hanging);
    until("nobody is left", || gateway.proxy.connections() == 0);
}
