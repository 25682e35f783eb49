//! Who is connected: counts of the process, of each door and of each client address, and places among them.
//!
//! Limits hold for the process, so the counts are shared by all workers. Client addresses are counted only where a limit
//! asks for it; there are never more of them than open connections, which are bounded too.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tidegate_model::traffic::{ClientLimits, ClientPolicy};

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

/// A connection's place in the process and at its door; given back when dropped, also by a panic.
pub struct Place {
    shared: Arc<Shared>,
    door: DoorPlace,
}

impl Place {
    /// Takes a place; none, and counted as refused: the process or the door is full.
    pub fn take(shared: &Arc<Shared>, census: &Arc<Census>, limits: &ClientLimits) -> Option<Place> {
        let door = DoorPlace::take(census, limits);
        let fits = door.is_some()
            && (shared.connections.fetch_add(1, Ordering::Relaxed) < shared.limits.connections || {
                shared.connections.fetch_sub(1, Ordering::Relaxed);
                false
            });
        match door {
            Some(door) if fits => {
                shared.metrics.connections.inc();
                shared.metrics.connections_open.inc();
                Some(Place { shared: shared.clone(), door })
            }
            _ => {
                shared.metrics.connections_refused.inc();
                None
            }
        }
    }

    /// Tells whose place it is, once; false, and counted: the client has as many as it may, or is kept out for a while.
    pub fn name(&mut self, client: IpAddr, policy: &ClientPolicy) -> bool {
        let stands_for_one = policy.trust.hops == 0 && policy.trust.cidrs.is_empty();
        if stands_for_one && self.shared.offenders.bars(client, || since_start(Instant::now())) {
            self.shared.metrics.connections_barred.inc();
            return false;
        }
        let fits = self.door.name(client, &policy.limits);
        if !fits {
            self.shared.metrics.connections_refused.inc();
        }
        fits
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.connections_open.dec();
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
