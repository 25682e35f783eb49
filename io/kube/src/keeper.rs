//! The keeper: hears what scout and reflectors tell, decides what is to be read, and publishes the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tidegate_compile::{referenced, same_references};
use tidegate_decode::{Document, SourceState, bounded};
use tidegate_model::observed::{SourceError, SourceStatus};
use tidegate_objects::{Kind, ObjectRef, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::access::Access;
use crate::patience::Pace;
use crate::reflector::Reflector;
use crate::scope::{Scope, Served, is_named, wanted};
use crate::scout::scout;
use crate::store::Store;
use crate::trouble::Trouble;

/// How many news may wait. When it is full, reflectors stop reading.
const QUEUE: usize = 1_024;
/// How many news are taken in before the state is published.
const BATCH: usize = 4_096;
/// How long a state waits for a Secret that it is the first to name, so that a listener is not refused for a moment.
const NAMED_WAIT: Duration = Duration::from_secs(1);
/// How many different failures are named.
const FAILURES_MAX: usize = 10;
/// A kind that goes from so many objects to none is looked at twice.
const EMPTIED_MIN: usize = 10;

/// What scout and reflectors tell.
pub(crate) enum News {
    /// The server that is asked from now on.
    Server(String),
    /// The kinds that it serves.
    Served(BTreeMap<Kind, Served>),
    /// It cannot be reached, or not be found out how.
    Lost(String),
    /// All of a scope.
    Listed(Scope, Vec<Document>),
    /// An object came or changed.
    Changed(Scope, Box<Document>),
    /// An object is gone.
    Gone(Scope, ObjectRef),
    /// A watch stands.
    Well(Scope),
    /// A list came back empty where there were so many; a second look will tell.
    Emptied(Scope, usize),
    /// A list or watch failed; it is tried again.
    Failed(Scope, Trouble),
}

/// A task that ends with its owner.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Running {
    served: Served,
    started: Instant,
    /// Listed once, or known to be out of reach for us.
    settled: bool,
    _task: Owned,
}

/// What reflectors are given.
struct Hands {
    clients: watch::Receiver<Option<Client>>,
    news: mpsc::Sender<News>,
}

/// Everything known of one cluster.
pub(crate) struct Keeper {
    name: Arc<str>,
    access: Access,
    pace: Pace,
    location: String,
    store: Store,
    served: Option<BTreeMap<Kind, Served>>,
    /// Kinds that the cluster serves no more, while many objects of them are in force.
    unserved: BTreeMap<Kind, Instant>,
    /// What `named` was found from.
    looked_at: Snapshot,
    named: BTreeSet<ObjectRef>,
    /// Whether what is served or named has changed since reflectors were planned.
    unplanned: bool,
    running: BTreeMap<Scope, Running>,
    lost: Option<String>,
    failing: BTreeMap<Scope, String>,
    emptied: BTreeMap<Scope, usize>,
    away_since: Option<Timestamp>,
    complained: Option<Instant>,
    synced: bool,
}

impl Keeper {
    pub fn new(name: Arc<str>, access: Access, pace: Pace) -> Self {
        Keeper {
            name,
            location: access.location(),
            access,
            pace,
            store: Store::default(),
            served: None,
            unserved: BTreeMap::new(),
            looked_at: Snapshot::default(),
            named: BTreeSet::new(),
            unplanned: false,
            running: BTreeMap::new(),
            lost: None,
            failing: BTreeMap::new(),
            emptied: BTreeMap::new(),
            away_since: None,
            complained: None,
            synced: false,
        }
    }

    /// Runs until nobody listens any more.
    pub async fn keep(mut self, sender: watch::Sender<Arc<SourceState>>) {
        let (said, mut news) = mpsc::channel(QUEUE);
        let (clients, hands) = watch::channel(None);
        let _scout = Owned(tokio::spawn(scout(self.access.clone(), self.pace, clients, said.clone())));
        let hands = Hands { clients: hands, news: said };
        let mut unpublished = false;
        loop {
            let until = self.waits_for_named();
            tokio::select! {
                () = sender.closed() => return,
                first = news.recv() => match first {
                    Some(first) => {
                        unpublished |= self.hear(first);
                        for _ in 0..BATCH {
                            match news.try_recv() {
                                Ok(next) => unpublished |= self.hear(next),
                                Err(_) => break,
                            }
                        }
                    }
                    None => return,
                },
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
            unpublished |= self.plan(&hands);
            self.complain();
            if unpublished && self.waits_for_named().is_none() {
                sender.send_replace(Arc::new(self.state()));
                unpublished = false;
            }
        }
    }

    /// Takes news in; whether the state is another one now.
    fn hear(&mut self, news: News) -> bool {
        match news {
            News::Server(server) => {
                self.location = server;
                true
            }
            News::Lost(why) => {
                let changed = self.lost.as_ref() != Some(&why);
                self.lost = Some(why);
                changed
            }
            News::Served(served) => {
                let found = self.lost.take().is_some();
                self.serve(served) || found
            }
            News::Well(scope) => self.failing.remove(&scope).is_some(),
            News::Emptied(scope, count) => self.emptied.insert(scope, count) != Some(count),
            News::Failed(scope, trouble) => self.fail(scope, &trouble),
            // What a reflector said before it was ended may still come.
            News::Listed(scope, documents) => match self.running.get_mut(&scope) {
                Some(running) => {
                    running.settled = true;
                    self.failing.remove(&scope);
                    self.emptied.remove(&scope);
                    self.store.list(&scope, documents);
                    true
                }
                None => false,
            },
            News::Changed(scope, document) => {
                self.running.contains_key(&scope) && {
                    self.store.set(*document);
                    true
                }
            }
            News::Gone(scope, object) => {
                self.running.contains_key(&scope) && {
                    self.store.remove(&object);
                    true
                }
            }
        }
    }

    fn fail(&mut self, scope: Scope, trouble: &Trouble) -> bool {
        let Some(running) = self.running.get_mut(&scope) else { return false };
        // Nothing comes of waiting for a right that is not given, and the other kinds can serve.
        let settles = matches!(trouble, Trouble::Forbidden(_)) && !running.settled;
        running.settled |= settles;
        let text = trouble.text().to_owned();
        self.failing.insert(scope, text.clone()) != Some(text) || settles
    }

    /// Takes over which kinds are served. One that vanished with many objects is believed at the second look only.
    fn serve(&mut self, mut served: BTreeMap<Kind, Served>) -> bool {
        for (kind, before) in self.served.iter().flatten() {
            if served.contains_key(kind) || self.store.objects.count(*kind) < EMPTIED_MIN {
                self.unserved.remove(kind);
                continue;
            }
            let since = self.unserved.entry(*kind).or_insert_with(Instant::now);
            if since.elapsed() < self.pace.emptied {
                served.insert(*kind, before.clone());
            }
        }
        let changed = self.served.as_ref() != Some(&served);
        self.served = Some(served);
        self.unplanned |= changed;
        changed
    }

    /// Has a reflector for each scope wanted, and no other; whether the state changed by it. Costs next to nothing where
    /// neither what is served nor what is named has changed.
    fn plan(&mut self, hands: &Hands) -> bool {
        if !same_references(&self.looked_at, &self.store.objects) {
            let named = referenced(&self.store.objects);
            self.unplanned |= self.named != named;
            self.named = named;
        }
        // It shares with what is in force, so that the next look finds at once what differs.
        self.looked_at = self.store.objects.clone();
        let ended = std::mem::take(&mut self.unplanned) && self.start_and_end(hands);
        let settled = |running: &Running| running.settled;
        let synced = self.synced || self.served.is_some() && self.running.values().all(settled);
        let now_synced = !self.synced && synced;
        self.synced = synced;
        if now_synced {
            info!(source = &*self.name, objects = self.store.objects.len(), "every kind was read");
        }
        ended || now_synced
    }

    /// Starts and ends reflectors; whether the state changed by it.
    fn start_and_end(&mut self, hands: &Hands) -> bool {
        let Some(served) = &self.served else { return false };
        let wanted = wanted(served, &self.named);
        let before = self.running.len();
        self.running.retain(|scope, running| {
            wanted.contains(scope) && served.get(&scope.kind) == Some(&running.served)
        });
        let ended = self.running.len() != before;
        let new = wanted.into_iter().filter(|scope| !self.running.contains_key(scope));
        let new: Vec<(Scope, Served)> = new
            .filter_map(|scope| Some((served.get(&scope.kind)?.clone(), scope)))
            .map(|(s, c)| (c, s))
            .collect();
        for (scope, served) in new {
            let reflector = Reflector {
                source: self.name.clone(),
                scope: scope.clone(),
                served: served.clone(),
                pace: self.pace,
                clients: hands.clients.clone(),
                news: hands.news.clone(),
                known: self.store.count(&scope),
            };
            let task = Owned(tokio::spawn(reflector.reflect()));
            let started = Instant::now();
            self.running.insert(scope, Running { served, started, settled: false, _task: task });
        }
        if ended {
            self.store.keep_only(self.running.keys());
            self.failing.retain(|scope, _| self.running.contains_key(scope));
            self.emptied.retain(|scope, _| self.running.contains_key(scope));
        }
        ended
    }

    /// Until when a state waits for what it is the first to name.
    fn waits_for_named(&self) -> Option<Instant> {
        let now = Instant::now();
        let pending = self.running.iter().filter(|(scope, running)| is_named(scope.kind) && !running.settled);
        let due = pending.map(|(_, running)| running.started + NAMED_WAIT);
        due.filter(|due| *due > now).max()
    }

    /// One line at once when something fails, then one a minute, and one when all is well again.
    fn complain(&mut self) {
        for SourceError { object, field, message, .. } in std::mem::take(&mut self.store.news) {
            warn!(source = &*self.name, object, field, "{message}");
        }
        let troubles = self.troubles();
        let Some(worst) = troubles.first() else {
            if self.away_since.take().is_some() {
                self.complained = None;
                info!(
                    source = &*self.name,
                    server = self.location,
                    "all that is read of the cluster is followed again"
                );
            }
            return;
        };
        self.away_since.get_or_insert_with(Timestamp::now);
        if self.complained.is_none_or(|at| at.elapsed() >= self.pace.complain) {
            self.complained = Some(Instant::now());
            warn!(source = &*self.name, server = self.location, others = troubles.len() - 1, "{worst}");
        }
    }

    /// What fails now, the gravest first.
    fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = self.lost.iter().cloned().collect();
        let mut by_text: BTreeMap<&str, Vec<&Scope>> = BTreeMap::new();
        for (scope, text) in &self.failing {
            by_text.entry(text).or_default().push(scope);
        }
        troubles.extend(by_text.into_iter().take(FAILURES_MAX).map(|(text, scopes)| {
            let shown: Vec<String> = scopes.iter().take(3).map(|scope| scope.shown()).collect();
            match scopes.len().saturating_sub(shown.len()) {
                0 => format!("{}: {text}", shown.join(", ")),
                more => format!("{} and {more} more: {text}", shown.join(", ")),
            }
        }));
        troubles.extend(self.emptied.iter().map(|(scope, count)| {
            let secs = self.pace.emptied.as_secs();
            format!(
                "{}: the server lists none, where {count} are in force; they stay until a second look after {secs} s \
                 says the same",
                scope.shown()
            )
        }));
        troubles
    }

    /// What the source gives now.
    pub fn state(&self) -> SourceState {
        let since =
            self.away_since.map(|since| format!(" (since {since:.0}; what was read before stays in force)"));
        let since = since.unwrap_or_default();
        let troubles = self.troubles().into_iter();
        let told = troubles.map(|why| SourceError { message: why + &since, ..SourceError::default() });
        let status = SourceStatus {
            name: self.name.to_string(),
            source_type: "kubernetes".into(),
            location: self.location.clone(),
            synced: self.synced,
            objects: self.store.objects.len(),
            errors: bounded(told.chain(self.store.errors()).collect()),
            ..SourceStatus::default()
        };
        SourceState {
            objects: self.store.objects.clone(),
            status,
            warnings: bounded(self.store.warnings()),
            ..SourceState::default()
        }
    }
}
