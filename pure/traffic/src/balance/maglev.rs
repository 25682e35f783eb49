//! The table of a consistent hash: Maglev (Eisenbud and others, NSDI 2016, section 3.4), with weights.
//!
//! It is made of addresses and weights only: not of health, nor of the order in which endpoints were heard of. So two
//! gateways with the same endpoints have the same table, and an endpoint that is away for a while moves nobody but its
//! own keys, and those come back.

use tidegate_model::traffic::Endpoint;

use super::hash::{further, of_endpoint};

/// The largest table: 20 MB, and enough for 50,000 endpoints.
pub const TABLE_SIZE_MAX: u32 = 5_000_011;

/// Keys try so many slots by chance before they walk along the table.
const HOPS: u64 = 8;

/// Every endpoint wants the slots in an order of its own; in turn, each gets the next that is free.
#[derive(Debug)]
pub struct Maglev {
    /// Places of endpoints in the list it was built from.
    slots: Vec<u32>,
}

impl Maglev {
    /// Builds a table of `size` slots, or of the next prime that leaves every endpoint one, up to [`TABLE_SIZE_MAX`].
    /// Takes about 10 ns for a slot; empty if there is no endpoint.
    pub fn new(endpoints: &[Endpoint], size: u32) -> Maglev {
        if endpoints.is_empty() {
            return Maglev { slots: Vec::new() };
        }
        let least = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let size = u64::from(prime_from(size.max(least).clamp(2, TABLE_SIZE_MAX - 10)));
        let weight_max = endpoints.iter().map(|endpoint| endpoint.weight).max().unwrap_or(1).max(1);
        let mut wishes: Vec<Wish> =
            endpoints.iter().zip(0..).map(|(e, index)| Wish::new(e, index, size)).collect();
        wishes.sort_by_key(|wish| endpoints[wish.endpoint as usize].address);
        Maglev { slots: fill(&mut wishes, u64::from(weight_max), size) }
    }

    /// The endpoint of a key, then those it goes to instead, the same on every gateway; an endpoint may come up several
    /// times, and every one that has a slot comes up.
    pub fn probe(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let count = self.slots.len();
        let slot = move |hop| ((u128::from(further(key, hop)) * count as u128) >> 64) as usize;
        let hops = (0..if count == 0 { 0 } else { HOPS }).map(slot);
        let walk = (0..count).map(move |step| (slot(HOPS) + step) % count);
        hops.chain(walk).map(|slot| self.slots[slot] as usize)
    }
}

/// The order in which an endpoint wants slots.
struct Wish {
    endpoint: u32,
    slot: u64,
    skip: u64,
    weight: u64,
    credit: u64,
}

impl Wish {
    fn new(endpoint: &Endpoint, index: u32, size: u64) -> Wish {
        let slot = of_endpoint(endpoint.address, 0) % size;
        let skip = of_endpoint(endpoint.address, 1) % (size - 1) + 1;
        Wish { endpoint: index, slot, skip, weight: u64::from(endpoint.weight.max(1)), credit: 0 }
    }

    fn take(&mut self, slots: &mut [u32], size: u64) {
        while slots[self.slot as usize] != FREE {
            self.slot = (self.slot + self.skip) % size;
        }
        slots[self.slot as usize] = self.endpoint;
    }
}

const FREE: u32 = u32::MAX;

fn fill(wishes: &mut [Wish], weight_max: u64, size: u64) -> Vec<u32> {
    let mut slots = vec![FREE; size as usize];
    let mut free = size;
    loop {
        for wish in &mut *wishes {
            wish.credit += wish.weight;
            if wish.credit >= weight_max {
                wish.credit -= weight_max;
                wish.take(&mut slots, size);
                free -= 1;
                if free == 0 {
                    return slots;
                }
            }
        }
    }
}

fn prime_from(least: u32) -> u32 {
    let is_prime = |n: u32| (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (least..).find(|&n| is_prime(n)).expect("there are primes above any number the size is clamped to")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn endpoints(count: u8) -> Vec<Endpoint> {
        (0..count).map(|n| Endpoint::plain(SocketAddr::from(([10, 0, 0, n], 8080)))).collect()
    }

    fn owner(table: &Maglev, endpoints: &[Endpoint], key: u64) -> SocketAddr {
        endpoints[table.probe(key).next().unwrap()].address
    }

    /// Two gateways that heard of the endpoints in another order send every key to the same one.
    #[test]
    fn gateways_agree() {
        let one = endpoints(100);
        let mut other = one.clone();
        other.reverse();
        other.swap(3, 70);
        let (a, b) = (Maglev::new(&one, 65_537), Maglev::new(&other, 65_537));
        for key in 0..20_000 {
            let probes = |table: &Maglev, list: &[Endpoint]| {
                table.probe(key).take(12).map(|index| list[index].address).collect::<Vec<_>>()
            };
            assert_eq!(probes(&a, &one), probes(&b, &other));
        }
    }

    /// Taking any 1 of 100 endpoints away moves at most 2 % of the keys, its own among them.
    #[test]
    fn few_keys_move() {
        let all = endpoints(100);
        let before = Maglev::new(&all, 65_537);
        for gone in [0, 17, 50, 99] {
            let mut rest = all.clone();
            let gone = rest.remove(gone).address;
            let after = Maglev::new(&rest, 65_537);
            let (mut moved, mut own) = (0, 0);
            for key in 0..100_000 {
                let (from, to) = (owner(&before, &all, key), owner(&after, &rest, key));
                moved += u32::from(from != to);
                own += u32::from(from == gone);
            }
            assert!(moved <= 2_000, "{moved} of 100000 moved, {own} of them had to");
        }
    }

    /// Slots are divided by weight to within two of a hundred, and evenly where weights are equal.
    #[test]
    fn weights_are_respected() {
        let mut list = endpoints(10);
        list[3].weight = 3;
        let table = Maglev::new(&list, 65_537);
        for (index, endpoint) in list.iter().enumerate() {
            let slots = table.slots.iter().filter(|&&slot| slot as usize == index).count();
            let fair = 65_537 * endpoint.weight as usize / 12;
            assert!(slots.abs_diff(fair) * 100 <= fair * 2, "{index}: {slots}, fair {fair}");
        }
    }

    /// Every endpoint comes up for every key; sizes that are no primes, too small or absurd do no harm.
    #[test]
    fn odd_sizes() {
        for (count, size) in [(1, 0), (1, 2), (50, 1), (7, 1000), (3, u32::MAX)] {
            let list = endpoints(count);
            let table = Maglev::new(&list, size);
            let seen: std::collections::BTreeSet<_> = table.probe(99).collect();
            assert_eq!(seen.len(), usize::from(count), "{count} endpoints, size {size}");
        }
        assert_eq!(Maglev::new(&[], 65_537).probe(1).next(), None);
    }
}
