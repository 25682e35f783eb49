//! The admin address under clients that mean no good, or nothing at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::http;
use crate::origin::Origin;

/// Connections without end that never finish a request take neither the admin address for good, nor what the proxy needs.
#[test]
fn silent_connections_end() {
    let origin = Origin::start("web");
    let daemon = crate::stop::start("", &origin);
    let mut silent: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.place.admin).unwrap();
            // Who finds no place is closed at once, perhaps before this is written.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ");
            stream
        })
        .collect();
    let last = silent.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(matches!(last.read(&mut [0; 1]), Ok(0) | Err(_)), "all places are taken");
    let first = &mut silent[0];
    first.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).expect("it is closed in the end");
    daemon.eventually("an answer", || http::get(daemon.place.admin, "localhost", "/healthz").ok());
}
