//! Which endpoints to ask whether they work, when, and what follows from the answers.
//!
//! An endpoint is presumed healthy until it has failed as often as the policy says. It is in the list because Kubernetes
//! found it ready, so a gateway that has just started, or a rollout, must not wait for a first answer. The first
//! question follows at once, spread over a second at most.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidegate_model::traffic::HealthCheck;

use super::hash::further;
use super::shared::{Roster, Shared};

/// First questions are spread over this time, or the interval if that is shorter.
const SPREAD: Duration = Duration::from_secs(1);

/// Intervals and answers are never awaited for less.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The health checks of one backend: one in the process, in one task.
#[derive(Debug)]
pub struct Checker {
    shared: Arc<Shared>,
    roster: Option<Arc<Roster>>,
    watches: BTreeMap<SocketAddr, Watch>,
    queue: BTreeSet<(Duration, SocketAddr)>,
}

#[derive(Debug)]
struct Watch {
    due: Duration,
    /// Whether an answer is awaited.
    asked: bool,
    opinion: Opinion,
}

/// What the answers of one endpoint amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Opinion {
    healthy: bool,
    /// Answers in a row that say otherwise.
    against: u32,
}

impl Opinion {
    /// Takes in an answer; true if the opinion changed.
    fn hears(&mut self, works: bool, check: &HealthCheck) -> bool {
        if works == self.healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if works { check.healthy_after } else { check.unhealthy_after };
        if self.against < needed {
            return false;
        }
        *self = Opinion { healthy: works, against: 0 };
        true
    }
}

impl Checker {
    /// The checks of a backend; what is known of its endpoints holds on.
    pub fn new(shared: Arc<Shared>) -> Checker {
        Checker { shared, roster: None, watches: BTreeMap::new(), queue: BTreeSet::new() }
    }

    /// Endpoints to ask now; each is then asked again after the interval, a tenth more or less. One that has not been
    /// answered for by then counts as failed. Call it at [`poll_timeout`](Checker::poll_timeout), and when endpoints
    /// have changed.
    pub fn due(&mut self, now: Duration, random: u64) -> Vec<SocketAddr> {
        let Some(check) = self.shared.policy().health_check.clone() else { return Vec::new() };
        self.follow(&check, now, random);
        let mut asked = Vec::new();
        while let Some(&(due, address)) = self.queue.first().filter(|(due, _)| *due <= now) {
            self.queue.remove(&(due, address));
            if self.watches.get(&address).is_some_and(|watch| watch.asked) {
                self.answered(address, false, now);
            }
            let Some(watch) = self.watches.get_mut(&address) else { continue };
            // Beyond the timeout even when shortened: a question is over before the next.
            let pause = check.interval.max(check.timeout.mul_f64(1.25)).max(INTERVAL_MIN);
            watch.due = now + pause.mul_f64(0.9 + 0.2 * fraction(further(random, asked.len() as u64)));
            watch.asked = true;
            self.queue.insert((watch.due, address));
            asked.push(address);
        }
        asked
    }

    /// Takes in whether an endpoint that was asked works; true if it became healthy or unhealthy by that.
    pub fn answered(&mut self, address: SocketAddr, works: bool, now: Duration) -> bool {
        let Some(check) = &self.shared.policy().health_check else { return false };
        let Some(watch) = self.watches.get_mut(&address).filter(|watch| watch.asked) else { return false };
        watch.asked = false;
        let changed = watch.opinion.hears(works, check);
        if changed {
            self.shared.set_healthy(address, works, now);
        }
        changed
    }

    /// When [`due`](Checker::due) has something to say next; none: only after endpoints have come.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.queue.first().map(|(due, _)| *due)
    }

    fn follow(&mut self, check: &HealthCheck, now: Duration, random: u64) {
        let (state, _) = self.shared.look(now);
        let roster = state.roster.clone();
        drop(state);
        if self.roster.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &roster)) {
            return;
        }
        self.watches.retain(|address, watch| {
            let stays = roster.place(*address).is_some();
            if !stays {
                self.queue.remove(&(watch.due, *address));
            }
            stays
        });
        for (place, address) in roster.endpoints.addresses().enumerate() {
            let healthy = !roster.members[place].unhealthy.load(Relaxed);
            let watch = self.watches.entry(address).or_insert_with(|| {
                let spread = SPREAD.min(check.interval).mul_f64(fraction(further(!random, place as u64)));
                let due = now + spread;
                self.queue.insert((due, address));
                Watch { due, asked: false, opinion: Opinion { healthy, against: 0 } }
            });
            // It may have gone and come back in between, as another one.
            if watch.opinion.healthy != healthy {
                watch.opinion = Opinion { healthy, against: 0 };
            }
        }
        self.roster = Some(roster);
    }
}

/// From 0 to below 1.
fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidegate_model::traffic::{BackendPolicy, EndpointCell, Endpoints, Probe};

    fn check(unhealthy_after: u32, healthy_after: u32) -> HealthCheck {
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(1));
        let probe = Probe::Tcp { send: Vec::new(), expect: Vec::new() };
        HealthCheck { probe, interval, timeout, unhealthy_after, healthy_after }
    }

    fn address(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn checker(ports: std::ops::Range<u16>) -> (Checker, Arc<EndpointCell>) {
        let cell = Arc::new(EndpointCell::new(Endpoints::plain(ports.map(address))));
        let policy = BackendPolicy { health_check: Some(check(3, 2)), ..BackendPolicy::default() };
        (Checker::new(Arc::new(Shared::new(Arc::new(policy), cell.clone(), None))), cell)
    }

    /// The whole table: opinion, answers so far, an answer, and what follows.
    #[test]
    fn transitions() {
        let check = check(3, 2);
        let opinion = |healthy, against| Opinion { healthy, against };
        for (before, works, after, changed) in [
            (opinion(true, 0), true, opinion(true, 0), false),
            (opinion(true, 2), true, opinion(true, 0), false),
            (opinion(true, 0), false, opinion(true, 1), false),
            (opinion(true, 1), false, opinion(true, 2), false),
            (opinion(true, 2), false, opinion(false, 0), true),
            (opinion(false, 0), false, opinion(false, 0), false),
            (opinion(false, 1), false, opinion(false, 0), false),
            (opinion(false, 0), true, opinion(false, 1), false),
            (opinion(false, 1), true, opinion(true, 0), true),
        ] {
            let mut now = before;
            assert_eq!((now.hears(works, &check), now), (changed, after), "{before:?} hears {works}");
        }
    }

    /// First questions spread over a second; then each endpoint is asked about every interval.
    #[test]
    fn schedule() {
        let (mut checker, _) = checker(0..100);
        let mut asked: BTreeMap<SocketAddr, Vec<Duration>> = BTreeMap::new();
        let mut now = Duration::from_secs(50);
        let mut step = 0;
        while now < Duration::from_secs(150) {
            for address in checker.due(now, further(1, step)) {
                asked.entry(address).or_default().push(now);
                checker.answered(address, true, now);
            }
            step += 1;
            now = checker.poll_timeout().unwrap();
        }
        assert_eq!(asked.len(), 100);
        for times in asked.values() {
            assert!(times[0] <= Duration::from_secs(51));
            assert!(times.windows(2).all(|pair| (9.0..=11.0).contains(&(pair[1] - pair[0]).as_secs_f64())));
        }
        let early = asked.values().filter(|times| times[0] < Duration::from_millis(50_500)).count();
        assert!((25..75).contains(&early), "{early} of 100 in the first half of the second");
    }

    /// A question without an answer is a failure; an answer nobody waits for is none; who is gone is not asked.
    #[test]
    fn lost_answers_and_leavers() {
        let (mut checker, cell) = checker(0..1);
        let mut now = Duration::ZERO;
        checker.due(now, 1);
        for lost in 0..4 {
            now = checker.poll_timeout().unwrap();
            assert!(checker.shared.facts(now)[0].healthy, "{lost}");
            assert_eq!(checker.due(now, 1), [address(0)]);
        }
        assert!(!checker.shared.facts(now)[0].healthy);
        assert!(!checker.answered(address(0), true, now));
        assert!(!checker.answered(address(0), true, now), "only one was asked");
        cell.store(Endpoints::default());
        assert!(checker.due(now + Duration::from_secs(60), 1).is_empty());
        assert_eq!(checker.poll_timeout(), None);
        assert!(!checker.answered(address(0), true, now));
    }

    proptest! {
        /// Whatever comes and goes and answers, the endpoints watched are those of the list, each due once, and what the
        /// process believes is what the answers amount to.
        #[test]
        fn random_histories(steps in prop::collection::vec((0u8..4, 0u16..4, any::<bool>()), 0..150)) {
            let (mut checker, cell) = checker(0..2);
            let (mut now, mut listed) = (Duration::ZERO, BTreeSet::from([0, 1]));
            for (random, (step, port, flag)) in steps.into_iter().enumerate() {
                match step {
                    0 => drop(checker.due(now, random as u64)),
                    1 => now += Duration::from_secs(u64::from(port) * 3),
                    2 => drop(checker.answered(address(port), flag, now)),
                    _ => {
                        if flag { listed.insert(port); } else { listed.remove(&port); }
                        cell.store(Endpoints::plain(listed.iter().map(|&port| address(port))));
                        checker.due(now, random as u64);
                        prop_assert!(checker.watches.keys().copied().eq(listed.iter().map(|&port| address(port))));
                    }
                }
                prop_assert_eq!(checker.queue.len(), checker.watches.len());
                for fact in checker.shared.facts(now) {
                    if let Some(watch) = checker.watches.get(&fact.address) {
                        prop_assert_eq!(fact.healthy, watch.opinion.healthy);
                    }
                }
            }
        }
    }
}
