//! The control thread: follows the wish of the door with sockets and tables, and tells what came of it.
//!
//! Wishes are coalesced (only the newest counts) and carried out one at a time: the next is looked at when every worker
//! has applied the last, so a worker's queue of orders never grows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::Traffic;
use tidegate_model::traffic::Entrance;
use tokio::sync::{mpsc, oneshot, watch};

use crate::handover::{Errand, Inheritance};
use crate::proxy::{ProxyObserved, SocketKey, SocketState};
use crate::table::Table;
use crate::worker::{DoorOrder, Order, Shared};

/// Between two attempts to open sockets that could not be opened.
const RETRY: Duration = Duration::from_secs(1);

/// What the door asks for.
#[derive(Clone, Default)]
pub struct Wish {
    pub generation: u64,
    pub traffic: Arc<Traffic>,
    pub draining: bool,
}

/// The control thread's state.
pub struct Control {
    shared: Arc<Shared>,
    workers: Vec<mpsc::Sender<Order>>,
    observed: watch::Sender<ProxyObserved>,
    errands: mpsc::Receiver<Errand>,
    tables: BTreeMap<SocketKey, Arc<Table>>,
    /// Those of them whose sockets are open.
    open: BTreeSet<SocketKey>,
    inheritance: Inheritance,
    /// Nothing is opened yet: tables are only compiled.
    held: bool,
    /// Every socket was given away.
    retired: bool,
}

impl Control {
    /// `held`: nothing is opened before [`Errand::Release`].
    pub fn new(
        shared: Arc<Shared>,
        workers: Vec<mpsc::Sender<Order>>,
        observed: watch::Sender<ProxyObserved>,
        errands: mpsc::Receiver<Errand>,
        held: bool,
    ) -> Self {
        let (tables, open, inheritance) = Default::default();
        Control { shared, workers, observed, errands, tables, open, inheritance, held, retired: false }
    }

    /// Follows wishes until the door is dropped; then the workers end too.
    pub async fn run(mut self, mut wishes: watch::Receiver<Wish>) {
        loop {
            let wish = wishes.borrow_and_update().clone();
            let mut failed = false;
            if wish.draining {
                self.order(|_, done| Order::Drain { done }).await;
                self.close();
            } else if self.held {
                self.prepare(&wish);
            } else if wish.generation > 0 && !self.retired {
                failed = self.apply(&wish).await;
            }
            let retry = tokio::time::sleep(RETRY);
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { return },
                Some(errand) = self.errands.recv() => {
                    let wish = wishes.borrow_and_update().clone();
                    self.run_errand(errand, &wish).await;
                }
                () = retry, if failed => {}
            }
        }
    }

    /// Helps a hand-over along.
    async fn run_errand(&mut self, errand: Errand, wish: &Wish) {
        match errand {
            Errand::Sockets(answer) => drop(answer.send(self.gather(Order::Share).await)),
            Errand::Suspend(answer) => drop(answer.send(self.gather(Order::Suspend).await)),
            Errand::Resume(done) => {
                self.order(|_, done| Order::Resume { done }).await;
                let _ = done.send(());
            }
            Errand::Retire(done) => {
                self.order(|_, done| Order::Retire { done }).await;
                self.retired = true;
                self.close();
                let _ = done.send(());
            }
            Errand::Leave(done) => {
                self.order(|_, done| Order::Leave { done }).await;
                let _ = done.send(());
            }
            Errand::Inherit(sockets, done) => {
                self.inheritance.add(sockets);
                let _ = done.send(());
            }
            Errand::Release(sessions, done) => {
                self.inheritance.add_sessions(sessions);
                self.held = false;
                // A socket that cannot be opened is tried again with the round that follows.
                self.apply(wish).await;
                self.inheritance.clear();
                let _ = done.send(());
            }
        }
    }

    fn close(&mut self) {
        self.tables.clear();
        self.open.clear();
        self.observed.send_modify(|observed| observed.sockets.clear());
    }

    /// Compiles what a wish asks for, and opens nothing.
    fn prepare(&mut self, wish: &Wish) {
        self.shared.backends.follow(&wish.traffic);
        let before = std::mem::take(&mut self.tables);
        for entrance in &wish.traffic.entrances {
            let key = SocketKey::of(entrance);
            self.tables.insert(key, self.table(entrance, before.get(&key)));
        }
        let observed = ProxyObserved { generation: wish.generation, sockets: BTreeMap::new() };
        self.observed.send_if_modified(|last| std::mem::replace(last, observed.clone()) != observed);
    }

    /// The table of an entrance; the one before where nothing changed.
    fn table(&self, entrance: &Arc<Entrance>, before: Option<&Arc<Table>>) -> Arc<Table> {
        match before {
            Some(table) if Arc::ptr_eq(&table.entrance, entrance) => table.clone(),
            _ => Arc::new(Table::new(entrance, before.map(AsRef::as_ref), &self.shared)),
        }
    }

    /// Carries out a wish; whether a socket could not be opened.
    async fn apply(&mut self, wish: &Wish) -> bool {
        // Before any worker serves the new tables.
        self.shared.backends.follow(&wish.traffic);
        let before = std::mem::take(&mut self.tables);
        let mut states = BTreeMap::new();
        let mut orders: Vec<Vec<DoorOrder>> = self.workers.iter().map(|_| Vec::new()).collect();
        for entrance in &wish.traffic.entrances {
            let key = SocketKey::of(entrance);
            let sockets = if self.open.contains(&key) {
                Ok(Vec::new())
            } else {
                self.inheritance.open(key, self.workers.len(), both_families(&wish.traffic, key))
            };
            match sockets {
                Err(error) => _ = states.insert(key, SocketState::Failed(error)),
                Ok(sockets) => {
                    let table = self.table(entrance, before.get(&key));
                    let mut sockets = sockets.into_iter();
                    for worker in &mut orders {
                        let sockets = sockets.next().unwrap_or_default();
                        worker.push(DoorOrder { key, table: table.clone(), sockets });
                    }
                    self.tables.insert(key, table);
                    states.insert(key, SocketState::Listening);
                }
            }
        }
        let mut orders = orders.into_iter();
        self.order(|_, done| {
            let doors = orders.next().unwrap_or_default();
            Order::Serve { doors, done }
        })
        .await;
        self.open = self.tables.keys().copied().collect();
        self.shared.own.set(self.open.iter().copied());
        self.forget_metrics(&before);
        let failed = states.values().any(|state| *state != SocketState::Listening);
        let observed = ProxyObserved { generation: wish.generation, sockets: states };
        self.observed.send_if_modified(|last| std::mem::replace(last, observed.clone()) != observed);
        failed
    }

    /// Gives every worker an order and waits until all have carried it out.
    async fn order(&self, mut order: impl FnMut(usize, oneshot::Sender<()>) -> Order) {
        let mut pending = Vec::new();
        for (index, worker) in self.workers.iter().enumerate() {
            let (done, told) = oneshot::channel();
            if worker.send(order(index, done)).await.is_ok() {
                pending.push(told);
            }
        }
        for told in pending {
            // A worker that ended has nothing left to apply.
            let _ = told.await;
        }
    }

    /// What all workers have of a kind.
    async fn gather<T>(&self, order: impl Fn(oneshot::Sender<Vec<T>>) -> Order) -> Vec<T> {
        let mut pending = Vec::new();
        for worker in &self.workers {
            let (answer, told) = oneshot::channel();
            if worker.send(order(answer)).await.is_ok() {
                pending.push(told);
            }
        }
        let mut all = Vec::new();
        for told in pending {
            all.extend(told.await.unwrap_or_default());
        }
        all
    }

    fn forget_metrics(&self, before: &BTreeMap<SocketKey, Arc<Table>>) {
        let names = |tables: &'_ BTreeMap<SocketKey, Arc<Table>>| -> BTreeSet<String> {
            tables.values().flat_map(|table| table.listener_names()).map(str::to_owned).collect()
        };
        for gone in names(before).difference(&names(&self.tables)) {
            self.shared.metrics.forget(gone);
        }
    }
}

/// `[::]` means every local address, of both families, unless `0.0.0.0` is listened on by itself.
fn both_families(traffic: &Traffic, key: SocketKey) -> bool {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), key.address.port());
    let v4 = SocketKey { address, ..key };
    key.address.ip().is_unspecified()
        && !traffic.entrances.iter().any(|entrance| SocketKey::of(entrance) == v4)
}
