//! Every timer a session has, in one enum, and the table that holds their deadlines. The table
//! knows instants, never the time.

use crate::session::Direction;
use std::time::Instant;

/// What may run out (RFC 4271, section 8.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Time to dial again or, while dialling, time to stop waiting for the answer.
    ConnectRetry,
    /// The wait in Idle after an error (`DampPeerOscillations`).
    IdleHold,
    /// The connection of this direction has been silent for the hold time.
    Hold(Direction),
    /// The connection of this direction owes the peer a KEEPALIVE.
    Keepalive(Direction),
}

const ALL: [Timer; 6] = [
    Timer::ConnectRetry,
    Timer::IdleHold,
    Timer::Hold(Direction::Outgoing),
    Timer::Hold(Direction::Incoming),
    Timer::Keepalive(Direction::Outgoing),
    Timer::Keepalive(Direction::Incoming),
];

/// Deadlines of one session, at most one for each timer.
#[derive(Debug, Clone, Default)]
pub struct Timers {
    deadlines: [Option<Instant>; ALL.len()],
}

impl Timers {
    /// Starts or restarts a timer.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.deadlines[slot(timer)] = Some(at);
    }

    /// Stops a timer.
    pub fn clear(&mut self, timer: Timer) {
        self.deadlines[slot(timer)] = None;
    }

    /// Stops all of them.
    pub fn clear_all(&mut self) {
        self.deadlines = Default::default();
    }

    /// Whether the timer runs.
    pub fn is_set(&self, timer: Timer) -> bool {
        self.deadlines[slot(timer)].is_some()
    }

    /// The first deadline.
    pub fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Takes the earliest timer that has run out at `now`, with its deadline.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Timer, Instant)> {
        let due = |timer: &Timer| self.deadlines[slot(*timer)].filter(|at| *at <= now).map(|at| (*timer, at));
        let (timer, at) = ALL.iter().filter_map(due).min_by_key(|(_, at)| *at)?;
        self.clear(timer);
        Some((timer, at))
    }
}

fn slot(timer: Timer) -> usize {
    match timer {
        Timer::ConnectRetry => 0,
        Timer::IdleHold => 1,
        Timer::Hold(Direction::Outgoing) => 2,
        Timer::Hold(Direction::Incoming) => 3,
        Timer::Keepalive(Direction::Outgoing) => 4,
        Timer::Keepalive(Direction::Incoming) => 5,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a fake clock needs one true instant to count from
mod tests {
    use super::*;
    use std::time::Duration;

    /// Timers come out in the order of their deadlines, each once, and none before its time.
    #[test]
    fn due_timers_come_in_order() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut timers = Timers::default();
        timers.set(Timer::ConnectRetry, at(3));
        timers.set(Timer::Hold(Direction::Incoming), at(1));
        timers.set(Timer::IdleHold, at(9));
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop_due(at(0)), None);
        assert_eq!(timers.pop_due(at(5)), Some((Timer::Hold(Direction::Incoming), at(1))));
        assert_eq!(timers.pop_due(at(5)), Some((Timer::ConnectRetry, at(3))));
        assert_eq!(timers.pop_due(at(5)), None);
        assert!(timers.is_set(Timer::IdleHold));
    }
}
