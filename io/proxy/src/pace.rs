//! How fast a client moves while it is the one that is waited for: who sends or takes a byte now and then, so that no wait
//! is ever too long, holds a connection for as long as it likes.
//!
//! Only waits for this one side count. A client that reads all a slow backend sends is not slow.

use std::cell::Cell;
use std::time::Duration;

use crate::timer::TICK;

/// The pace of one side of one body.
pub struct Pace {
    /// The least, in bytes per second; 0: any will do.
    least: u64,
    /// Ticks of waiting over which it is taken.
    window: Cell<u64>,
    /// Bytes and ticks of waiting in this window.
    bytes: Cell<u64>,
    ticks: Cell<u64>,
    /// The tick since which the side is waited for.
    since: Cell<Option<u64>>,
}

impl Pace {
    /// At least so many bytes per second over so much waiting. `Duration::MAX`: it is never looked at.
    pub fn new(least: u64, window: Duration) -> Pace {
        // In 64 bits: every request comes by here.
        let tick_millis = TICK.subsec_millis();
        let ticks = window.as_secs().saturating_mul(u64::from(1000 / tick_millis));
        let ticks = ticks.saturating_add(u64::from(window.subsec_millis() / tick_millis)).max(1);
        let window = if window == Duration::MAX { u64::MAX } else { ticks };
        Pace {
            least,
            window: Cell::new(window),
            bytes: Cell::new(0),
            ticks: Cell::new(0),
            since: Cell::new(None),
        }
    }

    /// From now on any pace will do.
    pub fn release(&self) {
        self.window.set(u64::MAX);
    }

    /// What came until now says nothing: the side was waiting, too.
    pub fn restart(&self, now: u64) {
        self.bytes.set(0);
        self.ticks.set(0);
        self.since.set(self.since.get().map(|_| now));
    }

    /// The side is waited for from this tick on.
    pub fn wait(&self, now: u64) {
        if self.since.get().is_none() {
            self.since.set(Some(now));
        }
    }

    /// The side moved so many bytes; whether it is too slow. `sharers`: bodies that share its connection, and so its pace.
    pub fn moved(&self, now: u64, bytes: usize, sharers: usize) -> bool {
        self.bytes.set(self.bytes.get().saturating_add(bytes as u64));
        let Some(since) = self.since.take() else { return false };
        self.ticks.set(self.ticks.get() + now.saturating_sub(since));
        if self.ticks.get() < self.window.get() {
            return false;
        }
        let (moved, millis) = (self.bytes.take(), u128::from(self.ticks.take()) * TICK.as_millis());
        u128::from(moved) * sharers.max(1) as u128 * 1000 < u128::from(self.least) * millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is waited for a whole window and moved less than it should is too slow; others are not, however long it takes.
    #[test]
    fn paces() {
        let second = 10;
        // For ten seconds, so many bytes after each second of waiting.
        let slow = |bytes: usize, sharers: usize, waits: bool| {
            let pace = Pace::new(1000, Duration::from_secs(10));
            (1..=10).any(|round| {
                if waits {
                    pace.wait((round - 1) * second);
                }
                pace.moved(round * second, bytes, sharers)
            })
        };
        assert!(slow(999, 1, true));
        assert!(!slow(1000, 1, true));
        assert!(!slow(250, 4, true), "four share a connection");
        assert!(!slow(1, 1, false), "another was waited for");
    }

    /// A window begins anew; a long wait counts whole; a released pace and one without limit are never too slow.
    #[test]
    fn windows() {
        let pace = Pace::new(10, Duration::from_secs(1));
        pace.wait(0);
        assert!(!pace.moved(10, 1000, 1));
        pace.wait(20);
        pace.wait(25);
        assert!(!pace.moved(29, 1, 1));
        pace.wait(30);
        assert!(pace.moved(31, 1, 1), "the bytes of the window before do not count");
        pace.wait(40);
        pace.restart(100);
        assert!(!pace.moved(101, 1, 1), "it waited for leave to send");
        pace.release();
        pace.wait(200);
        assert!(!pace.moved(4000, 1, 1));
        for endless in [Pace::new(10, Duration::MAX), Pace::new(0, Duration::from_secs(1))] {
            endless.wait(0);
            assert!(!endless.moved(1_000_000, 0, 1));
        }
    }
}
