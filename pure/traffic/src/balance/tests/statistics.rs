//! What endpoints get of many requests. All seeds are fixed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use tidegate_model::traffic::{Balancing, HashKey, Home, ZoneAware};

use super::rig::{Rig, address, endpoint};
use crate::Refusal;
use crate::balance::hash::further;
use crate::balance::{Ended, hash};

const HASH: Balancing = Balancing::ConsistentHash { key: HashKey::SourceIp, table_size: 65_537 };

/// Each count is the share of its weight to within so many of a hundred of all.
fn assert_shares(counts: &BTreeMap<u16, u32>, weights: &[u32], percent: f64) {
    let (total, requests) = (weights.iter().sum::<u32>(), counts.values().sum::<u32>());
    for (port, &weight) in (0..).zip(weights) {
        let share = f64::from(counts.get(&port).copied().unwrap_or(0)) / f64::from(requests);
        let fair = f64::from(weight) / f64::from(total);
        assert!((share - fair).abs() * 100.0 <= percent, "{port}: {share}, fair {fair}");
    }
}

/// Requests under light load follow the weights under every method that knows weights.
#[test]
fn weights() {
    let weights = [1, 2, 5, 2];
    for (method, percent) in
        [(Balancing::RoundRobin, 0.1), (Balancing::Random, 1.0), (Balancing::LeastRequest, 1.0), (HASH, 0.1)]
    {
        let list = (0..).zip(weights).map(|(port, weight)| endpoint(port, weight, None)).collect();
        let mut rig = Rig::with(list, None, |policy| policy.balancing = method);
        assert_shares(&rig.counts(20_000), &weights, percent);
    }
}

/// Closed load by so many clients: each sends its next request when the last is answered, in virtual time.
fn closed_load(
    rig: &mut Rig,
    clients: u32,
    requests: u32,
    latency: impl Fn(u16, u64) -> Duration,
) -> BTreeMap<u16, u32> {
    let mut counts = BTreeMap::new();
    let mut under_way = BinaryHeap::new();
    let mut picks = BTreeMap::new();
    for number in 0..requests {
        if number >= clients {
            let Reverse((at, number)) = under_way.pop().unwrap();
            rig.now = at;
            let (pick, since): (crate::balance::Pick, Duration) = picks.remove(&number).unwrap();
            pick.finished(Ended::Served, at - since, at);
        }
        let pick = rig.pick().unwrap();
        let port = pick.address().port();
        *counts.entry(port).or_default() += 1;
        under_way.push(Reverse((rig.now + latency(port, rig.random()), number)));
        picks.insert(number, (pick, rig.now));
    }
    counts
}

/// Under load, least request gives each endpoint what it can do: one that is four times slower gets about a quarter.
#[test]
fn least_request_follows_speed() {
    let mut rig = Rig::new(4, |policy| policy.balancing = Balancing::LeastRequest);
    let latency = |port, _| Duration::from_millis(if port == 0 { 40 } else { 10 });
    let counts = closed_load(&mut rig, 40, 20_000, latency);
    let ratio = f64::from(counts[&0]) / f64::from(counts[&1]);
    assert!((0.15..0.5).contains(&ratio), "{counts:?}");
}

/// Least request under load follows weights too: twice the weight carries twice as many.
#[test]
fn least_request_follows_weight() {
    let list = vec![endpoint(0, 1, None), endpoint(1, 2, None)];
    let mut rig = Rig::with(list, None, |policy| policy.balancing = Balancing::LeastRequest);
    let counts = closed_load(&mut rig, 60, 20_000, |_, _| Duration::from_millis(10));
    assert_shares(&counts, &[1, 2], 2.0);
}

/// Peak EWMA gives a ten times slower endpoint under 15 % of the requests: of 2, 4 or 10 endpoints, one client or many.
#[test]
fn slow_endpoint_is_spared() {
    for (endpoints, clients) in [(2, 1), (2, 20), (4, 1), (4, 40), (10, 4), (10, 200)] {
        let mut rig = Rig::new(endpoints, |policy| policy.balancing = Balancing::PeakEwma);
        let latency = |port, random: u64| {
            let base = if port == 0 { 10_000 } else { 1_000 };
            Duration::from_micros(base * (80 + random % 40) / 100)
        };
        let counts = closed_load(&mut rig, clients, 30_000, latency);
        let slow = counts.get(&0).copied().unwrap_or(0);
        assert!(slow * 100 < 15 * 30_000, "{endpoints} endpoints, {clients} clients: {slow} of 30000");
        assert!(counts.len() == usize::from(endpoints), "all are used: {counts:?}");
    }
}

/// Peak EWMA flees an endpoint that fails fast, and a slow one that recovers gets its share again within a minute.
#[test]
fn failing_fast_does_not_attract() {
    let mut rig = Rig::new(2, |policy| policy.balancing = Balancing::PeakEwma);
    let run = |rig: &mut Rig, failing: bool| {
        let mut counts = [0u32; 2];
        for _ in 0..12_000 {
            let pick = rig.pick().unwrap();
            let port = usize::from(pick.address().port());
            counts[port] += 1;
            let failed = failing && port == 0;
            let (ended, millis) = if failed { (Ended::LocalFailure, 1) } else { (Ended::Served, 10) };
            rig.now += Duration::from_millis(millis);
            pick.finished(ended, Duration::from_millis(millis), rig.now);
        }
        counts
    };
    let failing = run(&mut rig, true);
    assert!(failing[0] < 600, "{failing:?}");
    let recovered = run(&mut rig, false);
    assert!(recovered[0] > 2_000, "{recovered:?}");
}

/// With a consistent hash a key stays where it is while others come and go, and another gateway agrees.
#[test]
fn keys_stay() {
    let mut rig = Rig::new(20, |policy| policy.balancing = HASH);
    let gateway = Rig::new(20, |policy| policy.balancing = HASH);
    let keys: Vec<u64> = (0..5_000u32).map(|n| hash::of_bytes(&n.to_be_bytes())).collect();
    let homes = |rig: &Rig| -> Vec<u16> {
        let port = |key: &u64| rig.balancer.pick(Some(*key), 0, rig.now, &[]).unwrap().address().port();
        keys.iter().map(port).collect()
    };
    let before = homes(&rig);
    assert_eq!(before, homes(&gateway));
    let drained = |rig: &Rig, ports: &[u16]| rig.drain(ports.iter().copied());
    drained(&rig, &[3]);
    rig.passes(1);
    let without = homes(&rig);
    for (before, without) in before.iter().zip(&without) {
        assert!(if *before == 3 { *without != 3 } else { before == without });
    }
    drained(&gateway, &[3]);
    assert_eq!(without, homes(&gateway), "both send the keys of the drained one to the same others");
    drained(&rig, &[]);
    assert_eq!(before, homes(&rig), "they come back");
    let loads = before.iter().fold(BTreeMap::new(), |mut loads: BTreeMap<u16, u32>, port| {
        *loads.entry(*port).or_default() += 1;
        loads
    });
    assert!(loads.values().all(|load| (150..350).contains(load)), "{loads:?}");
}

/// A new endpoint begins with a tenth of its share and has all of it after the window, under every method that draws.
#[test]
fn slow_start_ramps() {
    for method in [Balancing::RoundRobin, Balancing::Random, Balancing::LeastRequest] {
        let mut rig = Rig::new(3, |policy| {
            policy.balancing = method.clone();
            policy.slow_start = Some(Duration::from_secs(100));
        });
        assert_shares(&rig.counts(3_000), &[1, 1, 1], 3.0);
        rig.store((0..4).map(|port| endpoint(port, 1, None)).collect());
        for (factor, wait) in [(10, 50), (55, 50), (100, 0)] {
            assert_shares(&rig.counts(20_000), &[100, 100, 100, factor], 1.0);
            rig.passes(wait);
        }
        assert_eq!(rig.facts(3).slow_percent, None);
    }
}

/// While shares change at every step of slow start, the sum over the window is still the mean share.
#[test]
fn slow_start_is_smooth() {
    let mut rig = Rig::new(1, |policy| policy.slow_start = Some(Duration::from_secs(100)));
    rig.store(vec![endpoint(0, 1, None), endpoint(1, 1, None)]);
    let mut fresh = 0;
    for _ in 0..100_000 {
        fresh += u32::from(rig.port() == 1);
        rig.now += Duration::from_millis(1);
    }
    // The mean of f / (1 + f) for f from 0.1 to 1.
    let mean = 1.0 - (2.0f64 / 1.1).ln() / 0.9;
    assert!((f64::from(fresh) / 100_000.0 - mean).abs() < 0.01, "{fresh}, expected {mean}");
    assert!(rig.facts(1).slow_percent.is_none());
}

/// Zones divide requests as planned, and a retry may leave the zone when nobody is left in it.
#[test]
fn zones() {
    let list = || {
        vec![
            endpoint(0, 1, Some("a")),
            endpoint(1, 1, Some("b")),
            endpoint(2, 1, Some("b")),
            endpoint(3, 1, Some("b")),
        ]
    };
    for (force_min, shares) in [(None, [6, 2, 2, 2]), (Some(1), [1, 0, 0, 0]), (Some(2), [6, 2, 2, 2])] {
        let zone_aware = ZoneAware { endpoints_min: 3, force_min };
        for method in [Balancing::RoundRobin, Balancing::Random, Balancing::LeastRequest] {
            let mut rig = Rig::with(list(), Some(Home::in_zone("a")), |policy| {
                policy.balancing = method;
                policy.zone_aware = Some(zone_aware);
            });
            assert_shares(&rig.counts(20_000), &shares, 1.0);
            let retry = rig.balancer.pick(None, 1, rig.now, &[address(0)]).unwrap();
            assert_ne!(retry.address(), address(0));
        }
    }
}

/// A retry gets an endpoint that was not tried as long as there is one, whatever the method; then any.
#[test]
fn retries_go_elsewhere() {
    for method in
        [Balancing::RoundRobin, Balancing::Random, Balancing::LeastRequest, Balancing::PeakEwma, HASH]
    {
        let list =
            [1, 1000, 1, 1].into_iter().zip(0..).map(|(weight, port)| endpoint(port, weight, None)).collect();
        let rig = Rig::with(list, None, |policy| policy.balancing = method.clone());
        for request in 0..200 {
            let mut tried = Vec::new();
            for attempt in 0..4 {
                let random = further(request, attempt);
                let pick = rig.balancer.pick(Some(request), random, rig.now, &tried).unwrap();
                assert!(!tried.contains(&pick.address()), "{method:?} {tried:?}");
                tried.push(pick.address());
            }
            assert!(rig.balancer.pick(Some(request), request, rig.now, &tried).is_ok());
        }
    }
}

/// Without endpoints every method refuses.
#[test]
fn nobody() {
    for method in
        [Balancing::RoundRobin, Balancing::Random, Balancing::LeastRequest, Balancing::PeakEwma, HASH]
    {
        let rig = Rig::new(0, |policy| policy.balancing = method);
        let refusal = |key| rig.balancer.pick(key, 5, rig.now, &[]).unwrap_err();
        assert_eq!((refusal(None), refusal(Some(1))), (Refusal::NO_ENDPOINT, Refusal::NO_ENDPOINT));
    }
}

/// Repeats of all workers together stay within a fifth of the requests of all.
#[test]
fn budget_over_workers() {
    let rig = Rig::new(3, |_| {});
    let other = rig.worker(9);
    for _ in 0..60 {
        for (balancer, tried) in [(&rig.balancer, &[][..]), (&other, &[]), (&other, &[address(1)])] {
            drop(balancer.pick(None, 1, rig.now, tried).unwrap());
        }
    }
    let repeats = (0..100).filter(|n| [&rig.balancer, &other][n % 2].may_repeat(None, 0, rig.now)).count();
    assert_eq!(repeats, 24, "of 120 requests; 60 were repeats themselves");
}
