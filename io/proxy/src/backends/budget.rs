//! Connections to endpoints that the process may have, each a descriptor: what one client address and one backend may have of
//! them.
//!
//! A client with HTTP/2 asks for hundreds on one connection, and a backend that hangs keeps all it is given: both are to leave
//! enough for others. A connection counts for the client for which it was opened until it is kept for whoever comes next.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::shares::{Holder, Shares, is_within};

/// A backend may have so many times what is free: four fifths of all.
const BACKEND_TIMES: usize = 4;

/// The connections of the process.
pub struct Budget {
    max: usize,
    open: AtomicUsize,
    shares: Shares,
}

/// A connection's place among them; given back when dropped.
#[must_use = "dropping gives the place back"]
pub struct Berth {
    budget: Arc<Budget>,
    backend: Arc<AtomicU32>,
    holder: Option<Holder>,
}

impl Budget {
    /// So many connections, none of them open.
    pub fn new(max: usize) -> Arc<Budget> {
        Arc::new(Budget { max, open: AtomicUsize::new(0), shares: Shares::default() })
    }

    /// A place for a connection to a backend, of which so many are open, on behalf of a client. None: all are taken, or one
    /// of the two has its share.
    pub fn take(self: &Arc<Self>, backend: &Arc<AtomicU32>, client: Option<IpAddr>) -> Option<Berth> {
        let free = self.max.saturating_sub(self.open.fetch_add(1, Relaxed));
        let of_backend = backend.fetch_add(1, Relaxed);
        // From here on it is given back by being dropped.
        let mut berth = Berth { budget: self.clone(), backend: backend.clone(), holder: None };
        if free == 0 || !is_within(of_backend, BACKEND_TIMES, free) {
            return None;
        }
        if let Some(client) = client {
            let holder = self.shares.holder(client);
            if !self.shares.take(holder, free) {
                return None;
            }
            berth.holder = Some(holder);
        }
        Some(berth)
    }

    /// Whether so many are open that none should be kept unused: three quarters.
    pub fn is_short(&self) -> bool {
        self.open.load(Relaxed) >= self.max - self.max / 4
    }
}

impl Berth {
    /// It belongs to no client any more.
    pub fn settle(&mut self) {
        if let Some(holder) = self.holder.take() {
            self.budget.shares.leave(holder);
        }
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.settle();
        self.backend.fetch_sub(1, Relaxed);
        self.budget.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One client gets half of all connections and one backend four fifths, so that others find some; what is given back can
    /// be had again, and what is kept for all counts for nobody.
    #[test]
    fn shares() {
        let budget = Budget::new(1000);
        let [web, api]: [Arc<AtomicU32>; 2] = Default::default();
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().ok());
        let fill = |backend, client| std::iter::from_fn(|| budget.take(backend, client)).collect::<Vec<_>>();
        let mut first = fill(&web, a);
        assert_eq!(first.len(), 500);
        let second = fill(&web, None);
        assert_eq!(first.len() + second.len(), 800);
        assert!(budget.is_short() && budget.take(&web, b).is_none());
        let third = fill(&api, b);
        assert_eq!(third.len(), 100);
        drop((second, third));
        assert!(budget.take(&web, a).is_none() && budget.take(&web, b).is_some());
        first[0].settle();
        assert!(budget.take(&web, a).is_some());
        drop(first);
        assert_eq!((budget.open.load(Relaxed), web.load(Relaxed)), (0, 0));
    }
}
