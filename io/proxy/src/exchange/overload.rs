//! What gives when memory runs short: first connections end with their request, then HTTP/2 streams are refused, then all
//! requests are. What was begun is finished.
//!
//! The process looks at itself twice a second, by whichever worker comes first. A step is left again only when memory has fallen well below where it began.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;

use crate::limits::Limits;
use crate::trim::Trim;
use crate::upstream::since_start;

/// From so many of a hundred parts of the ceiling on each step holds.
const BEGINS_PERCENT: [u64; 3] = [85, 92, 97];

/// A step ends so many parts below.
const SLACK_PERCENT: u64 = 4;

/// Between two looks of the process, whichever worker comes first: a little less than between two ticks that ask for one, which
/// are late by turns.
const LOOK: Duration = Duration::from_millis(400);

/// How short memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Not at all.
    Calm,
    /// Connections end with the request at hand.
    EndKeepAlive,
    /// New streams of HTTP/2 connections are refused, too.
    RefuseStreams,
    /// New requests are, with 503 and `Retry-After`.
    RefuseRequests,
}

const STEPS: [Step; 4] = [Step::Calm, Step::EndKeepAlive, Step::RefuseStreams, Step::RefuseRequests];

/// The ceiling of the process, and where it stands below it.
pub struct Overload {
    ceiling: Option<u64>,
    step: AtomicU8,
    /// When the next look is due, in milliseconds since the start.
    due_ms: AtomicU64,
    gauge: Gauge,
    trim: Trim,
}

impl Overload {
    /// Below the limit that is set, else nine tenths of that of the cgroup, else half of the machine's memory.
    pub fn new(limits: &Limits, gauge: Gauge) -> Overload {
        let ceiling = limits
            .memory_bytes_max
            .or_else(|| cgroup_bytes_max().map(|max| max / 10 * 9))
            .or_else(|| machine_bytes().map(|all| all / 2));
        let (step, due_ms, trim) = Default::default();
        Overload { ceiling, step, due_ms, gauge, trim }
    }

    /// How short memory is.
    pub fn step(&self) -> Step {
        STEPS[usize::from(self.step.load(Ordering::Relaxed)).min(3)]
    }

    /// Looks at the process, unless another worker just did.
    pub fn look(&self) {
        if !self.is_due(since_start(Instant::now())) {
            return;
        }
        let Some(used) = resident_bytes() else { return };
        self.trim.look(since_start(Instant::now()), used);
        if let Some(ceiling) = self.ceiling {
            self.judge(used, ceiling);
        }
    }

    /// Whether it is time for a look, which is then the asking worker's.
    fn is_due(&self, now: Duration) -> bool {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (due, next) = (self.due_ms.load(Ordering::Relaxed), millis(now + LOOK));
        millis(now) >= due
            && self.due_ms.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn judge(&self, used: u64, ceiling: u64) {
        let before = self.step.load(Ordering::Relaxed);
        let step = after(before, used.saturating_mul(100) / ceiling.max(1));
        if step != before {
            self.step.store(step, Ordering::Relaxed);
            self.gauge.set(step.into());
            tracing::warn!(used, ceiling, step = ?STEPS[usize::from(step)], "memory of the process");
        }
    }
}

/// The step after `before`, with so many of a hundred parts in use.
fn after(before: u8, percent: u64) -> u8 {
    let holds = |index: usize| {
        let begins = BEGINS_PERCENT[index];
        let held = usize::from(before) > index;
        percent >= if held { begins - SLACK_PERCENT } else { begins }
    };
    (0..3).rev().find(|&index| holds(index)).map_or(0, |index| index as u8 + 1)
}

/// Memory of the process that is resident and its own: the second field of `/proc/self/statm` less the third, in pages.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = text.split(' ').skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()??, fields.next()??);
    Some(resident.saturating_sub(shared) * page_bytes())
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf only reads a value of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// The limit of the own cgroup (version 2), if there is one.
fn cgroup_bytes_max() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let max = std::fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok()?;
    max.trim().parse().ok()
}

/// Memory of the machine.
fn machine_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine without a limit has one all the same.
    #[test]
    fn the_machine_is_a_limit() {
        let (used, all) = (resident_bytes().unwrap(), machine_bytes().unwrap());
        assert!(used < all, "{used} of {all}");
    }

    /// Of all workers one looks, twice a second.
    #[test]
    fn one_worker_looks() {
        let overload = Overload::new(&Limits::default(), Gauge::default());
        let looks = |millis: u64| (0..4).filter(|_| overload.is_due(Duration::from_millis(millis))).count();
        assert_eq!([0, 10, 390, 500, 899, 1000].map(looks), [1, 0, 0, 1, 0, 1]);
    }

    /// Steps begin where they say, and end only well below.
    #[test]
    fn steps() {
        let mut step = 0;
        for (percent, expected) in [
            (84, 0),
            (85, 1),
            (82, 1),
            (81, 1),
            (80, 0),
            (98, 3),
            (94, 3),
            (92, 2),
            (89, 2),
            (87, 1),
            (0, 0),
            (92, 2),
        ] {
            step = after(step, percent);
            assert_eq!(step, expected, "{percent}");
        }
    }

    /// A process knows what it holds, and a ceiling far below it is seen.
    #[test]
    fn looks() {
        assert!(resident_bytes().unwrap() > 100_000);
        let gauge = Gauge::default();
        let limits = Limits { memory_bytes_max: Some(1), ..Limits::default() };
        let overload = Overload::new(&limits, gauge.clone());
        assert_eq!(overload.step(), Step::Calm);
        overload.look();
        assert_eq!((overload.step(), gauge.get()), (Step::RefuseRequests, 3));
    }
}
