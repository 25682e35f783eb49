//! Where a class leaves to: disjoint intervals of destinations, each decided by one policy.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets};
use tidegate_model::egress::{EgressPolicy, Identity};

/// What happens on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaves {
    /// It leaves with this source address.
    With(Ipv4Addr),
    /// It does not leave.
    Dropped,
}

/// Destinations from `first` to `last`, both included, that are treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The lowest.
    pub first: Ipv4Addr,
    /// The highest.
    pub last: Ipv4Addr,
    /// What happens to packets for them.
    pub leaves: Leaves,
}

impl Destination {
    /// The interval as prefixes, for who needs those.
    pub fn prefixes(&self) -> Ipv4Subnets {
        Ipv4Subnets::new(self.first, self.last, 0)
    }
}

/// An interval and the policy (by its place in the Model) that decides there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub first: u32,
    pub last: u32,
    pub policy: usize,
}

/// Part of a policy's destinations: what is left of one prefix after the exclusions.
struct Piece {
    first: u32,
    last: u32,
    rank: Rank,
}

/// Lowest wins: the longer prefix, then the policy that comes first.
type Rank = (Reverse<u8>, usize);

/// Disjoint intervals in ascending order for pods that these policies select; what no interval holds is untouched.
pub(crate) fn decide_intervals(policies: &[EgressPolicy], selected: &[usize]) -> Vec<Decided> {
    let pieces: Vec<Piece> = selected
        .iter()
        .filter_map(|index| Some((*index, policies.get(*index)?)))
        .flat_map(|(index, policy)| pieces(index, policy))
        .collect();
    sweep(&pieces)
}

/// What a kernel needs to know: neighbours that leave alike are one interval.
pub(crate) fn for_kernel(policies: &[EgressPolicy], intervals: &[Decided]) -> Vec<Destination> {
    let mut result: Vec<Destination> = Vec::new();
    for interval in intervals {
        let Some(policy) = policies.get(interval.policy) else { continue };
        let leaves = leaves(&policy.identity);
        match result.last_mut() {
            Some(before) if before.leaves == leaves && follows(before.last.to_bits(), interval.first) => {
                before.last = Ipv4Addr::from_bits(interval.last);
            }
            _ => result.push(Destination {
                first: Ipv4Addr::from_bits(interval.first),
                last: Ipv4Addr::from_bits(interval.last),
                leaves,
            }),
        }
    }
    result
}

pub(crate) fn leaves(identity: &Identity) -> Leaves {
    match identity {
        Identity::Address(address) => Leaves::With(*address),
        Identity::Unavailable(_) => Leaves::Dropped,
    }
}

fn follows(last: u32, first: u32) -> bool {
    last.checked_add(1) == Some(first)
}

fn pieces(index: usize, policy: &EgressPolicy) -> Vec<Piece> {
    let excluded = merged(v4(&policy.excluded).map(bounds).collect());
    let mut pieces = Vec::new();
    for net in v4(&policy.destinations) {
        let rank = (Reverse(net.prefix_len()), index);
        let (mut first, last) = bounds(net);
        let from = excluded.partition_point(|(_, end)| *end < first);
        let mut open = true;
        for (start, end) in excluded[from..].iter().take_while(|(start, _)| *start <= last) {
            if *start > first {
                pieces.push(Piece { first, last: start - 1, rank });
            }
            match end.checked_add(1) {
                Some(next) if next <= last => first = next,
                _ => open = false,
            }
        }
        if open {
            pieces.push(Piece { first, last, rank });
        }
    }
    pieces
}

fn v4(nets: &[IpNet]) -> impl Iterator<Item = Ipv4Net> + '_ {
    nets.iter().filter_map(|net| match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    })
}

fn bounds(net: Ipv4Net) -> (u32, u32) {
    (net.network().to_bits(), net.broadcast().to_bits())
}

fn merged(mut intervals: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    intervals.sort_unstable();
    let mut result: Vec<(u32, u32)> = Vec::new();
    for (first, last) in intervals {
        match result.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => result.push((first, last)),
        }
    }
    result
}

/// Walks the bounds of all pieces from low to high and keeps the pieces that are open; the best of them decides.
fn sweep(pieces: &[Piece]) -> Vec<Decided> {
    let mut bounds: BTreeMap<u64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (number, piece) in pieces.iter().enumerate() {
        bounds.entry(u64::from(piece.first)).or_default().0.push(number);
        bounds.entry(u64::from(piece.last) + 1).or_default().1.push(number);
    }
    let mut open: BTreeSet<(Rank, usize)> = BTreeSet::new();
    let mut result: Vec<Decided> = Vec::new();
    let mut from = 0;
    for (at, (opened, closed)) in bounds {
        if let Some(((_, policy), _)) = open.first() {
            extend(&mut result, from, at - 1, *policy);
        }
        for number in closed {
            open.remove(&(pieces[number].rank, number));
        }
        for number in opened {
            open.insert((pieces[number].rank, number));
        }
        from = at;
    }
    result
}

fn extend(result: &mut Vec<Decided>, first: u64, last: u64, policy: usize) {
    // Something was open up to `last`, so both are addresses.
    let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) else { return };
    match result.last_mut() {
        Some(before) if before.policy == policy && follows(before.last, first) => before.last = last,
        _ => result.push(Decided { first, last, policy }),
    }
}
