//! HTTPS from the client to the endpoint: certificates by name, changed under load, client certificates, re-encryption.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tidegate_model::Traffic;
use tidegate_model::traffic::*;
use tidegate_tls::testing::{Authority, Leaf};

use super::harness::*;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client that believes this authority, with a certificate or without.
fn config(ca: &Authority, own: Option<&Leaf>, alpn: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(tidegate_tls::store([ca.der().as_slice()]));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![leaf.der.clone().into()], key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn dial(gateway: &Gateway, config: &Arc<ClientConfig>, name: &str) -> Tls {
    let stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), stream)
}

/// The response to a request that closes, to its announced end.
fn ask(tls: &mut Tls, host: &str) -> std::io::Result<String> {
    write!(tls, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    tls.read_to_string(&mut text)?;
    Ok(text)
}

fn ends(leaf: &Leaf) -> ServerTls {
    ServerTls {
        certificates: vec![Arc::new(leaf.certificate("tls"))],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        ciphers: vec![],
        alpn: vec!["h2".into(), "http/1.1".into()],
        resumption: true,
        client_validation: None,
    }
}

/// The traffic of the harness, with these listeners by host name before it.
fn https(gateway: &Gateway, backend: &Arc<Backend>, listeners: &[(&str, ServerTls)]) -> Arc<Traffic> {
    let plain = traffic(&[gateway.address], &[(1, backend)]);
    let entrance = &plain.entrances[0];
    let listener = |(name, tls): &(&str, ServerTls)| {
        let mut listener = (*entrance.listeners[0]).clone();
        listener.name.section = (*name).into();
        listener.hostname = Some(HostPattern::Exact((*name).into()));
        listener.tls = Some(Arc::new(tls.clone()));
        let Serves::Http(routes) = &mut listener.serves else { panic!("the harness serves HTTP") };
        Arc::make_mut(&mut routes[0]).hostnames = vec![];
        Arc::new(listener)
    };
    let listeners = listeners.iter().map(listener).collect();
    let entrance = Arc::new(Entrance { listeners, ..(**entrance).clone() });
    Arc::new(Traffic { entrances: vec![entrance], ..(*plain).clone() })
}

/// A client that does not come to the end of its handshake in the listener's time is cut, and counted.
#[test]
fn slow_handshakes() {
    let ca = Authority::new("ca");
    let gateway = Gateway::bare(crate::Limits::default());
    let web = backend("web", &[Origin::text("a").address]);
    let model = https(&gateway, &web, &[("a.example", ends(&ca.leaf(&["a.example"])))]);
    let handshake = Some(std::time::Duration::from_millis(300));
    let timeouts = ClientTimeouts { handshake, ..ClientTimeouts::default() };
    let client = Arc::new(ClientPolicy { timeouts, ..ClientPolicy::default() });
    let entrance = Entrance { client, ..(*model.entrances[0]).clone() };
    gateway.apply(Arc::new(Traffic { entrances: vec![Arc::new(entrance)], ..(*model).clone() }));
    let mut silent = Wire::connect(gateway.address);
    assert!(silent.is_closed());
    gateway.counts(r#"tidegate_tls_handshake_failures_total{reason="Timeout""#, 1);
}

/// A request is answered within TLS, ends with a goodbye, and the log says by what it came.
#[test]
fn requests_within_tls() {
    let ca = Authority::new("ca");
    let origin = Origin::text("hello");
    let backend = backend("web", &[origin.address]);
    let gateway = Gateway::bare(crate::Limits::default());
    gateway.apply(https(&gateway, &backend, &[("a.example", ends(&ca.leaf(&["a.example"])))]));
    let mut tls = dial(&gateway, &config(&ca, None, &["http/1.1"]), "a.example");
    let answer = ask(&mut tls, "a.example").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    assert!(origin.last_head().contains("x-forwarded-proto: https"), "{}", origin.last_head());
    assert_eq!(gateway.log(1)[0]["tls"], "TLSv1.3");
    gateway.counts(r#"tidegate_tls_handshakes_total{version="TLSv1.3",kind="full""#, 1);
    let mut tls = dial(&gateway, &config(&ca, None, &["http/1.1"]), "b.example");
    assert!(ask(&mut tls, "b.example").unwrap_err().to_string().contains("UnrecognisedName"));
    gateway.counts(r#"tidegate_tls_handshake_failures_total{reason="UnknownServerName""#, 1);
    for (scheme, answer) in [("https", "HTTP/1.1 200"), ("http", "HTTP/1.1 400")] {
        let mut tls = dial(&gateway, &config(&ca, None, &["http/1.1"]), "a.example");
        let target = format!("{scheme}://a.example/");
        write!(tls, "GET {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        tls.read_to_string(&mut text).unwrap();
        assert!(text.starts_with(answer), "{target}: {text}");
    }
}

/// A response whose end is the end of the connection arrives whole, however slowly it is read.
#[test]
fn endless_responses_end() {
    const BYTES: usize = 3_000_000;
    let ca = Authority::new("ca");
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\n\r\n");
        wire.send(vec![b'x'; BYTES]);
        false
    });
    let backend = backend("web", &[origin.address]);
    let gateway = Gateway::bare(crate::Limits::default());
    gateway.apply(https(&gateway, &backend, &[("a.example", ends(&ca.leaf(&["a.example"])))]));
    let mut tls = dial(&gateway, &config(&ca, None, &[]), "a.example");
    write!(tls, "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n").unwrap();
    thread::sleep(std::time::Duration::from_millis(300));
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).unwrap();
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(answer.len() - body, BYTES);
}

/// Certificates change under load: every handshake succeeds, and the new one shows.
#[test]
fn certificates_change_under_load() {
    let ca = Authority::new("ca");
    let origin = Origin::text("hello");
    let backend = backend("web", &[origin.address]);
    let gateway = Gateway::bare(crate::Limits::default());
    let leaves: Vec<Leaf> = (0..2).map(|_| ca.leaf(&["a.example"])).collect();
    let apply = |leaf: &Leaf| gateway.apply(https(&gateway, &backend, &[("a.example", ends(leaf))]));
    apply(&leaves[0]);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let config = config(&ca, None, &["http/1.1"]);
                while !stop.load(Ordering::SeqCst) {
                    let answer = ask(&mut dial(&gateway, &config, "a.example"), "a.example").unwrap();
                    assert!(answer.ends_with("hello"));
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for step in 0..20 {
            let seen = served.load(Ordering::SeqCst);
            apply(&leaves[(step + 1) % 2]);
            until("requests go on", || served.load(Ordering::SeqCst) > seen + 4);
        }
        apply(&leaves[1]);
        stop.store(true, Ordering::SeqCst);
    });
    let mut tls = dial(&gateway, &config(&ca, None, &["http/1.1"]), "a.example");
    ask(&mut tls, "a.example").unwrap();
    assert_eq!(tls.conn.peer_certificates().unwrap()[0].as_ref(), leaves[1].der);
    assert!(!gateway.has_metric("tidegate_tls_handshake_failures_total{"));
}

/// A host that asks for a certificate is not reached through the handshake of one that does not: 421.
#[test]
fn misdirected() {
    let ca = Authority::new("ca");
    let origin = Origin::text("hello");
    let backend = backend("web", &[origin.address]);
    let gateway = Gateway::bare(crate::Limits::default());
    let leaf = ca.leaf(&["open.example", "strict.example"]);
    let roots = Roots::These(vec![ca.der()].into());
    let strict = ServerTls {
        client_validation: Some(Arc::new(ClientValidation { roots, optional: false })),
        ..ends(&leaf)
    };
    gateway.apply(https(&gateway, &backend, &[("open.example", ends(&leaf)), ("strict.example", strict)]));
    let nobody = config(&ca, None, &["http/1.1"]);
    let somebody = config(&ca, Some(&ca.leaf(&["client"])), &["http/1.1"]);
    let ask = |config: &Arc<ClientConfig>, name: &str, host: &str| {
        ask(&mut dial(&gateway, config, name), host).map(|answer| status(&answer))
    };
    assert_eq!(ask(&nobody, "open.example", "open.example").unwrap(), 200);
    assert_eq!(ask(&nobody, "open.example", "strict.example").unwrap(), 421);
    assert!(ask(&nobody, "strict.example", "strict.example").is_err());
    assert_eq!(ask(&somebody, "strict.example", "strict.example").unwrap(), 200);
}

/// An endpoint is reached by TLS, on kept connections, and one that shows the wrong name is not reached: 502.
#[test]
fn encrypted_again() {
    let ca = Authority::new("ca");
    let inner = Origin::text("inner");
    // A gateway is as good an origin as any.
    let far = Gateway::bare(crate::Limits::default());
    far.apply(https(
        &far,
        &backend("inner", &[inner.address]),
        &[("origin.example", ends(&ca.leaf(&["origin.example"])))],
    ));
    let near = Gateway::bare(crate::Limits::default());
    for (names, code) in [(vec![], 200), (vec![AlternativeName::Host("other.example".into())], 502)] {
        let tls = BackendTls {
            server_name: "origin.example".into(),
            alternative_names: names,
            roots: Roots::These(vec![ca.der()].into()),
            certificate: None,
        };
        let plain = backend("far", &[far.address]);
        let backend = Arc::new(Backend { tls: Some(Arc::new(tls)), ..(*plain).clone() });
        near.apply(https(&near, &backend, &[("origin.example", ends(&ca.leaf(&["origin.example"])))]));
        for _ in 0..3 {
            let mut client = dial(&near, &config(&ca, None, &["http/1.1"]), "origin.example");
            assert_eq!(status(&ask(&mut client, "origin.example").unwrap()), code);
        }
    }
    assert_eq!(near.log(6)[5]["reason"], "UpstreamTlsName");
    assert!(near.has_metric("tidegate_upstream_tls_handshakes_total{"));
}
