//! Counts what a peer does against the budgets of `Limits`. Never ends a connection itself: it says that one must.

use crate::error::Flood;
use crate::limits::{Budget, Limits};
use std::time::Duration;

/// One budget's level, in thousandths of one occurrence.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    used_milli: u32,
    at_ms: u64,
    work: u32,
}

impl Bucket {
    /// Whether one more fits. `work` is the ever-growing (wrapping) count of what refills this bucket.
    fn spend(&mut self, budget: Budget, now_ms: u64, work: u32) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.at_ms);
        let by_time = elapsed_ms.saturating_mul(budget.per_sec.into());
        let by_work = u64::from(work.wrapping_sub(self.work)) * 1000;
        let gained = u32::try_from(by_time.saturating_add(by_work)).unwrap_or(u32::MAX);
        self.at_ms = now_ms.max(self.at_ms);
        self.work = work;
        self.used_milli = self.used_milli.saturating_sub(gained).saturating_add(1000);
        self.used_milli <= budget.burst.saturating_mul(1000)
    }
}

/// All budgets of one connection.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    now_ms: u64,
    /// Useful frames: heads, DATA with content, in either direction.
    frames: u32,
    /// DATA frames sent that no window cut short, twice each.
    updates: u32,
    /// Streams that ended as they should.
    completed: u32,
    resets: Bucket,
    refused: Bucket,
    header_lists: Bucket,
    empty_headers: Bucket,
    empty_data: Bucket,
    tiny_data: Bucket,
    /// Resets of both kinds, for good.
    reset_count: u32,
    pings: Bucket,
    settings: Bucket,
    priorities: Bucket,
    window_updates: Bucket,
    ignored: Bucket,
}

impl Floods {
    /// The time of what is counted next.
    pub fn set_now(&mut self, now: Duration) {
        self.now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    }

    /// A useful frame came or went.
    pub fn useful_frame(&mut self) {
        self.frames = self.frames.wrapping_add(1);
    }

    /// A DATA frame was sent whole: the peer may answer it with two window updates.
    pub fn data_sent(&mut self) {
        self.frames = self.frames.wrapping_add(1);
        self.updates = self.updates.wrapping_add(2);
    }

    /// A stream ended as it should.
    pub fn completed(&mut self) {
        self.completed = self.completed.wrapping_add(1);
    }

    /// Streams that the peer reset, or made us reset.
    pub fn resets(&self) -> u32 {
        self.reset_count
    }

    /// Counts one occurrence; an error is a budget used up.
    pub fn spend(&mut self, flood: Flood, limits: &Limits) -> Result<(), Flood> {
        let now = self.now_ms;
        let fits = match flood {
            Flood::RapidReset | Flood::ProvokedReset => {
                self.reset_count = self.reset_count.saturating_add(1);
                self.resets.spend(limits.resets, now, self.completed)
            }
            Flood::Refused => self.refused.spend(limits.refused, now, self.completed),
            Flood::HeaderLists => self.header_lists.spend(limits.header_lists, now, 0),
            Flood::EmptyHeaders => self.empty_headers.spend(limits.empty_headers, now, 0),
            Flood::EmptyData => self.empty_data.spend(limits.empty_data, now, 0),
            Flood::TinyData => self.tiny_data.spend(limits.tiny_data, now, 0),
            Flood::Ping => self.pings.spend(limits.pings, now, self.frames),
            Flood::Settings => self.settings.spend(limits.settings, now, 0),
            Flood::Priority => self.priorities.spend(limits.priorities, now, self.frames),
            Flood::WindowUpdate => self.window_updates.spend(limits.window_updates, now, self.updates),
            Flood::Ignored => self.ignored.spend(limits.ignored, now, self.frames),
            Flood::Continuation | Flood::HeaderBytes => false,
        };
        if fits { Ok(()) } else { Err(flood) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget allows its burst, then what time and work give back, and never more than its burst.
    #[test]
    fn budgets_refill_by_time_and_by_work() {
        let limits = Limits { resets: Budget { burst: 3, per_sec: 2 }, ..Limits::default() };
        let mut floods = Floods::default();
        let spend = |floods: &mut Floods| floods.spend(Flood::RapidReset, &limits).is_ok();
        assert_eq!([(); 4].map(|()| spend(&mut floods)), [true, true, true, false]);
        floods.set_now(Duration::from_secs(1));
        assert_eq!([(); 2].map(|()| spend(&mut floods)), [true, false]);
        floods.completed();
        floods.completed();
        assert_eq!([(); 2].map(|()| spend(&mut floods)), [true, false]);
        floods.set_now(Duration::from_secs(1_000_000));
        assert_eq!([(); 4].map(|()| spend(&mut floods)), [true, true, true, false]);
    }
}
