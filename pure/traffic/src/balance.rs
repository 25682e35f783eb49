//! Which backend of a rule, and which endpoint of a backend.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_model::traffic::{Backend, Endpoints, Target, WeightedBackend};

use crate::refusal::Refusal;

/// The target on which `random` (uniform over all of u64) falls, by weight; nothing if all weights are 0.
pub fn share(backends: &[WeightedBackend], random: u64) -> Option<&Target> {
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    let mut point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    for backend in backends {
        match point.checked_sub(u64::from(backend.weight)) {
            Some(rest) => point = rest,
            None => return Some(&backend.target),
        }
    }
    None
}

/// The backend on which `random` falls, or why that share of the requests is answered here.
pub fn backend(backends: &[WeightedBackend], random: u64) -> Result<&Arc<Backend>, Refusal> {
    match share(backends, random) {
        Some(Target::Backend(backend)) => Ok(backend),
        Some(Target::Broken(reason)) => Err(Refusal::broken(reason)),
        None => Err(Refusal::NO_BACKEND_WEIGHT),
    }
}

/// The endpoint whose turn it is; consecutive turns visit all.
pub fn round_robin(endpoints: &Endpoints, turn: usize) -> Result<SocketAddr, Refusal> {
    match endpoints.usable.len() {
        0 => Err(Refusal::NO_ENDPOINT),
        count => Ok(endpoints.usable[turn % count].address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighted(weights: &[u32]) -> Vec<WeightedBackend> {
        const NAMES: [&str; 4] = ["0", "1", "2", "3"];
        let target = |index: usize| Target::Broken(NAMES[index]);
        weights
            .iter()
            .enumerate()
            .map(|(index, &weight)| WeightedBackend::plain(weight, target(index)))
            .collect()
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
}
