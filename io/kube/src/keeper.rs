//! The keeper: hears what scout and reflectors tell, decides what is to be read, and publishes the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_compile::{referenced, same_references};
use tidegate_decode::{Document, EMPTIED_MIN, SourceState, bounded};
use tidegate_model::observed::{SourceError, SourceStatus};
use tidegate_objects::{Kind, ObjectRef, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::access::{Access, Reached};
use crate::patience::Pace;
use crate::reflector::Reflector;
use crate::saver::save;
use crate::scope::{Scope, Served, is_named, wanted};
use crate::scout::scout;
use crate::sightings::Sightings;
use crate::snapshot_file::{Kept, SnapshotFile};
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
/// After so many answers that were errors, a kind that was never read is not waited for any longer.
const ANSWERS_MAX: u32 = 5;

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
    /// How many tries the server answered with errors before it settled, once something else was listed.
    refusals: u32,
    _task: Owned,
}

/// What reflectors are given.
struct Hands {
    clients: watch::Receiver<Option<Reached>>,
    news: mpsc::Sender<News>,
}

/// Everything known of one cluster.
pub(crate) struct Keeper {
    name: Arc<str>,
    access: Access,
    pace: Pace,
    confirmed: watch::Receiver<u64>,
    location: String,
    store: Store,
    served: Option<BTreeMap<Kind, Served>>,
    /// Kinds that the cluster serves no more, while many objects of them are in force.
    unserved: BTreeMap<Kind, Instant>,
    /// What `named` was found from.
    looked_at: Snapshot,
    named: BTreeSet<ObjectRef>,
    /// The class of ingress-nginx that is served too; empty: none.
    nginx_class: String,
    /// Namespaces in which there is no right for all objects of a kind that is read by name.
    singly: BTreeSet<(Kind, Arc<str>)>,
    /// Whether what is served or named has changed since reflectors were planned.
    unplanned: bool,
    running: BTreeMap<Scope, Running>,
    lost: Option<String>,
    failing: BTreeMap<Scope, String>,
    emptied: BTreeMap<Scope, usize>,
    /// What is held, as it was logged.
    told_held: Vec<String>,
    away_since: Option<Timestamp>,
    complained: Option<Instant>,
    synced: bool,
    /// When something was listed for the first time.
    first_listed: Option<Instant>,
    file: Option<SnapshotFile>,
    /// Told what stands of what is written, where anything is.
    sightings: Option<Sightings>,
    /// Until everything was read: what was found on disk, and from when on it counts.
    from_disk: Option<FromDisk>,
    /// What was handed to the saver, by its number of changes.
    saved: u64,
}

struct FromDisk {
    /// When it was written.
    written: String,
    due: Instant,
}

impl Keeper {
    /// Also follows what Ingresses of this class name.
    pub fn with_nginx_class(self, nginx_class: String) -> Self {
        Keeper { nginx_class, ..self }
    }

    /// Nothing is asked for yet, and nothing read from disk.
    pub fn new(
        name: Arc<str>,
        access: Access,
        pace: Pace,
        confirmed: watch::Receiver<u64>,
        file: Option<SnapshotFile>,
        sightings: Option<Sightings>,
    ) -> Self {
        Keeper {
            name,
            location: access.location(),
            access,
            pace,
            confirmed,
            store: Store::default(),
            served: None,
            unserved: BTreeMap::new(),
            looked_at: Snapshot::default(),
            named: BTreeSet::new(),
            nginx_class: String::new(),
            singly: BTreeSet::new(),
            unplanned: false,
            running: BTreeMap::new(),
            lost: None,
            failing: BTreeMap::new(),
            emptied: BTreeMap::new(),
            told_held: Vec::new(),
            away_since: None,
            complained: None,
            synced: false,
            first_listed: None,
            file,
            sightings,
            from_disk: None,
            saved: 0,
        }
    }

    /// Runs until nobody listens any more.
    pub async fn keep(mut self, sender: watch::Sender<Arc<SourceState>>) {
        self.begin_with_disk().await;
        let (saver, _saver) = self.saver().unzip();
        let (said, mut news) = mpsc::channel(QUEUE);
        let (clients, hands) = watch::channel(None);
        let _scout = Owned(tokio::spawn(scout(self.access.clone(), self.pace, clients, said.clone())));
        let hands = Hands { clients: hands, news: said };
        let mut unpublished = false;
        let mut rest = Instant::now();
        loop {
            // What comes meanwhile waits in the queue, and makes one state: whoever follows is woken once for all of it.
            tokio::select! {
                () = sender.closed() => return,
                () = sleep_until(rest) => {}
            }
            let until = self.waits();
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
                Ok(()) = self.confirmed.changed() => unpublished |= self.confirm(),
            }
            unpublished |= self.plan(&hands);
            self.complain();
            unpublished |= until.is_some_and(|until| until <= Instant::now());
            if unpublished && self.waits_for_named().is_none() {
                sender.send_replace(Arc::new(self.state()));
                unpublished = false;
                rest = Instant::now() + self.pace.publish;
                self.save(saver.as_ref());
            }
        }
    }

    /// Takes over what was kept on disk; it counts when the API server is not there in time.
    async fn begin_with_disk(&mut self) {
        let Some(file) = self.file.clone() else { return };
        // The API server is waited for from here on: reading takes a part of that time.
        let due = Instant::now() + self.pace.disk;
        // The runtime is shutting down where this fails.
        let Ok(read) = tokio::task::spawn_blocking(move || file.read()).await else { return };
        match read {
            Ok(None) => {}
            Ok(Some(Kept { objects, written, left_out })) => {
                if let Some(first) = left_out.first() {
                    let others = left_out.len() - 1;
                    warn!(source = &*self.name, others, "left out of the snapshot on disk: {first}");
                }
                info!(source = &*self.name, objects = objects.len(), written, "a snapshot is on disk");
                self.store.objects = objects;
                self.from_disk = Some(FromDisk { written, due });
            }
            Err(why) => {
                warn!(source = &*self.name, "{why}; the start waits for the API server");
            }
        }
    }

    /// A task that writes to disk what it is sent.
    fn saver(&self) -> Option<(watch::Sender<Snapshot>, Owned)> {
        let file = self.file.clone()?;
        let (sender, snapshots) = watch::channel(Snapshot::default());
        let task = tokio::spawn(save(self.name.clone(), file, snapshots, self.pace));
        Some((sender, Owned(task)))
    }

    /// What was read is to be on disk; what came from there need not.
    fn save(&mut self, saver: Option<&watch::Sender<Snapshot>>) {
        if let Some(saver) = saver
            && self.synced
            && self.saved != self.store.changes
        {
            self.saved = self.store.changes;
            saver.send_replace(self.store.objects.clone());
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
                    running.refusals = 0;
                    self.first_listed.get_or_insert_with(Instant::now);
                    self.failing.remove(&scope);
                    self.emptied.remove(&scope);
                    self.store.list(&scope, documents);
                    true
                }
                None => false,
            },
            News::Changed(scope, document) => self.running.contains_key(&scope) && self.store.set(*document),
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
        // Nothing comes of waiting for a right that is not given, nor for a kind of which the server only says that it cannot
        // give it (a webhook that is broken, say), and the other kinds can serve. But an API server that has just started
        // gives no rights at first, one after the other then.
        let is_forbidden = matches!(trouble, Trouble::Forbidden(_));
        let is_refusal = self.first_listed.is_some() && !running.settled && trouble.is_answer();
        running.refusals = running.refusals.saturating_add(u32::from(is_refusal && !is_forbidden));
        let settles = is_refusal
            && (is_forbidden || running.refusals >= ANSWERS_MAX)
            && self.first_listed.is_some_and(|at| at.elapsed() >= self.pace.forbidden);
        running.settled |= settles;
        let is_unknown = running.settled && running.refusals > 0;
        if matches!(trouble, Trouble::Forbidden(_)) && scope.names.len() > 1 {
            // There may be a right for each by its name.
            self.unplanned |= self.singly.insert((scope.kind, scope.namespace.clone()));
        }
        let mut text = trouble.text().to_owned();
        if is_unknown {
            text += "; not read since the start, and not waited for any longer";
        }
        self.failing.insert(scope, text.clone()) != Some(text) || settles
    }

    /// Takes over which kinds are served. One that vanished with many objects is believed at the second look only.
    fn serve(&mut self, mut served: BTreeMap<Kind, Served>) -> bool {
        let held = self.unserved.len();
        for kind in Kind::ALL {
            if served.contains_key(kind) || self.store.objects.count(*kind) < EMPTIED_MIN {
                self.unserved.remove(kind);
                continue;
            }
            let since = self.unserved.entry(*kind).or_insert_with(Instant::now);
            if since.elapsed() >= self.pace.emptied {
                self.unserved.remove(kind);
            } else if let Some(before) = self.served.as_ref().and_then(|served| served.get(kind)) {
                served.insert(*kind, before.clone());
            }
        }
        let changed = self.served.as_ref() != Some(&served) || self.unserved.len() != held;
        if let Some(sightings) = &self.sightings {
            sightings.serve(&served);
        }
        self.served = Some(served);
        self.unplanned |= changed;
        changed
    }

    /// Kinds that the cluster serves no more are believed to be gone. Reflectors hear by themselves.
    fn confirm(&mut self) -> bool {
        let gone = std::mem::take(&mut self.unserved);
        if let Some(served) = &mut self.served {
            served.retain(|kind, _| !gone.contains_key(kind));
        }
        self.unplanned |= !gone.is_empty();
        !gone.is_empty()
    }

    /// Has a reflector for each scope wanted, and no other; whether the state changed by it. Costs next to nothing where
    /// neither what is served nor what is named has changed.
    fn plan(&mut self, hands: &Hands) -> bool {
        if !same_references(&self.looked_at, &self.store.objects) {
            let named = referenced(&self.store.objects, &self.nginx_class);
            self.unplanned |= self.named != named;
            self.named = named;
        }
        // It shares with what is in force, so that the next look finds at once what differs.
        self.looked_at = self.store.objects.clone();
        let ended = std::mem::take(&mut self.unplanned) && self.start_and_end(hands);
        let synced = self.synced
            || self.first_listed.is_some() && self.running.values().all(|running| running.settled);
        let now_synced = !self.synced && synced;
        self.synced = synced;
        if now_synced {
            self.from_disk = None;
            info!(source = &*self.name, objects = self.store.objects.len(), "every kind was read");
        }
        ended || now_synced
    }

    /// Starts and ends reflectors; whether the state changed by it.
    fn start_and_end(&mut self, hands: &Hands) -> bool {
        let Some(served) = &self.served else { return false };
        let wanted = wanted(served, &self.named, &self.singly);
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
                confirmed: self.confirmed.clone(),
                known: self.store.count(&scope),
                sightings: self.sightings.clone(),
            };
            let task = Owned(tokio::spawn(reflector.reflect()));
            let started = Instant::now();
            self.running.insert(scope, Running { served, started, settled: false, refusals: 0, _task: task });
        }
        let dropped = self.store.keep_only(self.running.keys(), |kind| self.unserved.contains_key(kind));
        if ended {
            self.failing.retain(|scope, _| self.running.contains_key(scope));
            self.emptied.retain(|scope, _| self.running.contains_key(scope));
        }
        ended || dropped
    }

    /// Until when there is something to wait for, beside news.
    fn waits(&self) -> Option<Instant> {
        let now = Instant::now();
        let disk = self.from_disk.as_ref().map(|from_disk| from_disk.due).filter(|due| *due > now);
        self.waits_for_named().into_iter().chain(disk).min()
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
        let held = self.held();
        for held in held.iter().filter(|held| !self.told_held.contains(held)) {
            warn!(source = &*self.name, "held: {held}; `tidegate confirm {}` believes it now", self.name);
        }
        self.told_held = held;
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
        troubles
    }

    /// What would go at one blow, and stays for now.
    fn held(&self) -> Vec<String> {
        let secs = self.pace.emptied.as_secs();
        let until = format!("they stay until a second look after {secs} s says the same");
        let emptied = self.emptied.iter().map(|(scope, count)| {
            format!("{}: the server lists none, where {count} are in force; {until}", scope.shown())
        });
        let unserved = self.unserved.keys().map(|kind| {
            let count = self.store.objects.count(*kind);
            format!("{kind}: the server serves this kind no more, of which {count} are in force; {until}")
        });
        emptied.chain(unserved).collect()
    }

    /// What the source gives now.
    pub fn state(&self) -> SourceState {
        let since =
            self.away_since.map(|since| format!(" (since {since:.0}; what was read before stays in force)"));
        let since = since.unwrap_or_default();
        let troubles = self.troubles().into_iter();
        let from_disk = self.from_disk.as_ref().filter(|from_disk| from_disk.due <= Instant::now());
        let told = troubles.map(|why| SourceError { message: why + &since, ..SourceError::default() });
        let status = SourceStatus {
            name: self.name.to_string(),
            source_type: "kubernetes".into(),
            location: self.location.clone(),
            synced: self.synced || from_disk.is_some(),
            from_disk: from_disk.map(|from_disk| from_disk.written.clone()).unwrap_or_default(),
            objects: self.store.objects.len(),
            errors: bounded(told.chain(self.store.errors()).collect()),
            held: self.held(),
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
