//! The allocation itself: who keeps what he has, who asked for an address by number, who takes what is free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::ledger::Ledger;
use crate::{Family, Pool, Tenancy};

/// Someone who needs addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<K> {
    /// Who.
    pub key: K,
    /// One address of each of these families, the more wanted first.
    pub families: Vec<Family>,
    /// Whether one of them will do where not all can be had.
    pub one_will_do: bool,
    /// Asked for by number: these, and none by free choice.
    pub exact: Vec<IpAddr>,
    /// What it was given before, as far as every gateway reads it alike (an object's status, never the memory of one
    /// among several) and it may still have it.
    pub standing: Vec<IpAddr>,
    /// Places of the pools that may be asked, in this order.
    pub pools: Vec<usize>,
    /// On which terms.
    pub tenancy: Tenancy,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<K> {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What could not be had. With `one_will_do` there may be a refusal beside an address that does.
    pub refusals: Vec<Refusal<K>>,
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<K> {
    /// Somebody has the address that was asked for by number; none: it is no address to be given.
    Taken(IpAddr, Option<K>),
    /// Every address of this family in the pools that may be asked is in use, or they have none.
    Exhausted(Family),
    /// There is no pool that may be asked.
    NoPool,
}

/// Gives every request its addresses, or says why not.
///
/// `requests` come in order of precedence, but whoever has an address already comes before all others, and who asks by
/// number before who does not care. `reserved` are given only to who asks by number; `owned` to nobody, but who has one
/// already keeps it.
///
/// Cost: each request looks at most once at every address in use, and usually at one. A pool that was found full is not
/// looked through again.
pub fn allocate<K: Ord + Clone + std::fmt::Display>(
    pools: &[Pool],
    requests: &[Request<K>],
    reserved: &BTreeSet<IpAddr>,
    owned: &BTreeSet<IpAddr>,
) -> BTreeMap<K, Given<K>> {
    let mut desk = Desk { pools, reserved, owned, ledger: Ledger::new(), full: BTreeSet::new() };
    let mut given: Vec<Given<K>> = requests.iter().map(|request| desk.keep(request)).collect();
    let each = || requests.iter().enumerate();
    for (place, request) in each().filter(|(_, request)| !request.exact.is_empty()) {
        desk.ask(request, &mut given[place]);
    }
    for (place, request) in each().filter(|(_, request)| request.exact.is_empty()) {
        desk.choose(request, &mut given[place]);
    }
    requests.iter().map(|request| request.key.clone()).zip(given).collect()
}

struct Desk<'a, K> {
    pools: &'a [Pool],
    reserved: &'a BTreeSet<IpAddr>,
    owned: &'a BTreeSet<IpAddr>,
    ledger: Ledger<'a, K>,
    full: BTreeSet<(usize, Family)>,
}

impl<'a, K: Ord + Clone + std::fmt::Display> Desk<'a, K> {
    /// What stands, one of each family; of who asks by number, nothing else than that.
    fn keep(&mut self, request: &'a Request<K>) -> Given<K> {
        let mut given = Given { addresses: Vec::new(), refusals: Vec::new() };
        for address in &request.standing {
            let family = Family::of(*address);
            let wanted = match request.exact.is_empty() {
                true => request.families.contains(&family) && !given.has(family),
                false => request.exact.contains(address),
            };
            let fits = wanted && self.ledger.hinders(*address, &request.tenancy).is_none();
            if fits && !given.addresses.contains(address) {
                self.give(*address, request, &mut given);
            }
        }
        given
    }

    /// What is asked for by number.
    fn ask(&mut self, request: &'a Request<K>, given: &mut Given<K>) {
        for address in &request.exact {
            if given.addresses.contains(address) {
                continue;
            }
            let hinders = self.ledger.hinders(*address, &request.tenancy).cloned();
            if hinders.is_some() || self.owned.contains(address) {
                given.refusals.push(Refusal::Taken(*address, hinders));
            } else {
                self.give(*address, request, given);
            }
        }
    }

    /// The families that are missing: from the first pool that has all of them, else each from the first that has it.
    fn choose(&mut self, request: &'a Request<K>, given: &mut Given<K>) {
        let missing: Vec<Family> =
            request.families.iter().copied().filter(|family| !given.has(*family)).collect();
        if missing.is_empty() {
            return;
        }
        if request.pools.is_empty() {
            given.refusals.push(Refusal::NoPool);
            return;
        }
        let mut best: BTreeMap<Family, IpAddr> = BTreeMap::new();
        for pool in &request.pools {
            let found: BTreeMap<Family, IpAddr> = missing
                .iter()
                .filter_map(|family| Some((*family, self.find(request, *pool, *family)?)))
                .collect();
            if found.len() == missing.len() {
                best = found;
                break;
            }
            found.into_iter().for_each(|(family, address)| _ = best.entry(family).or_insert(address));
        }
        let lacking = missing.iter().filter(|family| !best.contains_key(family));
        given.refusals.extend(lacking.map(|family| Refusal::Exhausted(*family)));
        if best.len() == missing.len() || request.one_will_do {
            for address in missing.iter().filter_map(|family| best.get(family)) {
                self.give(*address, request, given);
            }
        }
    }

    /// An address of this pool: beside those who share on the same terms, else one that is free.
    fn find(&mut self, request: &Request<K>, at: usize, family: Family) -> Option<IpAddr> {
        let pools = self.pools;
        let pool = pools.get(at)?;
        let fits = |address: &IpAddr| {
            Family::of(*address) == family
                && pool.offers(*address)
                && self.ledger.hinders(*address, &request.tenancy).is_none()
        };
        if let Some(address) = self.ledger.of_share(&request.tenancy).find(fits) {
            return Some(address);
        }
        if self.full.contains(&(at, family)) {
            return None;
        }
        let start = hash(&request.key.to_string());
        let is_free = |address| {
            self.ledger.is_free(address)
                && !self.reserved.contains(&address)
                && !self.owned.contains(&address)
        };
        let found = pool.free_from(family, start, is_free);
        if found.is_none() {
            self.full.insert((at, family));
        }
        found
    }

    fn give(&mut self, address: IpAddr, request: &'a Request<K>, given: &mut Given<K>) {
        self.ledger.take(address, &request.key, &request.tenancy);
        given.addresses.push(address);
    }
}

impl<K> Given<K> {
    fn has(&self, family: Family) -> bool {
        self.addresses.iter().any(|address| Family::of(*address) == family)
    }
}

/// FNV-1a, 64 bits. Gateways of different releases must agree on it: it can never change.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
