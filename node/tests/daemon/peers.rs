//! Gateways of a set, linked over loopback: a TLS session that one gave goes on at another.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use serde_json::Value;
use tidegate_tls::testing::{Authority, Leaf};

use crate::place::{Daemon, Place, free_port, pause};

const HOST: &str = "a.example";
const RIGHT: &str = "one secret of all gateways, 32 bytes long";
const OTHER: &str = "another secret that is as long as the first";
/// Looks at the file of the secret are seconds apart, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two gateways of one set, and a client that believes their certificate.
struct Set {
    gateways: [Daemon; 2],
    client: Arc<ClientConfig>,
}

impl Set {
    fn start(more: &str) -> Set {
        let authority = Authority::new("ca");
        let leaf = authority.leaf(&[HOST]);
        // Addresses that no other test, and no other run of this one, uses.
        let port = free_port();
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let address = |last: u8| format!("127.{}.{low}.{last}", 2 + high % 250);
        let nodes: String = [1, 2]
            .map(|last| {
                format!(
                    "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayNode\nmetadata: {{name: gw{last}}}\n\
                     spec: {{addresses: [{}]}}\n---\n",
                    address(last)
                )
            })
            .concat();
        let gateways = ["gw1", "gw2"].map(|name| {
            let place = Place::new();
            let file = place.secret("key", RIGHT);
            place.settings(&format!("peers: {{keyFile: {}, port: {port}{more}}}\n", file.display()));
            place.put("all.yaml", &format!("{nodes}{}", listener(place.port, &leaf)));
            place.start_as(&["--node", name])
        });
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
        let set = Set { gateways, client };
        set.linked(true);
        set
    }

    /// Waits until both say that they are linked, or that they are not.
    fn linked(&self, linked: bool) {
        for gateway in &self.gateways {
            until(gateway, &format!("linked {linked}"), || peer(gateway)["connected"] == linked);
        }
    }

    /// A request over TLS; how the handshake went.
    fn ask(&self, gateway: usize) -> HandshakeKind {
        handshake(&self.client, self.gateways[gateway].place.port)
    }

    /// The client has no session any more.
    fn forget(&mut self) {
        let mut client = (*self.client).clone();
        client.resumption = rustls::client::Resumption::in_memory_sessions(8);
        self.client = Arc::new(client);
    }

    /// What is given by one resumes at the other, both ways, while it is younger than this.
    fn shares(&mut self, what: &str, lifetime: Duration) {
        for (first, second) in [(0, 1), (1, 0)] {
            let began = Instant::now();
            loop {
                self.forget();
                let given = Instant::now();
                assert_eq!(self.ask(first), HandshakeKind::Full, "{what}: at {first}");
                if self.ask(second) == HandshakeKind::Resumed {
                    break;
                }
                // On a machine that stood still meanwhile the ticket may be too old.
                assert!(given.elapsed() >= lifetime, "{what}: from {first} to {second}");
                assert!(began.elapsed() < PATIENCE, "{what}: too slow a machine");
            }
        }
    }
}

fn listener(port: u16, leaf: &Leaf) -> String {
    let block = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: tls, namespace: shop}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: main, namespace: shop}}\n\
         spec:\n  gatewayClassName: tidegate\n  listeners:\n  \
         - {{name: tls, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: tls}}]}}}}\n",
        block(&leaf.cert_pem),
        block(&leaf.key_pem)
    )
}

fn handshake(client: &Arc<ClientConfig>, port: u16) -> HandshakeKind {
    let mut tls = ClientConnection::new(client.clone(), ServerName::try_from(HOST).unwrap()).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    write!(stream, "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
    tls.handshake_kind().unwrap()
}

/// What a gateway says of the other.
fn peer(gateway: &Daemon) -> Value {
    gateway.status()["peers"]["gateways"][0].clone()
}

fn until(gateway: &Daemon, what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < PATIENCE,
            "never: {what}\n{:#}\n{}",
            gateway.status()["peers"],
            gateway.log()
        );
        pause();
    }
}

fn metric(gateway: &Daemon, name: &str) -> u64 {
    let metrics = gateway.admin("/metrics").body;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// A session goes on at the other gateway, through a hand-over, and while another process is given its keys; `status` shows
/// the other gateway, and every metric of it is on the page.
#[test]
fn sessions_go_on_elsewhere() {
    let mut set = Set::start("");
    set.shares("at the start", PATIENCE);
    assert_eq!(peer(&set.gateways[0])["name"], "gw2");
    assert_eq!(metric(&set.gateways[0], "tidegate_tls_ticket_keys "), 4);
    let table = set.gateways[1].place.tidegate(&["status"]);
    assert!(table.out.contains("Peers\n"), "{}", table.out);
    let page = include_str!("../../../docs/metrics.md");
    let metrics = set.gateways[1].admin("/metrics").body;
    for name in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(page.contains(&format!("`{name}")), "docs/metrics.md lacks {name}");
    }
    set.forget();
    assert_eq!(set.ask(0), HandshakeKind::Full);
    let before = set.gateways[0].hand_over();
    assert_eq!(set.ask(0), HandshakeKind::Resumed, "{}", set.gateways[0].log());
    set.linked(true);
    set.shares("after a hand-over", PATIENCE);
    drop(before);
}

/// Keys turn, and what one gateway gives still opens at the other, at any moment.
#[test]
fn keys_turn() {
    let mut set = Set::start(", ticketRotation: 2s");
    let (began, mut rounds) = (Instant::now(), 0);
    while metric(&set.gateways[0], "tidegate_tls_ticket_key_turns_total ") < 3 {
        set.shares("while keys turn", Duration::from_secs(2));
        rounds += 1;
        assert!(began.elapsed() < PATIENCE, "keys do not turn");
    }
    assert!(rounds > 0);
}

/// A file of the secret that changes is read anew: gateways with different ones have no link, and say what to do; with the
/// same one again they have, and sessions of before are forgotten. A file that cannot be used is named, and changes nothing.
#[test]
fn the_secret_changes() {
    let mut set = Set::start("");
    let [one, _] = &set.gateways;
    let file = one.place.path("key");
    fs::write(&file, "short").unwrap();
    until(one, "it is told", || {
        one.status()["peers"]["message"].as_str().is_some_and(|text| text.contains("holds 5 bytes"))
    });
    assert_eq!(peer(one)["connected"], true);
    assert_eq!(set.ask(1), HandshakeKind::Full);
    let [one, other] = &set.gateways;
    fs::write(&file, OTHER).unwrap();
    set.linked(false);
    for gateway in [one, other] {
        until(gateway, "what to do", || {
            peer(gateway)["last_error"].as_str().is_some_and(|text| text.contains("must be the same on both"))
        });
    }
    assert!(one.log().contains("peers.keyFile has changed"), "{}", one.log());
    fs::write(other.place.path("key"), OTHER).unwrap();
    set.linked(true);
    assert_eq!(set.ask(1), HandshakeKind::Full, "keys that strangers may know are forgotten");
    set.shares("with another secret", PATIENCE);
}
