//! Who is connected: counts of the process, of each door and of each client address, and places among them.
//!
//! Limits hold for the process, so the counts are shared by all workers. Client addresses are counted only where a limit
//! asks for it; there are never more of them than open connections, which are bounded too. That no address has more than its
//! share of the process needs no list of them ([`Shares`](crate::shares::Shares)). When the process is full, connections that
//! rest make room ([`Resting`]).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tidegate_model::traffic::{ClientLimits, ClientPolicy};

use crate::resting::Resting;
use crate::shares::Holder;
use crate::upstream::since_start;
use crate::worker::Shared;

/// Parts of the table of addresses, so that workers seldom wait for one another.
const SHARDS: usize = 16;

/// What is open at one door, counted over all workers.
#[derive(Default)]
pub struct Census {
    open: AtomicU32,
    hasher: RandomState,
    clients: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

impl Census {
    /// Takes a place at the door, unless so many are taken.
    fn enter(&self, max: Option<u32>) -> bool {
        if self.open.fetch_add(1, Ordering::Relaxed) < max.unwrap_or(u32::MAX) {
            return true;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        false
    }

    fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        &self.clients[self.hasher.hash_one(client) as usize % SHARDS]
    }

    /// Counts a client address in, unless it is there so often.
    fn enter_client(&self, client: IpAddr, max: u32) -> bool {
        let mut clients = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(client).or_default();
        let fits = *count < max;
        *count += u32::from(fits);
        if *count == 0 {
            clients.remove(&client);
        }
        fits
    }

    fn leave_client(&self, client: IpAddr) {
        let mut clients = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&client);
            }
        }
    }
}

/// A place at a door, and of a client address there; given back when dropped, also by a panic.
pub struct DoorPlace {
    census: Arc<Census>,
    client: Option<IpAddr>,
}

impl DoorPlace {
    /// Takes a place at the door; none: it is full.
    pub fn take(census: &Arc<Census>, limits: &ClientLimits) -> Option<DoorPlace> {
        census.enter(limits.connections).then(|| DoorPlace { census: census.clone(), client: None })
    }

    /// Tells whose place it is, once; whether the client may have one more.
    pub fn name(&mut self, client: IpAddr, limits: &ClientLimits) -> bool {
        let Some(max) = limits.connections_per_client else { return true };
        if self.client.is_some() || !self.census.enter_client(client, max) {
            return false;
        }
        self.client = Some(client);
        true
    }
}

impl Drop for DoorPlace {
    fn drop(&mut self) {
        self.census.leave();
        if let Some(client) = self.client {
            self.census.leave_client(client);
        }
    }
}

/// Connections of the process beyond its limit, while those that make room for them are being closed.
const SPARE: usize = 64;

/// A connection's place in the process and at its door; given back when dropped, also by a panic.
pub struct Place {
    shared: Arc<Shared>,
    door: DoorPlace,
    /// The address that it counts for; none: it stands for many, or is not known yet.
    holder: Option<Holder>,
}

impl Place {
    /// Takes a place; in a full process one that rests makes room for it. None, and counted as refused: nobody does, or the
    /// door is full.
    pub fn take(
        shared: &Arc<Shared>,
        census: &Arc<Census>,
        limits: &ClientLimits,
        resting: &Resting,
        now: u64,
    ) -> Option<Place> {
        let Some(door) = DoorPlace::take(census, limits) else {
            shared.metrics.connections_refused.inc();
            return None;
        };
        let open = shared.connections.fetch_add(1, Ordering::Relaxed);
        let max = shared.limits.connections;
        if open >= max && (open >= max + SPARE || !make_room(shared, resting, now)) {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            shared.metrics.connections_refused.inc();
            return None;
        }
        shared.metrics.connections.inc();
        shared.metrics.connections_open.inc();
        Some(Place { shared: shared.clone(), door, holder: None })
    }

    /// Tells whose place it is, once; false, and counted: the client has as many as it may and none of them rests, or it is
    /// kept out for a while.
    pub fn name(&mut self, client: IpAddr, policy: &ClientPolicy, resting: &Resting) -> bool {
        let stands_for_one = policy.trust.hops == 0 && policy.trust.cidrs.is_empty();
        if stands_for_one && self.shared.offenders.bars(client, || since_start(Instant::now())) {
            self.shared.metrics.connections_barred.inc();
            return false;
        }
        let fits = self.door.name(client, &policy.limits) && (!stands_for_one || self.share(client, resting));
        if !fits {
            self.shared.metrics.connections_refused.inc();
        }
        fits
    }

    /// The address that it counts for.
    pub fn holder(&self) -> Option<Holder> {
        self.holder
    }

    /// Takes it out of the share of an address; if that is used up, one of its own that rests makes room.
    fn share(&mut self, client: IpAddr, resting: &Resting) -> bool {
        let Shared { shares, limits, connections, metrics, .. } = &*self.shared;
        let holder = shares.holder(client);
        let free = limits.connections.saturating_sub(connections.load(Ordering::Relaxed));
        if !shares.take(holder, free) {
            if !resting.close_one_of(holder) {
                return false;
            }
            metrics.connections_evicted.inc();
            shares.take(holder, usize::MAX);
        }
        self.holder = Some(holder);
        true
    }
}

/// Has a connection closed that rests, here or else with another worker soon: then this one finds no room.
fn make_room(shared: &Shared, resting: &Resting, now: u64) -> bool {
    let is_made = resting.close_one(now);
    if is_made {
        shared.metrics.connections_evicted.inc();
    } else {
        let below = |wanted: usize| (wanted < SPARE).then_some(wanted + 1);
        let _ = shared.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below);
    }
    is_made
}

/// Closes as many as other workers wanted closed since they found none with themselves.
pub fn help_others(shared: &Shared, resting: &Resting, now: u64) {
    if shared.wanted.load(Ordering::Relaxed) == 0 {
        return;
    }
    for _ in 0..shared.wanted.swap(0, Ordering::Relaxed) {
        if !resting.close_one(now) {
            return;
        }
        shared.metrics.connections_evicted.inc();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.connections_open.dec();
        if let Some(holder) = self.holder {
            self.shared.shares.leave(holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A door takes as many as it may, a client address has as many as it may, and who leaves makes room.
    #[test]
    fn places() {
        let census = Arc::new(Census::default());
        let limits =
            ClientLimits { connections: Some(3), connections_per_client: Some(2), ..ClientLimits::default() };
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let mut places: Vec<_> = (0..3).map(|_| DoorPlace::take(&census, &limits).unwrap()).collect();
        assert!(DoorPlace::take(&census, &limits).is_none());
        assert!(places[0].name(a, &limits) && places[1].name(a, &limits));
        assert!(!places[2].name(a, &limits) && places[2].name(b, &limits));
        places.remove(0);
        let mut next = DoorPlace::take(&census, &limits).unwrap();
        assert!(next.name(a, &limits));
        drop((places, next));
        assert_eq!(census.open.load(Ordering::Relaxed), 0);
        assert!(census.clients.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    /// Without a limit nothing is remembered of a client.
    #[test]
    fn nothing_is_counted_without_a_limit() {
        let census = Arc::new(Census::default());
        let limits = ClientLimits::default();
        let mut place = DoorPlace::take(&census, &limits).unwrap();
        assert!(place.name("192.0.2.1".parse().unwrap(), &limits));
        assert!(census.clients.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
