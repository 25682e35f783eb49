//! Real ends over loopback, and strangers who call them. Each test has addresses of its own.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_model::peers::TicketKey;
use tidegate_peering::{Input, Link, Message, Output, PENDING_EACH_MAX, Roster, STRANGERS_MAX, Secret};

use crate::peers::EVENTS;
use crate::{Event, Events, PeerObserved, Peers};

const RIGHT: &[u8] = b"the secret of all gateways, long";
const WRONG: &[u8] = b"another secret, just as long as!";
const PORT: u16 = 9441;
/// More than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Addresses of one test.
#[derive(Clone, Copy)]
struct Net([u8; 3]);

impl Net {
    /// One that no other test has, nor another run of them.
    fn new() -> Net {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let pid = std::process::id().to_be_bytes();
        let test = NEXT.fetch_add(1, Ordering::Relaxed);
        Net([pid[3].max(2), pid[2].wrapping_mul(16).wrapping_add(test), 0])
    }

    fn address(self, last: u8) -> IpAddr {
        let Net([a, b, _]) = self;
        [127, a, b, last].into()
    }

    /// The set of these gateways, as one of them sees it.
    fn peers(self, here: u8, all: &[u8]) -> tidegate_model::Peers {
        let others = all.iter().filter(|last| **last != here);
        let others: BTreeMap<_, _> = others.map(|last| (name(*last), vec![self.address(*last)])).collect();
        tidegate_model::Peers { here: vec![self.address(here)], others }
    }
}

fn name(last: u8) -> String {
    format!("gw{last}")
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes).unwrap()
}

fn keys(of: u8, count: usize) -> Message {
    Message::TicketKeys(vec![TicketKey { id: [of; 16], secret: [of; 32], left_secs: 60 }; count])
}

/// A gateway.
struct Gateway {
    net: Net,
    last: u8,
    peers: Peers,
    events: Events,
    registry: Registry,
}

impl Gateway {
    fn start(net: Net, last: u8, all: &[u8], shared: &[u8]) -> Gateway {
        let mut registry = Registry::default();
        let (peers, events) = Peers::new(&name(last), PORT, secret(shared), &mut registry);
        peers.know(&net.peers(last, all));
        Gateway { net, last, peers, events, registry }
    }

    fn at(&self) -> SocketAddr {
        (self.net.address(self.last), PORT).into()
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.next()).await.expect("in time").expect("an event")
    }

    fn peer(&self, last: u8) -> PeerObserved {
        let all = self.peers.observed().peers;
        all.into_iter().find(|peer| peer.name == name(last)).unwrap()
    }

    fn counts(&self, line: &str) -> bool {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.contains(line)
    }

    /// Whether nothing has happened that was not taken.
    fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(self.events.next()).poll(&mut context).is_pending()
    }

    async fn listens(&self) {
        until("it listens", || TcpStream::connect(self.at()).is_ok()).await;
    }
}

fn up(last: u8) -> Event {
    Event::Up { peer: name(last) }
}

fn heard(last: u8, message: Message) -> Event {
    Event::Heard { peer: name(last), message }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Connects from one address to another.
fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    TcpStream::from(socket)
}

/// Whether the other end closes the connection.
async fn closes(mut stream: TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut room = [0; 4096];
    until("it closes", || match stream.read(&mut room) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    })
    .await;
}

/// A gateway by hand, that does what a test wants of it: its link is up.
fn by_hand(net: Net, here: u8, to: u8) -> (TcpStream, Link) {
    let mut stream = connect(net.address(here), (net.address(to), PORT).into());
    let roster = Roster::new(&name(here), PORT, &net.peers(here, &[here, to]));
    let mut link = Link::call(&secret(RIGHT), &roster, &name(to), Instant::now()).unwrap();
    let mut room = [0; 4096];
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        while let Some(output) = link.poll_output() {
            match output {
                Output::Send(bytes) => stream.write_all(&bytes).unwrap(),
                Output::Up(_) => return (stream, link),
                other => panic!("{other:?}"),
            }
        }
        let count = stream.read(&mut room).unwrap();
        assert!(count > 0, "closed");
        link.handle(Input::Bytes(&room[..count]), Instant::now());
    }
}

/// The bytes of a message on this link.
fn bytes(link: &mut Link, message: &Message) -> Vec<u8> {
    link.handle(Input::Tell(message), Instant::now());
    match link.poll_output() {
        Some(Output::Send(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

/// Three gateways with one secret are all linked, and each hears what the others tell one or all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linked() {
    let (net, all) = (Net::new(), [1, 2, 3]);
    let mut gateways = all.map(|last| Gateway::start(net, last, &all, RIGHT));
    for gateway in &mut gateways {
        let mut came = [gateway.event().await, gateway.event().await];
        came.sort_by_key(|event| format!("{event:?}"));
        let others: Vec<_> = all.into_iter().filter(|last| *last != gateway.last).map(up).collect();
        assert_eq!(came[..], others[..]);
    }
    let [one, two, three] = &mut gateways;
    one.peers.tell_all(&keys(1, 3));
    assert_eq!(two.event().await, heard(1, keys(1, 3)));
    assert_eq!(three.event().await, heard(1, keys(1, 3)));
    three.peers.tell(&name(1), &keys(3, 192));
    assert_eq!(one.event().await, heard(3, keys(3, 192)));
    assert!(two.is_quiet());
    assert!(one.peer(2).since.is_some() && one.peer(2).called && !two.peer(1).called);
    assert_eq!(two.peer(1).address.map(|at| at.ip()), Some(net.address(1)), "it comes from its own address");
    assert!(two.counts("tidegate_peers_connected{peer=\"gw3\"} 1"));
    assert!(two.counts("tidegate_peers_messages_total{direction=\"received\",topic=\"ticket_keys\"} 1"));
}

/// With another secret nobody is linked, both say what to do, and once the secret is right they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_key() {
    let (net, all) = (Net::new(), [1, 2]);
    let mut one = Gateway::start(net, 1, &all, WRONG);
    let mut two = Gateway::start(net, 2, &all, RIGHT);
    for (gateway, peer) in [(&one, 2), (&two, 1)] {
        until("it says why", || gateway.peer(peer).last_error.contains("peers.keyFile must be the same"))
            .await;
        until("it is counted", || gateway.counts("tidegate_peers_ends_total{reason=\"wrong_key\"}")).await;
        assert_eq!(gateway.peer(peer).since, None);
    }
    assert!(one.is_quiet() && two.is_quiet());
    one.peers.rekey(secret(RIGHT));
    assert_eq!((one.event().await, two.event().await), (up(2), up(1)));
    assert_eq!((one.peer(2).last_error, two.peer(1).last_error), Default::default());
    // A secret that changes on one ends the link.
    two.peers.rekey(secret(WRONG));
    until("the link ends", || one.peer(2).since.is_none()).await;
}

/// What was said under an earlier secret is not heard after a change, whether it waited in the queue or for a place in it: keys
/// of whoever knew that secret would be accepted otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_heard_of_an_earlier_secret() {
    let (net, all) = (Net::new(), [1, 2]);
    let mut two = Gateway::start(net, 2, &all, RIGHT);
    two.listens().await;
    let (mut stream, mut link) = by_hand(net, 1, 2);
    assert_eq!(two.event().await, up(1));
    for _ in 0..2 * EVENTS {
        stream.write_all(&bytes(&mut link, &keys(1, 1))).unwrap();
    }
    let full = format!(
        "tidegate_peers_messages_total{{direction=\"received\",topic=\"ticket_keys\"}} {}\n",
        EVENTS + 1
    );
    until("the queue is full, and one waits", || two.counts(&full)).await;
    two.peers.rekey(secret(WRONG));
    let one = Gateway::start(net, 1, &all, WRONG);
    assert_eq!(two.event().await, up(1));
    until("the other knows it too", || one.peer(2).since.is_some()).await;
    one.peers.tell_all(&keys(9, 1));
    assert_eq!(two.event().await, heard(1, keys(9, 1)));
    assert!(two.is_quiet());
}

/// Strangers who talk nonsense, or begin and say nothing, are closed, and no gateway is kept out by however many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers() {
    let (net, all) = (Net::new(), [1, 2]);
    let mut two = Gateway::start(net, 2, &all, RIGHT);
    two.listens().await;
    let stranger = || connect(net.address(99), two.at());
    let mut nonsense = stranger();
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    closes(nonsense).await;
    until("it is counted", || two.counts("tidegate_peers_ends_total{reason=\"protocol\"}")).await;
    let mut idle: Vec<TcpStream> = (0..3 * STRANGERS_MAX).map(|_| stranger()).collect();
    idle.iter_mut().for_each(|stream| drop(stream.write_all(&[22, 3, 1])));
    until("some go at once", || {
        !two.counts("turned_away_connections_total 0\n") && !two.counts("turned_away_connections_total 1\n")
    })
    .await;
    // Nobody waits for those that are still there.
    let one = Gateway::start(net, 1, &all, RIGHT);
    assert_eq!(two.event().await, up(1));
    for stream in idle {
        closes(stream).await;
    }
    until("it is counted", || two.counts("tidegate_peers_ends_total{reason=\"late\"}")).await;
    until("both are linked", || one.peer(2).since.is_some()).await;
}

/// Even one that has a gateway's address keeps no more than some places, and none that the gateway, or whoever comes later,
/// wants: nobody is turned away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowd_of_one_address() {
    let (net, all) = (Net::new(), [1, 2]);
    let mut two = Gateway::start(net, 2, &all, RIGHT);
    two.listens().await;
    let idle: Vec<_> = (0..3 * PENDING_EACH_MAX).map(|_| connect(net.address(1), two.at())).collect();
    until("the others are closed", || {
        let open = idle.iter().filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        open.count() <= PENDING_EACH_MAX
    })
    .await;
    until("they had to go for others", || {
        let line = format!("tidegate_peers_ends_total{{reason=\"displaced\"}} {}\n", 2 * PENDING_EACH_MAX);
        two.counts(&line)
    })
    .await;
    let _one = Gateway::start(net, 1, &all, RIGHT);
    assert_eq!(two.event().await, up(1));
    assert!(two.counts("turned_away_connections_total 0\n"));
}

/// A gateway that speaks faster than it is heard waits: no more is held than fits the queues, others are heard as ever, and
/// nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood() {
    let (net, all) = (Net::new(), [1, 2, 3]);
    let mut three = Gateway::start(net, 3, &all, RIGHT);
    three.listens().await;
    let (mut stream, mut link) = by_hand(net, 1, 3);
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut blocked, mut rest) = (0, None, Vec::new());
    // Loopback holds some megabytes.
    while blocked.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(500)) {
        if rest.is_empty() {
            rest = bytes(&mut link, &keys(1, 192));
            sent += 1;
        }
        match stream.write(&rest) {
            Ok(count) => {
                rest.drain(..count);
                blocked = None;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                blocked.get_or_insert_with(Instant::now);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 20_000, "200 MB are held somewhere");
    }
    // Once somebody hears them, the other has its turn, however much of the flood waits.
    let two = Gateway::start(net, 2, &all, RIGHT);
    let (mut flood, mut other) = (0, false);
    while flood < sent - 1 || !other {
        match three.event().await {
            Event::Heard { peer, .. } if peer == name(1) => flood += 1,
            event if event == up(2) => {
                until("the other knows it too", || two.peer(3).since.is_some()).await;
                two.peers.tell_all(&keys(2, 1));
            }
            event => other |= event == heard(2, keys(2, 1)),
        }
        // What was not written yet follows.
        if !rest.is_empty()
            && let Ok(count) = stream.write(&rest)
        {
            rest.drain(..count);
        }
    }
}

/// A gateway that does not take what it is told loses its link, and comes anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow() {
    let (net, all) = (Net::new(), [1, 2]);
    let mut two = Gateway::start(net, 2, &all, RIGHT);
    two.listens().await;
    let (stream, _link) = by_hand(net, 1, 2);
    assert_eq!(two.event().await, up(1));
    let mut told = 0;
    until("it loses its link", || {
        (0..100).for_each(|_| two.peers.tell_all(&keys(2, 192)));
        told += 100;
        two.peer(1).since.is_none()
    })
    .await;
    assert!(told > 60, "the queue holds that many");
    until("it is counted", || two.counts("tidegate_peers_ends_total{reason=\"slow\"}")).await;
    drop(stream);
    let one = Gateway::start(net, 1, &all, RIGHT);
    assert_eq!(two.event().await, up(1));
    until("both are linked", || one.peer(2).since.is_some()).await;
}

/// A gateway of which the other knows nothing is told so by name; once it is known, it is linked, and when it goes no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_come_and_go() {
    let (net, all) = (Net::new(), [1, 2, 3]);
    let one = Gateway::start(net, 1, &all, RIGHT);
    let mut three = Gateway::start(net, 3, &[2, 3], RIGHT);
    until("it is told", || {
        one.peer(3).last_error.contains("gw3 knows no GatewayNode named \"gw1\": add one there")
    })
    .await;
    assert!(one.peer(2).last_error.contains("refused"), "{:?}", one.peer(2));
    three.peers.know(&net.peers(3, &all));
    assert_eq!(three.event().await, up(1));
    three.peers.know(&net.peers(3, &[2, 3]));
    until("the link ends", || one.peer(3).since.is_none()).await;
    assert!(!three.counts("tidegate_peers_connected{peer=\"gw1\"}"));
}

/// A process that stops lets go of its port at once, and the next one on it is linked: as in a hand-over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn successor() {
    let (net, all) = (Net::new(), [1, 2]);
    let mut one = Gateway::start(net, 1, &all, RIGHT);
    for _ in 0..3 {
        let mut two = Gateway::start(net, 2, &all, RIGHT);
        assert_eq!((one.event().await, two.event().await), (up(2), up(1)));
        two.peers.stop().await;
        assert!(TcpStream::connect(two.at()).is_err(), "nobody listens");
        two.peers.know(&net.peers(2, &[2, 1, 0]));
        assert!(TcpStream::connect(two.at()).is_err(), "stopped is stopped");
    }
}

/// One that stands alone opens nothing.
#[tokio::test]
async fn alone() {
    let net = Net::new();
    let one = Gateway::start(net, 1, &[1], RIGHT);
    assert_eq!(one.peers.observed(), crate::PeersObserved::default());
    assert!(TcpStream::connect(one.at()).is_err());
}
