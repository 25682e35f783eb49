//! What the kernel says about the directories: that something changed, and which files are being written right now.
//!
//! A file that is written in place is read when it is closed, never half written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::Event;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use tokio::sync::Notify;

/// A file still open for writing is read nevertheless once nobody has written to it for this long.
const QUIET: Duration = Duration::from_secs(2);
/// How many files being written are told apart; beyond it they are read as they are, and again when they are closed.
const WRITTEN_MAX: usize = 10_000;

/// What was heard since the last look. Filled by the thread of `notify`, which it never blocks for long.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    written: Mutex<BTreeMap<PathBuf, Instant>>,
    /// Wakes the task when there is something to look at.
    pub wake: Notify,
}

impl Pending {
    /// Takes an event in. Errors and lost events are a reason to look, like any other.
    pub fn hear(&self, event: notify::Result<Event>) {
        let Ok(event) = event else { return self.wake.notify_one() };
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) if !event.need_rescan() => {
                let mut written = self.lock();
                for path in event.paths {
                    if written.len() < WRITTEN_MAX || written.contains_key(&path) {
                        written.insert(path, Instant::now());
                    }
                }
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => self.finished(&event),
            EventKind::Access(_) => {}
            EventKind::Create(_) => self.wake.notify_one(),
            _ => self.finished(&event),
        }
    }

    fn finished(&self, event: &Event) {
        let mut written = self.lock();
        for path in &event.paths {
            written.remove(path);
        }
        drop(written);
        self.wake.notify_one();
    }

    /// The files that somebody is writing to.
    pub fn being_written(&self) -> BTreeSet<PathBuf> {
        let mut written = self.lock();
        written.retain(|_, last| last.elapsed() < QUIET);
        written.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Instant>> {
        // The map is whole between any two of its calls, so a panic elsewhere spoils nothing.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
