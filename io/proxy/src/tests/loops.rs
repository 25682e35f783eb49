//! Endpoints that are the gateway itself.

use std::io::Read;
use std::net::{SocketAddr, UdpSocket};

use tidegate_model::traffic::*;

use super::harness::*;
use super::streams::*;
use crate::Limits;

/// Where the gateway is asked, and an endpoint that leads back there: on its own address, and on a socket for all addresses.
fn sockets(gateway: &Gateway) -> [SocketAddr; 2] {
    [gateway.address, SocketAddr::new([0, 0, 0, 0].into(), gateway.address.port())]
}

/// A request whose endpoint is the gateway is answered once, and never sent there.
#[test]
fn requests_do_not_go_round() {
    let gateway = Gateway::bare(Limits::default());
    for (round, socket) in (1..).zip(sockets(&gateway)) {
        gateway.apply(traffic(&[socket], &[(1, &backend("web", &[gateway.address]))]));
        let (head, _) = gateway.client().ask(GET);
        assert!(status(&head) >= 500, "{head}");
        gateway.counts("tidegate_http_connections_total", round);
    }
}

/// Nor does a connection, nor a datagram.
#[test]
fn streams_do_not_go_round() {
    let gateway = Gateway::bare(Limits::default());
    for (round, socket) in (1..).zip(sockets(&gateway)) {
        let route = stream_route(&[(1, &backend("web", &[gateway.address]))]);
        gateway.apply(serving([entrance(socket, Serves::Tcp(Some(route)), ClientPolicy::default())]));
        assert_eq!(dial(gateway.address).read(&mut [0]).unwrap_or_default(), 0);
        gateway.counts("tidegate_http_connections_total", round);
    }
    for (round, socket) in (1..).zip(sockets(&gateway)) {
        gateway.apply(super::datagram::udp(socket, &[(1, &backend("dns", &[gateway.address]))]));
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", gateway.address).unwrap();
        // What is unread when its socket goes is counted by nobody.
        until("it is dropped", || gateway.metric("tidegate_udp_dropped_datagrams_total") >= round);
    }
    assert_eq!(gateway.proxy.sessions(), 0);
}
