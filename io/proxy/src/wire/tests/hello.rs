//! The first message: whose listener it reaches, and what becomes of those that reach none.

use proptest::prelude::*;
use rustls::ClientConnection;
use tidegate_tls::ClientCertificate;

use super::*;

/// What a client sends first, in records of so many bytes.
fn first_message(name: &'static str, size: usize) -> Vec<u8> {
    let config = library::config(&Authority::new("ca"), None);
    let mut client = ClientConnection::new(config, name.try_into().unwrap()).unwrap();
    let mut raw = Vec::new();
    client.write_tls(&mut raw).unwrap();
    let record = |chunk: &[u8]| [&[22, 3, 1], &(chunk.len() as u16).to_be_bytes()[..], chunk].concat();
    raw[5..].chunks(size).flat_map(record).collect()
}

/// Sends bytes and gives what comes back until the end.
async fn say(gateway: &Gateway, bytes: &[u8]) -> (Option<Hello>, Vec<u8>) {
    let (near, far) = sockets().await;
    let client = async {
        let near = Wire::Plain(near);
        write(&near, bytes).await.unwrap();
        near.shutdown_write().unwrap();
        let mut answer = Vec::new();
        while let Ok(bytes) = read(&near, 1000).await {
            if bytes.is_empty() {
                break;
            }
            answer.extend(bytes);
        }
        answer
    };
    let server = async {
        match gateway.accept(far).await {
            Some(Hello::Passthrough { listener, server_name, first, stream }) => {
                drop(stream);
                Some((listener, server_name, first))
            }
            Some(Hello::Terminated { .. }) => panic!("nobody shook hands"),
            None => None,
        }
    };
    let (answer, met) = tokio::join!(client, server);
    let (stream, _) = sockets().await;
    let met =
        met.map(|(listener, server_name, first)| Hello::Passthrough { stream, listener, server_name, first });
    (met, answer)
}

/// The listener of the name answers with its certificate; the one without a name answers for the rest.
#[test]
fn listeners_by_name() {
    run(async {
        let ca = Authority::new("ca");
        let [one, wild, rest] =
            [["one.example"], ["*.shop.example"], ["rest.example"]].map(|names| ca.leaf(&names));
        let gateway = Gateway::new(vec![
            listener("rest", None, Some(ends(&[&rest]))),
            listener("one", Some("one.example"), Some(ends(&[&one]))),
            listener("shop", Some("*.shop.example"), Some(ends(&[&wild, &one]))),
        ]);
        for (name, certificate, section) in [
            ("one.example", "one.example", "one"),
            ("ONE.example", "one.example", "one"),
            ("www.shop.example", "www.shop.example", "shop"),
            ("other.example", "rest.example", "rest"),
        ] {
            let tls = BackendTls {
                alternative_names: vec![AlternativeName::Host(certificate.into())],
                ..(*begins(&ca, name)).clone()
            };
            let (near, far) = sockets().await;
            let tls = Arc::new(tls);
            let (client, met) = tokio::join!(gateway.secure(near, &tls, Offer::Http), gateway.accept(far));
            let Some(Hello::Terminated { wire, listener }) = met else { panic!("{name} was turned away") };
            assert_eq!(&*listener.name.section, section);
            let facts = wire.tls().unwrap();
            assert_eq!(facts.server_name, name.to_ascii_lowercase());
            assert_eq!((facts.version, facts.cipher), ("TLSv1.3", "TLS_AES_128_GCM_SHA256"));
            assert_eq!(facts.alpn, client.unwrap().tls().unwrap().alpn);
        }
    });
}

/// A name that nobody serves gets `unrecognized_name`; it is counted, and the connection ends.
#[test]
fn unknown_names() {
    run(async {
        let ca = Authority::new("ca");
        let gateway = Gateway::new(vec![listener(
            "one",
            Some("one.example"),
            Some(ends(&[&ca.leaf(&["one.example"])])),
        )]);
        let (met, answer) = say(&gateway, &first_message("two.example", 10_000)).await;
        assert!(met.is_none());
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 112]);
        assert_eq!(
            gateway.counters(),
            r#"tidegate_tls_handshake_failures_total{reason="UnknownServerName"} 1
# EOF"#
                .replace("\n# EOF", "")
        );
        let (near, far) = sockets().await;
        let tls = begins(&ca, "two.example");
        let (client, _) = tokio::join!(gateway.secure(near, &tls, Offer::Nothing), gateway.accept(far));
        assert_eq!(client.err().unwrap().reason(), "UpstreamTlsRefused");
    });
}

/// Where TLS is only passed through, a name that nobody serves is answered with nothing at all: the connection ends.
#[test]
fn unknown_names_where_nobody_ends_tls() {
    run(async {
        let gateway = Gateway::new(vec![listener("through", Some("*.db.example"), None)]);
        let (met, answer) = say(&gateway, &first_message("one.shop.example", 10_000)).await;
        assert!(met.is_none());
        assert!(answer.is_empty(), "{answer:?}");
    });
}

/// A name that is passed through leaves every byte to the backend, however it was cut.
#[test]
fn passed_through() {
    run(async {
        let ca = Authority::new("ca");
        let gateway = Gateway::new(vec![
            listener("through", Some("*.db.example"), None),
            listener("ends", None, Some(ends(&[&ca.leaf(&["a.example"])]))),
        ]);
        for size in [1, 7, 10_000] {
            let mut raw = first_message("one.DB.example", size);
            raw.extend(b"and what follows");
            let (met, answer) = say(&gateway, &raw).await;
            let Some(Hello::Passthrough { listener, server_name, first, .. }) = met else {
                panic!("not passed")
            };
            assert_eq!((&*listener.name.section, server_name.as_str()), ("through", "one.db.example"));
            assert!(raw.starts_with(&first) && first.len() >= raw.len() - 16);
            assert_eq!(answer, b"");
        }
    });
}

/// Who speaks no TLS, garbles it, leaves, or is silent for too long is turned away, for that reason.
#[test]
fn turned_away() {
    run(async {
        let ca = Authority::new("ca");
        let limits = Limits { tls_handshake: Duration::ZERO, ..Limits::default() };
        let tls = || vec![listener("tls", None, Some(ends(&[&ca.leaf(&["a.example"])])))];
        let gateway = Gateway::new(tls());
        let mut garbled = first_message("a.example", 10_000);
        garbled.truncate(60);
        garbled[3..5].copy_from_slice(&55u16.to_be_bytes());
        garbled[6..9].copy_from_slice(&[0, 0, 51]);
        for (bytes, reason) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "NotTls"),
            (b"\x16\x03\x01", "ClientGone"),
            (b"", "ClientGone"),
            (&garbled, "Malformed"),
        ] {
            let before = gateway.counters();
            assert!(say(&gateway, bytes).await.0.is_none());
            assert!(gateway.counters().contains(reason), "{reason} in {}, was {before}", gateway.counters());
        }
        let hurried = Gateway::with(tls(), None, limits);
        let (_near, far) = sockets().await;
        hurried.clock.tick();
        let (met, ()) = tokio::join!(hurried.accept(far), async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
                hurried.clock.tick();
            }
        });
        assert!(met.is_none() && hurried.counters().contains(r#"failures_total{reason="Timeout"} 1"#));
        let full = Gateway::with(tls(), None, Limits { tls_handshakes: 0, ..Limits::default() });
        assert!(full.accept(sockets().await.1).await.is_none() && full.counters().contains("TooMany"));
    });
}

/// Clients show a certificate where they must, and may where it is optional; what it is worth is known.
#[test]
fn client_certificates() {
    run(async {
        let (ca, other) = (Authority::new("ca"), Authority::new("other"));
        for (optional, signer, verdict) in [
            (false, None, None),
            (false, Some(&ca), Some(ClientCertificate::Verified)),
            (false, Some(&other), None),
            (true, None, Some(ClientCertificate::None)),
            (true, Some(&ca), Some(ClientCertificate::Verified)),
            (true, Some(&other), Some(ClientCertificate::Unverified)),
        ] {
            let roots = Roots::These(vec![ca.der()].into());
            let tls = ServerTls {
                client_validation: Some(Arc::new(ClientValidation { roots, optional })),
                ..ends(&[&ca.leaf(&["a.example"])])
            };
            let gateway = Gateway::plain(tls);
            let certificate = signer.map(|signer| Arc::new(signer.leaf(&["client"]).certificate("us")));
            let client = Arc::new(BackendTls { certificate, ..(*begins(&ca, "a.example")).clone() });
            let (near, far) = sockets().await;
            let (client, server) =
                tokio::join!(gateway.secure(near, &client, Offer::Http), gateway.terminate(far));
            let found = server.as_ref().map(|wire| wire.tls().unwrap().client_certificate);
            assert_eq!(found, verdict);
            if server.is_none() {
                // With TLS 1.3 a client learns of it when it reads.
                let error = read(&client.unwrap(), 10).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                assert!(gateway.counters().contains(r#"reason="ClientCertificate"} 1"#));
            }
        }
    });
}

/// A session of one gateway goes on at another with the same keys, and is full elsewhere.
#[test]
fn sessions_go_on_elsewhere() {
    run(async {
        let ca = Authority::new("ca");
        let at = |secret: &'static [u8]| {
            let listeners = vec![listener("tls", None, Some(ends(&[&ca.leaf(&["a.example"])])))];
            Gateway::with(listeners, Some(secret), Limits::default())
        };
        let client = Gateway::new(vec![]);
        for (second, resumed) in [(at(b"one"), true), (at(b"two"), false)] {
            let tls = Arc::new(BackendTls { ..(*begins(&ca, "a.example")).clone() });
            let first = at(b"one");
            for (gateway, resumed) in [(&first, false), (&second, resumed)] {
                let (near, far) = sockets().await;
                let (wire, server) =
                    tokio::join!(client.secure(near, &tls, Offer::Http), gateway.terminate(far));
                let (wire, server) = (wire.unwrap(), server.unwrap());
                assert_eq!(server.tls().unwrap().resumed, resumed);
                write(&server, b"x").await.unwrap();
                assert_eq!(read(&wire, 10).await.unwrap(), b"x");
            }
        }
    });
}

/// What is wrong with a backend has a word of its own.
#[test]
fn backends_that_fail() {
    run(async {
        let (ca, other) = (Authority::new("ca"), Authority::new("other"));
        let late = ca.dated(&["a.example"], (2020, 2021));
        for (leaf, name, reason) in [
            (ca.leaf(&["a.example"]), "b.example", "UpstreamTlsName"),
            (other.leaf(&["a.example"]), "a.example", "UpstreamTlsIssuer"),
            (late, "a.example", "UpstreamTlsExpired"),
        ] {
            let gateway = Gateway::plain(ends(&[&leaf]));
            let (near, far) = sockets().await;
            let tls = begins(&ca, name);
            let (client, server) =
                tokio::join!(gateway.secure(near, &tls, Offer::Http), gateway.terminate(far));
            assert_eq!(client.err().map(|error| error.reason()), Some(reason));
            assert!(server.is_none() && gateway.counters().contains("ClientRefused"));
        }
        let gateway = Gateway::plain(ends(&[&ca.leaf(&["a.example"])]));
        let broken = begins(&ca, "a b");
        let failed = gateway.secure(sockets().await.0, &broken, Offer::Http).await;
        assert_eq!(failed.err().map(|error| error.reason()), Some("UpstreamTlsSettings"));
        let (near, far) = sockets().await;
        let tls = begins(&ca, "a.example");
        // Half a message, then what is none: an error, whatever the library has looked at already.
        let server = async {
            let far = Wire::Plain(far);
            write(&far, &[22, 3, 3, 0, 10, 2, 0, 0, 50, 3, 3, 0, 0, 0, 0]).await.unwrap();
            write(&far, b"\x17\x03\x03\x00\x05hello").await.unwrap();
            far
        };
        let (client, _far) = tokio::join!(gateway.secure(near, &tls, Offer::Http), server);
        assert_eq!(client.err().map(|error| error.reason()), Some("UpstreamTlsProtocol"));
    });
}

/// Settings that did not change keep what was compiled; new certificates are shown at once, old connections go on.
#[test]
fn certificates_change() {
    run(async {
        let ca = Authority::new("ca");
        let [old, new] = [["old.example"], ["new.example"]].map(|names| ca.leaf(&names));
        let mut gateway = Gateway::new(vec![
            listener("a", Some("old.example"), Some(ends(&[&old]))),
            listener("b", None, Some(ends(&[&old]))),
        ]);
        let (client, server) = gateway.pair(&begins(&ca, "old.example")).await;
        gateway.entrance.listeners[1] = listener("b", None, Some(ends(&[&new])));
        gateway.router = Router::new(&gateway.entrance);
        let configs = Configs::new(&gateway.entrance, Some(&gateway.configs), &own_tickets());
        assert!(Arc::ptr_eq(configs.get(0).unwrap(), gateway.configs.get(0).unwrap()));
        assert!(!Arc::ptr_eq(configs.get(1).unwrap(), gateway.configs.get(1).unwrap()));
        gateway.configs = configs;
        gateway.pair(&begins(&ca, "new.example")).await;
        write(&client, b"still").await.unwrap();
        assert_eq!(read(&server, 10).await.unwrap(), b"still");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Random bytes, alone or behind a first message, and a first message with changes never do more than end the
    /// connection.
    #[test]
    fn noise(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        front: u8,
    ) {
        run(async {
            let ca = Authority::new("ca");
            let gateway = Gateway::plain(ends(&[&ca.leaf(&["a.example"])]));
            let mut message = if front % 4 == 0 { Vec::new() } else { first_message("a.example", 10_000) };
            for (at, byte) in changes.iter().filter(|_| !message.is_empty()).collect::<Vec<_>>() {
                let at = at.index(message.len());
                message[at] = *byte;
            }
            if front % 4 == 2 {
                message.extend([20, 3, 3, 0, 1, 1, 23, 3, 3, 0, noise.len() as u8]);
            }
            message.extend(&noise);
            assert!(say(&gateway, &message).await.0.is_none());
        });
    }
}
