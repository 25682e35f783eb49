//! Calling one gateway: which of its addresses next, and how long to wait before.

use std::net::SocketAddr;
use std::time::Duration;

/// After the first failure.
const WAIT_MIN: Duration = Duration::from_millis(250);

/// After many.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The addresses of a gateway that is called, and how it went.
#[derive(Debug)]
pub struct Calling {
    addresses: Vec<SocketAddr>,
    next: usize,
    /// Failures since it was reached last.
    failures: u32,
}

impl Calling {
    /// Nothing was tried yet.
    pub fn new(addresses: Vec<SocketAddr>) -> Calling {
        Calling { addresses, next: 0, failures: 0 }
    }

    /// Where to call now; nothing, if it has no address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.get(self.next).copied()
    }

    /// It was reached, and is who it should be: once the link ends it is called again soon.
    pub fn reached(&mut self) {
        self.failures = 0;
    }

    /// The call failed, or the link ended. How long to wait before the next address is tried: the others of a gateway at
    /// once, then all of them less and less often.
    pub fn ended(&mut self) -> Duration {
        let round = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX).max(1);
        self.next = (self.next + 1) % self.addresses.len().max(1);
        self.failures = self.failures.saturating_add(1);
        if !self.failures.is_multiple_of(round) {
            return Duration::ZERO;
        }
        let rounds = (self.failures / round).saturating_sub(1).min(16);
        WAIT_MIN.saturating_mul(1 << rounds).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 9441).into()
    }

    /// Every address is tried in turn, a round at a time, less and less often, and often again once it was reached.
    #[test]
    fn rounds() {
        let mut calling = Calling::new(vec![at(1), at(2)]);
        let mut tried = Vec::new();
        for _ in 0..6 {
            tried.push((calling.address().unwrap(), calling.ended().as_millis()));
        }
        assert_eq!(tried, [(at(1), 0), (at(2), 250), (at(1), 0), (at(2), 500), (at(1), 0), (at(2), 1000)]);
        calling.reached();
        assert_eq!(calling.ended(), Duration::ZERO);
        assert_eq!(calling.ended(), WAIT_MIN);
        let mut calling = Calling::new(vec![at(1)]);
        let longest = (0..100).map(|_| calling.ended()).max();
        assert_eq!(longest, Some(WAIT_MAX));
    }

    /// A gateway without an address is not called, and costs no turn.
    #[test]
    fn nowhere() {
        let mut calling = Calling::new(vec![]);
        assert_eq!(calling.address(), None);
        assert_eq!(calling.ended(), WAIT_MIN);
    }
}
