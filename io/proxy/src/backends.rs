//! The backends that the Traffic at hand leads to, each with what the process knows of it.
//!
//! ```text
//!  control thread: follow(Traffic) ──► Roll ──► a worker asks for the Slot of a Backend, and keeps a Gate and a Balancer
//!                                       └────► health checks, status, metrics
//! ```
//!
//! A [`Slot`] stands for a backend, its policy and its cell, and outlives changes of the Traffic that leave these alone.
//! What is known of endpoints passes on to the slot that follows when they change. Without a policy a slot costs next to
//! nothing before its first request. Which endpoint is chosen is decided in `tidegate_traffic::balance`, never here.

mod budget;
mod drain;
mod facts;
mod gate;
mod line;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tidegate_model::traffic::{Backend, BackendId, BackendPolicy, Balancing, Breaker, Home};
use tidegate_model::{DrainedEndpoints, Traffic};
use tidegate_traffic::balance::{EndpointFacts, Shared};
use tidegate_traffic::hash::Quick;
use tidegate_traffic::session::SessionKey;
use tokio::sync::{Notify, watch};

pub use budget::Budget;
pub use drain::HandDrain;
pub use facts::{EndpointView, Gauges};
pub use gate::Gate;
pub use line::Passage;

use crate::upstream::since_start;
use line::Lines;

/// The backends of the process.
pub struct Backends {
    roll: watch::Sender<Arc<Roll>>,
    /// Left out by hand.
    drained: Mutex<Arc<DrainedEndpoints>>,
    /// Somebody has changed endpoints in their cells.
    touched: Notify,
    /// Requests and connections that a backend's limits turned away.
    refused: Counter,
    /// Connections of the process.
    budget: Arc<Budget>,
    /// What sessions are sealed with.
    pub session_key: SessionKey,
}

impl Backends {
    /// None yet.
    pub fn new(refused: Counter, session_key: SessionKey, budget: Arc<Budget>) -> Backends {
        let (roll, drained, touched) = (watch::Sender::default(), Mutex::default(), Notify::new());
        Backends { roll, drained, touched, refused, budget, session_key }
    }

    /// Takes in a new Traffic: what is new gets a slot, what changed a successor, what is gone is dropped.
    pub fn follow(&self, traffic: &Traffic) -> Arc<Roll> {
        let before = self.roll.borrow().clone();
        let mut roll = Roll::default();
        let mut fresh = Vec::new();
        traffic.each_backend(|backend| {
            if roll.by_address.contains_key(&address(backend)) {
                return;
            }
            let home = traffic.home.as_ref().filter(|_| backend.policy.zone_aware.is_some());
            let fits = |slot: &&Arc<Slot>| *slot.backend == **backend && slot.home.as_ref() == home;
            let (slot, is_kept) = match (roll.of(&backend.id).find(fits), before.of(&backend.id).find(fits)) {
                (Some(slot), _) => (slot.clone(), true),
                (None, Some(slot)) => (slot.clone(), true),
                (None, None) => (Arc::new(Slot::new(backend.clone(), home.cloned())), false),
            };
            if !is_kept {
                fresh.push(slot.clone());
            }
            roll.add(backend, slot);
        });
        let mut gone: Vec<&Arc<Slot>> = before.slots().filter(|slot| !roll.has(slot)).collect();
        let drained = self.drained();
        for slot in fresh {
            slot.begin(&mut gone, &drained, now());
        }
        let roll = Arc::new(roll);
        self.roll.send_replace(roll.clone());
        // Only now may others be drained: they look at the new ones.
        drop(drained);
        roll
    }

    /// The way to a backend that a route holds.
    pub fn gate(&self, backend: &Arc<Backend>) -> Gate {
        let slot = self.roll.borrow().find(backend).cloned();
        // One that no route leads to any more serves its last requests with what it has.
        let slot = slot.unwrap_or_else(|| Arc::new(Slot::new(backend.clone(), None)));
        let shared = self.shared(&slot);
        Gate { slot, shared, budget: self.budget.clone(), refused: self.refused.clone() }
    }

    /// Whether the Traffic at hand has this slot.
    pub fn has(&self, slot: &Arc<Slot>) -> bool {
        self.roll.borrow().has(slot)
    }

    /// The backends now, and every change of them.
    pub fn rolls(&self) -> watch::Receiver<Arc<Roll>> {
        self.roll.subscribe()
    }

    /// Says that endpoints have changed in their cells: hash tables are built before a request needs them, and health
    /// checks begin at once.
    pub fn touch(&self) {
        self.touched.notify_one();
    }

    /// Waits until somebody has changed endpoints; for one task.
    pub async fn touched(&self) {
        self.touched.notified().await;
    }

    /// Changes which endpoints are left out by hand, of every backend, now and later.
    pub fn drain<T>(&self, change: impl FnOnce(&mut DrainedEndpoints) -> T) -> T {
        let mut drained = self.drained();
        let mut changed = DrainedEndpoints::clone(&drained);
        let answer = change(&mut changed);
        if **drained != changed {
            *drained = Arc::new(changed);
            for shared in self.roll.borrow().slots().filter_map(|slot| slot.shared.get()) {
                shared.drain(drained.clone());
            }
        }
        answer
    }

    /// Which are.
    pub fn drained_by_hand(&self) -> Arc<DrainedEndpoints> {
        self.drained().clone()
    }

    /// What is known of the endpoints of every backend; a backend is there once for each of its settings.
    pub fn facts(&self) -> Vec<(BackendId, Vec<EndpointFacts>)> {
        let (roll, now) = (self.roll.borrow().clone(), now());
        let drained = self.drained_by_hand();
        roll.slots().map(|slot| (slot.backend.id.clone(), slot.facts(&drained, now))).collect()
    }

    /// What the process knows of the backend in this slot.
    fn shared(&self, slot: &Slot) -> Arc<Shared> {
        if let Some(shared) = slot.shared.get() {
            return shared.clone();
        }
        // The lock is held while it becomes known, or it would miss what is drained meanwhile.
        let drained = self.drained();
        slot.shared.get_or_init(|| slot.make(&drained)).clone()
    }

    fn drained(&self) -> MutexGuard<'_, Arc<DrainedEndpoints>> {
        self.drained.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time that balancing goes by.
pub fn now() -> Duration {
    since_start(Instant::now())
}

/// The address of what is behind a pointer: a name for it as long as somebody holds it.
pub fn address<T>(of: &Arc<T>) -> usize {
    Arc::as_ptr(of).addr()
}

/// All backends of one Traffic.
#[derive(Default)]
pub struct Roll {
    /// By the address of the Backend, which is held so that no other can come to stand there.
    by_address: HashMap<usize, (Arc<Backend>, Arc<Slot>), Quick>,
    by_id: BTreeMap<BackendId, Vec<Arc<Slot>>>,
    /// Those with a hash table.
    hashed: Vec<Arc<Slot>>,
}

impl Roll {
    /// The slot of every backend with its settings.
    pub fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.by_id.values().flatten()
    }

    /// Those of which endpoints should be looked at before a request does.
    pub fn hashed(&self) -> &[Arc<Slot>] {
        &self.hashed
    }

    /// Whether this slot is among them.
    pub fn has(&self, slot: &Arc<Slot>) -> bool {
        self.of(&slot.backend.id).any(|known| Arc::ptr_eq(known, slot))
    }

    /// The slot of a backend that a route holds.
    fn find(&self, backend: &Arc<Backend>) -> Option<&Arc<Slot>> {
        match self.by_address.get(&address(backend)) {
            Some((_, slot)) => Some(slot),
            // A request under an older Traffic.
            None => self.of(&backend.id).find(|slot| *slot.backend == **backend),
        }
    }

    fn of(&self, id: &BackendId) -> impl Iterator<Item = &Arc<Slot>> {
        self.by_id.get(id).into_iter().flatten()
    }

    fn add(&mut self, backend: &Arc<Backend>, slot: Arc<Slot>) {
        let same = self.by_id.entry(backend.id.clone()).or_default();
        if !same.iter().any(|known| Arc::ptr_eq(known, &slot)) {
            same.push(slot.clone());
            self.hashed.extend(Some(&slot).filter(|slot| slot.is_hashed()).cloned());
        }
        self.by_address.insert(address(backend), (backend.clone(), slot));
    }
}

/// A backend with its settings and its endpoints.
pub struct Slot {
    /// One of the equal Backends that routes hold.
    pub backend: Arc<Backend>,
    home: Option<Home>,
    /// Without a policy only once there was a request.
    shared: OnceLock<Arc<Shared>>,
    /// Who waits for a place; successors have the same.
    lines: OnceLock<Arc<Lines>>,
}

impl Slot {
    fn new(backend: Arc<Backend>, home: Option<Home>) -> Slot {
        Slot { backend, home, shared: OnceLock::new(), lines: OnceLock::new() }
    }

    /// What is known, if anything is.
    pub fn known(&self) -> Option<&Arc<Shared>> {
        self.shared.get()
    }

    fn is_hashed(&self) -> bool {
        matches!(self.backend.policy.balancing, Balancing::ConsistentHash { .. })
    }

    /// Takes over from a slot that is gone, if there is one of the same backend.
    fn begin(&self, gone: &mut Vec<&Arc<Slot>>, drained: &Arc<DrainedEndpoints>, now: Duration) {
        let Backend { policy, endpoints, .. } = &*self.backend;
        let near = |slot: &&Arc<Slot>| {
            slot.backend.id == self.backend.id
                && slot.backend.protocol == self.backend.protocol
                && slot.backend.tls == self.backend.tls
        };
        let same = |slot: &&Arc<Slot>| slot.backend.id == self.backend.id;
        let place = gone.iter().position(near).or_else(|| gone.iter().position(same));
        let before = place.map(|place| gone.swap_remove(place));
        // Also without limits: connections of both count for one backend.
        if policy.breaker != Breaker::default() || before.is_some_and(|before| before.lines.get().is_some()) {
            let _ = self.lines.set(before.map_or_else(Arc::default, |before| before.lines().clone()));
        }
        let shared = match before.and_then(|before| before.shared.get()) {
            Some(known) => known.successor(policy.clone(), endpoints.clone(), self.home.clone(), now),
            None if **policy == BackendPolicy::default() => return,
            None => return drop(self.shared.set(self.make(drained))),
        };
        let _ = self.shared.set(Arc::new(shared));
    }

    fn make(&self, drained: &Arc<DrainedEndpoints>) -> Arc<Shared> {
        let Backend { policy, endpoints, .. } = &*self.backend;
        let shared = Shared::new(policy.clone(), endpoints.clone(), self.home.clone());
        if !drained.is_empty() {
            shared.drain(drained.clone());
        }
        Arc::new(shared)
    }

    fn lines(&self) -> &Arc<Lines> {
        self.lines.get_or_init(Arc::default)
    }
}

#[cfg(test)]
mod tests;
