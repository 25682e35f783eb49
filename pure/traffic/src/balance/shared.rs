//! What the process knows of one backend: its endpoints, their health, its limits.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tidegate_model::DrainedEndpoints;
use tidegate_model::traffic::{BackendPolicy, Balancing, EndpointCell, Endpoints, Home};

use super::breaker::Circuit;
use super::budget::RetryBudget;
use super::ejection::{self, Ended};
use super::facts::EndpointFacts;
use super::maglev::Maglev;
use super::member::Member;

/// Sweeps are not more frequent than this, whatever the policy says.
const SWEEP_MIN: Duration = Duration::from_millis(100);

/// One for each backend and policy; every worker has a [`Balancer`](super::Balancer) for it.
#[derive(Debug)]
pub struct Shared {
    pub(super) policy: Arc<BackendPolicy>,
    pub(super) cell: Arc<EndpointCell>,
    pub(super) home: Option<Home>,
    circuit: Circuit,
    budget: Arc<RetryBudget>,
    /// Counts the changes that workers must look at. Written under the lock.
    epoch: AtomicU64,
    state: Mutex<State>,
}

/// What only changes under the lock.
#[derive(Debug)]
pub(super) struct State {
    pub roster: Arc<Roster>,
    drained: Arc<DrainedEndpoints>,
    /// It has a successor, which the members belong to now.
    retired: bool,
    /// When ejections are looked at again; MAX: there are none.
    pub sweep_at: Duration,
}

/// The endpoints at one moment.
#[derive(Debug)]
pub(super) struct Roster {
    pub endpoints: Arc<Endpoints>,
    /// By place in the list.
    pub members: Vec<Arc<Member>>,
    /// With a consistent hash only.
    pub table: Option<Maglev>,
}

impl Shared {
    /// The endpoints that are there already get their full share at once.
    pub fn new(policy: Arc<BackendPolicy>, cell: Arc<EndpointCell>, home: Option<Home>) -> Shared {
        let endpoints = cell.load().clone();
        let members = endpoints.usable.iter().map(|_| Arc::default()).collect();
        let roster = Arc::new(Roster::new(endpoints, members, &policy.balancing));
        let state = State { roster, drained: Arc::default(), retired: false, sweep_at: Duration::MAX };
        let circuit = Circuit::new(policy.breaker);
        Shared {
            policy,
            cell,
            home,
            circuit,
            budget: Arc::default(),
            epoch: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// The same backend under another policy, or in another cell: health, ejections and what is under way go on. The
    /// old one still serves those who hold it, but judges no endpoint any more.
    pub fn successor(
        &self,
        policy: Arc<BackendPolicy>,
        cell: Arc<EndpointCell>,
        home: Option<Home>,
        now: Duration,
    ) -> Shared {
        let mut state = self.lock();
        state.retired = true;
        let endpoints = cell.load().clone();
        let members = state.members_for(&endpoints, now);
        for member in &members {
            if policy.health_check.is_none() {
                member.unhealthy.store(false, Ordering::Relaxed);
            }
            if policy.ejection.is_none() && member.ejected_until().is_some() {
                member.set_ejected(None);
            }
        }
        let roster = Arc::new(Roster::new(endpoints, members, &policy.balancing));
        let state =
            State { roster, drained: state.drained.clone(), retired: false, sweep_at: state.sweep_at };
        let circuit = self.circuit.with_limits(policy.breaker);
        let budget = self.budget.clone();
        Shared { policy, cell, home, circuit, budget, epoch: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// The policy.
    pub fn policy(&self) -> &Arc<BackendPolicy> {
        &self.policy
    }

    /// What may be under way at once.
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// What may be repeated.
    pub fn budget(&self) -> &Arc<RetryBudget> {
        &self.budget
    }

    /// Looks at the cell: endpoints that stay keep their state, new ones start slowly. Workers do so themselves; with a
    /// consistent hash the one that changes the cell should, because a table takes a millisecond to build.
    pub fn follow(&self, now: Duration) {
        self.refresh(&mut self.lock(), now);
    }

    /// Leaves exactly these endpoints out, whether they are there now or come later.
    pub fn drain(&self, drained: Arc<DrainedEndpoints>) {
        let mut state = self.lock();
        for (endpoint, member) in state.roster.endpoints.usable.iter().zip(&state.roster.members) {
            member.drained.store(drained.contains(endpoint.address), Ordering::Relaxed);
        }
        state.drained = drained;
        self.changed();
    }

    /// Brings ejected endpoints back whose time is over. Workers do so themselves when they have requests.
    pub fn sweep(&self, now: Duration) {
        self.sweep_if_due(&mut self.lock(), now);
    }

    /// What is known of every endpoint, in the order of the list.
    pub fn facts(&self, now: Duration) -> Vec<EndpointFacts> {
        let mut state = self.lock();
        self.refresh(&mut state, now);
        let roster = state.roster.clone();
        drop(state);
        let pairs = roster.endpoints.usable.iter().zip(&roster.members);
        pairs
            .map(|(endpoint, member)| EndpointFacts::new(endpoint, member, self.policy.slow_start, now))
            .collect()
    }

    /// Takes note of a health check's verdict.
    pub(super) fn set_healthy(&self, address: SocketAddr, healthy: bool, now: Duration) {
        let state = self.lock();
        let Some(place) = state.roster.place(address).filter(|_| !state.retired) else { return };
        let member = &state.roster.members[place];
        if member.unhealthy.swap(!healthy, Ordering::Relaxed) && healthy {
            member.start_slowly(now);
        }
        self.changed();
    }

    /// Takes note of how a request ended; puts the endpoint out if that was one failure too many.
    pub(super) fn judge(&self, member: &Member, ended: Ended, now: Duration) {
        let Some(limits) = &self.policy.ejection else { return };
        // What is still under way to an endpoint that is out says nothing new.
        if member.ejected_until().is_none() && member.streaks.count(ended, limits) {
            self.eject(member, limits, now);
        }
    }

    fn eject(&self, member: &Member, limits: &tidegate_model::traffic::Ejection, now: Duration) {
        let mut state = self.lock();
        let members = &state.roster.members;
        let out = members.iter().filter(|member| member.ejected_until().is_some()).count();
        let listed = members.iter().any(|listed| std::ptr::eq(&**listed, member));
        let is_ours = listed && !state.retired;
        if !is_ours || member.ejected_until().is_some() || !ejection::may_eject(limits, out, members.len()) {
            return;
        }
        let times = member.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        member.set_ejected(Some(now + ejection::lasts(limits, times)));
        state.sweep_at = state.sweep_at.min(now + limits.interval.max(SWEEP_MIN));
        self.changed();
    }

    fn sweep_if_due(&self, state: &mut State, now: Duration) {
        if now < state.sweep_at {
            return;
        }
        let mut remembered = false;
        for member in &state.roster.members {
            let times = member.ejections.load(Ordering::Relaxed);
            match member.ejected_until() {
                Some(until) if until <= now => {
                    member.set_ejected(None);
                    self.changed();
                }
                Some(_) => {}
                None if times > 0 => member.ejections.store(times - 1, Ordering::Relaxed),
                None => continue,
            }
            remembered = true;
        }
        let interval = self.policy.ejection.map_or(Duration::MAX, |limits| limits.interval.max(SWEEP_MIN));
        state.sweep_at = if remembered { now.saturating_add(interval) } else { Duration::MAX };
    }

    fn refresh(&self, state: &mut State, now: Duration) {
        // Loaded under the lock, or a slow worker could put an older list back.
        let endpoints = self.cell.load();
        if !Arc::ptr_eq(&endpoints, &state.roster.endpoints) {
            let members = state.members_for(&endpoints, now);
            state.roster = Arc::new(Roster::new(endpoints.clone(), members, &self.policy.balancing));
            self.changed();
        }
        self.sweep_if_due(state, now);
    }

    /// The state as of now, and its epoch; nothing if somebody else is busy with it.
    pub(super) fn try_look(&self, now: Duration) -> Option<(MutexGuard<'_, State>, u64)> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.refresh(&mut state, now);
        let epoch = self.epoch();
        Some((state, epoch))
    }

    /// The state as of now, and its epoch.
    pub(super) fn look(&self, now: Duration) -> (MutexGuard<'_, State>, u64) {
        let mut state = self.lock();
        self.refresh(&mut state, now);
        let epoch = self.epoch();
        (state, epoch)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// A panic under the lock leaves every member in some valid state, so it is not passed on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The members of another list: those that are known already, and new ones.
    fn members_for(&self, endpoints: &Endpoints, now: Duration) -> Vec<Arc<Member>> {
        let member = |address| match self.roster.place(address) {
            Some(place) => self.roster.members[place].clone(),
            None => {
                let member = Member::fresh(now);
                member.drained.store(self.drained.contains(address), Ordering::Relaxed);
                Arc::new(member)
            }
        };
        endpoints.addresses().map(member).collect()
    }
}

impl Roster {
    fn new(endpoints: Arc<Endpoints>, members: Vec<Arc<Member>>, balancing: &Balancing) -> Roster {
        let table = match balancing {
            Balancing::ConsistentHash { table_size, .. } => Some(Maglev::new(&endpoints.usable, *table_size)),
            _ => None,
        };
        Roster { endpoints, members, table }
    }

    /// The place of an address in the list.
    pub fn place(&self, address: SocketAddr) -> Option<usize> {
        self.endpoints.usable.binary_search_by_key(&address, |endpoint| endpoint.address).ok()
    }
}
