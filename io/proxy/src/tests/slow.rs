//! Clients that send or take bodies slowly on purpose, and those that only seem to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::harness::*;
use crate::Limits;

const WHOLE_BYTES: usize = 50_000_000;

fn limits(bytes_per_sec: u64) -> Limits {
    Limits {
        body_bytes_per_sec: bytes_per_sec,
        body_pace_window: Duration::from_millis(500),
        ..Limits::default()
    }
}

/// Who takes a response too slowly is cut, long before the wait for any one byte is too long.
#[test]
fn slow_readers_are_cut() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {WHOLE_BYTES}\r\n\r\n");
        wire.try_send(head) && wire.try_send(vec![b'x'; WHOLE_BYTES])
    });
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits(200_000_000));
    let mut client = TcpStream::connect(gateway.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(GET.as_bytes()).unwrap();
    let (mut taken, mut buffer) = (0, vec![0; 100_000]);
    while let Ok(count) = client.read(&mut buffer) {
        if count == 0 {
            break;
        }
        taken += count;
        thread::sleep(Duration::from_millis(20));
    }
    assert!(taken < WHOLE_BYTES, "{taken}");
    let line = &gateway.log(1)[0];
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"ClientTooSlow".into()));
}

/// Who takes at once what a slow backend sends is not slow.
#[test]
fn slow_backends_cost_their_clients_nothing() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
        (0..20).all(|_| {
            thread::sleep(Duration::from_millis(100));
            wire.try_send("x")
        })
    });
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits(200_000_000));
    assert_eq!(gateway.client().ask(GET).1, "x".repeat(20));
}

/// Who sends a body too slowly gets 408; a gRPC call, and a client whose backend thinks for long, do not.
#[test]
fn slow_senders_are_turned_away() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        thread::sleep(Duration::from_millis(1000));
        wire.try_send(ok("fine"))
    });
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits(1000));
    for (line, piece, expected) in [
        ("X: a", "x", 408),
        ("Content-Type: application/grpc", "x", 200),
        ("X: a", "xxxxxxxxxxxxxxxxxxxx", 200),
    ] {
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 20\r\n{line}\r\n\r\n"));
        for piece in [piece].repeat(20 / piece.len()) {
            if !client.try_send(piece) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(client.head().as_deref().map(status), Some(expected), "{line} {piece}");
    }
    assert_eq!(gateway.log(3)[0]["reason"], "ClientTooSlow");
}
