//! A Service by its own address: TCP and UDP side by side on one, and clients that are not let in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use socket2::{Domain, Socket, Type};
use tidegate_model::Traffic;
use tidegate_model::traffic::*;

use super::datagram::{Echo, ask, client};
use super::harness::*;
use super::streams::*;
use crate::Limits;

/// Both ports of a Service, for clients from these ranges.
fn service(gateway: &Gateway, server: &Server, echo: &Echo, sources: &[&str]) -> Arc<Traffic> {
    let sources: Vec<_> = sources.iter().map(|text| text.parse().unwrap()).collect();
    let client = ClientPolicy { sources, ..ClientPolicy::default() };
    let tcp = Serves::Tcp(Some(stream_route(&[(1, &backend("dns", &[server.address]))])));
    let udp = Serves::Udp(Some(stream_route(&[(1, &backend("dns-udp", &[echo.address]))])));
    serving([entrance(gateway.address, tcp, client.clone()), entrance(gateway.address, udp, client)])
}

/// A connection from another address of this machine.
fn dial_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{source}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// Whether it is closed, or reset, without a byte.
fn is_turned_away(mut stream: TcpStream) -> bool {
    let _ = stream.write_all(b"hello");
    matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_))
}

/// One address and port carries connections and datagrams; who is not in the ranges reaches neither, and is counted;
/// ranges that change hold from then on, for datagrams of sessions that are there too.
#[test]
fn source_ranges() {
    let (server, echo) = (Server::echo(), Echo::start("echo:"));
    let gateway = Gateway::bare(Limits::default());
    let to = gateway.address;
    gateway.apply(service(&gateway, &server, &echo, &["127.0.0.1/32", "2001:db8::/32"]));
    assert_eq!(exchange(dial_from("127.0.0.1", to), b"hello"), b"hello");
    let inside = client();
    assert_eq!(ask(&inside, to, b"x"), b"echo:x");

    assert!(is_turned_away(dial_from("127.0.0.2", to)));
    gateway.counts("tidegate_http_excluded_connections_total", 1);
    let outside = UdpSocket::bind("127.0.0.2:0").unwrap();
    outside.send_to(b"y", to).unwrap();
    gateway.counts("tidegate_udp_excluded_datagrams_total", 1);
    assert_eq!((server.connections.load(Ordering::SeqCst), echo.clients()), (1, 1));

    gateway.apply(service(&gateway, &server, &echo, &["127.0.0.2/32"]));
    inside.send_to(b"z", to).unwrap();
    gateway.counts("tidegate_udp_excluded_datagrams_total", 2);
    outside.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(ask(&outside, to, b"w"), b"echo:w");
    assert_eq!(exchange(dial_from("127.0.0.2", to), b"again"), b"again");

    gateway.apply(service(&gateway, &server, &echo, &[]));
    assert_eq!(ask(&client(), to, b"v"), b"echo:v");
}
