//! Gives memory that was freed back to the kernel. The allocator keeps what a flood or a busy hour made it fetch; it is asked
//! to let go now and then, by a thread of its own, because it may hold its locks for milliseconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;

/// Below this there is nothing to gain.
const WORTH_BYTES: u64 = 48 << 20;

/// Between two times that were worth it.
const PAUSE: Duration = Duration::from_secs(10);

/// Between two times that were not, at most.
const PAUSE_MAX: Duration = Duration::from_secs(320);

/// When it was done last, and what came of it.
pub struct Trim {
    /// The time of the next one, in milliseconds.
    next_ms: AtomicU64,
    pause_ms: AtomicU64,
    /// What was resident after the last one.
    left_bytes: AtomicU64,
}

impl Trim {
    /// Not done yet.
    pub fn new() -> Trim {
        let pause_ms = AtomicU64::new(millis(PAUSE));
        Trim { next_ms: AtomicU64::new(0), pause_ms, left_bytes: AtomicU64::new(0) }
    }

    /// Looks whether it is time; any thread may, and one of them begins. `now`: since any moment.
    pub fn look(&self, now: Duration, resident_bytes: u64) {
        if self.is_due(millis(now), resident_bytes) {
            // Without a thread it waits for the next time.
            let _ = Builder::new().name("trim".into()).spawn(release);
        }
    }

    /// Whether the caller is to do it. How much the last one brought is seen now.
    fn is_due(&self, now_ms: u64, resident_bytes: u64) -> bool {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        if now_ms < next_ms || resident_bytes < WORTH_BYTES {
            return false;
        }
        let before = self.left_bytes.load(Ordering::Relaxed);
        let moved = resident_bytes.abs_diff(before) > before / 8;
        let pause_ms = if moved { millis(PAUSE) } else { self.pause_ms.load(Ordering::Relaxed) * 2 };
        let pause_ms = pause_ms.min(millis(PAUSE_MAX));
        let won =
            self.next_ms.compare_exchange(next_ms, now_ms + pause_ms, Ordering::Relaxed, Ordering::Relaxed);
        if won.is_ok() {
            self.pause_ms.store(pause_ms, Ordering::Relaxed);
            self.left_bytes.store(resident_bytes, Ordering::Relaxed);
        }
        won.is_ok()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(target_env = "gnu")]
fn release() {
    // SAFETY: malloc_trim takes the allocator's own locks and touches only memory that nobody has; any thread may call it.
    unsafe { libc::malloc_trim(0) };
}

/// Other libraries give back what they do on their own.
#[cfg(not(target_env = "gnu"))]
fn release() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small processes are left alone; while memory moves it is done every ten seconds, and ever more seldom while it stays.
    #[test]
    fn seldom_where_it_brings_nothing() {
        let trim = Trim::new();
        assert!(!trim.is_due(1, WORTH_BYTES - 1));
        let times = |from_ms: u64, bytes: u64| {
            (from_ms..from_ms + 100_000).step_by(500).filter(|&now| trim.is_due(now, bytes)).count()
        };
        assert_eq!(times(0, WORTH_BYTES), 4, "after 0, 10, 30 and 70 s");
        assert_eq!(times(1_000_000, WORTH_BYTES * 2), 4);
        assert!(trim.is_due(3_000_000, WORTH_BYTES) && !trim.is_due(3_009_999, WORTH_BYTES));
    }

    /// The allocator does as it is asked.
    #[test]
    fn freed_memory_is_given_back() {
        let held: Vec<Vec<u8>> = (0..20_000).map(|_| vec![7; 4000]).collect();
        drop(held);
        release();
    }
}
