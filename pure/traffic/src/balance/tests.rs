//! Shares of backends here; what endpoints get in [`statistics`], and what happens to those that fail in [`outages`].

use super::*;

mod outages;
mod rig;
mod statistics;

fn weighted(weights: &[u32]) -> Vec<WeightedBackend> {
    const NAMES: [&str; 4] = ["0", "1", "2", "3"];
    let share = |(index, &weight)| WeightedBackend::plain(weight, Target::Broken(NAMES[index]));
    weights.iter().enumerate().map(share).collect()
}

fn chosen(backends: &[WeightedBackend], random: u64) -> &'static str {
    backend(backends, random).unwrap_err().reason
}

/// Every target gets its share of the random numbers to within one in a hundred thousand; weight 0 gets nothing.
#[test]
fn shares_are_exact() {
    let backends = weighted(&[90, 0, 9, 1]);
    let mut counts = std::collections::BTreeMap::new();
    for step in 0..100_000u64 {
        *counts.entry(chosen(&backends, step * (u64::MAX / 100_000))).or_insert(0u32) += 1;
    }
    assert_eq!(counts.get("1"), None);
    for (name, expected) in [("0", 90_000), ("2", 9_000), ("3", 1_000)] {
        assert!(counts[name].abs_diff(expected) <= 1, "{name}: {}", counts[name]);
    }
}

/// The largest random number falls on the last target with a weight, and large weights do not overflow.
#[test]
fn extremes() {
    assert_eq!(chosen(&weighted(&[1, 1, 0]), u64::MAX), "1");
    assert_eq!(chosen(&weighted(&[0, 1]), 0), "1");
    assert_eq!(chosen(&weighted(&[u32::MAX, u32::MAX]), u64::MAX), "1");
    assert_eq!(chosen(&weighted(&[0, 0]), 7), "NoBackendWeight");
    assert_eq!(chosen(&[], 7), "NoBackendWeight");
}

/// The share that was chosen comes with its backend, so that its filters are known.
#[test]
fn share_and_backend() {
    let mut backends = weighted(&[0, 1]);
    let rig = rig::Rig::new(1, |_| {});
    backends[1].target = Target::Backend(rig.backend.clone());
    backends[1].filters.request_headers.remove.push("x-secret".into());
    let (share, backend) = backend(&backends, 9).unwrap();
    assert_eq!(share, &backends[1]);
    assert!(Arc::ptr_eq(backend, &rig.backend));
}

/// Turns visit every endpoint once before any twice, and none when there is none.
#[test]
fn turns_visit_all() {
    let usable: Vec<SocketAddr> = (1..=3).map(|port| ([127, 0, 0, 1], port).into()).collect();
    let endpoints = Endpoints::plain(usable.clone());
    let visited: Vec<_> =
        (usize::MAX - 2..=usize::MAX).map(|turn| round_robin(&endpoints, turn).unwrap()).collect();
    assert!(usable.iter().all(|endpoint| visited.contains(endpoint)));
    assert_eq!(round_robin(&Endpoints::default(), 0), Err(Refusal::NO_ENDPOINT));
}

/// What the process shares may be shared by threads.
#[test]
fn shared_by_threads() {
    fn both<T: Send + Sync>() {}
    both::<Shared>();
    both::<Held>();
    both::<Checker>();
}
