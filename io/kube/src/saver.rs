//! The saver: writes the latest snapshot to disk, some time after it changed, and never for more than a small part of the
//! time. What comes meanwhile is written with the next.

use std::sync::Arc;
use std::time::Duration;

use tidegate_objects::Snapshot;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::patience::Pace;
use crate::snapshot_file::SnapshotFile;

/// A write that took so long is followed by so many times of it without one.
const REST: u32 = 100;
/// The longest time without a write where something has changed.
const REST_MAX: Duration = Duration::from_secs(600);

/// Runs until the keeper is gone. It may be ended anywhere: a write that has begun ends by itself, and is whole or nothing.
pub(crate) async fn save(
    source: Arc<str>,
    file: SnapshotFile,
    mut snapshots: watch::Receiver<Snapshot>,
    pace: Pace,
) {
    let mut failing = false;
    while snapshots.changed().await.is_ok() {
        sleep(pace.save).await;
        let objects = snapshots.borrow_and_update().clone();
        let began = Instant::now();
        let file = file.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&objects)).await;
        match written {
            Ok(Ok(())) if failing => {
                failing = false;
                info!(source = &*source, "the snapshot is on disk again");
            }
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                if !failing {
                    warn!(source = &*source, "{why}; a start while the API server is away would wait for it");
                }
                failing = true;
            }
            // The runtime is shutting down.
            Err(_) => return,
        }
        sleep((began.elapsed() * REST).min(REST_MAX)).await;
    }
}
