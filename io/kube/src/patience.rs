//! How long to wait for what: times between tries, and between looks.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The times of a source. Tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between looks at the kubeconfig and at the kinds that the cluster serves.
    pub look: Duration,
    /// The first wait after a failure; it doubles with each that follows.
    pub retry_first: Duration,
    /// The longest wait after a failure.
    pub retry_most: Duration,
    /// How long the server is asked to keep a watch open; it is resumed then, and [`Pace::grace`] later also where the
    /// server has not ended it.
    pub watch: Duration,
    /// How long a watch may say nothing before it is resumed by a new connection. Bookmarks are asked for, and an API server
    /// sends one about every minute. A server that is away without a sign is told of [`Pace::grace`] later.
    pub silence: Duration,
    /// How long an answer may take to begin, and a page of a list to come whole.
    pub grace: Duration,
    /// Between the two looks that must agree before a kind goes from many objects to none.
    pub emptied: Duration,
    /// How long after the first list that was had a kind that may not be read counts as empty.
    pub forbidden: Duration,
    /// How long the API server may take after a start before what was kept on disk is in force.
    pub disk: Duration,
    /// How long changes are gathered before they are written to disk.
    pub save: Duration,
    /// Between two states that are published: the first of many changes goes at once, the others together.
    pub publish: Duration,
    /// Between two lines of the log about a cluster that is away.
    pub complain: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            look: Duration::from_secs(15),
            retry_first: Duration::from_millis(250),
            retry_most: Duration::from_secs(10),
            watch: Duration::from_secs(240),
            silence: Duration::from_secs(90),
            grace: Duration::from_secs(30),
            emptied: Duration::from_secs(60),
            forbidden: Duration::from_secs(5),
            disk: Duration::from_secs(1),
            save: Duration::from_secs(5),
            publish: Duration::from_millis(20),
            complain: Duration::from_secs(60),
        }
    }
}

/// Waits that double, each cut short by chance, so that many gateways do not come back in one moment.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    pace: Pace,
    failures: u32,
}

impl Backoff {
    pub fn new(pace: Pace) -> Self {
        Backoff { pace, failures: 0 }
    }

    /// What was tried has worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one failure more: between half and all of the time for so many.
    pub fn next(&mut self) -> Duration {
        let whole =
            self.pace.retry_first.saturating_mul(1 << self.failures.min(16)).min(self.pace.retry_most);
        self.failures = self.failures.saturating_add(1);
        cut_short(whole)
    }
}

/// A number by chance.
pub(crate) fn chance() -> u64 {
    // Keys of hashers differ from call to call, which is chance enough for waits and names.
    RandomState::new().build_hasher().finish()
}

/// Between half and all of a time.
pub(crate) fn cut_short(whole: Duration) -> Duration {
    let share = (chance() >> 32) as f64 / f64::from(u32::MAX);
    whole.mul_f64(0.5 + 0.5 * share.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits grow to the longest and no further, and begin anew after success.
    #[test]
    fn doubles_and_resets() {
        let pace = Pace::default();
        let mut backoff = Backoff::new(pace);
        let mut whole = pace.retry_first;
        for _ in 0..40 {
            let wait = backoff.next();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(pace.retry_most);
        }
        backoff.reset();
        assert!(backoff.next() <= pace.retry_first);
    }
}
