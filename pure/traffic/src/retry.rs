//! Whether a failed attempt is repeated, and when (HTTPRouteRetry of gateway.networking.k8s.io/v1, and
//! BackendTrafficPolicy's retry).
//!
//! Two rules stand above all settings: a request whose body is gone is never sent twice, and one that may have been
//! carried out is repeated only if that changes nothing (RFC 9110 section 9.2.2) or the route names the status.
//! `Retry-After` is not followed: it speaks to the client. The wait itself is the caller's.

use std::time::Duration;

use tidegate_model::traffic::{Retry, Timeouts};

/// Repeats that need no settings, of what is certain not to have been carried out or may be twice.
pub const SAFE_REPEATS_MAX: u32 = 1;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// A response began, with this status.
    Status(u16),
    /// A gRPC call was answered with nothing but its trailers, and they say this.
    Grpc(u16),
    /// No connection could be opened: nothing was sent.
    NotConnected,
    /// A connection from the pool was closed before a byte of the response; the backend had not expected a request.
    StaleConnection,
    /// The connection broke before a byte of the response.
    Broken,
    /// The attempt exceeded its own time limit before its response began.
    TimedOut,
}

/// What may be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeatable {
    /// All that was read of its body is still there.
    pub body: bool,
    /// Its method may be carried out twice (RFC 9110 section 9.2.2).
    pub idempotent: bool,
}

impl Repeatable {
    /// By method, and by whether the body is still there.
    pub fn of(method: &str, body: bool) -> Repeatable {
        let idempotent = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
        Repeatable { body, idempotent }
    }
}

/// What comes after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, if possible at another endpoint, after this pause.
    Repeat(Duration),
    /// None; the client gets what there is.
    GiveUp(GiveUp),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// The attempt succeeded, or its failure is not one to repeat.
    NotAsked,
    /// It cannot or must not be sent twice.
    NotRepeatable,
    /// All attempts are used up.
    AttemptsUsed,
    /// The request's time would be over before the pause.
    OutOfTime,
    /// The backend has had its share of repeats.
    BudgetSpent,
}

/// The attempts of one request.
#[derive(Clone, Copy, Debug)]
pub struct Attempts<'r> {
    settings: Option<&'r Retry>,
    repeats: u32,
}

impl<'r> Attempts<'r> {
    /// Before the first. `settings` are the route's, or else its backend's.
    pub fn new(settings: Option<&'r Retry>) -> Attempts<'r> {
        Attempts { settings, repeats: 0 }
    }

    /// Repeats so far.
    pub fn repeats(&self) -> u32 {
        self.repeats
    }

    /// Whether a body is worth keeping for another attempt.
    pub fn may_repeat(&self) -> bool {
        self.repeats < self.settings.map_or(0, |settings| settings.attempts).max(SAFE_REPEATS_MAX)
    }

    /// What comes after an attempt that ended so. `random` is 64 random bits; `remaining` is what is left of the
    /// request's time, if it is limited; `budget` is asked last, only when nothing else stands against a repeat, and
    /// says whether the backend may have one more.
    pub fn after(
        &mut self,
        outcome: AttemptEnd,
        request: Repeatable,
        random: u64,
        remaining: Option<Duration>,
        budget: impl FnOnce() -> bool,
    ) -> Next {
        let next = self.judge(outcome, request, random, remaining);
        match next {
            Ok(_) if !budget() => Next::GiveUp(GiveUp::BudgetSpent),
            Ok(pause) => {
                self.repeats += 1;
                Next::Repeat(pause)
            }
            Err(reason) => Next::GiveUp(reason),
        }
    }

    fn judge(
        &self,
        outcome: AttemptEnd,
        request: Repeatable,
        random: u64,
        remaining: Option<Duration>,
    ) -> Result<Duration, GiveUp> {
        let asked = self.settings.filter(|settings| counts(settings, outcome));
        let is_safe = is_safe(outcome, request);
        if asked.is_none() && !matches!(outcome, AttemptEnd::NotConnected | AttemptEnd::StaleConnection) {
            return Err(GiveUp::NotAsked);
        }
        if !request.body || !(is_safe || matches!(outcome, AttemptEnd::Status(_) | AttemptEnd::Grpc(_))) {
            return Err(GiveUp::NotRepeatable);
        }
        let allowed = asked.map_or(0, |settings| settings.attempts);
        if self.repeats >= allowed.max(if is_safe && !has_answered(outcome) { SAFE_REPEATS_MAX } else { 0 }) {
            return Err(GiveUp::AttemptsUsed);
        }
        let pause = asked.map_or(Duration::ZERO, |settings| pause(settings, self.repeats, random));
        if remaining.is_some_and(|remaining| pause >= remaining) { Err(GiveUp::OutOfTime) } else { Ok(pause) }
    }
}

/// Whether the settings name such an end.
fn counts(settings: &Retry, outcome: AttemptEnd) -> bool {
    match outcome {
        AttemptEnd::Status(status) => settings.codes.contains(&status),
        AttemptEnd::Grpc(status) => settings.grpc_codes.contains(&status),
        AttemptEnd::NotConnected | AttemptEnd::StaleConnection | AttemptEnd::Broken => {
            settings.connection_errors
        }
        AttemptEnd::TimedOut => settings.timeouts,
    }
}

/// Whether a second attempt cannot do harm: the first was not carried out, or may be twice.
fn is_safe(outcome: AttemptEnd, request: Repeatable) -> bool {
    outcome == AttemptEnd::NotConnected || request.idempotent
}

fn has_answered(outcome: AttemptEnd) -> bool {
    use AttemptEnd::{Broken, Grpc, Status, TimedOut};
    matches!(outcome, Status(_) | Grpc(_) | TimedOut | Broken)
}

/// Never less than asked for; above that anywhere up to a bound that doubles with each repeat, so that requests which
/// failed together do not come back together.
fn pause(settings: &Retry, repeats: u32, random: u64) -> Duration {
    let factor = 1u32.checked_shl(repeats.saturating_add(1)).unwrap_or(u32::MAX);
    let bound = settings.backoff.saturating_mul(factor).min(settings.backoff_max).max(settings.backoff);
    let span_nanos = (bound - settings.backoff).as_nanos();
    // Spans are far below 2^64 nanoseconds (584 years); longer ones are cut.
    let span_nanos = u64::try_from(span_nanos).unwrap_or(u64::MAX);
    let jitter_nanos = (u128::from(random) * u128::from(span_nanos)) >> 64;
    settings.backoff + Duration::from_nanos(jitter_nanos as u64)
}

/// The time limit of one attempt: the retry's own, else the rule's, and never more than what is left of the request's.
/// Nothing: unlimited.
pub fn attempt_limit(
    settings: Option<&Retry>,
    timeouts: &Timeouts,
    remaining: Option<Duration>,
) -> Option<Duration> {
    let own = settings.and_then(|settings| settings.attempt_timeout).or(timeouts.backend_request);
    let own = own.filter(|limit| !limit.is_zero());
    match (own, remaining) {
        (Some(own), Some(remaining)) => Some(own.min(remaining)),
        (own, remaining) => own.or(remaining),
    }
}

#[cfg(test)]
mod tests;
