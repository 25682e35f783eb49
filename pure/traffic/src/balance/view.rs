//! Who has a share of a backend's requests now, and the choice among them: what one worker looks at for a request.
//!
//! Health, draining, zones and slow start are settled here, once for each change; a choice knows places and weights.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidegate_model::traffic::{BackendPolicy, Balancing, Endpoint, Home};

use super::hash::further;
use super::member::{Lane, Member};
use super::shared::Roster;
use super::turns::Turns;
use super::weights::Weights;
use super::zone;
use crate::refusal::Refusal;

impl Refusal {
    /// The backend has endpoints, but none is healthy, and the policy does not let health be ignored.
    pub const NO_HEALTHY_ENDPOINT: Refusal = Refusal { status: 503, reason: "NoHealthyEndpoint" };
}

/// Fewer healthy endpoints than this of a hundred, and health is ignored, where nothing is said.
const PANIC_PERCENT: u32 = 50;

/// The share with which an endpoint starts slowly.
const SLOW_LEAST: f64 = 0.1;

/// In so many steps it grows to the full share.
const SLOW_STEPS: u32 = 50;

/// Steps of slow start are not shorter.
const SLOW_STEP_MIN: Duration = Duration::from_millis(10);

/// A retry draws so often before it takes what there is.
const DRAWS: u64 = 4;

/// Cost of an endpoint of unknown latency that has a request under way: first hear what comes of it, unless all others
/// are as busy.
const UNKNOWN_NANOS: f64 = 1e12;

/// What a choice depends on.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub method: &'a Balancing,
    pub key: Option<u64>,
    pub random: u64,
    pub now: Duration,
    pub tried: &'a [SocketAddr],
}

/// Those who have a share, as places of the endpoint list.
#[derive(Debug)]
pub struct View {
    places: Vec<u32>,
    weights: Weights,
    turns: Turns,
    /// Healthy, but in another zone: for retries only.
    spare: Vec<u32>,
    /// By place in the endpoint list: whether a hash may end there.
    usable: Vec<bool>,
    empty: Refusal,
    /// From then on shares are different.
    pub refresh_at: Duration,
}

impl View {
    /// Looks at the endpoints as they are at `now`.
    pub fn new(
        roster: &Roster,
        policy: &BackendPolicy,
        home: Option<&Home>,
        random: u64,
        now: Duration,
    ) -> View {
        let endpoints = &roster.endpoints.usable;
        let offered: Vec<u32> = places(endpoints, |place| !roster.members[place].drained.load(Relaxed));
        let healthy: Vec<u32> =
            offered.iter().copied().filter(|&place| roster.members[place as usize].is_healthy()).collect();
        let panics = is_panic(healthy.len(), offered.len(), policy.panic_percent);
        let empty = if offered.is_empty() { Refusal::NO_ENDPOINT } else { Refusal::NO_HEALTHY_ENDPOINT };
        let chosen = if panics { offered } else { healthy };
        let mut usable = vec![false; endpoints.len()];
        chosen.iter().for_each(|&place| usable[place as usize] = true);

        let (slow, refresh_at) = slow_factors(roster, &chosen, policy.slow_start, now);
        let zones = policy.zone_aware.as_ref().zip(home).filter(|_| !panics).and_then(|(rule, home)| {
            let list: Vec<&Endpoint> = chosen.iter().map(|&place| &endpoints[place as usize]).collect();
            zone::factors(&list, rule, home)
        });
        let (mut places, mut weights, mut spare) = (Vec::new(), Vec::new(), Vec::new());
        for (at, &place) in chosen.iter().enumerate() {
            let zone = zones.as_ref().map_or(1.0, |zones| zones[at]);
            let weight = f64::from(endpoints[place as usize].weight.max(1)) * slow[at] * zone;
            if weight > 0.0 {
                places.push(place);
                weights.push(weight);
            } else {
                spare.push(place);
            }
        }
        let turned = matches!(policy.balancing, Balancing::RoundRobin | Balancing::ConsistentHash { .. });
        let turns = Turns::new(if turned { &weights } else { &[] }, random);
        View { places, weights: Weights::new(&weights), turns, spare, usable, empty, refresh_at }
    }

    /// The place, in the endpoint list, of the endpoint that gets the request.
    pub fn choose(&mut self, roster: &Roster, lanes: &[Arc<Lane>], ask: Ask<'_>) -> Result<usize, Refusal> {
        if self.places.is_empty() {
            return Err(self.empty);
        }
        if let (Some(table), Some(key)) = (&roster.table, ask.key) {
            let untried = |place: &usize| !is_tried(roster, *place, ask.tried);
            let others = ask.tried.len() < self.places.len() + self.spare.len();
            let mut probes = table.probe(key).filter(|&place| self.usable[place]);
            let found = if others { probes.find(untried) } else { probes.next() };
            if let Some(place) = found {
                return Ok(place);
            }
        }
        let first = self.draw(lanes, ask);
        if ask.tried.is_empty() || !is_tried(roster, first, ask.tried) {
            return Ok(first);
        }
        Ok(self.another(roster, lanes, ask).unwrap_or(first))
    }

    /// Whether the endpoint at this place of the list may get requests.
    pub fn is_usable(&self, place: usize) -> bool {
        self.usable[place]
    }

    /// An endpoint that was not tried yet.
    fn another(&mut self, roster: &Roster, lanes: &[Arc<Lane>], ask: Ask<'_>) -> Option<usize> {
        for step in 0..DRAWS {
            let place = self.draw(lanes, Ask { random: further(ask.random, step), ..ask });
            if !is_tried(roster, place, ask.tried) {
                return Some(place);
            }
        }
        let start = ask.random as usize % self.places.len();
        let (before, after) = self.places.split_at(start);
        let mut rest = after.iter().chain(before).chain(&self.spare).map(|&place| place as usize);
        rest.find(|&place| !is_tried(roster, place, ask.tried))
    }

    /// Draws by the method; there is at least one place.
    fn draw(&mut self, lanes: &[Arc<Lane>], ask: Ask<'_>) -> usize {
        let at = match ask.method {
            Balancing::RoundRobin | Balancing::ConsistentHash { .. } => self.turns.next().unwrap_or(0),
            Balancing::Random => self.weights.one(ask.random),
            Balancing::LeastRequest => self.cheaper(ask.random, |lane| f64::from(lane.in_flight()), lanes),
            Balancing::PeakEwma => self.cheaper(ask.random, |lane| peak_cost(lane, ask.now), lanes),
        };
        self.places[at] as usize
    }

    /// Of two drawn by weight the one with the lower cost for its weight; the first if they are alike.
    fn cheaper(&self, random: u64, cost: impl Fn(&Lane) -> f64, lanes: &[Arc<Lane>]) -> usize {
        let (first, second) = self.weights.two(random);
        let cost = |at: usize| cost(&lanes[self.places[at] as usize]) / self.weights.of(at);
        if cost(second) < cost(first) { second } else { first }
    }
}

fn peak_cost(lane: &Lane, now: Duration) -> f64 {
    let in_flight = f64::from(lane.in_flight());
    match lane.latency.nanos(now) {
        Some(latency) => latency * (in_flight + 1.0),
        None => UNKNOWN_NANOS * in_flight,
    }
}

fn places(endpoints: &[Endpoint], keep: impl Fn(usize) -> bool) -> Vec<u32> {
    (0..endpoints.len()).filter(|&place| keep(place)).map(|place| place as u32).collect()
}

fn is_tried(roster: &Roster, place: usize, tried: &[SocketAddr]) -> bool {
    tried.contains(&roster.endpoints.usable[place].address)
}

/// Whether so few are healthy that health is ignored.
fn is_panic(healthy: usize, total: usize, percent: Option<u32>) -> bool {
    (healthy as u64) * 100 < u64::from(percent.unwrap_or(PANIC_PERCENT)) * total as u64
}

/// By what the weights are multiplied, and from when on that is different.
fn slow_factors(
    roster: &Roster,
    chosen: &[u32],
    window: Option<Duration>,
    now: Duration,
) -> (Vec<f64>, Duration) {
    let Some(window) = window else { return (vec![1.0; chosen.len()], Duration::MAX) };
    let factors: Vec<f64> =
        chosen.iter().map(|&place| slow_factor(&roster.members[place as usize], window, now)).collect();
    let step = (window / SLOW_STEPS).max(SLOW_STEP_MIN);
    let refresh_at = if factors.iter().any(|&factor| factor < 1.0) { now + step } else { Duration::MAX };
    (factors, refresh_at)
}

/// The share of its weight that an endpoint has: a tenth at first, all after the window, in a straight line.
pub fn slow_factor(member: &Member, window: Duration, now: Duration) -> f64 {
    let Some(since) = member.slow_since() else { return 1.0 };
    let passed = now.saturating_sub(since);
    if passed >= window {
        1.0
    } else {
        SLOW_LEAST + (1.0 - SLOW_LEAST) * passed.as_secs_f64() / window.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below the threshold, and only below, health is ignored; 0 never, 100 as soon as one is unhealthy.
    #[test]
    fn panic_threshold() {
        for (healthy, total, percent, panics) in [
            (5, 10, None, false),
            (4, 10, None, true),
            (0, 10, Some(0), false),
            (9, 10, Some(100), true),
            (10, 10, Some(100), false),
            (0, 0, None, false),
            (0, 1, Some(1), true),
        ] {
            assert_eq!(is_panic(healthy, total, percent), panics, "{healthy} of {total}, {percent:?}");
        }
    }

    /// The share grows in a straight line from a tenth to all, and an endpoint that was always there has all.
    #[test]
    fn slow_start_is_linear() {
        let secs = Duration::from_secs;
        let member = Member::fresh(secs(0));
        for (at, share) in [(0, 0.1), (10, 0.325), (20, 0.55), (40, 1.0), (99, 1.0)] {
            assert!((slow_factor(&member, secs(40), secs(at)) - share).abs() < 1e-9, "{at}");
        }
        assert_eq!(slow_factor(&Member::default(), secs(40), secs(0)), 1.0);
        assert_eq!(slow_factor(&member, Duration::ZERO, secs(0)), 1.0);
    }
}
