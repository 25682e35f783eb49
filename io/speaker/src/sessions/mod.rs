//! BGP sessions and the table of what they teach: one thread with its own runtime.
//!
//! One task owns all sessions and the table; connection and dialling tasks only move bytes to it, through one bounded
//! queue that holds peers back when it is full. The thread ends on [`Command::Stop`], after CEASE to every peer.

mod learned;
mod peer;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use tidegate_bgp::rib::{LocalFacts, PeerId, Table};
use tidegate_bgp::session::Direction;
use tidegate_model::speaker::Peer;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle as Task, LocalSet};

use self::learned::SETTLE_MAX;
pub use self::learned::{Learned, LearnedRoute, SessionStatus, SessionsObserved};
use self::peer::PeerSession;
use self::transport::{Event, Happening, Origin, accept};
use crate::links;

/// Bytes and connections that may wait for the one task; beyond it, readers stop reading.
const EVENTS_MAX: usize = 1024;
/// Commands that may wait; a full queue makes the sender wait.
const COMMANDS_MAX: usize = 64;
const PORT: u16 = 179;
/// Between two attempts to open the port.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// These are the peers now, and these addresses are ours whoever holds them. Answered once what was published of
    /// the learned takes them into account.
    Declare(BTreeMap<String, Peer>, BTreeSet<Ipv4Addr>, oneshot::Sender<()>),
    /// Whether this gateway can carry what it attracts to itself.
    Ready(bool),
    /// Every path to a prefix, as lines of label and text, and whether one is used.
    Explain(Ipv4Net, oneshot::Sender<(bool, Vec<(String, String)>)>),
    /// Every prefix in use.
    List(oneshot::Sender<Vec<LearnedRoute>>),
    /// End all sessions, and then the thread.
    Stop,
}

/// The thread, from outside.
#[derive(Debug)]
pub(crate) struct Sessions {
    commands: mpsc::Sender<Command>,
    learned: watch::Receiver<Arc<Learned>>,
    observed: watch::Receiver<Arc<SessionsObserved>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sessions {
    /// Starts the thread, without a peer.
    pub(crate) fn start() -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (publish_learned, learned) = watch::channel(Arc::default());
        let (publish_observed, observed) = watch::channel(Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("sessions".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, Loop::new(publish_learned, publish_observed).run(inbox));
        })?;
        Ok(Sessions { commands, learned, observed, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a command over. Once the thread has ended it does nothing.
    pub(crate) async fn tell(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }

    /// What was learned.
    pub(crate) fn learned(&self) -> watch::Receiver<Arc<Learned>> {
        self.learned.clone()
    }

    /// Every session, as it is now.
    pub(crate) fn observed(&self) -> watch::Receiver<Arc<SessionsObserved>> {
        self.observed.clone()
    }

    /// Ends all sessions and waits for the thread's end.
    pub(crate) async fn stop(&self) {
        self.tell(Command::Stop).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

struct Loop {
    peers: BTreeMap<String, PeerSession>,
    /// Counts sessions, and so tells one of a peer from the next.
    incarnations: u32,
    ready: bool,
    table: Table,
    router_id: Ipv4Addr,
    /// Shared with what was published last, so that a change copies it once.
    routes: Arc<BTreeMap<Ipv4Net, Vec<Ipv4Addr>>>,
    settled: bool,
    settle_by: Option<Instant>,
    acceptor: Option<Task<()>>,
    listen_error: String,
    listen_again: Option<Instant>,
    events: mpsc::Sender<Event>,
    incoming: Option<mpsc::Receiver<Event>>,
    publish_learned: watch::Sender<Arc<Learned>>,
    publish_observed: watch::Sender<Arc<SessionsObserved>>,
}

impl Loop {
    fn new(
        publish_learned: watch::Sender<Arc<Learned>>,
        publish_observed: watch::Sender<Arc<SessionsObserved>>,
    ) -> Self {
        let (events, incoming) = mpsc::channel(EVENTS_MAX);
        let router_id = Ipv4Addr::new(127, 0, 0, 1);
        Loop {
            peers: BTreeMap::new(),
            incarnations: 0,
            ready: false,
            table: Table::new(LocalFacts::new(0, router_id)),
            router_id,
            routes: Arc::default(),
            settled: false,
            settle_by: None,
            acceptor: None,
            listen_error: String::new(),
            listen_again: None,
            events,
            incoming: Some(incoming),
            publish_learned,
            publish_observed,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let Some(mut incoming) = self.incoming.take() else { return };
        loop {
            let due = self.poll_timeout();
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = incoming.recv() => {
                    let mut next = event;
                    // What is queued is taken before timers fire: a hold timer must not expire beside an unread
                    // KEEPALIVE. Bounded, so that a flood does not keep commands waiting.
                    for _ in 0..EVENTS_MAX {
                        let Some(event) = next else { break };
                        self.on_event(event, Instant::now());
                        next = incoming.try_recv().ok();
                    }
                    if let Some(event) = next {
                        self.on_event(event, Instant::now());
                    }
                }
                command = commands.recv() => match command {
                    Some(Command::Declare(peers, own, answer)) => {
                        self.declare(peers, own, Instant::now()).await;
                        self.publish();
                        let _ = answer.send(());
                    }
                    Some(Command::Ready(ready)) => self.set_ready(ready, Instant::now()),
                    Some(Command::Explain(prefix, answer)) => drop(answer.send(self.explain(prefix))),
                    Some(Command::List(answer)) => drop(answer.send(self.list())),
                    Some(Command::Stop) | None => break,
                },
                () = wait => {}
            }
            self.run_timers(Instant::now());
            self.publish();
        }
        self.stop().await;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.peers.values().filter_map(PeerSession::poll_timeout);
        let settle = self.settle_by.filter(|_| !self.settled);
        sessions.chain(self.table.poll_timeout()).chain(settle).chain(self.listen_again).min()
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        let peer = match event {
            Event::Incoming(stream, from) => {
                // A stranger's connection is dropped, which closes it.
                let found = self.peers.values_mut().find(|peer| peer.is_at(from.ip()));
                let Some(peer) = found else {
                    return tracing::debug!(%from, "BGP connection from no peer of ours");
                };
                if peer.is_single_hop() {
                    let _ = socket2::SockRef::from(&stream).set_ttl_v4(1);
                }
                peer.opened(stream, Direction::Incoming, &self.events, now);
                peer
            }
            Event::Of(origin, happening) => {
                let peer = self.peers.get_mut(&origin.peer).filter(|peer| peer.origin == origin);
                let Some(peer) = peer else { return };
                match happening {
                    Happening::Dialled(stream) => peer.opened(stream, Direction::Outgoing, &self.events, now),
                    Happening::DialFailed(error) => peer.dial_failed(error, now),
                    Happening::Bytes(conn, bytes) => peer.bytes(conn, &bytes, now),
                    Happening::Closed(conn, error) => peer.closed(conn, error, now),
                }
                peer
            }
        };
        peer.act(&mut self.table, &self.events, now);
    }

    fn set_ready(&mut self, ready: bool, now: Instant) {
        self.ready = ready;
        for peer in self.peers.values_mut() {
            peer.set_ready(ready, now);
            peer.act(&mut self.table, &self.events, now);
        }
    }

    fn run_timers(&mut self, now: Instant) {
        for id in self.table.take_refresh_wanted() {
            for peer in self.peers.values_mut().filter(|peer| peer.id == id) {
                peer.refresh(now);
            }
        }
        for peer in self.peers.values_mut() {
            peer.run_timers(now);
            peer.act(&mut self.table, &self.events, now);
        }
        if self.table.poll_timeout().is_some_and(|due| due <= now) {
            self.table.handle_timeout(now);
        }
        if self.listen_again.is_some_and(|due| due <= now) {
            self.listen(now);
        }
        let told_all = !self.peers.is_empty() && self.peers.values().all(|peer| peer.told_all);
        self.settled |= self.settle_by.is_some_and(|by| told_all || self.peers.is_empty() || by <= now);
    }

    /// Makes the peers what was declared; a session is restarted only where its own settings changed, and then what it
    /// taught stays for a while.
    async fn declare(&mut self, peers: BTreeMap<String, Peer>, own: BTreeSet<Ipv4Addr>, now: Instant) {
        self.settle_by.get_or_insert(now + SETTLE_MAX);
        self.learn_own_addresses(&peers, own);
        let mut restarted: BTreeMap<String, PeerId> = BTreeMap::new();
        let names: Vec<String> = self.peers.keys().cloned().collect();
        for name in names {
            let config = peers.get(&name);
            let stays =
                self.peers.get(&name).zip(config).is_some_and(|(peer, config)| !peer.must_restart(config));
            if stays {
                continue;
            }
            let Some(mut peer) = self.peers.remove(&name) else { continue };
            peer.stop("no longer configured so", now);
            peer.act(&mut self.table, &self.events, now);
            match config {
                Some(_) => drop(restarted.insert(name, peer.id)),
                None => self.table.remove_peer(peer.id),
            }
        }
        for (name, config) in peers {
            if let Some(peer) = self.peers.get_mut(&name) {
                peer.change(config, &mut self.table, now);
                peer.act(&mut self.table, &self.events, now);
            } else {
                self.start(name.clone(), config, restarted.get(&name).copied(), now);
            }
        }
        self.listen(now);
    }

    /// Starts a session; a peer that had one before keeps its number in the table.
    fn start(&mut self, name: String, config: Peer, id: Option<PeerId>, now: Instant) {
        self.incarnations += 1;
        let id = id.unwrap_or(PeerId(self.incarnations));
        let origin = Origin { peer: name.clone(), incarnation: self.incarnations };
        match PeerSession::start(origin, config, id, self.router_id, now) {
            Ok(mut peer) => {
                peer.set_ready(self.ready, now);
                peer.act(&mut self.table, &self.events, now);
                self.peers.insert(name, peer);
            }
            Err(error) => {
                self.table.remove_peer(id);
                tracing::error!(peer = name, error, "no BGP session can be held");
            }
        }
    }

    /// Router id: our lowest address on a link, unless a peer's settings name one. Own addresses are never next hops.
    fn learn_own_addresses(&mut self, peers: &BTreeMap<String, Peer>, own: BTreeSet<Ipv4Addr>) {
        let links = links::scan().unwrap_or_default();
        if let Some(lowest) = links.values().filter_map(|link| link.primary).min() {
            self.router_id = lowest;
        }
        let asn = peers.values().next().map_or(0, |peer| peer.local_as);
        let mut local = LocalFacts::new(asn, self.router_id);
        local.addresses = own;
        local.addresses.extend(links::own_addresses());
        self.table.set_local(local);
    }

    /// Port 179 is open while there are peers; whoever has it now may leave it.
    fn listen(&mut self, now: Instant) {
        self.listen_again = None;
        if self.peers.is_empty() {
            if let Some(acceptor) = self.acceptor.take() {
                acceptor.abort();
            }
            self.listen_error.clear();
        } else if self.acceptor.is_none() {
            match open_port() {
                Ok(listener) => {
                    self.listen_error.clear();
                    self.acceptor = Some(tokio::task::spawn_local(accept(listener, self.events.clone())));
                }
                Err(error) => {
                    self.listen_again = Some(now + LISTEN_AGAIN);
                    let before = std::mem::take(&mut self.listen_error);
                    self.listen_error = match error.kind() {
                        io::ErrorKind::PermissionDenied => {
                            "port 179 needs root or CAP_NET_BIND_SERVICE; peers cannot connect to us, we connect to them".into()
                        }
                        io::ErrorKind::AddrInUse => "port 179 is used by another routing daemon on this machine".into(),
                        _ => format!("port 179: {error}"),
                    };
                    if self.listen_error != before {
                        tracing::warn!("{}", self.listen_error);
                    }
                }
            }
        }
    }

    fn explain(&self, prefix: Ipv4Net) -> (bool, Vec<(String, String)>) {
        let Some(explanation) = self.table.explain(prefix) else {
            return (false, vec![("no path".into(), format!("no peer has announced {prefix}"))]);
        };
        let name = |id: PeerId| {
            self.peers.values().find(|peer| peer.id == id).map_or("?".into(), |peer| peer.origin.peer.clone())
        };
        let mut lines = Vec::new();
        for explained in &explanation.paths {
            let path = &explained.path;
            let stale = if path.stale { ", stale" } else { "" };
            lines.push((name(path.peer), format!("via {}{stale}: {}", path.next_hop, explained.verdict)));
        }
        for (peer, rejection) in &explanation.rejected {
            lines.push((name(*peer), format!("not kept: {rejection}")));
        }
        let next_hops: Vec<String> = explanation.next_hops.iter().map(ToString::to_string).collect();
        let used = if next_hops.is_empty() { "nothing".into() } else { next_hops.join(" ") };
        lines.push(("installed".into(), used));
        (!explanation.next_hops.is_empty(), lines)
    }

    fn publish(&mut self) {
        let changed = self.collect_routes();
        let carries = self.carries();
        self.publish_learned.send_if_modified(|before| {
            let differs = changed || before.settled != self.settled || before.carries != carries;
            if differs {
                *before = Arc::new(Learned { routes: self.routes.clone(), settled: self.settled, carries });
            }
            differs
        });
        let sessions = self.peers.values().map(|peer| peer.observe(&self.table)).collect();
        let observed = SessionsObserved { sessions, listen_error: self.listen_error.clone() };
        self.publish_observed.send_if_modified(|before| {
            let differs = **before != observed;
            if differs {
                *before = Arc::new(observed);
            }
            differs
        });
    }

    /// Applies what changed in the table since the last time.
    fn collect_routes(&mut self) -> bool {
        let changes = self.table.changes();
        if changes.is_empty() {
            return false;
        }
        let routes = Arc::make_mut(&mut self.routes);
        for (prefix, next_hops) in changes {
            match next_hops {
                Some(next_hops) => drop(routes.insert(prefix, next_hops)),
                None => drop(routes.remove(&prefix)),
            }
        }
        true
    }

    /// Every prefix in use, with who told us of it.
    fn list(&self) -> Vec<LearnedRoute> {
        let names: BTreeMap<PeerId, String> =
            self.peers.values().map(|peer| (peer.id, peer.origin.peer.clone())).collect();
        let used =
            self.table.paths().filter_map(|(prefix, paths)| Some((prefix, self.routes.get(&prefix)?, paths)));
        used.map(|(prefix, next_hops, paths)| LearnedRoute {
            prefix,
            next_hops: next_hops.clone(),
            peers: paths.iter().filter_map(|path| names.get(&path.peer).cloned()).collect(),
            stale: paths.iter().all(|path| path.stale),
        })
        .collect()
    }

    /// Whether traffic to and from pods would find its way.
    fn carries(&self) -> bool {
        let up = || self.peers.values().filter(|peer| peer.is_established());
        let learns = self.peers.values().any(|peer| !peer.config.imports.is_empty());
        let fresh = || {
            up().filter_map(|peer| self.table.summary(peer.id)).any(|summary| summary.held > summary.stale)
        };
        self.peers.is_empty() || up().next().is_some() && (!learns || fresh())
    }

    async fn stop(mut self) {
        let now = Instant::now();
        for peer in self.peers.values_mut() {
            peer.stop("this gateway stops", now);
            peer.act(&mut self.table, &self.events, now);
        }
        if let Some(acceptor) = self.acceptor.take() {
            // The next process opens the port.
            acceptor.abort();
        }
        if self.peers.is_empty() {
            return;
        }
        self.peers.clear();
        // Connections write their last words before the runtime goes.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn open_port() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))?;
    socket.listen(128)
}
