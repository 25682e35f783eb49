//! A worker: one thread, one current-thread runtime, and everything its connections share without a lock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_model::Traffic;
use tidegate_model::traffic::Backend;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;

use crate::access_log::{Record, Sheet};
use crate::buffer::Buffers;
use crate::connection::Connection;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::table::Table;
use crate::timer::{Clock, TICK};
use crate::upstream::Pool;
use crate::wire::Wire;

/// Ticks between two looks at the upstream connections that are kept.
const SWEEP_TICKS: u64 = 5;

/// How long accepting pauses when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the control thread asks of a worker.
pub enum Order {
    /// Serve exactly these; told when done.
    Serve { doors: Vec<DoorOrder>, traffic: Arc<Traffic>, done: oneshot::Sender<()> },
    /// Stop accepting, and end every connection with its request; told when no socket listens any more.
    Drain { done: oneshot::Sender<()> },
}

/// A socket that is to be served.
pub struct DoorOrder {
    pub address: SocketAddr,
    pub table: Arc<Table>,
    /// The socket, if the worker has none yet.
    pub socket: Option<TcpListener>,
}

/// What all workers share: limits of the process, and counters.
pub struct Shared {
    pub limits: Limits,
    pub metrics: Metrics,
    /// Client connections open.
    pub connections: AtomicUsize,
}

/// A listening socket of this worker, and what it serves.
pub struct Door {
    /// Names it among the worker's doors, also of those closed.
    pub id: u64,
    pub address: SocketAddr,
    #[expect(
        clippy::redundant_allocation,
        reason = "the inner count is shared by all workers, the outer is ours"
    )]
    table: RefCell<Rc<Arc<Table>>>,
    closing: Cell<bool>,
    closed: Notify,
}

impl Door {
    /// What it serves now. Held by a request until its end; no count shared between threads moves.
    #[expect(clippy::redundant_allocation, reason = "see the field")]
    pub fn table(&self) -> Rc<Arc<Table>> {
        self.table.borrow().clone()
    }

    /// Whether connections are to end with the request at hand.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }
}

/// What the connections of one thread share.
pub struct Worker {
    pub limits: Limits,
    pub metrics: Metrics,
    pub clock: Rc<Clock>,
    pub buffers: Rc<Buffers>,
    pub pool: Pool,
    shared: Arc<Shared>,
    doors: RefCell<HashMap<SocketAddr, Rc<Door>>>,
    next_door: Cell<u64>,
    /// Round-robin turns by the address of the backend; cleared with every new Traffic.
    turns: RefCell<HashMap<usize, usize>>,
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(1024)
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async move {
        let worker = Rc::new(Worker::new(shared, sheet, seed));
        spawn_local(tick(worker.clone()));
        while let Some(order) = orders.recv().await {
            match order {
                Order::Serve { doors, traffic, done } => {
                    worker.serve(doors);
                    worker.pool.follow(&traffic);
                    worker.turns.borrow_mut().clear();
                    let _ = done.send(());
                }
                Order::Drain { done } => {
                    worker.serve(Vec::new());
                    let _ = done.send(());
                }
            }
        }
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
        worker.sheet.borrow_mut().hand_over();
        if worker.clock.now().is_multiple_of(SWEEP_TICKS) {
            worker.pool.sweep(worker.clock.now());
        }
    }
}

impl Worker {
    fn new(shared: Arc<Shared>, sheet: Sheet, seed: u64) -> Worker {
        Worker {
            limits: shared.limits.clone(),
            metrics: shared.metrics.clone(),
            clock: Rc::default(),
            buffers: Rc::default(),
            pool: Pool::new(shared.limits.upstream_idle_connections),
            shared,
            doors: RefCell::default(),
            next_door: Cell::new(0),
            turns: RefCell::default(),
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

    /// Whose turn it is among a backend's endpoints. Workers start at different ones.
    pub fn turn(&self, backend: &Arc<Backend>) -> usize {
        let mut turns = self.turns.borrow_mut();
        let turn = turns.entry(Arc::as_ptr(backend).addr()).or_insert_with(|| self.random() as usize);
        *turn = turn.wrapping_add(1);
        *turn
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
        for DoorOrder { address, table, socket } in orders {
            let known = self.doors.borrow_mut().remove(&address);
            let door = match (known, socket) {
                (Some(door), _) => {
                    *door.table.borrow_mut() = Rc::new(table);
                    door
                }
                (None, Some(socket)) => self.open(address, table, socket),
                (None, None) => continue,
            };
            open.insert(address, door);
        }
        for door in self.doors.replace(open).into_values() {
            door.closing.set(true);
            door.closed.notify_one();
            self.clock.hasten(door.id, self.limits.close_grace);
        }
    }

    fn open(self: &Rc<Self>, address: SocketAddr, table: Arc<Table>, socket: TcpListener) -> Rc<Door> {
        let id = self.next_door.replace(self.next_door.get() + 1);
        let table = RefCell::new(Rc::new(table));
        let door = Rc::new(Door { id, address, table, closing: Cell::new(false), closed: Notify::new() });
        spawn_local(accept(self.clone(), door.clone(), socket));
        door
    }

    /// A connection's task. A panic in it ends this connection only: the runtime catches it.
    fn admit(self: &Rc<Self>, door: &Rc<Door>, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = Place::take(&self.shared) else { return };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let watch = self.clock.watch();
        let connection =
            Connection { worker: self.clone(), door: door.clone(), stream: Wire::Plain(stream), peer, watch, inbox: None };
        spawn_local(async move {
            connection.run().await;
            drop(place);
        });
    }
}

/// Accepts until the door closes, then takes in who is waiting already.
async fn accept(worker: Rc<Worker>, door: Rc<Door>, socket: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(address = %door.address, %error, "cannot serve the socket"),
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.closed.notified() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => worker.admit(&door, stream, peer),
            Err(error) if is_about_one(&error) => {}
            Err(error) => {
                tracing::warn!(address = %door.address, %error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closing the socket would reset those in its queue.
    let Ok(socket) = listener.into_std() else { return };
    while let Ok((stream, peer)) = socket.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
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

/// A place among the connections of the process; given back when dropped, also by a panic.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Place> {
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= shared.limits.connections {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            shared.metrics.connections_refused.inc();
            return None;
        }
        shared.metrics.connections.inc();
        shared.metrics.connections_open.inc();
        Some(Place(shared.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections_open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic in one connection's task ends that task, gives its place back, and leaves the worker running.
    #[test]
    fn a_panic_ends_one_connection() {
        let metrics = Metrics::default();
        let shared =
            Arc::new(Shared { limits: Limits::default(), metrics, connections: AtomicUsize::new(0) });
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        let runtime = builder.build_local(tokio::runtime::LocalOptions::default()).unwrap();
        let after = runtime.block_on(async {
            let place = Place::take(&shared);
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
