//! The recent latency of an endpoint as one worker saw it: an average that jumps up at once and sinks slowly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// After so long without news a latency has sunk to 37 %. Long enough that a slow endpoint is seldom tried again, short
/// enough that one that recovers gets its share within a minute.
const SINKS_IN: Duration = Duration::from_secs(10);

/// Latency that a failure counts as, at least: failing fast must not attract.
pub const FAILURE: Duration = Duration::from_secs(1);

/// Written by one worker, read by anyone. A reader may see a latency with the time of the next: it is for status only.
#[derive(Debug)]
pub struct PeakEwma {
    /// Nanoseconds as f64 bits; negative: nothing seen yet.
    latency: AtomicU64,
    /// When it was that, nanoseconds.
    at: AtomicU64,
}

impl Default for PeakEwma {
    fn default() -> Self {
        PeakEwma { latency: AtomicU64::new((-1f64).to_bits()), at: AtomicU64::new(0) }
    }
}

impl PeakEwma {
    /// Takes in a latency.
    pub fn observe(&self, latency: Duration, now: Duration) {
        let latency = latency.as_nanos() as f64;
        let average = match (self.stored(), self.kept(now)) {
            (Some(before), kept) if latency < before => before * kept + latency * (1.0 - kept),
            _ => latency,
        };
        self.latency.store(average.to_bits(), Relaxed);
        self.at.store(nanos(now), Relaxed);
    }

    /// The average in nanoseconds, sunk with the time that passed; none: nothing seen yet.
    pub fn nanos(&self, now: Duration) -> Option<f64> {
        self.stored().map(|latency| latency * self.kept(now))
    }

    fn stored(&self) -> Option<f64> {
        let latency = f64::from_bits(self.latency.load(Relaxed));
        (latency >= 0.0).then_some(latency)
    }

    /// What is left of the old value, 0 to 1.
    fn kept(&self, now: Duration) -> f64 {
        let passed = nanos(now).saturating_sub(self.at.load(Relaxed));
        (-(passed as f64) / SINKS_IN.as_nanos() as f64).exp()
    }
}

/// Whole nanoseconds; 584 years fit.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(average: Option<f64>, millis: f64) {
        let found = average.unwrap() / 1e6;
        assert!((found - millis).abs() < 0.01 * millis, "{found} ms, expected {millis} ms");
    }

    /// A peak counts at once; news that is better sinks in with time, and silence sinks too.
    #[test]
    fn jumps_up_and_sinks() {
        let (secs, millis) = (Duration::from_secs, Duration::from_millis);
        let ewma = PeakEwma::default();
        assert_eq!(ewma.nanos(secs(1)), None);
        ewma.observe(millis(10), secs(1));
        near(ewma.nanos(secs(1)), 10.0);
        ewma.observe(millis(100), secs(1));
        near(ewma.nanos(secs(1)), 100.0);
        ewma.observe(millis(10), secs(11));
        near(ewma.nanos(secs(11)), 10.0 + 90.0 * (-1f64).exp());
        near(ewma.nanos(secs(21)), (10.0 + 90.0 * (-1f64).exp()) * (-1f64).exp());
        ewma.observe(millis(1), secs(3));
        assert!(ewma.nanos(secs(3)).unwrap() > 1e6, "time that goes back changes little and does not panic");
    }
}
