//! The task that follows a source: waits for events, looks, publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tidegate_decode::SourceState;
use tidegate_model::observed::SourceError;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::events::Pending;
use crate::source::FileSource;
use crate::walk::{Found, Identity};

/// How long events are gathered before the files are looked at.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How often the files are looked at without an event.
const SAFETY: Duration = Duration::from_secs(10);
/// The same while events cannot be relied on: a directory is missing, or the kernel grants no watch.
const BLIND: Duration = Duration::from_secs(1);
/// The same while a file is being written.
const WRITING: Duration = Duration::from_millis(500);
/// How often a look is repeated because new directories were found during it.
const ROUNDS_MAX: usize = 8;

impl FileSource {
    /// Reads everything, then follows changes. The first state is in the channel when this returns; it may block on
    /// the disk until then. Must be called inside a tokio runtime with time enabled.
    ///
    /// With each change of the number in `confirmed`, what is held (see [`SourceStatus::held`]) is looked at and believed.
    ///
    /// The task ends when the last receiver is dropped, and may be aborted at any time.
    ///
    /// [`SourceStatus::held`]: tidegate_model::observed::SourceStatus::held
    pub fn watch(
        self,
        confirmed: watch::Receiver<u64>,
    ) -> (watch::Receiver<Arc<SourceState>>, JoinHandle<()>) {
        let mut follower = Follower::new(self);
        let first = follower.round().unwrap_or_else(|| follower.source.state());
        log_new(&SourceState::default(), &first);
        let (sender, receiver) = watch::channel(Arc::new(first));
        (receiver, tokio::spawn(follow(follower, sender, confirmed)))
    }
}

async fn follow(
    mut follower: Follower,
    sender: watch::Sender<Arc<SourceState>>,
    mut confirmed: watch::Receiver<u64>,
) {
    let pending = follower.pending.clone();
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = pending.wake.notified() => tokio::time::sleep(DEBOUNCE).await,
            Ok(()) = confirmed.changed() => follower.source.hold.confirm(),
            () = tokio::time::sleep(follower.patience()) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let state = follower.round();
            (follower, state)
        });
        let state = match looked.await {
            Ok((back, state)) => {
                follower = back;
                state
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down.
            Err(_) => return,
        };
        if let Some(state) = state {
            log_new(&sender.borrow(), &state);
            sender.send_replace(Arc::new(state));
        }
    }
}

/// A source and the watches on its directories.
struct Follower {
    source: FileSource,
    pending: Arc<Pending>,
    /// None when the kernel grants no watches at all.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
    /// Whether some directory could not be watched.
    unwatched: bool,
    /// Directories whose trouble was told.
    complained: BTreeSet<PathBuf>,
}

impl Follower {
    fn new(source: FileSource) -> Self {
        let pending = Arc::new(Pending::default());
        let ears = pending.clone();
        let watcher = match notify::recommended_watcher(move |event| ears.hear(event)) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                warn!(source = source.name(), %error, "no file events; looking every second instead");
                None
            }
        };
        Follower {
            source,
            pending,
            watcher,
            watched: BTreeMap::new(),
            unwatched: false,
            complained: BTreeSet::new(),
        }
    }

    /// How long to wait for an event.
    fn patience(&self) -> Duration {
        if !self.pending.being_written().is_empty() {
            WRITING
        } else if self.source.hold.is_holding() {
            self.source.hold.wait.min(SAFETY)
        } else if self.watcher.is_none() || self.unwatched || self.source.is_blind() {
            BLIND
        } else {
            SAFETY
        }
    }

    /// Looks at the files until no new directory appears; the new state, if anything changed. Blocks on the disk.
    fn round(&mut self) -> Option<SourceState> {
        let mut changed = false;
        for _ in 0..ROUNDS_MAX {
            let look = self.source.look(&self.pending.being_written());
            // Somebody may have begun to write while we read; what was read then is not to be trusted.
            self.source.take_back(&self.pending.being_written());
            changed |= look.changed;
            if !self.watch_all(&look.found) {
                break;
            }
        }
        changed.then(|| self.source.state())
    }

    /// Watches the directories found, and says whether one is new: files may have come to it unheard.
    fn watch_all(&mut self, found: &Found) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let stale = |path: &PathBuf, identity: &Identity| found.directories.get(path) != Some(identity);
        let gone: Vec<PathBuf> =
            self.watched.iter().filter(|(path, id)| stale(path, id)).map(|(path, _)| path.clone()).collect();
        for path in gone {
            // The kernel has dropped the watch of a deleted directory already; that is no error.
            let _ = watcher.unwatch(&path);
            self.watched.remove(&path);
        }
        self.unwatched = false;
        let mut new = false;
        for (path, identity) in &found.directories {
            if self.watched.contains_key(path) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), *identity);
                    new = true;
                }
                Err(error) => {
                    if self.complained.insert(path.clone()) {
                        warn!(directory = %path.display(), %error, "cannot watch; looking every second instead");
                    }
                    self.unwatched = true;
                }
            }
        }
        new
    }
}

/// Logs what is wrong now and was not before, and what is mended.
fn log_new(before: &SourceState, now: &SourceState) {
    let news = |now: &[SourceError], before: &[SourceError]| -> Vec<SourceError> {
        now.iter().filter(|problem| !before.contains(problem)).cloned().collect()
    };
    for problem in news(&now.status.errors, &before.status.errors) {
        let SourceError { file, line, object, field, message } = problem;
        warn!(source = now.status.name, file, line, object, field, "{message}");
    }
    for problem in news(&now.warnings, &before.warnings) {
        let SourceError { file, line, object, field, message } = problem;
        warn!(source = now.status.name, file, line, object, field, "{message}");
    }
    for held in now.status.held.iter().filter(|held| !before.status.held.contains(held)) {
        warn!(
            source = now.status.name,
            "held: {held}; `tidegate confirm {}` believes it now", now.status.name
        );
    }
    if now.status.errors.is_empty() && !before.status.errors.is_empty() {
        info!(source = now.status.name, "every manifest can be read again");
    }
}
