//! What is written to clusters: statuses made from what was decided and what became of it, given to the writer of each
//! cluster in which it is this process's turn (`io/kube`).
//!
//! One task of its own, woken by whatever is decided or opened, makes them on a thread that may take its time. Nothing waits
//! for it but the end of the process, for a moment, so that another can take over at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_compile::writeback::Wanted;
use tidegate_decode::SourceState;
use tidegate_kube::{Orders, WriterObserved};
use tidegate_proxy::{SocketKey, SocketState};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use crate::board::{Board, Decided, tell};

/// How long changes are gathered: a burst of them makes statuses once.
const GATHER: Duration = Duration::from_millis(50);
/// Making statuses is followed by so many times as long without it: a stream of changes costs a small part of a core.
const REST: u32 = 9;
/// How often statuses are made at most while nothing has changed that is known to change them.
const SELDOM: Duration = Duration::from_secs(5);
/// How long the end of the process waits until Leases are given back.
const GIVE_BACK: Duration = Duration::from_millis(1_500);

/// The writer of one cluster.
pub struct Writer {
    /// The source.
    pub source: String,
    /// What it is to do.
    pub orders: watch::Sender<Orders>,
    /// What it says of itself.
    pub observed: watch::Receiver<WriterObserved>,
}

/// What writers say of themselves, by source. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WritersView(Arc<Vec<(String, watch::Receiver<WriterObserved>)>>);

impl WritersView {
    /// Of these.
    pub fn new(writers: &[Writer]) -> Self {
        let each = writers.iter().map(|writer| (writer.source.clone(), writer.observed.clone()));
        WritersView(Arc::new(each.collect()))
    }

    /// What each says now, by source.
    pub fn each(&self) -> impl Iterator<Item = (&str, WriterObserved)> {
        self.0.iter().map(|(source, observed)| (source.as_str(), observed.borrow().clone()))
    }
}

/// Everything that writes.
pub struct Writing {
    /// Grows with everything that is decided.
    decided: watch::Sender<u64>,
    /// Whether this process is in charge; false: Leases are given back.
    charge: watch::Sender<bool>,
    task: JoinHandle<()>,
    view: WritersView,
}

/// What statuses were made from.
struct Made {
    decided: Arc<Decided>,
    sockets: BTreeMap<SocketKey, SocketState>,
    at: Instant,
}

impl Writing {
    /// Has these writers write what the board shows, from when it is ready on.
    pub fn start(writers: Vec<Writer>, board: Board, ready: watch::Receiver<bool>) -> Writing {
        let (decided, news) = watch::channel(0);
        let (charge, in_charge) = watch::channel(true);
        let view = WritersView::new(&writers);
        let maker = Maker { writers, board, news, ready, in_charge, made: None, took: Duration::ZERO };
        Writing { decided, charge, task: tokio::spawn(maker.run()), view }
    }

    /// Something was decided, or opened.
    pub fn changed(&self) {
        self.decided.send_modify(|number| *number = number.wrapping_add(1));
    }

    /// Begins to give Leases back: another gateway writes from here on.
    pub fn leave(&self) {
        self.charge.send_replace(false);
    }

    /// Waits a moment until Leases are given back, and writes nothing any more.
    pub async fn stop(&self) {
        self.leave();
        let given_back = async {
            for (_, observed) in self.view.0.iter() {
                // One that has ended holds nothing.
                let _ = observed.clone().wait_for(|observed| !observed.leads).await;
            }
        };
        // A Lease that is not given back in time runs out.
        let _ = timeout(GIVE_BACK, given_back).await;
        self.task.abort();
    }
}

struct Maker {
    writers: Vec<Writer>,
    board: Board,
    news: watch::Receiver<u64>,
    ready: watch::Receiver<bool>,
    in_charge: watch::Receiver<bool>,
    made: Option<Made>,
    /// How long it took to make statuses last.
    took: Duration,
}

impl Maker {
    async fn run(mut self) {
        if self.writers.is_empty() {
            return;
        }
        loop {
            let look_again = self.order().await;
            let turns = self.writers.iter_mut().map(|writer| Box::pin(writer.observed.changed()));
            let turns = futures_util::future::select_all(turns.collect::<Vec<_>>());
            tokio::select! {
                changed = self.news.changed() => if changed.is_err() { return },
                Ok(()) = self.ready.changed() => {}
                Ok(()) = self.in_charge.changed() => {}
                (Ok(()), ..) = turns => {}
                () = sleep(look_again.unwrap_or_default()), if look_again.is_some() => {}
            }
            sleep(GATHER.max(self.took * REST)).await;
        }
    }

    /// Gives every writer its orders; after how long statuses are to be made again although nothing may have changed.
    async fn order(&mut self) -> Option<Duration> {
        self.news.mark_unchanged();
        let in_charge = *self.in_charge.borrow_and_update() && *self.ready.borrow_and_update();
        let (decided, observed) = self.board.grounds();
        let may = |source: &str| in_charge && decided.notice.is_none() && state(&decided, source).is_some();
        let mut turns = Vec::new();
        for writer in &mut self.writers {
            let may = may(&writer.source);
            let leads = writer.observed.borrow_and_update().leads && may;
            turns.push(leads);
            if !leads {
                give(&writer.orders, Orders { may, ..Orders::default() });
            }
        }
        if !turns.contains(&true) {
            self.made = None;
            return None;
        }
        // What it is not known to depend on may change it all the same, but nobody waits for that.
        if let Some(made) = &self.made {
            let same = Arc::ptr_eq(&made.decided.verdicts, &decided.verdicts)
                && made.sockets == observed.sockets
                && made.decided.sources.len() == decided.sources.len();
            let held = |decided: &Decided| -> Vec<String> {
                decided.sources.iter().flat_map(|source| source.status.held.clone()).collect()
            };
            let has_orders = self
                .writers
                .iter()
                .zip(&turns)
                .all(|(writer, leads)| !leads || writer.orders.borrow().wanted.is_some());
            let rest = SELDOM.saturating_sub(made.at.elapsed());
            if same && has_orders && held(&made.decided) == held(&decided) {
                if Arc::ptr_eq(&made.decided, &decided) {
                    return None;
                }
                if !rest.is_zero() {
                    return Some(rest);
                }
            }
        }
        let at = Instant::now();
        let grounds = (decided.clone(), observed.clone());
        // The runtime is shutting down where this fails.
        let Ok(told) = spawn_blocking(move || tell(&grounds.0, &grounds.1)).await else { return None };
        for (writer, _) in self.writers.iter().zip(turns).filter(|(_, leads)| *leads) {
            let Some(state) = state(&decided, &writer.source) else { continue };
            let held = &state.status.held;
            let wanted = Wanted::of(&writer.source, &told.statuses, &told.made, &decided.verdicts, held);
            let is_complete = state.status.errors.iter().all(|error| !error.object.is_empty());
            give(&writer.orders, Orders { may: true, wanted: Some(Arc::new(wanted)), is_complete });
        }
        self.took = at.elapsed();
        self.made = Some(Made { decided, sockets: observed.sockets, at });
        None
    }
}

/// The state of a source, where it is what the cluster says now, or has said.
fn state<'d>(decided: &'d Decided, source: &str) -> Option<&'d Arc<SourceState>> {
    let found = decided.sources.iter().find(|state| state.status.name == source);
    found.filter(|state| state.status.synced && state.status.from_disk.is_empty())
}

fn give(to: &watch::Sender<Orders>, orders: Orders) {
    to.send_if_modified(|before| {
        let same = before.may == orders.may && before.wanted.is_none() && orders.wanted.is_none();
        *before = orders;
        !same
    });
}
