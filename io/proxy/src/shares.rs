//! What each client address holds of something that is scarce: one address, however many connections it opens, leaves room
//! for others.
//!
//! An address may hold as much as is free: one alone gets a half of everything, two a third each, and whoever comes new
//! finds something as long as not all addresses of a botnet are used up. Addresses are counted by a keyed hash in a table of
//! fixed size, so that nothing grows and nobody can aim: one of 65,536 shares its count with another. Of IPv6 the network of 64 bits counts.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::offenders::network;

/// Counts of the table.
const SLOTS: usize = 65_536;

/// So much any address may hold.
const FLOOR: usize = 16;

/// The counts of one kind of thing.
pub struct Shares {
    hasher: RandomState,
    held: Box<[AtomicU32]>,
}

/// Names an address, for as long as the table lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(u32);

impl Default for Shares {
    fn default() -> Shares {
        Shares { hasher: RandomState::new(), held: (0..SLOTS).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Shares {
    /// The name of an address.
    pub fn holder(&self, client: IpAddr) -> Holder {
        Holder(self.hasher.hash_one(network(client)) as u32 % SLOTS as u32)
    }

    /// Counts one more for the address, unless it holds its share; `free`: how much nobody holds.
    pub fn take(&self, holder: Holder, free: usize) -> bool {
        let fits = is_within(self.count(holder).fetch_add(1, Relaxed), 1, free);
        if !fits {
            self.leave(holder);
        }
        fits
    }

    /// Counts one less.
    pub fn leave(&self, holder: Holder) {
        self.count(holder).fetch_sub(1, Relaxed);
    }

    fn count(&self, Holder(slot): Holder) -> &AtomicU32 {
        &self.held[slot as usize % SLOTS]
    }
}

/// Whether somebody who holds so much may have one more: up to `times` what is free.
pub fn is_within(held: u32, times: usize, free: usize) -> bool {
    usize::try_from(held).is_ok_and(|held| held < free.saturating_mul(times).max(FLOOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One address gets half of all, the next a third of that again, and a new one still finds room; what is given back
    /// can be had again.
    #[test]
    fn shares_leave_room() {
        let (shares, all) = (Shares::default(), 1000);
        let [a, b, c] =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|ip| shares.holder(ip.parse().unwrap()));
        let mut open = 0;
        let mut fill = |holder| {
            let before = open;
            while open < all && shares.take(holder, all - open) {
                open += 1;
            }
            open - before
        };
        assert_eq!([a, b, c].map(&mut fill), [500, 250, 125]);
        shares.leave(a);
        assert!(!shares.take(a, 126) && shares.take(c, 126), "who holds less goes first");
    }

    /// Where little is to be had, a few are for everybody; the addresses of one network of IPv6 are one.
    #[test]
    fn little_and_networks() {
        let shares = Shares::default();
        let holder = shares.holder("2001:db8::1".parse().unwrap());
        assert_eq!(holder, shares.holder("2001:db8::2".parse().unwrap()));
        assert_eq!((0..100).filter(|_| shares.take(holder, 0)).count(), FLOOR);
    }
}
