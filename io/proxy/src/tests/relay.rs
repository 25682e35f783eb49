//! TCP connections through the gateway: every byte, every end, every change.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use socket2::SockRef;
use tidegate_model::traffic::{ClientLimits, ClientPolicy, ClientTimeouts, Serves};

use super::harness::*;
use super::streams::*;
use crate::Limits;

fn gateway(server: &Server) -> Gateway {
    let gateway = Gateway::bare(Limits::default());
    gateway.apply(tcp(gateway.address, &[(1, &backend("db", &[server.address]))]));
    gateway
}

/// Both ways at once, small and large, everything arrives as it was sent; large bodies are spliced, and both the log and the
/// metrics know how much it was.
#[test]
fn bytes_arrive_as_they_were_sent() {
    let server = Server::echo();
    let gateway = gateway(&server);
    let (small, large) = (pattern(1000, 1), pattern(5_000_000, 2));
    assert!(exchange(dial(gateway.address), &small) == small);
    gateway.counts("tidegate_tcp_spliced_bytes_total", 0);
    assert!(exchange(dial(gateway.address), &large) == large);
    let spliced = gateway.metric("tidegate_tcp_spliced_bytes_total");
    assert!(spliced > 2 * 4_000_000, "spliced only {spliced} bytes");
    let lines = gateway.log(2);
    let line = &lines[1];
    assert_eq!(line["protocol"], "TCP");
    assert_eq!(line["listener"], "shop/edge/stream");
    assert_eq!(line["route"], "shop/stream");
    assert_eq!(line["backend"], "shop/db:80");
    assert_eq!(line["endpoint"], server.address.to_string());
    assert_eq!((line["bytes_in"].as_u64(), line["bytes_out"].as_u64()), (Some(5_000_000), Some(5_000_000)));
    assert_eq!(line["reason"], "");
    let listener = r#"{listener="shop/edge/stream"}"#;
    gateway.counts(&format!("tidegate_tcp_connections_total{listener}"), 2);
    gateway.counts(&format!("tidegate_tcp_received_bytes_total{listener}"), 5_001_000);
    gateway.counts(&format!("tidegate_tcp_sent_bytes_total{listener}"), 5_001_000);
}

/// Messages one at a time come back one at a time, and nothing of them is spliced.
#[test]
fn ping_pong() {
    let gateway = gateway(&Server::echo());
    let mut client = dial(gateway.address);
    for round in 0..500 {
        let message = pattern(1 + round % 64, round);
        client.write_all(&message).unwrap();
        assert_eq!(exactly(&mut client, message.len()), message);
    }
    drop(client);
    gateway.log(1);
    gateway.counts("tidegate_tcp_spliced_bytes_total", 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Pieces of any size, with pauses or not, whichever side ends first, make up what was sent.
    #[test]
    fn random_pieces(pieces in prop::collection::vec((1usize..200_000, any::<bool>()), 1..8), answer in 0usize..400_000, server_first in any::<bool>()) {
        let reply = pattern(answer, 5);
        let sent: usize = pieces.iter().map(|(size, _)| size).sum();
        let (told, heard) = std::sync::mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let server = Server::start(move |mut stream| {
            if server_first {
                stream.write_all(&reply).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            if !server_first {
                stream.write_all(&reply).unwrap();
            }
            told.lock().unwrap().send(got).unwrap();
        });
        let gateway = gateway(&server);
        let client = dial(gateway.address);
        let bytes = pattern(sent, 9);
        let mut writer = client.try_clone().unwrap();
        let back = thread::scope(|scope| {
            scope.spawn(|| {
                let mut rest = &bytes[..];
                for (size, pause) in &pieces {
                    writer.write_all(&rest[..*size]).unwrap();
                    rest = &rest[*size..];
                    if *pause {
                        thread::sleep(Duration::from_millis(3));
                    }
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut back = Vec::new();
            (&client).read_to_end(&mut back).unwrap();
            back
        });
        prop_assert!(back == pattern(answer, 5));
        prop_assert!(heard.recv_timeout(PATIENCE).unwrap() == bytes);
    }
}

/// A slow reader holds up its own connection only, and loses nothing.
#[test]
fn slow_readers() {
    let server = Server::start(|mut stream| stream.write_all(&pattern(3_000_000, 3)).unwrap());
    let gateway = gateway(&server);
    let mut slow = dial(gateway.address);
    assert_eq!(exactly(&mut slow, 10), pattern(10, 3));
    for _ in 0..20 {
        let mut other = Vec::new();
        dial(gateway.address).read_to_end(&mut other).unwrap();
        assert_eq!(other.len(), 3_000_000);
    }
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(rest == pattern(3_000_000, 3)[10..]);
}

/// Many clients at once get what is theirs.
#[test]
fn many_clients() {
    let gateway = gateway(&Server::echo());
    thread::scope(|scope| {
        for seed in 0..40 {
            let address = gateway.address;
            scope.spawn(move || {
                let bytes = pattern(30_000 + seed * 10_000, seed);
                assert!(exchange(dial(address), &bytes) == bytes);
            });
        }
    });
    until("all are gone", || gateway.proxy.connections() == 0);
}

/// An endpoint that refuses is passed over; with none that answers the connection is closed and the log says why.
#[test]
fn dead_endpoints_are_passed_over() {
    let server = Server::named("a");
    let dead = free_address();
    let gateway = Gateway::bare(Limits::default());
    gateway.apply(tcp(gateway.address, &[(1, &backend("db", &[server.address, dead]))]));
    for _ in 0..6 {
        assert_eq!(exactly(&mut dial(gateway.address), 1), b"a");
    }
    assert!(gateway.metric("tidegate_upstream_connect_failures_total") >= 1);
    gateway.log(6);
    for (backends, reason) in [(vec![dead], "UpstreamConnect"), (vec![], "NoEndpoint")] {
        gateway.apply(tcp(gateway.address, &[(1, &backend("db", &backends))]));
        assert!(closed(&mut dial(gateway.address)));
        let lines = gateway.log(7 + usize::from(reason == "NoEndpoint"));
        assert_eq!(lines.last().unwrap()["reason"], reason);
    }
    gateway.apply(serving([entrance(gateway.address, Serves::Tcp(None), ClientPolicy::default())]));
    assert!(closed(&mut dial(gateway.address)));
    assert_eq!(gateway.log(9).last().unwrap()["reason"], "NoRoute");
}

fn closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

/// Backends get connections by weight, and their endpoints in turn.
#[test]
fn weights_and_turns() {
    let servers = [Server::named("a"), Server::named("b"), Server::named("c")];
    let one = backend("one", &[servers[0].address]);
    let two = backend("two", &[servers[1].address, servers[2].address]);
    let none = backend("none", &[]);
    let gateway = Gateway::bare(Limits::default());
    gateway.apply(tcp(gateway.address, &[(3, &one), (1, &two), (0, &none)]));
    let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for _ in 0..240 {
        *counts.entry(exactly(&mut dial(gateway.address), 1)).or_default() += 1;
    }
    let count = |name: &str| counts[name.as_bytes()];
    assert!((140..=215).contains(&count("a")), "{counts:?}");
    assert!(count("b").abs_diff(count("c")) <= 2, "{counts:?}");
}

/// A connection lives on while its endpoint, its route and its socket are taken away; new ones follow the change.
#[test]
fn changes_leave_connections_alone() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let db = backend("db", &[a.address]);
    let gateway = Gateway::bare(Limits { close_grace: Duration::from_millis(100), ..Limits::default() });
    gateway.apply(tcp(gateway.address, &[(1, &db)]));
    let mut old = dial(gateway.address);
    assert_eq!(exactly(&mut old, 1), b"a");
    let mut say = |word: &[u8]| {
        old.write_all(word).unwrap();
        assert_eq!(exactly(&mut old, word.len()), word);
    };
    db.endpoints.store(usable(&[b.address]));
    assert_eq!(exactly(&mut dial(gateway.address), 1), b"b");
    say(b"endpoint gone");
    gateway.apply(tcp(gateway.address, &[(1, &backend("other", &[b.address]))]));
    say(b"backend gone");
    gateway.apply(serving([]));
    assert!(gateway.proxy.observed().borrow().sockets.is_empty());
    thread::sleep(Duration::from_millis(500));
    say(b"socket gone");
    assert!(TcpStream::connect(gateway.address).is_err());
}

/// A socket turns from HTTP to TCP and back without being opened anew: what waits in its queue is served by either.
#[test]
fn a_socket_changes_what_it_carries() {
    let (raw, http) = (Server::named("raw"), Origin::text("http"));
    let (raw, web) = (backend("raw", &[raw.address]), backend("web", &[http.address]));
    let gateway = Gateway::start(&[(1, &web)]);
    let mut kept = gateway.client();
    // Connected is not accepted yet: once it was served, it is HTTP's for good.
    assert_eq!(kept.ask(GET).1, "http");
    for _ in 0..3 {
        gateway.apply(tcp(gateway.address, &[(1, &raw)]));
        assert_eq!(exactly(&mut dial(gateway.address), 3), b"raw");
        gateway.apply(traffic(&[gateway.address], &[(1, &web)]));
        let (head, body) = kept.ask(GET);
        assert_eq!(body, "http", "{head}");
        assert_eq!(gateway.client().ask(GET).1, "http");
    }
}

/// A reset on one side is a reset on the other: nobody takes a part for the whole.
#[test]
fn resets_are_passed_on() {
    let server = Server::start(|mut stream| {
        stream.write_all(b"part").unwrap();
        let _ = stream.read(&mut [0]);
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let gateway = gateway(&server);
    let mut client = dial(gateway.address);
    assert_eq!(exactly(&mut client, 4), b"part");
    client.write_all(b"x").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(gateway.log(1)[0]["reason"], "UpstreamReset");
    let (told, heard) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let server = Server::start(move |mut stream| {
        stream.write_all(b"hello").unwrap();
        let end = stream.read(&mut [0]).map_err(|error| error.kind());
        told.lock().unwrap().send(end).unwrap();
    });
    gateway.apply(tcp(gateway.address, &[(1, &backend("db", &[server.address]))]));
    let mut client = dial(gateway.address);
    exactly(&mut client, 5);
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::ConnectionReset));
    assert_eq!(gateway.log(2)[1]["reason"], "ClientReset");
}

/// A connection on which nothing moves ends after the listener's time, one on which something moves does not.
#[test]
fn idle_connections_end() {
    let gateway = Gateway::bare(Limits::default());
    let server = Server::named("a");
    let timeouts = ClientTimeouts { tcp_idle: Some(Duration::from_millis(600)), ..ClientTimeouts::default() };
    let client = ClientPolicy { timeouts, ..ClientPolicy::default() };
    gateway.apply(tcp_with(gateway.address, &[(1, &backend("db", &[server.address]))], client));
    let (mut idle, mut busy) = (dial(gateway.address), dial(gateway.address));
    exactly(&mut idle, 1);
    exactly(&mut busy, 1);
    for _ in 0..6 {
        thread::sleep(Duration::from_millis(200));
        busy.write_all(b"b").unwrap();
        exactly(&mut busy, 1);
    }
    assert!(closed(&mut idle));
    assert_eq!(gateway.log(1)[0]["reason"], "IdleTimeout");
}

/// An idle timeout of zero is no limit.
#[test]
fn no_idle_limit() {
    let gateway = Gateway::bare(Limits { tcp_idle: Duration::from_millis(200), ..Limits::default() });
    let timeouts = ClientTimeouts { tcp_idle: Some(Duration::ZERO), ..ClientTimeouts::default() };
    let client = ClientPolicy { timeouts, ..ClientPolicy::default() };
    let server = Server::named("a");
    gateway.apply(tcp_with(gateway.address, &[(1, &backend("db", &[server.address]))], client));
    let mut idle = dial(gateway.address);
    exactly(&mut idle, 1);
    thread::sleep(Duration::from_millis(700));
    idle.write_all(b"still there").unwrap();
    assert_eq!(exactly(&mut idle, 11), b"still there");
}

/// A listener takes as many connections as it may, and as many of one client; who leaves makes room.
#[test]
fn connection_limits() {
    let server = Server::named("a");
    let limited = |connections, connections_per_client| ClientPolicy {
        limits: ClientLimits { connections, connections_per_client, ..ClientLimits::default() },
        ..ClientPolicy::default()
    };
    let gateway = Gateway::bare(Limits::default());
    for client in [limited(Some(3), None), limited(None, Some(3))] {
        gateway.apply(tcp_with(gateway.address, &[(1, &backend("db", &[server.address]))], client));
        let refused = gateway.metric("tidegate_http_refused_connections_total");
        let mut kept: Vec<_> = (0..3).map(|_| dial(gateway.address)).collect();
        kept.iter_mut().for_each(|client| drop(exactly(client, 1)));
        assert!(closed(&mut dial(gateway.address)));
        gateway.counts("tidegate_http_refused_connections_total", refused + 1);
        kept.pop();
        until("there is room", || gateway.proxy.connections() == 2);
        kept.push(dial(gateway.address));
        exactly(&mut kept[2], 1);
        drop(kept);
        until("all are gone", || gateway.proxy.connections() == 0);
    }
}

/// Draining waits for relays as long as it may, and says how many are left.
#[test]
fn draining_waits_for_relays() {
    let gateway = gateway(&Server::named("a"));
    let mut client = dial(gateway.address);
    exactly(&mut client, 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(runtime.block_on(gateway.proxy.drain(Duration::from_millis(300))), 1);
    client.write_all(b"still there").unwrap();
    assert_eq!(exactly(&mut client, 11), b"still there");
    drop(client);
    assert_eq!(runtime.block_on(gateway.proxy.drain(PATIENCE)), 0);
}
