//! What is known of one endpoint: what the process knows ([`Member`]), and what a worker counts ([`Lane`]).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::ejection::Streaks;
use super::ewma::{PeakEwma, nanos};

/// An endpoint as the whole process knows it; it outlives changes of the endpoint list. Written under the lock of
/// [`Shared`](super::Shared), except for the streaks; read by anyone.
#[derive(Debug, Default)]
pub struct Member {
    /// Whether the health check found it unhealthy.
    pub unhealthy: AtomicBool,
    /// Whether it is left out by hand.
    pub drained: AtomicBool,
    /// Failures in a row.
    pub streaks: Streaks,
    /// Ejections that still lengthen the next.
    pub ejections: AtomicU32,
    /// 0: not ejected.
    ejected_until: AtomicU64,
    /// When it began to start slowly, plus 1; 0: it has its full share.
    slow_since: AtomicU64,
    lanes: Mutex<Vec<Weak<Lane>>>,
}

impl Member {
    /// An endpoint that begins to start slowly now.
    pub fn fresh(now: Duration) -> Member {
        let member = Member::default();
        member.start_slowly(now);
        member
    }

    /// From now on its share grows again from the least.
    pub fn start_slowly(&self, now: Duration) {
        self.slow_since.store(nanos(now).saturating_add(1), Relaxed);
    }

    /// When it began to start slowly, if ever.
    pub fn slow_since(&self) -> Option<Duration> {
        self.slow_since.load(Relaxed).checked_sub(1).map(Duration::from_nanos)
    }

    /// Until when it is ejected; the sweep after that brings it back.
    pub fn ejected_until(&self) -> Option<Duration> {
        match self.ejected_until.load(Relaxed) {
            0 => None,
            until => Some(Duration::from_nanos(until)),
        }
    }

    /// Puts it out, or brings it back.
    pub fn set_ejected(&self, until: Option<Duration>) {
        self.streaks.clear();
        self.ejected_until.store(until.map_or(0, |until| nanos(until).max(1)), Relaxed);
    }

    /// Whether neither the health check nor its endings speak against it.
    pub fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Relaxed) && self.ejected_until.load(Relaxed) == 0
    }

    /// A place for a worker to count at.
    pub fn lane(&self) -> Arc<Lane> {
        let lane = Arc::new(Lane::default());
        let mut lanes = self.lanes();
        lanes.retain(|lane| lane.strong_count() > 0);
        lanes.push(Arc::downgrade(&lane));
        lane
    }

    /// Requests under way, in all workers.
    pub fn in_flight(&self) -> u32 {
        self.lanes().iter().filter_map(Weak::upgrade).map(|lane| lane.in_flight()).sum()
    }

    /// The mean of the workers' latencies.
    pub fn latency(&self, now: Duration) -> Option<Duration> {
        let latencies: Vec<f64> = self
            .lanes()
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|lane| lane.latency.nanos(now))
            .collect();
        let mean = latencies.iter().sum::<f64>() / latencies.len() as f64;
        (!latencies.is_empty()).then(|| Duration::from_nanos(mean as u64))
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Weak<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one worker counts of one endpoint. Only that worker writes, so a plain load and store is enough.
#[derive(Debug, Default)]
pub struct Lane {
    in_flight: AtomicU32,
    /// Recent latency.
    pub latency: PeakEwma,
}

impl Lane {
    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// One more.
    pub fn enter(&self) {
        self.in_flight.store(self.in_flight() + 1, Relaxed);
    }

    /// One less.
    pub fn leave(&self) {
        self.in_flight.store(self.in_flight().saturating_sub(1), Relaxed);
    }
}
