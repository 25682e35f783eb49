//! The decision process: RFC 4271, section 9.1.2.2, with RFC 4456, section 9 and RFC 5004. A round
//! for each step; whoever falls in a round knows why. The same paths give the same answer in any order.

use super::{Path, PeerFacts};
use crate::peer::PeerKind;
use std::collections::BTreeMap;
use std::fmt;

/// The step at which a path lost, in the order of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Another path comes from a session that still stands.
    Stale,
    /// Another has a higher LOCAL_PREF (100 where there is none).
    LocalPref,
    /// Another has a shorter AS_PATH.
    AsPathLength,
    /// Another has a lower ORIGIN.
    Origin,
    /// Another from the same neighbouring AS has a lower MED (0 where there is none).
    Med,
    /// Another came from an external peer.
    ExternalPeer,
    /// Another came earlier; only between external peers, and so that routes do not swing (RFC 5004).
    Age,
    /// Another came from a lower router id, or ORIGINATOR_ID.
    RouterId,
    /// Another crossed fewer route reflectors.
    ClusterListLength,
    /// Another came from a lower peer address.
    PeerAddress,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Stale => "its session is gone",
            Step::LocalPref => "lower LOCAL_PREF",
            Step::AsPathLength => "longer AS_PATH",
            Step::Origin => "higher ORIGIN",
            Step::Med => "higher MED within its neighbouring AS",
            Step::ExternalPeer => "internal, the best is external",
            Step::Age => "younger",
            Step::RouterId => "higher router id",
            Step::ClusterListLength => "longer CLUSTER_LIST",
            Step::PeerAddress => "higher peer address",
        })
    }
}

/// LOCAL_PREF of a path that has none.
pub(super) const LOCAL_PREF_DEFAULT: u32 = 100;

/// What the rounds came to. Indices are into the candidates.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// Those equal up to `ExternalPeer`, the best first, in the order of the tie-breaks.
    pub(super) equal: Vec<usize>,
    /// For each candidate but the best, the step at which it lost. Paths of `equal` are here too.
    pub(super) lost: Vec<Option<Step>>,
}

/// A path with what is known of its peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) path: &'a Path,
    pub(super) peer: &'a PeerFacts,
}

/// Decides among the eligible candidates; the others are in neither list.
pub(super) fn decide(candidates: &[Candidate<'_>]) -> Decision {
    let mut alive: Vec<usize> =
        (0..candidates.len()).filter(|index| candidates[*index].path.ineligible.is_none()).collect();
    let mut lost = vec![None; candidates.len()];
    if alive.len() > 1 {
        for step in [Step::Stale, Step::LocalPref, Step::AsPathLength, Step::Origin] {
            round(&mut alive, &mut lost, step, |index| common_key(&candidates[index], step));
        }
        med_round(&mut alive, &mut lost, candidates);
        round(&mut alive, &mut lost, Step::ExternalPeer, |index| {
            common_key(&candidates[index], Step::ExternalPeer)
        });
        alive.sort_by_cached_key(|index| tie_break(&candidates[*index]));
    }
    if let Some((best, others)) = alive.split_first() {
        let best = tie_break(&candidates[*best]);
        for other in others {
            lost[*other] = Some(first_difference(best, tie_break(&candidates[*other])));
        }
    }
    Decision { equal: alive, lost }
}

/// Keeps those with the lowest key.
fn round(alive: &mut Vec<usize>, lost: &mut [Option<Step>], step: Step, key: impl Fn(usize) -> u64) {
    let Some(lowest) = alive.iter().map(|index| key(*index)).min() else { return };
    alive.retain(|index| {
        let stays = key(*index) == lowest;
        if !stays {
            lost[*index] = Some(step);
        }
        stays
    });
}

fn common_key(candidate: &Candidate<'_>, step: Step) -> u64 {
    let attributes = &candidate.path.attributes;
    match step {
        Step::Stale => u64::from(candidate.path.stale),
        Step::LocalPref => u64::from(u32::MAX - attributes.local_pref.unwrap_or(LOCAL_PREF_DEFAULT)),
        Step::AsPathLength => attributes.as_path.length() as u64,
        Step::Origin => attributes.origin as u64,
        _ => u64::from(candidate.peer.kind == PeerKind::Internal),
    }
}

/// MED is compared within each neighbouring AS only; so the lowest of each stays (section 9.1.2.2 c).
fn med_round(alive: &mut Vec<usize>, lost: &mut [Option<Step>], candidates: &[Candidate<'_>]) {
    let neighbour = |index: usize| candidates[index].path.attributes.as_path.first();
    let med = |index: usize| candidates[index].path.attributes.med.unwrap_or(0);
    let mut lowest: BTreeMap<Option<u32>, u32> = BTreeMap::new();
    for index in alive.iter() {
        let entry = lowest.entry(neighbour(*index)).or_insert(u32::MAX);
        *entry = med(*index).min(*entry);
    }
    round(alive, lost, Step::Med, |index| u64::from(Some(&med(index)) != lowest.get(&neighbour(index))));
}

/// Keys of the last steps, in their order. After `ExternalPeer` all are of one kind, so they compare.
fn tie_break(candidate: &Candidate<'_>) -> [u64; 4] {
    let Candidate { path, peer } = candidate;
    let age = if peer.kind == PeerKind::External { path.age } else { 0 };
    let router_id = path.attributes.originator_id.unwrap_or(peer.router_id);
    let clusters = path.attributes.cluster_list.len() as u64;
    [age, u32::from(router_id).into(), clusters, u32::from(peer.address).into()]
}

fn first_difference(best: [u64; 4], other: [u64; 4]) -> Step {
    let steps = [Step::Age, Step::RouterId, Step::ClusterListLength, Step::PeerAddress];
    let differing = steps.into_iter().zip(best.into_iter().zip(other)).find(|(_, (a, b))| a != b);
    differing.map_or(Step::PeerAddress, |(step, _)| step)
}

/// The next hops to install: the best first, then its equals, each address once, at most `most`.
/// Also tells which candidates they come from.
pub(super) fn install_set(candidates: &[Candidate<'_>], equal: &[usize], most: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    for index in equal {
        let next_hop = candidates[*index].path.next_hop;
        if chosen.len() < most.max(1) && chosen.iter().all(|c| candidates[*c].path.next_hop != next_hop) {
            chosen.push(*index);
        }
    }
    chosen
}
