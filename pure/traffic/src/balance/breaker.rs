//! What a backend may carry at once in the whole process, and who waits (circuit breaking).
//!
//! Only what has a limit is counted. This room counts and decides; the proxy keeps the queue of those who wait and
//! wakes its head whenever a [`Held`] or a [`Waiting`] is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tidegate_model::traffic::Breaker;

use crate::refusal::Refusal;

/// So many requests wait where requests or connections are limited but the queue is not.
pub const PENDING_MAX: u32 = 1024;

impl Refusal {
    /// The backend carries all it may, and nobody waits for it.
    pub const CIRCUIT_OPEN: Refusal = Refusal { status: 503, reason: "CircuitOpen" };
    /// The backend carries all it may, and as many wait as may.
    pub const QUEUE_FULL: Refusal = Refusal { status: 503, reason: "QueueFull" };
    /// The process has as many connections to endpoints as it may, or the client or the backend has its share of them.
    pub const NO_CONNECTIONS: Refusal = Refusal { status: 503, reason: "NoConnections" };
}

/// The limits of a backend and what counts against them.
#[derive(Debug)]
pub struct Circuit {
    limits: Breaker,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts([AtomicU32; 4]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Connections,
    Pending,
    Requests,
    Retries,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Admission {
    /// It may go.
    Admit(Held),
    /// It waits for its turn.
    Wait(Waiting),
    /// It is answered here.
    Refuse(Refusal),
}

/// A place that is held until this is dropped.
#[derive(Debug)]
#[must_use = "dropping gives the place back"]
pub struct Held {
    /// None: there is no limit.
    place: Option<(Arc<Counts>, Of)>,
}

/// A place in the queue that is held until this is dropped or admitted.
#[derive(Debug)]
#[must_use = "dropping leaves the queue"]
pub struct Waiting {
    _place: Held,
}

impl Circuit {
    /// These limits; nothing is under way.
    pub fn new(limits: Breaker) -> Circuit {
        Circuit { limits, counts: Arc::default() }
    }

    /// Other limits for what is under way: what is held stays held, even above a limit that sank.
    pub fn with_limits(&self, limits: Breaker) -> Circuit {
        Circuit { limits, counts: self.counts.clone() }
    }

    /// Whether a new request may go. While others wait it waits behind them.
    pub fn request(&self) -> Admission {
        let Some(limit) = self.limits.requests else { return Admission::Admit(Held { place: None }) };
        if self.count(Of::Pending) == 0
            && let Some(held) = self.take(Of::Requests, limit)
        {
            return Admission::Admit(held);
        }
        match self.queue() {
            Ok(waiting) => Admission::Wait(waiting),
            Err(refusal) => Admission::Refuse(refusal),
        }
    }

    /// Whether the head of the queue may go now; if not it waits on.
    pub fn admit(&self, waiting: Waiting) -> Result<Held, Waiting> {
        let Some(limit) = self.limits.requests else { return Ok(Held { place: None }) };
        self.take(Of::Requests, limit).ok_or(waiting)
    }

    /// A place in the queue: for a request that may go but finds no connection, too.
    pub fn queue(&self) -> Result<Waiting, Refusal> {
        let limit = self.limits.pending_requests.unwrap_or(PENDING_MAX);
        match self.take(Of::Pending, limit) {
            Some(place) => Ok(Waiting { _place: place }),
            None if limit == 0 => Err(Refusal::CIRCUIT_OPEN),
            None => Err(Refusal::QUEUE_FULL),
        }
    }

    /// Whether a connection may be opened. One that is refused leaves its request to wait for a connection
    /// ([`queue`](Circuit::queue)), or to be answered.
    pub fn connection(&self) -> Result<Held, Refusal> {
        self.under(Of::Connections, self.limits.connections)
    }

    /// Whether a repeat may be under way; the [`RetryBudget`](super::RetryBudget) is asked besides.
    pub fn retry(&self) -> Result<Held, Refusal> {
        self.under(Of::Retries, self.limits.retries)
    }

    /// Connections, waiting requests, requests and repeats under way, where they are limited.
    pub fn load(&self) -> Breaker {
        let Breaker { connections, requests, retries, requests_per_connection, .. } = self.limits;
        let count = |limit: Option<u32>, of| limit.map(|_| self.count(of));
        Breaker {
            connections: count(connections, Of::Connections),
            pending_requests: Some(self.count(Of::Pending)),
            requests: count(requests, Of::Requests),
            retries: count(retries, Of::Retries),
            requests_per_connection,
        }
    }

    fn under(&self, of: Of, limit: Option<u32>) -> Result<Held, Refusal> {
        let Some(limit) = limit else { return Ok(Held { place: None }) };
        self.take(of, limit).ok_or(Refusal::CIRCUIT_OPEN)
    }

    fn take(&self, of: Of, limit: u32) -> Option<Held> {
        let below = |count: u32| (count < limit).then_some(count + 1);
        self.counts.of(of).fetch_update(Relaxed, Relaxed, below).ok()?;
        Some(Held { place: Some((self.counts.clone(), of)) })
    }

    fn count(&self, of: Of) -> u32 {
        self.counts.of(of).load(Relaxed)
    }
}

impl Counts {
    fn of(&self, of: Of) -> &AtomicU32 {
        &self.0[of as usize]
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((counts, of)) = &self.place {
            counts.of(*of).fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn circuit(requests: u32, pending: Option<u32>) -> Circuit {
        let limits = Breaker { requests: Some(requests), pending_requests: pending, ..Breaker::default() };
        Circuit::new(limits)
    }

    /// At the limit requests wait; beyond the queue they are refused; who waits goes before who comes.
    #[test]
    fn admit_wait_refuse() {
        let circuit = circuit(1, Some(1));
        let Admission::Admit(first) = circuit.request() else { panic!("the first goes") };
        let Admission::Wait(second) = circuit.request() else { panic!("the second waits") };
        assert!(matches!(circuit.request(), Admission::Refuse(Refusal::QUEUE_FULL)));
        let second = circuit.admit(second).unwrap_err();
        drop(first);
        assert!(matches!(circuit.request(), Admission::Refuse(Refusal::QUEUE_FULL)), "the second was first");
        let second = circuit.admit(second).unwrap();
        assert!(matches!(circuit.request(), Admission::Wait(_)), "the queue is empty again");
        drop(second);
        assert!(matches!(circuit.request(), Admission::Admit(_)));
        assert_eq!((circuit.count(Of::Requests), circuit.count(Of::Pending)), (0, 0));
    }

    /// Without a queue the answer is at once that the circuit is open; without limits nothing is counted.
    #[test]
    fn no_queue_no_limit() {
        let closed = circuit(0, Some(0));
        assert!(matches!(closed.request(), Admission::Refuse(Refusal::CIRCUIT_OPEN)));
        let free = Circuit::new(Breaker::default());
        let held: Vec<_> = (0..10).map(|_| (free.request(), free.connection().unwrap())).collect();
        assert!(held.iter().all(|(admission, _)| matches!(admission, Admission::Admit(_))));
        assert_eq!(free.load(), Breaker { pending_requests: Some(0), ..Breaker::default() });
    }

    /// A limit that sinks lets nobody new in until enough have gone; counts never go below 0.
    #[test]
    fn limits_change() {
        let before = circuit(3, Some(0));
        let mut held: Vec<_> = (0..3).map(|_| before.request()).collect();
        let after = before.with_limits(Breaker {
            requests: Some(2),
            pending_requests: Some(0),
            ..Breaker::default()
        });
        for expected in [false, true, true] {
            drop(held.pop());
            assert_eq!(matches!(after.request(), Admission::Admit(_)), expected);
        }
        drop(held);
        assert_eq!(after.load().requests, Some(0));
    }

    /// Threads that take and give back in any order never exceed a limit, and all comes back.
    #[test]
    fn threads_stay_below() {
        let circuit = circuit(3, Some(2));
        let under_way = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Admission::Admit(held) = circuit.request() {
                            assert!(under_way.fetch_add(1, Relaxed) < 3);
                            under_way.fetch_sub(1, Relaxed);
                            drop(held);
                        }
                    }
                });
            }
        });
        assert_eq!((circuit.count(Of::Requests), circuit.count(Of::Pending)), (0, 0));
    }

    proptest! {
        /// No history of arrivals, turns, ends and cancellations exceeds a limit or loses a place.
        #[test]
        fn random_histories(
            limit in 0u32..4, pending in 0u32..4, retries in 0u32..3,
            steps in prop::collection::vec((0u8..6, any::<usize>()), 0..200),
        ) {
            let circuit = Circuit::new(Breaker {
                requests: Some(limit), pending_requests: Some(pending), retries: Some(retries), ..Breaker::default()
            });
            let (mut held, mut queue, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
            for (step, at) in steps {
                match step {
                    0 | 1 => match circuit.request() {
                        Admission::Admit(place) => held.push(place),
                        Admission::Wait(place) => queue.push(place),
                        Admission::Refuse(_) => prop_assert_eq!(queue.len(), pending as usize),
                    },
                    2 if !queue.is_empty() => match circuit.admit(queue.remove(at % queue.len())) {
                        Ok(place) => held.push(place),
                        Err(waiting) => queue.push(waiting),
                    },
                    3 if !held.is_empty() => drop(held.swap_remove(at % held.len())),
                    4 if !queue.is_empty() => drop(queue.swap_remove(at % queue.len())),
                    5 => match circuit.retry() {
                        Ok(place) => repeats.push(place),
                        Err(_) => repeats.clear(),
                    },
                    _ => {}
                }
                let load = circuit.load();
                prop_assert_eq!(load.requests, Some(held.len() as u32));
                prop_assert_eq!(load.pending_requests, Some(queue.len() as u32));
                prop_assert_eq!(load.retries, Some(repeats.len() as u32));
                prop_assert!(held.len() <= limit as usize && queue.len() <= pending as usize);
                prop_assert!(repeats.len() <= retries as usize);
            }
        }
    }
}
