//! Client addresses whose connections had to be cut, or were used for little but resets: what one connection may cost is
//! bounded by its own budgets, and who opens another after each cut is bounded here.
//!
//! Every address has a score that fades with time. While it is too high, new connections are closed at once; those that are
//! open go on. Of IPv6 the network of 64 bits counts. Nothing is noted of the others, so an honest gateway looks at one atomic.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A connection that was cut, in thousandths.
const CUT_MILLI: u64 = 1000;

/// A stream that was reset: 200 of them end a connection.
const RESET_MILLI: u64 = CUT_MILLI / 200;

/// What fades in a second: a cut in ten, as 20 resets a second are allowed on one connection.
const FADES_MILLI_PER_SEC: u64 = 100;

/// No score is higher than the limit and this, so that no address is kept out for longer than 25 s.
const SPARE_MILLI: u64 = 2 * CUT_MILLI;

/// Parts of the table, so that workers seldom wait for one another.
const SHARDS: usize = 16;

/// Addresses noted in each; when they are so many and none has faded, no more are noted.
const NOTED_MAX: usize = 1024;

/// The scores of the process.
pub struct Offenders {
    /// A score within half a cut of this, or above, keeps an address out; 0: none is ever kept out.
    limit_milli: u64,
    noted: AtomicUsize,
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, Score>>; SHARDS],
}

#[derive(Clone, Copy, Default)]
struct Score {
    milli: u64,
    at: Duration,
}

impl Score {
    fn at(self, now: Duration) -> u64 {
        let faded = now.saturating_sub(self.at).as_millis() * u128::from(FADES_MILLI_PER_SEC) / 1000;
        self.milli.saturating_sub(u64::try_from(faded).unwrap_or(u64::MAX))
    }
}

impl Offenders {
    /// Nobody is noted. `cuts`: as many in a row keep an address out; 0: nothing does.
    pub fn new(cuts: u32) -> Offenders {
        let (noted, hasher, shards) = Default::default();
        Offenders { limit_milli: u64::from(cuts) * CUT_MILLI, noted, hasher, shards }
    }

    /// Notes what a connection that is over did: whether it was cut, and how many of its streams were reset. `now`: any clock
    /// that does not go back.
    pub fn note(&self, client: IpAddr, cut: bool, resets: u32, now: Duration) {
        let more = u64::from(resets) * RESET_MILLI + if cut { CUT_MILLI } else { 0 };
        if more == 0 || self.limit_milli == 0 {
            return;
        }
        let client = network(client);
        let mut scores = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let before = scores.len();
        if before >= NOTED_MAX && !scores.contains_key(&client) {
            scores.retain(|_, score| score.at(now) > 0);
        }
        if scores.len() < NOTED_MAX || scores.contains_key(&client) {
            let score = scores.entry(client).or_default();
            let milli = (score.at(now) + more).min(self.limit_milli + SPARE_MILLI);
            *score = Score { milli, at: now };
        }
        let after = scores.len();
        drop(scores);
        if after >= before {
            self.noted.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.noted.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Whether an address is kept out for now.
    pub fn bars(&self, client: IpAddr, now: impl FnOnce() -> Duration) -> bool {
        if self.noted.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let client = network(client);
        let scores = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        scores.get(&client).is_some_and(|score| score.at(now()) + CUT_MILLI / 2 > self.limit_milli)
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, Score>> {
        &self.shards[self.hasher.hash_one(client) as usize % SHARDS]
    }
}

/// What counts as one client: whoever has an address of IPv6 has 2^64 of them.
fn network(client: IpAddr) -> IpAddr {
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

    /// Five cuts in a row keep an address out, and no other; it may come again, and is kept out again by the next cut. However
    /// many there were, it comes in again after a while.
    #[test]
    fn cuts_add_up_and_fade() {
        let (bad, good): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let offenders = Offenders::new(5);
        for _ in 0..4 {
            offenders.note(bad, true, 0, Duration::ZERO);
        }
        assert!(!offenders.bars(bad, secs(0)));
        offenders.note(bad, true, 0, Duration::ZERO);
        assert!(offenders.bars(bad, secs(0)) && !offenders.bars(good, secs(0)));
        assert!(offenders.bars(bad, secs(4)) && !offenders.bars(bad, secs(5)));
        offenders.note(bad, true, 0, Duration::from_secs(5));
        assert!(offenders.bars(bad, secs(14)) && !offenders.bars(bad, secs(15)));
        for _ in 0..1000 {
            offenders.note(bad, true, 0, Duration::from_secs(20));
        }
        assert!(offenders.bars(bad, secs(44)) && !offenders.bars(bad, secs(45)));
    }

    /// Connections that stay below the limit of resets add up, too; some now and then never do.
    #[test]
    fn resets_add_up() {
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let offenders = Offenders::new(5);
        for _ in 0..6 {
            offenders.note(client, false, 199, Duration::ZERO);
        }
        assert!(offenders.bars(client, secs(0)) && offenders.bars(neighbour, secs(0)), "one network");
        let offenders = Offenders::new(5);
        for at in 0..1000 {
            offenders.note(client, false, 20, Duration::from_secs(at));
            assert!(!offenders.bars(client, secs(at)));
        }
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
