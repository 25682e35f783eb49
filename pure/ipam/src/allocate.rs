//! The allocation itself: who asked for an address by number, who had one, who takes what is free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::Range;

/// Addresses that may be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name, unique.
    pub name: String,
    /// Its addresses; where ranges overlap an address still counts once.
    pub ranges: Vec<Range>,
    /// Whether it serves who did not ask for it by name.
    pub auto_assign: bool,
    /// Whether addresses that end in .0 and .255 are left out.
    pub avoid_buggy_ips: bool,
}

/// Someone who needs an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<K> {
    /// Who.
    pub key: K,
    /// The pool asked for by name; none: any that assigns by itself, in order of name.
    pub pool: Option<String>,
}

/// An address and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub address: Ipv4Addr,
    /// Name of its pool.
    pub pool: String,
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No pool has this name.
    UnknownPool(String),
    /// Every address of these pools is in use.
    Exhausted(Vec<String>),
    /// No pool assigns by itself, and none was named.
    NoPool,
}

/// Gives every request an address of its own, or says why not.
///
/// `requests` come in order of precedence. `taken` are addresses that somebody has already (asked for by number, or
/// used for something else): they are given to nobody. `previous` is what was given before, as far as every gateway
/// reads it alike (an object's status, never a process's memory); it is kept where it is still allowed.
///
/// Cost: each request looks at most once at every address of its pools, and usually at one.
pub fn allocate<K: Ord + Clone + std::fmt::Display>(
    pools: &[Pool],
    requests: &[Request<K>],
    taken: &BTreeSet<Ipv4Addr>,
    previous: &BTreeMap<K, Ipv4Addr>,
) -> BTreeMap<K, Result<Assigned, Refusal>> {
    let mut pools: Vec<&Pool> = pools.iter().collect();
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    let mut used = taken.clone();
    let mut given = BTreeMap::new();
    for request in requests {
        let kept = previous.get(&request.key).and_then(|address| keep(&pools, request, *address, &used));
        if let Some(assigned) = kept {
            used.insert(assigned.address);
            given.entry(request.key.clone()).or_insert(Ok(assigned));
        }
    }
    for request in requests {
        if given.contains_key(&request.key) {
            continue;
        }
        let chosen = choose(&pools, request, &used);
        if let Ok(assigned) = &chosen {
            used.insert(assigned.address);
        }
        given.insert(request.key.clone(), chosen);
    }
    given
}

impl Pool {
    /// Whether `address` may be given out from here.
    pub fn offers(&self, address: Ipv4Addr) -> bool {
        let buggy = self.avoid_buggy_ips && matches!(address.octets()[3], 0 | 255);
        !buggy && self.contains(address)
    }

    /// Whether `address` lies in here, given out or not.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    fn size(&self) -> u64 {
        self.ranges.iter().map(Range::size).sum()
    }

    /// The address at this place, counted through all ranges.
    fn at(&self, mut place: u64) -> Option<Ipv4Addr> {
        for range in &self.ranges {
            if place < range.size() {
                let offset = u32::try_from(place).ok()?;
                return range.first.to_bits().checked_add(offset).map(Ipv4Addr::from_bits);
            }
            place -= range.size();
        }
        None
    }

    fn free_from(&self, start: u64, used: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let size = self.size();
        let places = (0..size).map(|step| (start % size + step) % size);
        places
            .filter_map(|place| self.at(place))
            .find(|address| self.offers(*address) && !used.contains(address))
    }
}

fn keep<K>(
    pools: &[&Pool],
    request: &Request<K>,
    address: Ipv4Addr,
    used: &BTreeSet<Ipv4Addr>,
) -> Option<Assigned> {
    let pool = candidates(pools, request).find(|pool| pool.offers(address))?;
    (!used.contains(&address)).then(|| Assigned { address, pool: pool.name.clone() })
}

fn choose<K: std::fmt::Display>(
    pools: &[&Pool],
    request: &Request<K>,
    used: &BTreeSet<Ipv4Addr>,
) -> Result<Assigned, Refusal> {
    let start = hash(&request.key.to_string());
    let mut asked = Vec::new();
    for pool in candidates(pools, request) {
        if let Some(address) = pool.free_from(start, used) {
            return Ok(Assigned { address, pool: pool.name.clone() });
        }
        asked.push(pool.name.clone());
    }
    match &request.pool {
        _ if !asked.is_empty() => Err(Refusal::Exhausted(asked)),
        Some(name) => Err(Refusal::UnknownPool(name.clone())),
        None => Err(Refusal::NoPool),
    }
}

fn candidates<'a, K>(pools: &'a [&'a Pool], request: &'a Request<K>) -> impl Iterator<Item = &'a Pool> {
    pools.iter().copied().filter(|pool| match &request.pool {
        Some(name) => pool.name == *name,
        None => pool.auto_assign,
    })
}

/// FNV-1a, 64 bits. Gateways of different releases must agree on it: it can never change.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
