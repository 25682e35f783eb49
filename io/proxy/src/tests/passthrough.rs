//! TLS connections by server name: passed through, ended and relayed, and HTTPS beside them on one port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tidegate_model::Traffic;
use tidegate_model::traffic::*;
use tidegate_objects::Key;
use tidegate_tls::testing::Authority;

use super::harness::*;
use super::streams::*;
use crate::Limits;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A TLS connection that believes the authority.
fn dial_tls(
    address: SocketAddr,
    name: &str,
    authority: &Authority,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).unwrap();
    let config =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), dial(address))
}

/// A TLS server that says its name and echoes.
fn tls_server(authority: &Authority, name: &'static str) -> Server {
    let leaf = authority.leaf(&["*.pass.example"]);
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let config =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config =
        config.with_no_client_auth().with_single_cert(vec![CertificateDer::from(leaf.der)], key).unwrap();
    let config = Arc::new(config);
    Server::start(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        let _ = tls.write_all(name.as_bytes());
        let mut room = [0; 16 * 1024];
        while let Ok(count) = tls.read(&mut room)
            && count > 0
            && tls.write_all(&room[..count]).is_ok()
        {}
    })
}

fn pattern_of(text: &str) -> HostPattern {
    match text.strip_prefix("*.") {
        Some(parent) => HostPattern::Under(parent.into()),
        None => HostPattern::Exact(text.into()),
    }
}

fn tls_route(hostnames: &[&str], to: &Arc<Backend>) -> Arc<TlsRoute> {
    let hostnames = hostnames.iter().map(|name| pattern_of(name)).collect();
    Arc::new(TlsRoute { hostnames, route: stream_route(&[(1, to)]) })
}

fn listener(section: &str, hostname: &str, tls: Option<&Authority>, serves: Serves) -> Arc<Listener> {
    let ended = |authority: &Authority| {
        Arc::new(ServerTls {
            certificates: vec![Arc::new(authority.leaf(&[hostname]).certificate("cert"))],
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            ciphers: vec![],
            alpn: vec![],
            resumption: true,
            client_validation: None,
        })
    };
    Arc::new(Listener {
        name: ListenerName { gateway: Key::new("test", "shop", "edge"), section: section.into() },
        hostname: Some(pattern_of(hostname)),
        tls: tls.map(ended),
        serves,
        client: Arc::default(),
        responses: Arc::default(),
    })
}

/// A gateway with these listeners on one port.
fn gateway(listeners: Vec<Arc<Listener>>) -> Gateway {
    let gateway = Gateway::bare(Limits::default());
    let entrance =
        Entrance { address: gateway.address, transport: Transport::Tcp, client: Arc::default(), listeners };
    gateway.apply(serving([Arc::new(entrance)]));
    gateway
}

fn read(tls: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    tls.read_exact(&mut bytes).unwrap();
    bytes
}

/// On one port the server name decides: TLS passed through to the backend of the most specific route, ended here and
/// relayed, or ended here for HTTP; a name of nobody is refused.
#[test]
fn one_port_for_all() {
    let authority = Authority::new("test");
    let (a, b, plain, web) = (
        tls_server(&authority, "a"),
        tls_server(&authority, "b"),
        Server::named("plain"),
        Origin::text("web"),
    );
    let routes = vec![
        tls_route(&["*.pass.example"], &backend("b", &[b.address])),
        tls_route(&["a.pass.example"], &backend("a", &[a.address])),
    ];
    let http = traffic(&[free_address()], &[(1, &backend("web", &[web.address]))]);
    let http: &Traffic = &http;
    let gateway = gateway(vec![
        listener("pass", "*.pass.example", None, Serves::Tls(routes)),
        listener("https", "shop.example", Some(&authority), http.entrances[0].listeners[0].serves.clone()),
        listener(
            "ended",
            "ended.example",
            Some(&authority),
            Serves::Tls(vec![tls_route(&[], &backend("plain", &[plain.address]))]),
        ),
    ]);
    for (name, expected) in [("a.pass.example", "a"), ("z.pass.example", "b"), ("ended.example", "plain")] {
        let mut tls = dial_tls(gateway.address, name, &authority);
        assert_eq!(read(&mut tls, expected.len()), expected.as_bytes(), "{name}");
        let bytes = pattern(300_000, 4);
        for part in bytes.chunks(10_000) {
            tls.write_all(part).unwrap();
            assert!(read(&mut tls, part.len()) == part);
        }
        tls.conn.send_close_notify();
        tls.flush().unwrap();
    }
    let mut https = dial_tls(gateway.address, "shop.example", &authority);
    https.write_all(GET.as_bytes()).unwrap();
    assert!(read(&mut https, 15).starts_with(b"HTTP/1.1 200 OK"));
    let mut stranger = dial_tls(gateway.address, "nobody.example", &authority);
    assert!(stranger.write_all(b"x").is_err());
    drop(https);
    let lines = gateway.log(4);
    let relayed: Vec<_> = lines.iter().filter(|line| line["protocol"] == "TLS").collect();
    let of = |name: &str| relayed.iter().find(|line| line["host"] == name).unwrap();
    assert_eq!(of("a.pass.example")["listener"], "shop/edge/pass");
    assert_eq!(of("a.pass.example")["backend"], "shop/a:80");
    assert_eq!(of("a.pass.example")["tls"], "");
    assert_eq!(of("ended.example")["tls"], "TLSv1.3");
    assert_eq!(of("ended.example")["bytes_in"], 300_000);
}

/// What passes through arrives bit by bit as it was sent, however it was cut: the first message is read and not touched.
#[test]
fn the_first_message_is_not_touched() {
    let authority = Authority::new("test");
    let (server, kept) = Server::keeping(b"");
    let routes = vec![tls_route(&[], &backend("a", &[server.address]))];
    let gateway = gateway(vec![listener("pass", "*.pass.example", None, Serves::Tls(routes))]);
    let mut hello = Vec::new();
    dial_tls(gateway.address, "a.pass.example", &authority).conn.write_tls(&mut hello).unwrap();
    let sent = [&hello[..], &pattern(100_000, 8)].concat();
    for pieces in [1, 7, 1000, sent.len()] {
        let mut stream = dial(gateway.address);
        // Small pieces of the first message, the rest at once.
        let (small, rest) = sent.split_at(if pieces < 1000 { hello.len() } else { 0 });
        for piece in small.chunks(pieces) {
            stream.write_all(piece).unwrap();
            thread::sleep(Duration::from_micros(200));
        }
        for piece in rest.chunks(pieces.max(1000)) {
            stream.write_all(piece).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        assert!(kept.lock().unwrap().pop().unwrap() == sent, "in pieces of {pieces}");
    }
}

/// A name that the listener serves and no route covers is closed, and the log says why.
#[test]
fn names_without_a_route() {
    let authority = Authority::new("test");
    let routes = vec![tls_route(&["a.pass.example"], &backend("a", &[free_address()]))];
    let gateway = gateway(vec![listener("pass", "*.pass.example", None, Serves::Tls(routes))]);
    let mut tls = dial_tls(gateway.address, "b.pass.example", &authority);
    assert!(tls.write_all(b"x").is_err());
    let line = &gateway.log(1)[0];
    assert_eq!((line["reason"].as_str(), line["host"].as_str()), (Some("NoRoute"), Some("b.pass.example")));
}
