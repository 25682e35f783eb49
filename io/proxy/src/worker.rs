//! A worker: one thread, one current-thread runtime, and everything its connections share without a lock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tidegate_model::handover::Listening;
use tidegate_model::traffic::ProxyProtocolIn;
use tidegate_tls::TicketKeys;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;

use crate::access_log::{Record, Sheet};
use crate::backends::{Backends, Budget};
use crate::buffer::Buffers;
use crate::census::{self, Place};
use crate::datagram::{self, Batch, Hall};
use crate::exchange::overload::Overload;
use crate::exchange::recording::Tracing;
use crate::handover::{Arrival, ListeningSocket, SessionSocket};
use crate::http2;
use crate::limits::Limits;
use crate::listener::{BACKLOG, DoorSocket};
use crate::metrics::Metrics;
use crate::offenders::Offenders;
use crate::own::OwnSockets;
use crate::proxy::SocketKey;
use crate::relay::{Guest, Stock};
use crate::resting::Resting;
use crate::secret::session_key;
use crate::shares::Shares;
use crate::stage::Stages;
use crate::table::{Kind, Table};
use crate::timer::{Clock, TICK};
use crate::turns::{self, Turns};
use crate::upstream::Pool;
use crate::wire::{Handshakes, make_ready, system_tickets};

/// Ticks between two looks at the upstream connections that are kept.
const SWEEP_TICKS: u64 = 5;

/// Connections accepted before those that are open have their turn: who opens more than can be served delays nobody else
/// for longer.
const ACCEPTS_AT_ONCE: u32 = 4;

/// Tasks whose deadline has come and that are woken before others have their turn: each may end a connection to a client and
/// another to an endpoint.
const WOKEN_AT_ONCE: usize = 4;

/// How long accepting pauses when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Between two lines of the log that say so, for each socket.
const ACCEPT_TOLD_EACH: Duration = Duration::from_secs(10);

/// What the control thread asks of a worker.
pub enum Order {
    /// Serve exactly these; told when done.
    Serve { doors: Vec<DoorOrder>, done: oneshot::Sender<()> },
    /// Stop accepting, and end every connection with its request; told when no socket listens any more.
    Drain { done: oneshot::Sender<()> },
    /// Give a descriptor of every listening socket.
    Share(oneshot::Sender<Vec<ListeningSocket>>),
    /// Leave datagrams where they are, and give a descriptor of every session's socket.
    Suspend(oneshot::Sender<Vec<SessionSocket>>),
    /// Go on with datagrams.
    Resume { done: oneshot::Sender<()> },
    /// Let go of all sockets; connections end in their own time.
    Retire { done: oneshot::Sender<()> },
    /// Accept as before, and end every connection with its request.
    Leave { done: oneshot::Sender<()> },
}

/// A socket that is to be served.
pub struct DoorOrder {
    pub key: SocketKey,
    pub table: Arc<Table>,
    /// Its sockets, if the door is not open yet; of those inherited there may be several, or none.
    pub sockets: Vec<Arrival>,
}

/// What all workers share: limits of the process, and counters.
pub struct Shared {
    pub limits: Limits,
    pub metrics: Metrics,
    /// Client connections open.
    pub connections: AtomicUsize,
    /// What each address has of them.
    pub shares: Shares,
    /// Connections that a worker wanted closed, and had none itself that rests.
    pub wanted: AtomicUsize,
    /// UDP sessions open.
    pub sessions: AtomicUsize,
    /// What each address has of them.
    pub session_shares: Shares,
    /// Where this process listens: no endpoint is.
    pub own: OwnSockets,
    /// What is known of backends.
    pub backends: Arc<Backends>,
    /// What TLS sessions are sealed with.
    pub tickets: TicketKeys,
    /// How short memory is.
    pub overload: Overload,
    /// Whose traces are recorded; nothing: nobody's.
    pub tracing: Option<Tracing>,
    /// Client addresses that are kept out for a while.
    pub offenders: Offenders,
}

impl Shared {
    /// Nothing is open yet. Gateways with one secret resume each other's TLS sessions and know each other's persistent
    /// sessions; empty: this process alone.
    pub fn new(limits: Limits, metrics: Metrics, shared_secret: &[u8]) -> Shared {
        let (connections, sessions, wanted, shares, session_shares) = Default::default();
        let tickets = system_tickets(Some(shared_secret));
        let budget = Budget::new(limits.upstream_connections);
        let backends = Backends::new(metrics.backend_refusals.clone(), session_key(shared_secret), budget);
        let overload = Overload::new(&limits, metrics.overload_steps.clone());
        let offenders = Offenders::new(limits.cuts_per_client);
        let (backends, tracing) = (Arc::new(backends), None);
        Shared {
            limits,
            metrics,
            connections,
            shares,
            wanted,
            sessions,
            session_shares,
            own: OwnSockets::default(),
            backends,
            tickets,
            overload,
            tracing,
            offenders,
        }
    }
}

/// What a worker has of an address: its listening sockets, mostly one, and what they serve.
pub struct Door {
    /// Names it among the worker's doors, also of those closed.
    pub id: u64,
    pub key: SocketKey,
    pub address: SocketAddr,
    #[expect(
        clippy::redundant_allocation,
        reason = "the inner count is shared by all workers, the outer is ours"
    )]
    table: RefCell<Rc<Arc<Table>>>,
    closing: Cell<Closing>,
    closed: Notify,
    sockets: RefCell<Vec<(u64, Served)>>,
}

/// How far a door is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// It is open.
    No,
    /// It is open, and whoever comes or is here goes with the next answer.
    Leaving,
    /// Another process has its sockets: who is here may take the time.
    Retired,
    /// It is closed: who is idle is to go.
    Closed,
}

/// A listening socket at work.
enum Served {
    Tcp(Rc<TcpListener>),
    Udp(Rc<Hall>),
}

impl Served {
    fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Served::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Served::Udp(hall) => hall.duplicate(),
        }
    }
}

impl Door {
    /// What it serves now. Held by a request until its end; no count shared between threads moves.
    #[expect(clippy::redundant_allocation, reason = "see the field")]
    pub fn table(&self) -> Rc<Arc<Table>> {
        self.table.borrow().clone()
    }

    /// Waits until the door is to close.
    pub async fn closed(&self) {
        let told = self.closed.notified();
        if matches!(self.closing.get(), Closing::No | Closing::Leaving) {
            told.await;
        }
    }

    /// Whether connections are to end with the request at hand.
    pub fn is_closing(&self) -> bool {
        self.closing.get() != Closing::No
    }

    /// Whether connections that wait for a request are to wait no longer.
    pub fn is_closed(&self) -> bool {
        matches!(self.closing.get(), Closing::Closed | Closing::Leaving)
    }

    /// Whether another process has its sockets, and goes on with its sessions.
    pub fn is_retired(&self) -> bool {
        self.closing.get() == Closing::Retired
    }

    fn close(&self, how: Closing) {
        self.closing.set(how);
        // The tasks have them still, and close them when they have ended.
        self.sockets.borrow_mut().clear();
        self.closed.notify_waiters();
    }

    /// The sessions of its UDP sockets.
    fn halls(&self) -> Vec<Rc<Hall>> {
        let hall = |(_, served): &(u64, Served)| match served {
            Served::Udp(hall) => Some(hall.clone()),
            Served::Tcp(_) => None,
        };
        self.sockets.borrow().iter().filter_map(hall).collect()
    }
}

/// What the connections of one thread share.
pub struct Worker {
    pub limits: Limits,
    pub metrics: Metrics,
    pub clock: Rc<Clock>,
    /// Connections without a request under way.
    pub resting: Rc<Resting>,
    /// Tasks whose deadline has come are still being woken.
    is_waking: Cell<bool>,
    pub buffers: Rc<Buffers>,
    /// What HTTP/2 sessions share.
    pub http2: http2::Kit,
    pub pool: Pool,
    /// Where HTTP/1 requests are served.
    pub stages: Stages,
    /// For those who always have more to do.
    pub turns: Turns,
    /// TLS handshakes under way.
    pub handshakes: Handshakes,
    /// Pipes and blocks for bulk relays.
    pub stock: Rc<Stock>,
    /// Room for datagrams, made when the first door needs it.
    pub batch: RefCell<Option<Box<Batch>>>,
    pub shared: Arc<Shared>,
    doors: RefCell<HashMap<SocketKey, Rc<Door>>>,
    /// Doors whose sockets another process has; their connections are still here.
    retired: RefCell<Vec<Rc<Door>>>,
    next_door: Cell<u64>,
    random: Cell<u64>,
    sheet: RefCell<Sheet>,
}

/// Runs a worker until the control thread hangs up.
pub fn run(
    shared: Arc<Shared>,
    sheet: Sheet,
    seed: u64,
    mut orders: mpsc::Receiver<Order>,
) -> io::Result<()> {
    make_ready();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(1024)
        .on_thread_unpark(turns::looked)
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async move {
        let worker = Rc::new(Worker::new(shared, sheet, seed));
        spawn_local(tick(worker.clone()));
        while let Some(order) = orders.recv().await {
            match order {
                Order::Serve { doors, done } => {
                    worker.serve(doors);
                    worker.pool.follow(&worker.shared.backends);
                    let _ = done.send(());
                }
                Order::Drain { done } => {
                    worker.serve(Vec::new());
                    worker.retired.take().iter().for_each(|door| worker.close(door));
                    let _ = done.send(());
                }
                Order::Share(answer) => drop(answer.send(worker.share())),
                Order::Suspend(answer) => {
                    let halls = worker.halls();
                    drop(answer.send(halls.iter().flat_map(|hall| hall.suspend()).collect()));
                }
                Order::Resume { done } => {
                    worker.halls().iter().for_each(|hall| hall.resume());
                    let _ = done.send(());
                }
                Order::Retire { done } => {
                    worker.retire();
                    let _ = done.send(());
                }
                Order::Leave { done } => {
                    worker.leave();
                    let _ = done.send(());
                }
            }
        }
        worker.pool.clear();
        worker.http2.clear();
        worker.forget_doors();
    });
    Ok(())
}

/// The worker's clock: deadlines, log sheets, upstream connections.
async fn tick(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        worker.clock.tick();
        if worker.clock.wake(WOKEN_AT_ONCE) && !worker.is_waking.replace(true) {
            spawn_local(wake(worker.clone()));
        }
        census::help_others(&worker.shared, &worker.resting, worker.clock.now());
        worker.sheet.borrow_mut().hand_over();
        worker.metrics.buffers.inc_by(worker.buffers.change());
        if worker.clock.now().is_multiple_of(SWEEP_TICKS) {
            worker.pool.sweep(worker.clock.now());
            worker.shared.overload.look();
        }
    }
}

/// Wakes the rest of those whose deadline has come: the clock ticks on meanwhile.
async fn wake(worker: Rc<Worker>) {
    loop {
        worker.turns.next().await;
        if !worker.clock.wake(WOKEN_AT_ONCE) {
            worker.is_waking.set(false);
            return;
        }
    }
}

impl Worker {
    fn new(shared: Arc<Shared>, sheet: Sheet, seed: u64) -> Worker {
        let (buffers, turns) = (Rc::<Buffers>::default(), Turns::default());
        let tls = shared.metrics.tls.clone();
        Worker {
            handshakes: Handshakes::new(&shared.limits, tls, buffers.clone(), turns.clone()),
            turns,
            limits: shared.limits.clone(),
            metrics: shared.metrics.clone(),
            clock: Rc::default(),
            resting: Rc::default(),
            is_waking: Cell::default(),
            buffers,
            http2: http2::Kit::default(),
            pool: Pool::new(shared.limits.upstream_idle_connections),
            stages: Stages::default(),
            stock: Rc::new(Stock::new(shared.limits.pipes)),
            batch: RefCell::default(),
            shared,
            doors: RefCell::default(),
            retired: RefCell::default(),
            next_door: Cell::new(0),
            random: Cell::new(seed),
            sheet: RefCell::new(sheet),
        }
    }

    /// The next random number (SplitMix64): for shares and names, not for secrets.
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether requests are logged.
    pub fn logs(&self) -> bool {
        self.sheet.borrow().is_on()
    }

    /// Logs a request.
    pub fn log(&self, record: &Record<'_>) {
        self.sheet.borrow_mut().write(record);
    }

    /// Opens, keeps and closes doors so that exactly these are open.
    fn serve(self: &Rc<Self>, orders: Vec<DoorOrder>) {
        let mut open = HashMap::new();
        for DoorOrder { key, table, sockets } in orders {
            let known = self.doors.borrow_mut().remove(&key);
            let door = match known {
                Some(door) => {
                    *door.table.borrow_mut() = Rc::new(table);
                    door
                }
                None => self.open(key, table, sockets),
            };
            open.insert(key, door);
        }
        for door in self.doors.replace(open).into_values() {
            self.close(&door);
        }
    }

    fn close(&self, door: &Door) {
        door.halls().iter().for_each(|hall| hall.stand_aside());
        door.close(Closing::Closed);
        self.hasten(door);
    }

    /// HTTP/2 clients are told at once; others with their next response, and who asks nothing is closed after a while.
    fn hasten(&self, door: &Door) {
        self.clock.hasten(door.id, self.limits.close_grace);
        self.clock.hasten(door.id | http2::TAG, Duration::ZERO);
    }

    /// Tells clients to go; the doors stay open.
    fn leave(&self) {
        for door in self.doors.borrow().values() {
            door.closing.set(Closing::Leaving);
            self.hasten(door);
        }
    }

    /// Lets go of all sockets. HTTP/2 clients are told at once; others with their next response.
    fn retire(&self) {
        for door in self.doors.take().into_values() {
            door.close(Closing::Retired);
            self.clock.hasten(door.id | http2::TAG, Duration::ZERO);
            self.retired.borrow_mut().push(door);
        }
    }

    /// Lets go of what would keep the worker: a hall knows it.
    fn forget_doors(&self) {
        let doors = self.doors.take().into_values().chain(self.retired.take());
        doors.for_each(|door| door.sockets.borrow_mut().clear());
    }

    fn halls(&self) -> Vec<Rc<Hall>> {
        self.doors.borrow().values().flat_map(|door| door.halls()).collect()
    }

    /// A descriptor of every listening socket.
    fn share(&self) -> Vec<ListeningSocket> {
        let mut shared = Vec::new();
        for (key, door) in &*self.doors.borrow() {
            for (number, served) in &*door.sockets.borrow() {
                match served.duplicate() {
                    Ok(fd) => {
                        let SocketKey { transport, address } = *key;
                        let label = Listening { transport, address, number: *number };
                        shared.push(ListeningSocket { label, fd });
                    }
                    Err(error) => tracing::warn!(socket = %key, %error, "a socket cannot be handed over"),
                }
            }
        }
        shared
    }

    fn open(self: &Rc<Self>, key: SocketKey, table: Arc<Table>, sockets: Vec<Arrival>) -> Rc<Door> {
        let id = self.next_door.replace(self.next_door.get() + 1);
        let table = RefCell::new(Rc::new(table));
        let door = Rc::new(Door {
            id,
            key,
            address: key.address,
            table,
            closing: Cell::new(Closing::No),
            closed: Notify::new(),
            sockets: RefCell::default(),
        });
        for Arrival { number, socket, sessions } in sockets {
            match self.serve_socket(&door, number, socket, sessions) {
                Ok(served) => door.sockets.borrow_mut().push((number, served)),
                Err(error) => tracing::error!(socket = %door.key, %error, "cannot serve the socket"),
            }
        }
        door
    }

    fn serve_socket(
        self: &Rc<Self>,
        door: &Rc<Door>,
        number: u64,
        socket: DoorSocket,
        sessions: Vec<SessionSocket>,
    ) -> io::Result<Served> {
        Ok(match socket {
            DoorSocket::Tcp(socket) => {
                let listener = Rc::new(TcpListener::from_std(socket)?);
                drop(spawn_local(accept(self.clone(), door.clone(), listener.clone())));
                Served::Tcp(listener)
            }
            DoorSocket::Udp(socket) => {
                let hall = Rc::new(Hall::new(self.clone(), door.clone(), number, socket)?);
                sessions.into_iter().for_each(|session| hall.adopt(session));
                drop(spawn_local(datagram::serve(hall.clone())));
                Served::Udp(hall)
            }
        })
    }

    /// A connection's task. A panic in it ends this connection only: the runtime catches it.
    fn admit(self: &Rc<Self>, door: &Rc<Door>, stream: TcpStream, peer: SocketAddr) {
        let table = door.table();
        let limits = &table.entrance.client.limits;
        let (resting, now) = (&self.resting, self.clock.now());
        let Some(mut place) = Place::take(&self.shared, &table.census, limits, resting, now) else { return };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if table.entrance.client.proxy_protocol == ProxyProtocolIn::Off
            && !place.name(peer.ip(), &table.entrance.client, resting)
        {
            return;
        }
        let guest =
            Guest { worker: self.clone(), door: door.clone(), stream, peer, client: peer, asked: None };
        // A future of its own for each kind: who waits is not to pay for the size of the others.
        match table.kind {
            _ if table.entrance.client.proxy_protocol != ProxyProtocolIn::Off => {
                drop(spawn_local(guest.introduce(table, place)));
            }
            Kind::Http => guest.into_http(&place).settle(place),
            _ => drop(spawn_local(guest.serve(table, place))),
        }
    }
}

/// Accepts until the door closes, then takes in who is waiting already.
async fn accept(worker: Rc<Worker>, door: Rc<Door>, listener: Rc<TcpListener>) {
    let mut told = None;
    for count in 1_u32.. {
        if count.is_multiple_of(ACCEPTS_AT_ONCE) {
            worker.turns.next_arrival().await;
        }
        let accepted = tokio::select! {
            biased;
            () = door.closed() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => worker.admit(&door, stream, peer),
            Err(error) if is_about_one(&error) => {}
            Err(error) => {
                if told.is_none_or(|told: Instant| told.elapsed() >= ACCEPT_TOLD_EACH) {
                    told = Some(Instant::now());
                    tracing::warn!(socket = %door.key, %error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closing the socket would reset those in its queue; also one that was handed over may be wanted no longer.
    for _ in 0..BACKLOG {
        let Ok((stream, peer)) = SockRef::from(&*listener).accept() else { break };
        if let Some(peer) = peer.as_socket()
            && stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream.into())
        {
            worker.admit(&door, stream, peer);
        }
    }
}

/// Errors of the connection that was about to be accepted, not of accepting.
fn is_about_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use tidegate_model::traffic::ClientLimits;

    use super::*;

    /// A panic in one connection's task ends that task, gives its place back, and leaves the worker running.
    #[test]
    fn a_panic_ends_one_connection() {
        let shared = Arc::new(Shared::new(Limits::default(), Metrics::default(), &[]));
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        let runtime = builder.build_local(tokio::runtime::LocalOptions::default()).unwrap();
        let after = runtime.block_on(async {
            let place =
                Place::take(&shared, &Arc::default(), &ClientLimits::default(), &Resting::default(), 0);
            let broken = spawn_local(async move {
                let _place = place;
                panic!("as a bug would");
            });
            assert!(broken.await.is_err());
            spawn_local(async { "served" }).await
        });
        assert_eq!((after.unwrap(), shared.connections.load(Ordering::Relaxed)), ("served", 0));
    }
}
