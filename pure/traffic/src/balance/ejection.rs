//! How a request to an endpoint ended, and when endings in a row put it out (outlier detection).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tidegate_model::traffic::Ejection;

/// No endpoint stays out longer, unless the base time is longer still.
pub const EJECTION_MAX: Duration = Duration::from_secs(300);

/// How a request to an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a status below 500.
    Served,
    /// With a 5xx that is the endpoint's own.
    ServerError,
    /// With 502, 503 or 504.
    GatewayError,
    /// It could not be connected to, or broke or fell silent before a response.
    LocalFailure,
    /// The client went first: this says nothing about the endpoint.
    Abandoned,
}

impl Ended {
    /// With a response of this status.
    pub fn with_status(status: u16) -> Ended {
        match status {
            502..=504 => Ended::GatewayError,
            500.. => Ended::ServerError,
            _ => Ended::Served,
        }
    }

    /// Whether the endpoint could not be reached or could not reach what it needs.
    pub fn is_failure(self) -> bool {
        matches!(self, Ended::GatewayError | Ended::LocalFailure)
    }
}

/// Failures in a row of one endpoint, over all workers.
#[derive(Debug, Default)]
pub struct Streaks {
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
}

impl Streaks {
    /// Counts an ending; true if the endpoint should be put out. A limit that is reached starts from 0 again, so an
    /// endpoint that may not be put out now is asked for again only after as many failures.
    ///
    /// | | 5xx | gateway errors | local failures |
    /// |---|---|---|---|
    /// | Served | 0 | 0 | 0 |
    /// | ServerError | +1 | 0 | 0 |
    /// | GatewayError | +1 | +1 | 0 |
    /// | LocalFailure | +1 | +1 | +1 |
    /// | Abandoned | | | |
    pub fn count(&self, ended: Ended, limits: &Ejection) -> bool {
        let counts = [
            (&self.server_errors, limits.consecutive_5xx, ended != Ended::Served),
            (&self.gateway_errors, limits.consecutive_gateway_errors, ended.is_failure()),
            (&self.local_failures, limits.consecutive_local_failures, ended == Ended::LocalFailure),
        ];
        if ended == Ended::Abandoned {
            return false;
        }
        counts.into_iter().fold(false, |reached, (count, limit, failed)| step(count, limit, failed) | reached)
    }

    /// Forgets all.
    pub fn clear(&self) {
        for count in [&self.server_errors, &self.gateway_errors, &self.local_failures] {
            count.store(0, Relaxed);
        }
    }
}

fn step(count: &AtomicU32, limit: u32, failed: bool) -> bool {
    if limit == 0 {
        return false;
    }
    if !failed {
        // Only a change is written: healthy endpoints would else pass this line between all cores.
        if count.load(Relaxed) != 0 {
            count.store(0, Relaxed);
        }
        return false;
    }
    let reached = count.fetch_add(1, Relaxed) + 1 >= limit;
    if reached {
        count.store(0, Relaxed);
    }
    reached
}

/// How long the `times`th ejection lasts.
pub fn lasts(limits: &Ejection, times: u32) -> Duration {
    limits.base_time.saturating_mul(times).min(EJECTION_MAX.max(limits.base_time))
}

/// Whether one more of `total` endpoints may be put out, when `out` are already. One always may.
pub fn may_eject(limits: &Ejection, out: usize, total: usize) -> bool {
    out == 0 || (out as u64 + 1) * 100 <= u64::from(limits.max_percent) * total as u64
}

#[cfg(test)]
mod tests {
    use super::Ended::*;
    use super::*;

    pub fn limits(server: u32, gateway: u32, local: u32) -> Ejection {
        Ejection {
            consecutive_5xx: server,
            consecutive_gateway_errors: gateway,
            consecutive_local_failures: local,
            base_time: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            max_percent: 10,
        }
    }

    /// Which ending counts towards which limit, which one starts over, and that 0 counts nothing.
    #[test]
    fn transitions() {
        let table: [(&str, Ejection, &[Ended], bool); 14] = [
            ("any 5xx", limits(2, 0, 0), &[ServerError, ServerError], true),
            ("a gateway error is a 5xx", limits(2, 0, 0), &[ServerError, GatewayError], true),
            ("so is a local failure", limits(2, 0, 0), &[LocalFailure, GatewayError], true),
            ("too few", limits(3, 0, 0), &[ServerError, ServerError], false),
            ("a success starts over", limits(2, 0, 0), &[ServerError, Served, ServerError], false),
            ("500 is no gateway error", limits(0, 2, 0), &[ServerError, ServerError], false),
            ("gateway errors", limits(0, 2, 0), &[GatewayError, GatewayError], true),
            ("a local failure is one", limits(0, 2, 0), &[GatewayError, LocalFailure], true),
            ("500 ends their row", limits(0, 2, 0), &[GatewayError, ServerError, GatewayError], false),
            ("local failures", limits(0, 0, 2), &[LocalFailure, LocalFailure], true),
            ("502 is none", limits(0, 0, 1), &[GatewayError, ServerError], false),
            ("502 ends their row", limits(0, 0, 2), &[LocalFailure, GatewayError, LocalFailure], false),
            (
                "a client that goes says nothing",
                limits(2, 2, 2),
                &[LocalFailure, Abandoned, LocalFailure],
                true,
            ),
            ("nothing is counted", limits(0, 0, 0), &[LocalFailure; 9], false),
        ];
        for (name, limits, endings, ejected) in table {
            let streaks = Streaks::default();
            let mut last = false;
            for &ended in endings {
                assert!(!last, "{name}: too early");
                last = streaks.count(ended, &limits);
            }
            assert_eq!(last, ejected, "{name}");
        }
    }

    /// A limit that was reached starts over for all limits that it concerns.
    #[test]
    fn starts_over() {
        let (streaks, limits) = (Streaks::default(), limits(3, 0, 0));
        let reached: Vec<bool> = (0..7).map(|_| streaks.count(ServerError, &limits)).collect();
        assert_eq!(reached, [false, false, true, false, false, true, false]);
    }

    /// Statuses are what the standard says.
    #[test]
    fn statuses() {
        let expected = [(200, Served), (404, Served), (499, Served), (500, ServerError), (501, ServerError)];
        let gateway = [(502, GatewayError), (503, GatewayError), (504, GatewayError), (505, ServerError)];
        for (status, ended) in expected.into_iter().chain(gateway) {
            assert_eq!(Ended::with_status(status), ended, "{status}");
        }
    }

    /// The nth time lasts n times as long, up to the cap; a base time above the cap holds.
    #[test]
    fn longer_each_time() {
        let secs = |times| lasts(&limits(1, 0, 0), times).as_secs();
        assert_eq!([1, 2, 9, 10, 11, u32::MAX].map(secs), [30, 60, 270, 300, 300, 300]);
        let long = Ejection { base_time: Duration::from_secs(1000), ..limits(1, 0, 0) };
        assert_eq!([1, 2].map(|times| lasts(&long, times).as_secs()), [1000, 1000]);
    }

    /// The cap is never exceeded but for the first.
    #[test]
    fn cap() {
        for (percent, out, total, may) in [
            (10, 0, 5, true),
            (10, 1, 5, false),
            (10, 1, 20, true),
            (10, 2, 20, false),
            (0, 0, 1, true),
            (100, 9, 10, true),
        ] {
            assert_eq!(may_eject(&Ejection { max_percent: percent, ..limits(1, 0, 0) }, out, total), may);
        }
    }
}
