use std::io::{Read, Write};

use rustls::pki_types::{PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};
use tidegate_model::traffic::TlsVersion;

use super::*;
use crate::provider::provider;
use crate::roots::store;
use crate::testing::{Authority, Leaf, TestDice};

/// A client that believes this authority, with a certificate or without.
pub(crate) fn client_config(ca: &Authority, own: Option<&Leaf>) -> ClientConfig {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(store([ca.der().as_slice()]));
    match own {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![leaf.der.clone().into()], key).unwrap()
        }
    }
}

/// Settings that show this certificate.
pub(crate) fn settings(leaf: &Leaf) -> ServerTls {
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

fn validation(ca: &Authority, optional: bool) -> Option<Arc<ClientValidation>> {
    Some(Arc::new(ClientValidation { roots: Roots::These(vec![ca.der()].into()), optional }))
}

fn keys(secret: &str) -> TicketKeys {
    TicketKeys::fixed(secret.as_bytes(), Arc::new(TestDice::default()))
}

fn listener(settings: &ServerTls) -> ListenerTls {
    ListenerTls::new(settings, &keys("s"), |_| true).unwrap()
}

/// Moves bytes to and fro until both are done, then a byte each way so that tickets arrive.
pub(crate) fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name)?;
    let mut server = ServerConnection::new(server.clone())?;
    for turn in 0..6 {
        if turn == 4 {
            client.writer().write_all(b"x").unwrap();
            server.writer().write_all(b"y").unwrap();
        }
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = bytes.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = bytes.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
    }
    let mut byte = [0];
    assert_eq!(server.reader().read(&mut byte).unwrap() + client.reader().read(&mut byte).unwrap(), 2);
    Ok((client, server))
}

fn now() -> UnixTime {
    UnixTime::now()
}

/// Versions, suites and protocols are those of the settings, and the server's order of suites counts.
#[test]
fn settings_hold() {
    let ca = Authority::new("ca");
    let base = settings(&ca.leaf(&["a.example"]));
    let client = Arc::new(client_config(&ca, None));
    let suite =
        |server: &ServerConnection| format!("{:?}", server.negotiated_cipher_suite().unwrap().suite());
    let (_, server) = shake(&client, listener(&base).config(), "a.example").unwrap();
    assert_eq!(suite(&server), "TLS13_AES_128_GCM_SHA256");
    let old = ServerTls {
        max_version: TlsVersion::V1_2,
        ciphers: vec!["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256".into()],
        ..base.clone()
    };
    let (_, server) = shake(&client, listener(&old).config(), "a.example").unwrap();
    assert_eq!(suite(&server), "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    let only_h1 = ListenerTls::new(&base, &keys("s"), |name| name == "http/1.1").unwrap();
    let mut offering = client_config(&ca, None);
    offering.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let offering = Arc::new(offering);
    let (_, server) = shake(&offering, only_h1.config(), "a.example").unwrap();
    assert_eq!(server.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (_, server) = shake(&offering, listener(&base).config(), "a.example").unwrap();
    assert_eq!(server.alpn_protocol(), Some(&b"h2"[..]));
    let reversed = ServerTls { min_version: TlsVersion::V1_3, max_version: TlsVersion::V1_2, ..base.clone() };
    assert_eq!(ListenerTls::new(&reversed, &keys("s"), |_| true).err(), Some(ServerTlsError::NoVersion));
    let empty = ServerTls { certificates: vec![], ..base };
    assert_eq!(ListenerTls::new(&empty, &keys("s"), |_| true).err(), Some(ServerTlsError::NoCertificate));
}

/// A required certificate must lead to the roots; an optional one may be anything, and what it is worth is told.
#[test]
fn client_certificates() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let base = settings(&ca.leaf(&["a.example"]));
    let own = Leaf::self_signed(&["self"]);
    let good = ca.leaf(&["client"]);
    let late = ca.dated(&["client"], (2020, 2021));
    let foreign = other.leaf(&["client"]);
    let mut roots = validation(&ca, false);
    Arc::make_mut(roots.as_mut().unwrap()).roots = Roots::These(vec![ca.der(), own.der.clone()].into());
    for (optional, leaf, verdict) in [
        (false, None, None),
        (false, Some(&good), Some(ClientCertificate::Verified)),
        (false, Some(&own), Some(ClientCertificate::Verified)),
        (false, Some(&late), None),
        (false, Some(&foreign), None),
        (true, None, Some(ClientCertificate::None)),
        (true, Some(&good), Some(ClientCertificate::Verified)),
        (true, Some(&late), Some(ClientCertificate::Unverified)),
        (true, Some(&foreign), Some(ClientCertificate::Unverified)),
    ] {
        for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let mut client_validation = roots.clone();
            Arc::make_mut(client_validation.as_mut().unwrap()).optional = optional;
            let listener = listener(&ServerTls { client_validation, max_version, ..base.clone() });
            assert!(listener.asks_for_certificate());
            let client = Arc::new(client_config(&ca, leaf));
            let shaken = shake(&client, listener.config(), "a.example");
            let found = shaken.and_then(|(_, server)| listener.judge(server.peer_certificates(), now()));
            assert_eq!(found.ok(), verdict);
        }
    }
}

/// A session goes on at another gateway with the same secret, in both versions; elsewhere it begins anew.
#[test]
fn resumption() {
    let ca = Authority::new("ca");
    let base = settings(&ca.leaf(&["a.example"]));
    for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let base = ServerTls { max_version, ..base.clone() };
        let at = |secret: &str| ListenerTls::new(&base, &keys(secret), |_| true).unwrap();
        let off = ServerTls { resumption: false, ..base.clone() };
        for (first, second, kind) in [
            (at("s"), at("s"), HandshakeKind::Resumed),
            (at("s"), at("t"), HandshakeKind::Full),
            (at("s"), listener(&off), HandshakeKind::Full),
            (listener(&off), at("s"), HandshakeKind::Full),
        ] {
            let client = Arc::new(client_config(&ca, None));
            shake(&client, first.config(), "a.example").unwrap();
            let (client, server) = shake(&client, second.config(), "a.example").unwrap();
            assert_eq!((client.handshake_kind(), server.handshake_kind()), (Some(kind), Some(kind)));
        }
    }
}

/// A ticket from where nothing is asked of clients opens nothing where a certificate is; and one that was given for a
/// certificate carries it along, to be judged again.
#[test]
fn tickets_do_not_go_round_validation() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let open = settings(&ca.leaf(&["a.example"]));
    let strict = listener(&ServerTls { client_validation: validation(&ca, false), ..open.clone() });
    let elsewhere = listener(&ServerTls { client_validation: validation(&other, true), ..open.clone() });
    let client = Arc::new(client_config(&ca, None));
    for first in [listener(&open), elsewhere] {
        shake(&client, first.config(), "a.example").unwrap();
        assert!(shake(&client, strict.config(), "a.example").is_err());
    }
    let client = Arc::new(client_config(&ca, Some(&ca.leaf(&["client"]))));
    shake(&client, strict.config(), "a.example").unwrap();
    let (_, server) = shake(&client, strict.config(), "a.example").unwrap();
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(strict.judge(server.peer_certificates(), now()), Ok(ClientCertificate::Verified));
    let in_2100 = UnixTime::since_unix_epoch(std::time::Duration::from_secs(100_000_000_000));
    assert!(strict.judge(server.peer_certificates(), in_2100).is_err());
}

/// A stapled response reaches the client with the certificate.
#[test]
fn stapling() {
    let ca = Authority::new("ca");
    let mut base = settings(&ca.leaf(&["a.example"]));
    Arc::make_mut(&mut base.certificates[0]).ocsp = Some(b"response".to_vec());
    let shown = Shown::new(&base.certificates).unwrap();
    assert!(format!("{shown:?}").contains("ocsp: Some"));
    shake(&Arc::new(client_config(&ca, None)), listener(&base).config(), "a.example").unwrap();
}
