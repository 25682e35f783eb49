//! What happens to endpoints that fail, leave, come back or are drained.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_model::traffic::{BackendPolicy, Balancing, Ejection, HealthCheck, Probe};

use super::rig::{Rig, address, endpoint};
use crate::Refusal;
use crate::balance::{Balancer, Checker, Ended};

fn ejection(max_percent: u32) -> Ejection {
    Ejection {
        consecutive_5xx: 3,
        consecutive_gateway_errors: 0,
        consecutive_local_failures: 0,
        base_time: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        max_percent,
    }
}

fn health_check() -> HealthCheck {
    let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(1));
    let probe = Probe::Tcp { send: Vec::new(), expect: Vec::new() };
    HealthCheck { probe, interval, timeout, unhealthy_after: 1, healthy_after: 1 }
}

fn ejected(rig: &Rig) -> usize {
    rig.shared.facts(rig.now).iter().filter(|facts| facts.ejected_secs.is_some()).count()
}

/// Three failures in a row put an endpoint out for all workers; the first sweep after its time brings it back; the
/// second time lasts twice as long.
#[test]
fn out_and_back() {
    let mut rig = Rig::new(4, |policy| policy.ejection = Some(ejection(50)));
    let other = rig.worker(3);
    for (times, lasts) in [(1, 30), (2, 60)] {
        (0..3).for_each(|_| rig.ended(2, Ended::ServerError));
        assert_eq!(rig.facts(2).ejected_secs, Some(lasts));
        assert!(!rig.counts(100).contains_key(&2), "time {times}");
        assert!((0..100).all(|n| other.pick(None, n, rig.now, &[]).unwrap().address() != address(2)));
        rig.passes(lasts - 1);
        assert!(!rig.counts(100).contains_key(&2));
        rig.passes(11);
        assert_eq!(rig.counts(100)[&2], 25);
    }
}

/// An endpoint that behaves is forgiven: after enough sweeps the next ejection is short again.
#[test]
fn forgiven() {
    let mut rig = Rig::new(4, |policy| policy.ejection = Some(ejection(50)));
    (0..3).for_each(|_| rig.ended(0, Ended::LocalFailure));
    for _ in 0..8 {
        rig.passes(10);
        rig.port();
    }
    (0..3).for_each(|_| rig.ended(0, Ended::LocalFailure));
    assert_eq!(rig.facts(0).ejected_secs, Some(30));
}

/// Never more are out than the cap says, but one always may be; and when health is ignored, all get requests.
#[test]
fn cap_and_panic() {
    let mut rig = Rig::new(10, |policy| policy.ejection = Some(ejection(30)));
    for port in 0..10 {
        (0..3).for_each(|_| {
            if rig.facts(port).ejected_secs.is_none() {
                rig.ended(port, Ended::GatewayError);
            }
        });
    }
    assert_eq!(ejected(&rig), 3);
    let mut single = Rig::new(1, |policy| policy.ejection = Some(ejection(0)));
    (0..3).for_each(|_| single.ended(0, Ended::GatewayError));
    assert_eq!(ejected(&single), 1);
    assert_eq!(single.port(), 0, "none is healthy: health is ignored");
}

/// With a threshold of 0 health is never ignored: nobody healthy is a refusal.
#[test]
fn no_panic() {
    let mut rig = Rig::new(1, |policy| {
        policy.ejection = Some(ejection(100));
        policy.panic_percent = Some(0);
    });
    (0..3).for_each(|_| rig.ended(0, Ended::GatewayError));
    assert_eq!(rig.pick().unwrap_err(), Refusal::NO_HEALTHY_ENDPOINT);
}

/// An endpoint that fails its check is left out, and with slow start it comes back slowly.
#[test]
fn checked() {
    let mut rig = Rig::new(4, |policy| {
        policy.health_check = Some(health_check());
        policy.slow_start = Some(Duration::from_secs(100));
    });
    let mut checker = Checker::new(rig.shared.clone());
    rig.passes(1);
    let mut round = |rig: &mut Rig, works: bool| {
        checker.due(rig.now, 1);
        rig.passes(6);
        for address in checker.due(rig.now, 2) {
            checker.answered(address, works || address.port() != 3, rig.now);
        }
    };
    round(&mut rig, false);
    assert!(!rig.facts(3).healthy && !rig.counts(100).contains_key(&3));
    round(&mut rig, true);
    assert_eq!((rig.facts(3).healthy, rig.facts(3).slow_percent), (true, Some(10)));
    let share = rig.counts(3100)[&3];
    assert!((80..120).contains(&share), "{share}: a tenth of a full share is 100");
}

/// A drained endpoint gets nothing new and keeps what is under way; one drained before it comes is drained when it
/// comes; sessions leave it.
#[test]
fn drained() {
    let mut rig = Rig::new(2, |_| {});
    let under_way: Vec<_> = (0..4).map(|_| rig.pick().unwrap()).collect();
    rig.drain([1, 2]);
    assert_eq!(rig.counts(10).keys().collect::<Vec<_>>(), [&0]);
    assert_eq!((rig.facts(1).draining, rig.facts(1).in_flight), (true, 2));
    assert!(rig.balancer.stay(address(1), rig.now).is_none());
    assert_eq!(rig.balancer.stay(address(0), rig.now).unwrap().address(), address(0));
    drop(under_way);
    assert_eq!(rig.facts(1).in_flight, 0);
    rig.store((0..3).map(|port| endpoint(port, 1, None)).collect());
    assert_eq!(rig.counts(10).keys().collect::<Vec<_>>(), [&0]);
    rig.drain([]);
    assert_eq!(rig.counts(9).len(), 3);
    rig.drain(0..3);
    assert_eq!(rig.pick().unwrap_err(), Refusal::NO_ENDPOINT);
}

/// Endpoints that stay in the list keep their state, those that go lose it, and requests to those that left end well.
#[test]
fn list_changes() {
    let mut rig = Rig::new(3, |policy| policy.ejection = Some(ejection(50)));
    (0..3).for_each(|_| rig.ended(1, Ended::ServerError));
    let held: Vec<_> = (0..2).map(|_| rig.pick().unwrap()).collect();
    rig.store([1, 2, 3].map(|port| endpoint(port, 1, None)).into());
    assert!(rig.counts(20).keys().eq(&[2, 3]));
    assert_eq!((rig.facts(2).in_flight, rig.facts(3).in_flight), (1, 0));
    held.iter().for_each(|pick| pick.finished(Ended::LocalFailure, Duration::ZERO, rig.now));
    drop(held);
    assert_eq!(rig.facts(2).in_flight, 0);
    rig.store(vec![endpoint(2, 1, None)]);
    rig.port();
    rig.store([1, 2].map(|port| endpoint(port, 1, None)).into());
    assert_eq!(rig.counts(20).len(), 2, "1 is another one now");
}

/// A list that changes does not make a worker forget how busy the endpoints are that stay.
#[test]
fn list_changes_keep_counts() {
    let mut rig = Rig::new(2, |policy| policy.balancing = Balancing::LeastRequest);
    let mut held: Vec<_> = (0..4).map(|_| rig.pick().unwrap()).collect();
    held.retain(|pick| pick.address() == address(0));
    assert_eq!(held.len(), 2);
    rig.store(vec![endpoint(0, 1, Some("elsewhere")), endpoint(1, 1, None)]);
    assert!(rig.counts(50).keys().eq(&[1]));
}

/// A predecessor that is still in use puts nobody out: nobody would bring it back.
#[test]
fn predecessors_judge_no_more() {
    let mut rig = Rig::new(4, |policy| policy.ejection = Some(ejection(50)));
    let next = rig.shared.successor(rig.backend.policy.clone(), rig.cell.clone(), None, rig.now);
    (0..9).for_each(|_| rig.ended(1, Ended::ServerError));
    assert!(next.facts(rig.now).iter().all(|facts| facts.ejected_secs.is_none()));
}

/// An endpoint that was unhealthy, left, and came back between two looks of the checker is presumed healthy again.
#[test]
fn back_as_another() {
    let mut rig = Rig::new(2, |policy| policy.health_check = Some(health_check()));
    let mut checker = Checker::new(rig.shared.clone());
    checker.due(rig.now, 1);
    rig.passes(1);
    assert_eq!(checker.due(rig.now, 1).len(), 2);
    assert!(checker.answered(address(1), false, rig.now));
    for list in [&[0][..], &[0, 1]] {
        rig.store(list.iter().map(|&port| endpoint(port, 1, None)).collect());
        rig.shared.follow(rig.now);
    }
    assert!(rig.facts(1).healthy);
    rig.passes(6);
    checker.due(rig.now, 1);
    assert!(checker.answered(address(1), false, rig.now), "one failure makes it unhealthy anew");
    assert!(!rig.facts(1).healthy);
}

/// Another policy for the same backend knows what the first knew, and forgets what it does not ask for.
#[test]
fn policy_changes() {
    let mut rig = Rig::new(4, |policy| policy.ejection = Some(ejection(50)));
    (0..3).for_each(|_| rig.ended(1, Ended::ServerError));
    let succeed = |rig: &Rig, policy: BackendPolicy| {
        Arc::new(rig.shared.successor(Arc::new(policy), rig.cell.clone(), None, rig.now))
    };
    let random =
        BackendPolicy { balancing: Balancing::Random, ejection: Some(ejection(50)), ..Default::default() };
    let next = succeed(&rig, random);
    let balancer = Balancer::new(next.clone(), 1, rig.now);
    assert!((0..50u64).all(|n| balancer.pick(None, n << 58, rig.now, &[]).unwrap().address() != address(1)));
    rig.passes(45);
    drop(balancer.pick(None, 1, rig.now, &[]).unwrap());
    assert!(next.facts(rig.now).iter().all(|facts| facts.ejected_secs.is_none()));
    let mut rig = Rig::new(4, |policy| policy.ejection = Some(ejection(50)));
    (0..3).for_each(|_| rig.ended(2, Ended::ServerError));
    let plain = succeed(&rig, BackendPolicy::default());
    assert!(plain.facts(rig.now).iter().all(|facts| facts.ejected_secs.is_none()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever ends how, comes, goes and is drained: never more are out than the cap, no one drained or gone gets a
    /// request, someone always does while one is left, and in the end nothing is under way.
    #[test]
    fn random_histories(
        max_percent in 0u32..=100, method in 0usize..4,
        steps in prop::collection::vec((0u8..8, 0u16..8, 0usize..5), 0..200),
    ) {
        let methods = [Balancing::RoundRobin, Balancing::Random, Balancing::LeastRequest, Balancing::PeakEwma];
        let mut rig = Rig::new(5, |policy| {
            policy.ejection = Some(ejection(max_percent));
            policy.balancing = methods[method].clone();
            policy.slow_start = Some(Duration::from_secs(20));
        });
        let (mut listed, mut drained) = ((0..5).collect::<BTreeSet<u16>>(), BTreeSet::new());
        let mut held = Vec::new();
        let endings =
            [Ended::Served, Ended::ServerError, Ended::GatewayError, Ended::LocalFailure, Ended::Abandoned];
        for (step, port, ending) in steps {
            match step {
                0..=3 => match rig.pick() {
                    Ok(pick) => {
                        let port = pick.address().port();
                        prop_assert!(listed.contains(&port) && !drained.contains(&port));
                        pick.finished(endings[ending], Duration::from_millis(5), rig.now);
                        held.push(pick);
                    }
                    Err(_) => prop_assert!(listed.is_subset(&drained)),
                },
                4 => held.truncate(usize::from(port)),
                5 => rig.passes(u64::from(port) * 4),
                6 => {
                    if !listed.remove(&port) { listed.insert(port); }
                    let ports = listed.iter().map(|&port| endpoint(port, 1 + u32::from(port % 3), None));
                    rig.store(ports.collect());
                }
                _ => {
                    if !drained.remove(&port) { drained.insert(port); }
                    rig.drain(drained.iter().copied());
                }
            }
        }
        drop(held);
        prop_assert!(rig.shared.facts(rig.now).iter().all(|facts| facts.in_flight == 0));
    }

    /// With a list that stays, never more are out than the cap allows.
    #[test]
    fn cap_holds(max_percent in 0u32..=100, count in 1u16..12, endings in prop::collection::vec(0u8..10, 0..300)) {
        let mut rig = Rig::new(count, |policy| policy.ejection = Some(ejection(max_percent)));
        for ending in endings {
            let pick = rig.pick().unwrap();
            let ended = if ending < 8 { Ended::LocalFailure } else { Ended::Served };
            pick.finished(ended, Duration::from_millis(5), rig.now);
            if ending == 9 { rig.passes(7); }
            let cap = (u64::from(max_percent) * u64::from(count) / 100).max(1);
            prop_assert!(ejected(&rig) as u64 <= cap);
        }
    }
}
