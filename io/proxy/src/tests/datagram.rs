//! UDP through the gateway: sessions, addresses, bounds, changes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tidegate_model::Traffic;
use tidegate_model::traffic::*;

use super::harness::*;
use super::streams::*;
use crate::{Limits, SocketKey, SocketState};

/// A UDP server that sends each datagram back behind its name, and remembers who asked.
pub struct Echo {
    pub address: SocketAddr,
    asked_by: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Echo {
    pub fn start(name: &'static str) -> Echo {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let echo = Echo { address: socket.local_addr().unwrap(), asked_by: Arc::default() };
        let asked_by = echo.asked_by.clone();
        thread::spawn(move || {
            let mut room = vec![0; 65_536];
            while let Ok((count, from)) = socket.recv_from(&mut room) {
                asked_by.lock().unwrap().push(from);
                let mut reply = name.as_bytes().to_vec();
                reply.extend_from_slice(&room[..count]);
                let _ = socket.send_to(&reply, from);
            }
        });
        echo
    }

    /// Sockets that asked.
    pub fn clients(&self) -> usize {
        self.asked_by.lock().unwrap().iter().collect::<BTreeSet<_>>().len()
    }
}

pub fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub fn ask(client: &UdpSocket, gateway: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    client.send_to(bytes, gateway).unwrap();
    let mut room = vec![0; 65_536];
    let (count, from) = client.recv_from(&mut room).unwrap();
    assert_eq!(from, gateway, "the reply comes from the address that was asked");
    room.truncate(count);
    room
}

pub fn udp(address: SocketAddr, backends: &[(u32, &Arc<Backend>)]) -> Arc<Traffic> {
    udp_with(address, backends, ClientLimits::default())
}

fn udp_with(address: SocketAddr, backends: &[(u32, &Arc<Backend>)], limits: ClientLimits) -> Arc<Traffic> {
    let client = ClientPolicy { limits, ..ClientPolicy::default() };
    serving([entrance(address, Serves::Udp(Some(stream_route(backends))), client)])
}

fn gateway(echo: &Echo, limits: Limits) -> Gateway {
    let gateway = Gateway::bare(limits);
    gateway.apply(udp(gateway.address, &[(1, &backend("dns", &[echo.address]))]));
    gateway
}

/// Datagrams of any size come back, a client keeps its socket towards the endpoint, and metrics and log know the session.
#[test]
fn sessions_echo() {
    let echo = Echo::start("");
    let limits = Limits { udp_idle: Duration::from_millis(400), ..Limits::default() };
    let gateway = gateway(&echo, limits);
    let clients: Vec<_> = (0..5).map(|_| client()).collect();
    for size in [0, 1, 512, 1400, 9000, 60_000] {
        for (index, client) in clients.iter().enumerate() {
            let bytes = pattern(size, index);
            assert!(ask(client, gateway.address, &bytes) == bytes, "{size}");
        }
    }
    assert_eq!(echo.clients(), 5);
    assert_eq!(gateway.proxy.sessions(), 5);
    until("sessions end", || gateway.proxy.sessions() == 0);
    let lines = gateway.log(5);
    let bytes: u64 = 1 + 512 + 1400 + 9000 + 60_000;
    for line in &lines {
        assert_eq!(line["protocol"], "UDP");
        assert_eq!(line["listener"], "shop/edge/stream");
        assert_eq!(line["endpoint"], echo.address.to_string());
        assert_eq!((line["bytes_in"].as_u64(), line["bytes_out"].as_u64()), (Some(bytes), Some(bytes)));
    }
    let listener = r#"{listener="shop/edge/stream"}"#;
    gateway.counts(&format!("tidegate_udp_sessions_total{listener}"), 5);
    gateway.counts(&format!("tidegate_udp_received_bytes_total{listener}"), 5 * bytes);
    gateway.counts(&format!("tidegate_udp_sent_bytes_total{listener}"), 5 * bytes);
    gateway.counts("tidegate_udp_dropped_datagrams_total", 0);
}

/// Many datagrams at once, also in trains, arrive in order and whole.
#[test]
fn bursts_and_trains() {
    let echo = Echo::start("");
    let gateway = gateway(&echo, Limits::default());
    let client = client();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&client);
    ask(&client, gateway.address, b"begin");
    for segment in [0, 1000] {
        // A train leaves the client as one system call of many datagrams (udp(7)).
        crate::listener::set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, segment).unwrap();
        let sent = pattern(20_000, 3);
        if segment == 0 {
            for datagram in sent.chunks(1000) {
                client.send_to(datagram, gateway.address).unwrap();
            }
        } else {
            client.send_to(&sent, gateway.address).unwrap();
        }
        let mut back = Vec::new();
        let mut room = [0; 2000];
        while back.len() < sent.len() {
            let (count, _) = client.recv_from(&mut room).unwrap();
            assert_eq!(count, 1000, "datagrams keep their bounds");
            back.extend_from_slice(&room[..count]);
        }
        assert!(back == sent);
    }
}

/// On a socket for every address, of one family or both, a reply leaves from the address that was asked.
#[test]
fn replies_leave_from_the_address_asked() {
    let echo = Echo::start("");
    for any in ["0.0.0.0", "::"] {
        let gateway = Gateway::bare(Limits::default());
        let port = gateway.address.port();
        let address = SocketAddr::new(any.parse().unwrap(), port);
        gateway.apply(udp(address, &[(1, &backend("dns", &[echo.address]))]));
        let client = client();
        for last in [1, 7, 9] {
            let asked = SocketAddr::new(Ipv4Addr::new(127, 0, 0, last).into(), port);
            assert_eq!(ask(&client, asked, b"who"), b"who");
        }
        if any == "::" {
            let client = UdpSocket::bind("[::1]:0").unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let asked = SocketAddr::new("::1".parse::<IpAddr>().unwrap(), port);
            assert_eq!(ask(&client, asked, b"who"), b"who");
        }
    }
}

/// An address and port serve TCP and UDP side by side, and each is told of by itself.
#[test]
fn both_transports_on_one_port() {
    let (echo, server) = (Echo::start("udp "), Server::named("tcp"));
    let gateway = Gateway::bare(Limits::default());
    let address = gateway.address;
    let dns = stream_route(&[(1, &backend("dns", &[echo.address]))]);
    let db = stream_route(&[(1, &backend("db", &[server.address]))]);
    gateway.apply(serving([
        entrance(address, Serves::Udp(Some(dns)), ClientPolicy::default()),
        entrance(address, Serves::Tcp(Some(db)), ClientPolicy::default()),
    ]));
    assert_eq!(ask(&client(), address, b"x"), b"udp x");
    assert_eq!(exactly(&mut dial(address), 3), b"tcp");
    let sockets = gateway.proxy.observed().borrow().sockets.clone();
    let names: Vec<_> = sockets.keys().map(SocketKey::to_string).collect();
    assert_eq!(names, [format!("{address}"), format!("{address}/udp")]);
    assert!(sockets.values().all(|state| *state == SocketState::Listening));
}

/// With no room left whoever was silent longest makes room, and those in use stay.
#[test]
fn sessions_are_bounded() {
    let echo = Echo::start("");
    let gateway = gateway(&echo, Limits { udp_sessions: 24, ..Limits::default() });
    let busy = client();
    ask(&busy, gateway.address, b"1");
    ask(&busy, gateway.address, b"2");
    let asker = echo.asked_by.lock().unwrap()[0];
    // Workers share the bound but not their sessions: one without any cannot make room, and then nobody answers.
    for _ in 0..100 {
        client().send_to(b"x", gateway.address).unwrap();
        assert!(gateway.proxy.sessions() <= 24);
        ask(&busy, gateway.address, b"still here");
    }
    let asked = echo.asked_by.lock().unwrap().iter().filter(|&&by| by == asker).count();
    assert_eq!(asked, 102, "the session in use was not evicted");
    let evicted = || gateway.metric("tidegate_udp_evicted_sessions_total");
    let refused = || gateway.metric("tidegate_udp_refused_sessions_total");
    until("what came too much is counted", || evicted() > 0 && evicted() + refused() >= 76);
}

/// Whoever sends from thousands of ports pushes out its own sessions, never those of others that were answered.
#[test]
fn one_address_evicts_itself() {
    let echo = Echo::start("");
    let gateway = gateway(&echo, Limits { udp_sessions: 60, ..Limits::default() });
    let others: Vec<_> = (0..20).map(|_| client()).collect();
    others.iter().for_each(|other| drop(ask(other, gateway.address, b"x")));
    for _ in 0..300 {
        let flood = UdpSocket::bind("127.0.0.9:0").unwrap();
        flood.send_to(b"x", gateway.address).unwrap();
    }
    let evicted = || gateway.metric("tidegate_udp_evicted_sessions_total");
    let refused = || gateway.metric("tidegate_udp_refused_sessions_total");
    until("most of them make room", || evicted() + refused() >= 300 - 40);
    others.iter().for_each(|other| drop(ask(other, gateway.address, b"y")));
    let asked_by = echo.asked_by.lock().unwrap();
    // What is left of the flood may still come in between.
    let times = |by: &_| asked_by.iter().filter(|other| *other == by).count();
    assert!(asked_by[..20].iter().all(|by| times(by) == 2), "their sessions went on");
}

/// A client address has as many sessions as it may, and does not push out those of others.
#[test]
fn sessions_of_one_client_are_bounded() {
    let echo = Echo::start("");
    let gateway = Gateway::bare(Limits::default());
    let limits = ClientLimits { connections_per_client: Some(2), ..ClientLimits::default() };
    gateway.apply(udp_with(gateway.address, &[(1, &backend("dns", &[echo.address]))], limits));
    let clients: Vec<_> = (0..4).map(|_| client()).collect();
    for client in &clients[..2] {
        ask(client, gateway.address, b"x");
    }
    for client in &clients[2..] {
        client.send_to(b"x", gateway.address).unwrap();
    }
    until("both are refused", || gateway.metric("tidegate_udp_refused_sessions_total") == 2);
    ask(&clients[0], gateway.address, b"x");
    assert_eq!((gateway.proxy.sessions(), echo.clients()), (2, 2));
    let other = UdpSocket::bind("127.0.0.9:0").unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    ask(&other, gateway.address, b"x");
}

/// A session moves when its endpoint or its backend is taken away, and stays when only others change.
#[test]
fn sessions_follow_changes() {
    let (a, b) = (Echo::start("a"), Echo::start("b"));
    let dns = backend("dns", &[a.address]);
    let gateway = Gateway::bare(Limits::default());
    gateway.apply(udp(gateway.address, &[(1, &dns)]));
    let client = client();
    assert_eq!(ask(&client, gateway.address, b""), b"a");
    dns.endpoints.store(usable(&[a.address, b.address]));
    gateway.apply(udp(gateway.address, &[(1, &dns), (1, &backend("other", &[b.address]))]));
    for _ in 0..10 {
        assert_eq!(ask(&client, gateway.address, b""), b"a");
    }
    assert_eq!(a.clients(), 1);
    dns.endpoints.store(usable(&[b.address]));
    assert_eq!(ask(&client, gateway.address, b""), b"b");
    gateway.apply(udp(gateway.address, &[(1, &backend("third", &[a.address]))]));
    assert_eq!(ask(&client, gateway.address, b""), b"a");
    assert_eq!(gateway.proxy.sessions(), 1);
    gateway.apply(serving([]));
    until("the session ends with the socket", || gateway.proxy.sessions() == 0);
    assert_eq!(gateway.log(3).last().unwrap()["reason"], "SocketClosed");
}

/// A door that closes still brings the replies that are on their way, and one that opens in its place meanwhile gets every
/// datagram.
#[test]
fn a_door_that_comes_back_loses_nothing() {
    let echo = Echo::start("");
    for any in ["127.0.0.1", "0.0.0.0", "::"] {
        let endpoint = client();
        let slow = backend("slow", &[endpoint.local_addr().unwrap()]);
        let gateway = Gateway::bare(Limits { close_grace: PATIENCE * 2, ..Limits::default() });
        let address = SocketAddr::new(any.parse().unwrap(), gateway.address.port());
        let asked = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
        gateway.apply(udp(address, &[(1, &slow)]));
        // So many that every worker has some.
        let waiting: Vec<_> = (0..16).map(|_| client()).collect();
        let mut asking = Vec::new();
        for client in &waiting {
            client.send_to(b"wait", asked).unwrap();
            asking.push(endpoint.recv_from(&mut [0; 16]).unwrap().1);
        }
        gateway.apply(serving([]));
        gateway.apply(udp(address, &[(1, &backend("dns", &[echo.address]))]));
        for number in 0..64_u8 {
            assert_eq!(ask(&client(), asked, &[number]), [number], "{any}");
        }
        for from in asking {
            endpoint.send_to(b"at last", from).unwrap();
        }
        for client in &waiting {
            let mut room = [0; 16];
            let (count, from) = client.recv_from(&mut room).unwrap();
            assert_eq!((&room[..count], from), (&b"at last"[..], asked), "{any}");
        }
    }
}

/// An endpoint that is not there ends the session, and the next datagram goes to another.
#[test]
fn icmp_errors_end_sessions() {
    let echo = Echo::start("");
    let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::bare(Limits::default());
    gateway.apply(udp(gateway.address, &[(1, &backend("dns", &[echo.address, dead]))]));
    for _ in 0..8 {
        let client = client();
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut room = [0; 16];
        let answered = (0..20).any(|_| {
            client.send_to(b"x", gateway.address).unwrap();
            client.recv_from(&mut room).is_ok()
        });
        assert!(answered);
    }
    let reasons: Vec<_> =
        gateway.log(1).iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect();
    assert!(reasons.iter().all(|reason| reason == "UpstreamUnreachable"), "{reasons:?}");
}

/// Who asked once and was answered is forgotten sooner than who goes on asking.
#[test]
fn answered_questions_are_forgotten_first() {
    let echo = Echo::start("");
    let limits = Limits { udp_answered_idle: Duration::from_millis(300), ..Limits::default() };
    let gateway = gateway(&echo, limits);
    let (once, twice) = (client(), client());
    ask(&once, gateway.address, b"x");
    ask(&twice, gateway.address, b"x");
    ask(&twice, gateway.address, b"x");
    until("one is gone", || gateway.proxy.sessions() == 1);
    ask(&twice, gateway.address, b"x");
    assert_eq!(echo.clients(), 2);
}
