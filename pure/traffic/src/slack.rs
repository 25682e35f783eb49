//! When memory that was freed is worth giving back to the kernel: seldom where it brings nothing. Never knows how.

use std::time::Duration;

/// Below this there is nothing to gain.
const WORTH_BYTES: u64 = 48 << 20;

/// Between two times that were worth it.
const PAUSE: Duration = Duration::from_secs(10);

/// Between two times that were not, at most.
const PAUSE_MAX: Duration = Duration::from_secs(320);

/// When it was done last, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Slack {
    next: Duration,
    pause: Duration,
    /// What was resident at the last one.
    left_bytes: u64,
}

impl Default for Slack {
    /// Not done yet.
    fn default() -> Slack {
        Slack { next: Duration::ZERO, pause: PAUSE, left_bytes: 0 }
    }
}

impl Slack {
    /// Whether it is to be done now; the answer is no for a while then. How much the last one brought is seen now. `now`: any
    /// clock that does not go back.
    pub fn is_due(&mut self, now: Duration, resident_bytes: u64) -> bool {
        if now < self.next || resident_bytes < WORTH_BYTES {
            return false;
        }
        let moved = resident_bytes.abs_diff(self.left_bytes) > self.left_bytes / 8;
        self.pause = if moved { PAUSE } else { (self.pause * 2).min(PAUSE_MAX) };
        (self.next, self.left_bytes) = (now + self.pause, resident_bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small processes are left alone; while memory moves it is done every ten seconds, and ever more seldom while it stays.
    #[test]
    fn seldom_where_it_brings_nothing() {
        let mut slack = Slack::default();
        let ms = Duration::from_millis;
        assert!(!slack.is_due(ms(1), WORTH_BYTES - 1));
        let mut times = |from: u64, bytes: u64| {
            (from..from + 100_000).step_by(500).filter(|&now| slack.is_due(ms(now), bytes)).count()
        };
        assert_eq!(times(0, WORTH_BYTES), 4, "after 0, 10, 30 and 70 s");
        assert_eq!(times(1_000_000, WORTH_BYTES * 2), 4);
        assert!(slack.is_due(ms(3_000_000), WORTH_BYTES) && !slack.is_due(ms(3_009_999), WORTH_BYTES));
    }
}
