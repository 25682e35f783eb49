//! The PROXY protocol, in and out.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidegate_model::Traffic;
use tidegate_model::traffic::*;
use tidegate_traffic::proxy_protocol::{self, Addresses, Header};

use super::harness::*;
use super::streams::*;
use crate::Limits;

fn addresses() -> (SocketAddr, SocketAddr) {
    ("203.0.113.7:4321".parse().unwrap(), "198.51.100.1:443".parse().unwrap())
}

fn v1() -> Vec<u8> {
    b"PROXY TCP4 203.0.113.7 198.51.100.1 4321 443\r\n".to_vec()
}

fn v2() -> Vec<u8> {
    let (source, destination) = addresses();
    let mut bytes = Vec::new();
    let stream = proxy_protocol::Transport::Stream;
    proxy_protocol::write_v2(&Addresses { source, destination, transport: stream }, &mut bytes);
    bytes
}

fn policy(proxy_protocol: ProxyProtocolIn, cidrs: &[&str]) -> ClientPolicy {
    let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    ClientPolicy { proxy_protocol, trust: Trust { hops: 0, cidrs }, ..ClientPolicy::default() }
}

/// A TCP gateway before a server that keeps what it gets.
fn keeping(client: ClientPolicy) -> (Gateway, Arc<std::sync::Mutex<Vec<Vec<u8>>>>) {
    let (server, kept) = Server::keeping(b"done");
    let gateway = Gateway::bare(Limits { proxy_header: Duration::from_millis(300), ..Limits::default() });
    gateway.apply(tcp_with(gateway.address, &[(1, &backend("db", &[server.address]))], client));
    (gateway, kept)
}

/// Sends pieces with pauses between, and gives what comes back to the end.
fn send(gateway: &Gateway, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = dial(gateway.address);
    for piece in pieces {
        if stream.write_all(piece).is_err() {
            break;
        }
        if pieces.len() > 1 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut back = Vec::new();
    let _ = stream.read_to_end(&mut back);
    back
}

/// A header of either version, in one piece or byte by byte, is taken off; what follows arrives whole, and the log knows the
/// client by the header and the peer by the connection.
#[test]
fn headers_are_taken_off() {
    let (gateway, kept) = keeping(policy(ProxyProtocolIn::Required, &[]));
    for (round, header) in [v1(), v2()].into_iter().enumerate() {
        let whole = [&header[..], b"payload"].concat();
        assert_eq!(send(&gateway, &[&whole]), b"done");
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(send(&gateway, &bytes), b"done");
        assert_eq!(*kept.lock().unwrap(), vec![b"payload".to_vec(); 2 * round + 2]);
    }
    for line in gateway.log(4) {
        assert_eq!(line["client"], "203.0.113.7");
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
}

/// Where headers are required, who sends none, a malformed one, half of one or nothing at all is closed and counted.
#[test]
fn required_headers() {
    let (gateway, kept) = keeping(policy(ProxyProtocolIn::Required, &[]));
    let cut = &v2()[..20];
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PROXY TCP4 bad\r\n", cut, b""] {
        assert_eq!(send(&gateway, &[bytes]), b"", "{bytes:?}");
    }
    let mut silent = dial(gateway.address);
    assert!(matches!(silent.read(&mut [0]), Ok(0) | Err(_)));
    gateway.counts("tidegate_proxy_header_failures_total", 5);
    assert!(kept.lock().unwrap().is_empty());
}

/// Where headers are optional, connections without one begin with their own first byte, or after a time without any.
#[test]
fn optional_headers() {
    let (gateway, kept) = keeping(policy(ProxyProtocolIn::Optional, &[]));
    assert_eq!(send(&gateway, &[b"PRO"]), b"", "the start of a header, and no end");
    let mut stalled = dial(gateway.address);
    stalled.write_all(b"PROXY TCP4").unwrap();
    assert!(matches!(stalled.read(&mut [0]), Ok(0) | Err(_)), "the start of a header, and nothing more");
    assert_eq!(send(&gateway, &[b"plain"]), b"done");
    assert_eq!(send(&gateway, &[&v1(), b"told"]), b"done");
    assert_eq!(*kept.lock().unwrap(), [b"plain".to_vec(), b"told".to_vec()]);
    let lines = gateway.log(2);
    assert_eq!(
        (lines[0]["client"].as_str(), lines[1]["client"].as_str()),
        (Some("127.0.0.1"), Some("203.0.113.7"))
    );
    let named = Server::named("hello");
    let client = policy(ProxyProtocolIn::Optional, &[]);
    gateway.apply(tcp_with(gateway.address, &[(1, &backend("db", &[named.address]))], client));
    assert_eq!(exactly(&mut dial(gateway.address), 5), b"hello", "the server speaks first");
}

/// With trusted addresses given, a header of anyone else closes the connection; without a header they are served where it is
/// optional.
#[test]
fn headers_of_strangers() {
    for (rule, plain) in [(ProxyProtocolIn::Optional, &b"done"[..]), (ProxyProtocolIn::Required, b"")] {
        let (gateway, kept) = keeping(policy(rule, &["192.0.2.0/24"]));
        assert_eq!(send(&gateway, &[&v2(), b"forged"]), b"");
        assert_eq!(send(&gateway, &[b"plain"]), plain);
        assert_eq!(kept.lock().unwrap().len(), usize::from(!plain.is_empty()));
        let (gateway, _) = keeping(policy(rule, &["127.0.0.0/8"]));
        assert_eq!(send(&gateway, &[&v2(), b"told"]), b"done");
    }
}

/// HTTP learns the client's address from the header too, and the limit of connections per client counts who it names.
#[test]
fn http_behind_a_header() {
    let origin = Origin::text("a");
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    let model = traffic(&[gateway.address], &[(1, &web)]);
    let mut client = policy(ProxyProtocolIn::Required, &[]);
    client.limits.connections_per_client = Some(1);
    let entrance = Entrance { client: Arc::new(client), ..(*model.entrances[0]).clone() };
    gateway.apply(Arc::new(Traffic { entrances: vec![Arc::new(entrance)], ..(*model).clone() }));
    let mut wire = gateway.client();
    wire.send([&v1()[..], GET.as_bytes()].concat());
    assert_eq!(wire.response().1, "a");
    assert_eq!(field(&origin.last_head(), "x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(field(&origin.last_head(), "x-forwarded-port"), Some("443"), "the port the client asked for");
    let mut second = gateway.client();
    second.send([&v1()[..], GET.as_bytes()].concat());
    assert!(second.is_closed());
    let mut other = gateway.client();
    other.send(format!("PROXY TCP4 203.0.113.8 198.51.100.1 4321 443\r\n{GET}"));
    assert_eq!(other.response().1, "a");
}

/// An HTTP backend that asks for a header is told the address the client asked for, not the one that whoever stands before
/// us connected to.
#[test]
fn headers_handed_on() {
    let (server, kept) = Server::keeping_heads();
    let plain = backend("web", &[server.address]);
    let out = BackendPolicy { proxy_protocol: Some(ProxyProtocolOut::V1), ..BackendPolicy::default() };
    let web = Arc::new(Backend { policy: Arc::new(out), ..(*plain).clone() });
    let gateway = Gateway::start(&[(1, &web)]);
    let model = traffic(&[gateway.address], &[(1, &web)]);
    let client = Arc::new(policy(ProxyProtocolIn::Required, &[]));
    let entrance = Entrance { client, ..(*model.entrances[0]).clone() };
    gateway.apply(Arc::new(Traffic { entrances: vec![Arc::new(entrance)], ..(*model).clone() }));
    let mut wire = gateway.client();
    wire.send([&v1()[..], GET.as_bytes()].concat());
    assert_eq!(status(&wire.response().0), 200);
    let head = kept.lock().unwrap().last().cloned().unwrap();
    assert_eq!(head.lines().next().map(str::as_bytes), v1().strip_suffix(b"\r\n"));
}

/// A backend that asks for it is told the client first, in the version it asks for, and then gets the client's bytes.
#[test]
fn headers_to_backends() {
    for version in [ProxyProtocolOut::V1, ProxyProtocolOut::V2] {
        let (server, kept) = Server::keeping(b"done");
        let policy = BackendPolicy { proxy_protocol: Some(version), ..BackendPolicy::default() };
        let plain = backend("db", &[server.address]);
        let told = Arc::new(Backend { policy: Arc::new(policy), ..(*plain).clone() });
        let gateway = Gateway::bare(Limits::default());
        gateway.apply(tcp(gateway.address, &[(1, &told)]));
        let mut stream = dial(gateway.address);
        let own = stream.local_addr().unwrap();
        assert_eq!(finish(&mut stream, b"payload"), b"done");
        let bytes = kept.lock().unwrap().pop().unwrap();
        let Some(Header { consumed, addresses: Some(told), local: false }) =
            proxy_protocol::parse(&bytes).unwrap()
        else {
            panic!("{bytes:?}")
        };
        assert_eq!((told.source, told.destination), (own, gateway.address));
        assert_eq!(bytes[0] == b'P', version == ProxyProtocolOut::V1);
        assert_eq!(&bytes[consumed..], b"payload");
    }
}

fn finish(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    back
}

/// HTTP backends are told too, and a connection that speaks for one client never carries another's requests.
#[test]
fn headers_to_http_backends() {
    let (server, kept) = Server::keeping_heads();
    let plain = backend("web", &[server.address]);
    let policy = BackendPolicy { proxy_protocol: Some(ProxyProtocolOut::V1), ..BackendPolicy::default() };
    let told = Arc::new(Backend { policy: Arc::new(policy), ..(*plain).clone() });
    let gateway = Gateway::start(&[(1, &told)]);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let stream = dial(gateway.address);
        let own = stream.local_addr().unwrap();
        let mut client = Wire::new(stream);
        for _ in 0..2 {
            assert_eq!(status(&client.ask(GET).0), 200);
            let head = kept.lock().unwrap().last().cloned().unwrap();
            let line =
                format!("PROXY TCP4 {} {} {} {}", own.ip(), own.ip(), own.port(), gateway.address.port());
            assert_eq!(head.lines().next(), Some(&line[..]));
        }
        clients.push(client);
    }
}
