//! How much of a backend's traffic may be repeats, in the whole process.
//!
//! Over the last ten seconds: a part of the requests, plus a few a second. A request is counted by its worker in a tally
//! of its own (a load and a store); only a repeat takes the lock and adds the tallies up. A repeat expires no earlier
//! than the requests that pay for it, so the part holds over any time, not only over ten seconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Of so many requests in a hundred a backend may get repeats, where nothing is said.
pub const BUDGET_PERCENT: u32 = 20;

/// So many seconds are looked back, the current one included.
pub const WINDOW_SECS: u64 = 10;

const BUCKETS: usize = WINDOW_SECS as usize;

/// The repeats of a backend.
#[derive(Debug, Default)]
pub struct RetryBudget(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    tallies: Vec<Arc<Tally>>,
    repeats: Tally,
}

impl RetryBudget {
    /// A place for a worker to count at. It is kept as long as the budget: what was asked for stays asked for.
    pub(super) fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A worker that is gone leaves its count behind for as long as anyone may need it, and no longer.
        if books.tallies.len() >= TALLIES_KEPT {
            books.tallies.retain(|tally| Arc::strong_count(tally) > 1);
        }
        books.tallies.push(tally.clone());
        tally
    }

    /// Whether one more repeat is within `percent` of the requests plus `min_per_sec` a second; if so it is counted.
    pub fn take(&self, percent: Option<u32>, min_per_sec: u32, now: Duration) -> bool {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests: u64 = books.tallies.iter().map(|tally| tally.sum(now)).sum();
        let part = u64::from(percent.unwrap_or(BUDGET_PERCENT)) * requests;
        let allowed = part + u64::from(min_per_sec) * WINDOW_SECS * 100;
        let within = (books.repeats.sum(now) + 1) * 100 <= allowed;
        if within {
            books.repeats.count(now);
        }
        within
    }

    /// Repeats and requests of the last ten seconds.
    pub fn load(&self, now: Duration) -> (u64, u64) {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (books.repeats.sum(now), books.tallies.iter().map(|tally| tally.sum(now)).sum())
    }
}

/// Beyond so many, tallies of workers that are gone are dropped.
const TALLIES_KEPT: usize = 64;

/// Counts of the last seconds, written by one worker: second (upper half) and count (lower half), by second modulo ten.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; BUCKETS]);

impl Tally {
    /// Counts one.
    pub fn count(&self, now: Duration) {
        let second = now.as_secs() as u32;
        let bucket = &self.0[second as usize % BUCKETS];
        let before = bucket.load(Relaxed);
        let fresh = u64::from(second) << 32;
        let current = if before >> 32 == u64::from(second) { before } else { fresh };
        if current as u32 != u32::MAX {
            bucket.store(current + 1, Relaxed);
        }
    }

    fn sum(&self, now: Duration) -> u64 {
        let oldest = now.as_secs().saturating_sub(WINDOW_SECS - 1);
        let counted = |bucket: &AtomicU64| {
            let (second, count) = (bucket.load(Relaxed) >> 32, bucket.load(Relaxed) & u64::from(u32::MAX));
            if second >= oldest && second <= now.as_secs() { count } else { 0 }
        };
        self.0.iter().map(counted).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A fifth of the requests may be repeated, of all workers together; ten seconds later none.
    #[test]
    fn a_fifth() {
        let (budget, now) = (RetryBudget::default(), Duration::from_secs(100));
        let workers = [budget.tally(), budget.tally()];
        for step in 0..50 {
            workers[step % 2].count(now);
        }
        let taken = (0..50).filter(|_| budget.take(None, 0, now + Duration::from_secs(5))).count();
        assert_eq!(taken, 10);
        assert_eq!(budget.load(now + Duration::from_secs(5)), (10, 50));
        assert!(!budget.take(None, 0, now + Duration::from_secs(10)));
        assert_eq!((0..50).filter(|_| budget.take(Some(0), 2, now + Duration::from_secs(30))).count(), 20);
    }

    /// Workers that come and go do not pile up.
    #[test]
    fn bounded() {
        let budget = RetryBudget::default();
        for _ in 0..1000 {
            drop(budget.tally());
        }
        assert!(budget.0.lock().unwrap().tallies.len() <= TALLIES_KEPT);
    }

    proptest! {
        /// Whatever the history, repeats stay within the percentage of all requests plus the least for the time passed.
        #[test]
        fn never_above(
            percent in 0u32..60, least in 0u32..3,
            steps in prop::collection::vec((0u64..4000, 0u32..40, 0u32..40), 1..80),
        ) {
            let budget = RetryBudget::default();
            let tally = budget.tally();
            let start = Duration::from_secs(7);
            let (mut now, mut requests, mut repeats) = (start, 0u64, 0u64);
            for (passes, asked, repeated) in steps {
                now += Duration::from_millis(passes);
                for _ in 0..asked {
                    tally.count(now);
                    requests += 1;
                }
                for _ in 0..repeated {
                    repeats += u64::from(budget.take(Some(percent), least, now));
                }
                let window = (now - start).as_secs() + 1 + WINDOW_SECS;
                prop_assert!(repeats * 100 <= u64::from(percent) * requests + u64::from(least) * window * 100);
            }
        }
    }
}
