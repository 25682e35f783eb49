use super::*;
use crate::listener::ListenerTls;
use crate::listener::tests::{settings, shake};
use crate::testing::{Authority, Leaf, TestDice};
use crate::ticket::TicketKeys;

fn backend(roots: &[Vec<u8>], server_name: &str) -> BackendTls {
    BackendTls {
        server_name: server_name.into(),
        alternative_names: vec![],
        roots: Roots::These(roots.into()),
        certificate: None,
    }
}

/// A handshake with a backend that shows this certificate.
fn meet(tls: &BackendTls, leaf: &Leaf) -> Result<(), UpstreamTlsFault> {
    let system = Arc::new(RootCertStore::empty());
    let upstream = UpstreamTls::new(tls, &system).unwrap();
    let keys = TicketKeys::fixed(b"s", Arc::new(TestDice::default()));
    let server = ListenerTls::new(&settings(leaf), &keys, |_| true).unwrap();
    let shaken = shake(upstream.config(), server.config(), &tls.server_name);
    shaken.map(drop).map_err(|error| UpstreamTlsFault::of(&error))
}

/// Without alternative names the server name counts; with them, one of them does and the server name does not.
#[test]
fn names_are_checked() {
    let ca = Authority::new("ca");
    let roots = [ca.der()];
    let host = |name: &str| AlternativeName::Host(name.into());
    let uri = |name: &str| AlternativeName::Uri(name.into());
    for (names, server_name, alternatives, fine) in [
        (&["web.example"][..], "web.example", vec![], true),
        (&["*.shop.example"], "web.shop.example", vec![], true),
        (&["web.example"], "other.example", vec![], false),
        (&["*.shop.example"], "a.b.shop.example", vec![], false),
        (&["web.example"], "other.example", vec![host("web.example")], true),
        (&["web.example"], "web.example", vec![host("other.example")], false),
        (&["*.shop.example"], "x", vec![host("no"), host("web.shop.example")], true),
        (&["spiffe://td/web"], "x.example", vec![uri("spiffe://td/web")], true),
        (&["spiffe://td/web"], "x.example", vec![uri("spiffe://td/web2")], false),
        (&["spiffe://td/web"], "x.example", vec![host("x.example"), uri("spiffe://td/web")], true),
        (&["web.example"], "web.example", vec![uri("spiffe://td/web")], false),
    ] {
        let tls = BackendTls { alternative_names: alternatives, ..backend(&roots, server_name) };
        let found = meet(&tls, &ca.leaf(names));
        assert_eq!(found, if fine { Ok(()) } else { Err(UpstreamTlsFault::Name) }, "{names:?} {tls:?}");
    }
}

/// Each way to fail has its own word in the log.
#[test]
fn faults() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let tls = backend(&[ca.der()], "web.example");
    assert_eq!(meet(&tls, &other.leaf(&["web.example"])), Err(UpstreamTlsFault::Issuer));
    assert_eq!(meet(&tls, &ca.dated(&["web.example"], (2020, 2021))), Err(UpstreamTlsFault::Expired));
    assert_eq!(meet(&tls, &ca.dated(&["web.example"], (3000, 3001))), Err(UpstreamTlsFault::Expired));
    assert_eq!(meet(&tls, &ca.leaf(&["web.example"])), Ok(()));
    assert_eq!(UpstreamTlsFault::Issuer.reason(), "UpstreamTlsIssuer");
}

/// A certificate that signs itself is believed when it is among the roots, for its names and its time only.
#[test]
fn self_signed() {
    let leaf = Leaf::self_signed(&["web.example"]);
    let roots = [Authority::new("ca").der(), leaf.der.clone()];
    assert_eq!(meet(&backend(&roots, "web.example"), &leaf), Ok(()));
    assert_eq!(meet(&backend(&roots, "other.example"), &leaf), Err(UpstreamTlsFault::Name));
    assert_ne!(meet(&backend(&roots[..1], "web.example"), &leaf), Ok(()));
    let late = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_000_000_000_000));
    assert!(is_valid_root(&roots, &leaf.der.clone().into(), late).is_err());
}

/// Settings that can never work are refused with a sentence.
#[test]
fn refused() {
    let ca = Authority::new("ca");
    let system = Arc::new(RootCertStore::empty());
    let good = backend(&[ca.der()], "web.example");
    let name = AlternativeName::Host("a b".into());
    for (tls, error) in [
        (
            BackendTls { server_name: "a b".into(), ..good.clone() },
            UpstreamTlsError::ServerName("a b".into()),
        ),
        (
            BackendTls { alternative_names: vec![name], ..good.clone() },
            UpstreamTlsError::AlternativeName("a b".into()),
        ),
        (BackendTls { roots: Roots::System, ..good.clone() }, UpstreamTlsError::NoRoots),
        (backend(&[vec![1, 2]], "web.example"), UpstreamTlsError::NoRoots),
    ] {
        assert_eq!(UpstreamTls::new(&tls, &system).err(), Some(error));
    }
}

/// A backend that asks for a certificate gets ours.
#[test]
fn own_certificate() {
    let ca = Authority::new("ca");
    let mut server = settings(&ca.leaf(&["web.example"]));
    let roots = Roots::These(vec![ca.der()].into());
    server.client_validation =
        Some(Arc::new(tidegate_model::traffic::ClientValidation { roots, optional: false }));
    let keys = TicketKeys::fixed(b"s", Arc::new(TestDice::default()));
    let server = ListenerTls::new(&server, &keys, |_| true).unwrap();
    let system = Arc::new(RootCertStore::empty());
    for (certificate, fine) in [(None, false), (Some(Arc::new(ca.leaf(&["us"]).certificate("us"))), true)] {
        let tls = BackendTls { certificate, ..backend(&[ca.der()], "web.example") };
        let upstream = UpstreamTls::new(&tls, &system).unwrap();
        assert_eq!(shake(upstream.config(), server.config(), "web.example").is_ok(), fine);
    }
}
