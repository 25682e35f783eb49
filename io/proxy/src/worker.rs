//! A worker: one thread, one current-thread runtime, and everything its connections share without a lock.

mod accept;
mod door;
mod shared;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::handover::Listening;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use crate::access_log::{Record, Sheet};
use crate::buffer::Buffers;
use crate::census;
use crate::datagram::{self, Batch, Hall};
use crate::handover::{Arrival, ListeningSocket, SessionSocket};
use crate::http2;
use crate::limits::Limits;
use crate::listener::DoorSocket;
use crate::metrics::Metrics;
use crate::proxy::SocketKey;
use crate::relay::Stock;
use crate::resting::Resting;
use crate::stage::Stages;
use crate::table::Table;
use crate::timer::{Clock, TICK};
use crate::turns::{self, Turns};
use crate::upstream::Pool;
use crate::wire::{Handshakes, make_ready};

pub use door::Door;
use door::{Closing, Served};
pub use shared::Shared;

/// Ticks between two looks at the upstream connections that are kept.
const SWEEP_TICKS: u64 = 5;

/// Tasks whose deadline has come and that are woken before others have their turn: each may end a connection to a client and
/// another to an endpoint.
const WOKEN_AT_ONCE: usize = 4;

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
        let door = Rc::new(Door::new(id, key, table));
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
                drop(spawn_local(accept::accept(self.clone(), door.clone(), listener.clone())));
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
}
