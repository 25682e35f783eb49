//! The writer: has statuses, the Services of Gateways and Events stand in a cluster as they should, while this process holds
//! the cluster's Lease.
//!
//! ```text
//!   Orders (what should stand) ─┐
//!   Sightings (what stands) ────┴─► Desk ─► up to four writes at a time: read, decide, apply or replace
//!   concerns ──► Herald ──► Events                 ▲ none without the Lease (elector)
//! ```
//! Nothing that serves traffic waits for it: it is a task of its own with connections of its own, told by channels that keep
//! only the latest. What is pending is bounded by the number of objects. It may be ended anywhere: each write is whole.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tidegate_compile::writeback::{Desk, Herald, Item, Outcome, Piece, Turn, Wanted};
use tidegate_objects::{Key, Kind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::access::Access;
use crate::elector::{Elector, Office};
use crate::patience::Pace;
use crate::sightings::{News, Sightings};
use crate::writing::{Errand, Told, Wrote};

/// How many writes are under way at a time.
const ABREAST: usize = 4;
/// How long no Event is tried after one failed.
const EVENTS_REST: Duration = Duration::from_secs(60);
/// How many objects are named that others change.
const NAMED_MAX: usize = 5;

/// What the writer of a cluster is to do.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// Whether this process would write, if it is its turn.
    pub may: bool,
    /// What should stand; none: not known (yet).
    pub wanted: Option<Arc<Wanted>>,
    /// Whether everything in the cluster is known, so that what is not wanted can be taken away.
    pub is_complete: bool,
}

/// What a writer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterObserved {
    /// Whether this process writes.
    pub leads: bool,
    /// Who holds the Lease; empty: nobody, as far as is known.
    pub holder: String,
    /// Why something is not written, as a sentence; empty: nothing is wrong.
    pub trouble: String,
    /// How many objects wait to be written.
    pub pending: usize,
    /// How many objects somebody else goes on changing.
    pub contested: usize,
    /// Of the writes since the start: those that changed something, those that could not be done.
    pub writes: u64,
    /// Writes that could not be done.
    pub failures: u64,
    /// Events that were created or repeated.
    pub events: u64,
}

/// Who takes part in the election of a cluster's writer, and what it has to do.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub source: Arc<str>,
    pub access: Access,
    pub pace: Pace,
    pub lease: Key,
    pub identity: String,
    pub sightings: Sightings,
    pub orders: watch::Receiver<Orders>,
    pub observed: watch::Sender<WriterObserved>,
}

/// A task that ends with its owner.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What came of something that was under way.
enum Done {
    Item(Item, u64, Wrote),
    Event(String, Told),
}

/// The work of a holder of the Lease.
struct Shift {
    desk: Desk<Item>,
    herald: Herald,
    wanted: Arc<Wanted>,
    is_complete: bool,
    news: News,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    telling: bool,
    complained: Option<Instant>,
    trouble: String,
}

impl Writer {
    /// Runs until nobody gives orders any more.
    pub async fn run(mut self) {
        let (may, would) = watch::channel(false);
        let (office, mut turn) = watch::channel(Office::default());
        let elector = Elector {
            source: self.source.clone(),
            access: self.access.clone(),
            pace: self.pace,
            lease: self.lease.clone(),
            identity: self.identity.clone(),
            may: would,
            office,
        };
        let _elector = Owned(tokio::spawn(elector.run()));
        loop {
            let Orders { may: now, wanted, .. } = self.orders.borrow_and_update().clone();
            may.send_if_modified(|before| std::mem::replace(before, now) != now);
            let is_mine = turn.borrow_and_update().writes().is_some();
            self.observe(&turn, None);
            if let Some(wanted) = wanted.filter(|_| is_mine && now) {
                self.work(wanted, &mut turn, &may).await;
                continue;
            }
            let until = turn.borrow().until;
            tokio::select! {
                changed = self.orders.changed() => if changed.is_err() { return },
                Ok(()) = turn.changed() => {}
                // It was this process's turn until then.
                () = sleep_until(until.unwrap_or_else(Instant::now)), if is_mine => {}
            }
        }
    }

    /// Writes while it is this process's turn.
    async fn work(
        &mut self,
        wanted: Arc<Wanted>,
        turn: &mut watch::Receiver<Office>,
        may: &watch::Sender<bool>,
    ) {
        let now = Instant::now().into();
        let mut shift = Shift {
            desk: Desk::new(now),
            herald: Herald::new(now),
            wanted: Arc::default(),
            is_complete: false,
            news: self.sightings.everything(),
            under_way: FuturesUnordered::new(),
            telling: false,
            complained: None,
            trouble: String::new(),
        };
        for (item, sum) in std::mem::take(&mut shift.news.seen) {
            shift.desk.see(&item, sum, now);
        }
        let is_complete = self.orders.borrow().is_complete;
        shift.want(wanted, is_complete, true);
        loop {
            // What is under way when the turn is over is dropped: its answer counts for nothing any more.
            let Some((client, until)) = turn.borrow_and_update().writes() else { return };
            let errand = Errand {
                client,
                served: shift.news.served.clone(),
                until,
                lease: self.lease.clone(),
                instance: self.identity.clone(),
            };
            let next = shift.begin(&errand);
            self.observe(turn, Some(&shift));
            tokio::select! {
                changed = self.orders.changed() => {
                    let orders = self.orders.borrow_and_update().clone();
                    match orders.wanted.filter(|_| changed.is_ok() && orders.may) {
                        Some(wanted) => shift.want(wanted, orders.is_complete, false),
                        None => {
                            may.send_replace(orders.may && changed.is_ok());
                            return;
                        }
                    }
                }
                Ok(()) = turn.changed() => {}
                news = self.sightings.changes() => shift.see(news),
                Some(done) = shift.under_way.next(), if !shift.under_way.is_empty() => {
                    self.count(&done);
                    shift.done(done, &self.source, self.pace);
                }
                () = sleep_until(next.map_or(until, |next| next.min(until))) => {}
            }
        }
    }

    fn count(&self, done: &Done) {
        let (writes, failures, events) = match done {
            Done::Item(.., Wrote { outcome: Outcome::Written(_), .. }) => (1, 0, 0),
            Done::Item(.., Wrote { outcome: Outcome::Failed | Outcome::Refused, .. }) => (0, 1, 0),
            Done::Event(_, Told::Written) => (0, 0, 1),
            Done::Event(_, Told::Failed(_)) => (0, 1, 0),
            _ => return,
        };
        self.observed.send_if_modified(|observed| {
            observed.writes += writes;
            observed.failures += failures;
            observed.events += events;
            false
        });
    }

    fn observe(&self, turn: &watch::Receiver<Office>, shift: Option<&Shift>) {
        let office = turn.borrow();
        let (leads, trouble) = (office.writes().is_some(), office.trouble.clone().unwrap_or_default());
        let contested: Vec<&Item> = shift.iter().flat_map(|shift| shift.desk.contested()).collect();
        let trouble = match shift {
            _ if !trouble.is_empty() => format!("Lease {}: {trouble}", self.lease),
            Some(shift) if !shift.trouble.is_empty() => shift.trouble.clone(),
            _ if contested.is_empty() => String::new(),
            _ => {
                let named: Vec<String> =
                    contested.iter().take(NAMED_MAX).map(|item| item.object.to_string()).collect();
                format!("somebody else goes on changing what is written to {}", named.join(", "))
            }
        };
        self.observed.send_if_modified(|observed| {
            let now = WriterObserved {
                leads,
                holder: office.holder.clone(),
                trouble,
                pending: shift.map_or(0, |shift| shift.desk.pending() + shift.herald.waiting()),
                contested: contested.len(),
                ..*observed
            };
            let changed = *observed != now;
            *observed = now;
            changed
        });
    }
}

impl Shift {
    /// This should stand from now on.
    fn want(&mut self, wanted: Arc<Wanted>, is_complete: bool, at_first: bool) {
        let now = Instant::now().into();
        let known: Vec<(Item, u64)> = self.desk.items().map(|(item, _, seen)| (item.clone(), seen)).collect();
        (self.wanted, self.is_complete) = (wanted, is_complete);
        for (item, seen) in known.iter().filter(|(item, _)| !self.wanted.pieces.contains_key(item)) {
            self.desk.want(item, self.claim(item, *seen), 4, at_first, now);
        }
        for (item, piece) in &self.wanted.pieces {
            self.desk.want(item, Some(piece.digest), piece.rank, at_first, now);
        }
        self.herald.hear(&self.wanted.concerns, now);
    }

    /// What should stand of an item of which so much stands.
    fn claim(&self, item: &Item, seen: u64) -> Option<u64> {
        match self.wanted.pieces.get(item) {
            Some(piece) => Some(piece.digest),
            // What we have made, or said beside others, goes when it is not wanted any more; an object that is all ours to
            // speak of keeps what it was told last.
            None if seen != 0
                && self.is_complete
                && (item.is_whole || Wrote::nothing(item.object.kind).is_some()) =>
            {
                Some(0)
            }
            None => None,
        }
    }

    fn see(&mut self, news: News) {
        let now = Instant::now().into();
        let News { served, seen } = news;
        for (item, sum) in seen {
            self.desk.see(&item, sum, now);
            let rank = self.wanted.pieces.get(&item).map_or(4, |piece| piece.rank);
            self.desk.want(&item, self.claim(&item, sum), rank, false, now);
        }
        if !Arc::ptr_eq(&self.news.served, &served) {
            self.news.served = served;
            // What could not be written, because its kind was not there, may be now.
            let all: Vec<(Item, u64)> =
                self.desk.items().map(|(item, _, seen)| (item.clone(), seen)).collect();
            all.iter().for_each(|(item, seen)| self.desk.see(item, *seen, now));
        }
    }

    /// Begins whatever may begin now; when more may.
    fn begin(&mut self, errand: &Errand) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        while self.under_way.len() < ABREAST {
            match self.desk.turn(now.into()) {
                Turn::Of(item) => {
                    let piece: Option<Piece> = self.wanted.pieces.get(&item).cloned();
                    let wanted = piece.as_ref().map_or(0, |piece| piece.digest);
                    let errand = errand.clone();
                    let work = async move {
                        let wrote = errand.write(&item, piece.as_ref()).await;
                        Done::Item(item, wanted, wrote)
                    };
                    self.under_way.push(work.boxed());
                }
                Turn::Wait(until) => {
                    next = Some(until.into());
                    break;
                }
                Turn::Idle => break,
            }
        }
        if !self.telling {
            match self.herald.next(now.into()) {
                Ok((name, concern, again)) => {
                    self.telling = true;
                    let errand = errand.clone();
                    let work = async move {
                        let told = errand.tell(&name, &concern, again).await;
                        Done::Event(name, told)
                    };
                    self.under_way.push(work.boxed());
                }
                Err(until) => next = next.into_iter().chain(until.map(Instant::from)).min(),
            }
        }
        next
    }

    fn done(&mut self, done: Done, source: &str, pace: Pace) {
        let now = Instant::now();
        let trouble = match done {
            Done::Item(item, wanted, Wrote { outcome, trouble }) => {
                self.desk.done(&item, wanted, outcome, now.into());
                // What is to be forgotten, or has come back, is claimed anew.
                trouble.map(|why| format!("{} is not written: {why}", item.object))
            }
            Done::Event(name, told) => {
                self.telling = false;
                match told {
                    Told::Written | Told::Known => {
                        self.herald.told(name, now.into());
                        None
                    }
                    Told::Failed(why) => {
                        self.herald.failed(name, (now + EVENTS_REST).into());
                        Some(format!("Events are not written: {why}"))
                    }
                }
            }
        };
        let Some(trouble) = trouble else {
            if self.desk.pending() == 0 && self.herald.waiting() == 0 {
                self.trouble.clear();
            }
            return;
        };
        if self.complained.is_none_or(|at| at.elapsed() >= pace.complain) {
            self.complained = Some(now);
            warn!(source, others = self.desk.pending().saturating_sub(1), "{trouble}");
        }
        self.trouble = trouble;
    }
}

/// Kinds of which a status is a list that controllers share.
impl Wrote {
    /// What is written in place of our part of a status that is shared, where nothing of ours is to stand.
    pub fn nothing(kind: Kind) -> Option<serde_json::Value> {
        match kind {
            Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute | Kind::UDPRoute => {
                Some(serde_json::json!({"parents": []}))
            }
            Kind::BackendTLSPolicy => Some(serde_json::json!({"ancestors": []})),
            _ => None,
        }
    }
}
