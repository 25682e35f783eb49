//! Client addresses whose connections had to be cut, or were used for little but resets: the table of them that all workers
//! share. What counts, and who is let in, is decided by [`Conduct`].
//!
//! Of IPv6 the network of 64 bits counts. Nothing is noted of the others, so an honest gateway looks at one atomic.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_traffic::conduct::{CUT_MILLI, Conduct};

/// Parts of the table, so that workers seldom wait for one another.
const SHARDS: usize = 16;

/// Addresses noted in each; when they are so many and none has faded, no more are noted.
const NOTED_MAX: usize = 1024;

/// What is known of them.
pub struct Offenders {
    /// The score from which on an address is suspected; 0: none ever is.
    limit_milli: u64,
    noted: AtomicUsize,
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, Conduct>>; SHARDS],
}

impl Offenders {
    /// Nobody is noted. `cuts`: as many in a row make an address suspected; 0: nothing does.
    pub fn new(cuts: u32) -> Offenders {
        let (noted, hasher, shards) = Default::default();
        Offenders { limit_milli: u64::from(cuts) * CUT_MILLI, noted, hasher, shards }
    }

    /// Notes what a connection that is over did: whether it was cut, and how many of its streams were reset. `now`: any clock
    /// that does not go back.
    pub fn note(&self, client: IpAddr, cut: bool, resets: u32, now: Duration) {
        let weight = Conduct::weight_milli(cut, resets);
        if weight == 0 || self.limit_milli == 0 {
            return;
        }
        let client = network(client);
        let mut known = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        if before >= NOTED_MAX && !known.contains_key(&client) {
            known.retain(|_, conduct| !conduct.is_forgotten(now));
        }
        if known.len() < NOTED_MAX || known.contains_key(&client) {
            let conduct = known.entry(client).or_insert_with(|| Conduct::new(now));
            conduct.note(weight, self.limit_milli, now);
        }
        let after = known.len();
        drop(known);
        if after >= before {
            self.noted.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.noted.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Whether a connection of an address is kept out now; one that is let in counts.
    pub fn bars(&self, client: IpAddr, now: impl FnOnce() -> Duration) -> bool {
        if self.noted.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let client = network(client);
        let mut known = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        known.get_mut(&client).is_some_and(|conduct| !conduct.lets_in(self.limit_milli, now()))
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, Conduct>> {
        &self.shards[self.hasher.hash_one(client) as usize % SHARDS]
    }
}

/// What counts as one client: whoever has an address of IPv6 has 2^64 of them.
pub fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> impl Fn() -> Duration {
        move || Duration::from_secs(secs)
    }

    /// Five cuts in a row keep an address out, and no other; of IPv6 its whole network.
    #[test]
    fn who_is_kept_out() {
        let (bad, good): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let (six, neighbour): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let offenders = Offenders::new(5);
        for client in [bad, six] {
            (0..5).for_each(|_| offenders.note(client, true, 0, Duration::ZERO));
        }
        assert!(offenders.bars(bad, secs(0)) && !offenders.bars(good, secs(0)));
        assert!(offenders.bars(six, secs(0)) && offenders.bars(neighbour, secs(0)), "one network");
    }

    /// The table is bounded, and forgets who has behaved; without a limit nothing is noted.
    #[test]
    fn the_table_is_bounded() {
        let offenders = Offenders::new(1);
        let note = |low: u32, at: u64| {
            offenders.note(IpAddr::V4((low << 4).into()), true, 0, Duration::from_secs(at))
        };
        (0..100_000).for_each(|low| note(low, 0));
        let count = || offenders.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>();
        assert_eq!(
            (count(), offenders.noted.load(Ordering::Relaxed)),
            (SHARDS * NOTED_MAX, SHARDS * NOTED_MAX)
        );
        (200_000..200_100).for_each(|low| note(low, 60));
        assert!(count() <= 100 + SHARDS * NOTED_MAX && count() == offenders.noted.load(Ordering::Relaxed));
        assert!(offenders.bars(IpAddr::V4((200_099 << 4).into()), secs(60)));
        let lenient = Offenders::new(0);
        lenient.note("192.0.2.1".parse().unwrap(), true, 9, Duration::ZERO);
        assert_eq!(lenient.noted.load(Ordering::Relaxed), 0);
        assert!(!lenient.bars("192.0.2.1".parse().unwrap(), secs(0)));
    }
}
