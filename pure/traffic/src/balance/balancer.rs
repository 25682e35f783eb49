//! One worker's choice of endpoints for one backend, and the request that follows from it.

use std::cell::{RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::traffic::{Balancing, Endpoint};

use super::budget::Tally;
use super::ejection::Ended;
use super::ewma;
use super::hash::further;
use super::member::Lane;
use super::shared::{Roster, Shared};
use super::view::{Ask, View};
use crate::refusal::Refusal;

/// Chooses endpoints; belongs to one worker.
#[derive(Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    seed: u64,
    local: RefCell<Local>,
}

#[derive(Debug)]
struct Local {
    seats: Rc<Seats>,
    view: View,
    epoch: u64,
    /// Of the cell, from before its endpoints were looked at.
    version: u64,
}

/// The endpoints of one moment as this worker sees them; requests under way hold on to it.
#[derive(Debug)]
struct Seats {
    shared: Arc<Shared>,
    roster: Arc<Roster>,
    /// By place in the list.
    lanes: Vec<Arc<Lane>>,
}

impl Balancer {
    /// A worker's balancer. `random` says where its turns begin.
    pub fn new(shared: Arc<Shared>, random: u64, now: Duration) -> Balancer {
        let version = shared.cell.version();
        let (state, epoch) = shared.look(now);
        let (roster, sweep_at) = (state.roster.clone(), state.sweep_at);
        drop(state);
        let seats = Rc::new(Seats::new(&shared, roster, None));
        let local = Local::new(seats, epoch, version, sweep_at, random, now);
        let tally = shared.budget().tally();
        Balancer { shared, tally, seed: random, local: RefCell::new(local) }
    }

    /// What the process knows of the backend.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The endpoint for a request. `key` is what a consistent hash is taken over ([`hash`](super::hash)); none: it goes
    /// in turn. `tried` is empty at first (which counts the request for the retry budget); a repeat names the endpoints
    /// that failed, and gets another as long as there is one.
    pub fn pick(
        &self,
        key: Option<u64>,
        random: u64,
        now: Duration,
        tried: &[SocketAddr],
    ) -> Result<Pick, Refusal> {
        let local = &mut *self.current(now);
        if tried.is_empty() {
            self.tally.count(now);
        }
        let ask = Ask { method: &self.shared.policy.balancing, key, random, now, tried };
        let place = local.view.choose(&local.seats.roster, &local.seats.lanes, ask)?;
        Ok(Pick::new(local.seats.clone(), place))
    }

    /// The endpoint to which a session belongs; nothing if it is gone, unhealthy or drained, so that the session must
    /// begin anew with [`pick`](Balancer::pick).
    pub fn stay(&self, address: SocketAddr, now: Duration) -> Option<Pick> {
        let local = self.current(now);
        let place = local.seats.roster.place(address).filter(|&place| local.view.is_usable(place))?;
        self.tally.count(now);
        Some(Pick::new(local.seats.clone(), place))
    }

    /// The endpoint to which something under way belongs, which goes on there whatever becomes of the endpoint; nothing if
    /// it is gone.
    pub fn go_on(&self, address: SocketAddr, now: Duration) -> Option<Pick> {
        let local = self.current(now);
        let place = local.seats.roster.place(address)?;
        Some(Pick::new(local.seats.clone(), place))
    }

    /// Whether a repeat is within the budget; if so it is counted ([`RetryBudget::take`](super::RetryBudget::take)).
    pub fn may_repeat(&self, percent: Option<u32>, min_per_sec: u32, now: Duration) -> bool {
        self.shared.budget().take(percent, min_per_sec, now)
    }

    fn current(&self, now: Duration) -> RefMut<'_, Local> {
        let mut local = self.local.borrow_mut();
        if local.is_outdated(now) {
            local.renew(self.seed, now);
        }
        local
    }
}

impl Local {
    fn new(
        seats: Rc<Seats>,
        epoch: u64,
        version: u64,
        sweep_at: Duration,
        random: u64,
        now: Duration,
    ) -> Local {
        let shared = &seats.shared;
        let mut view = View::new(&seats.roster, &shared.policy, shared.home.as_ref(), random, now);
        view.refresh_at = view.refresh_at.min(sweep_at);
        Local { seats, view, epoch, version }
    }

    fn is_outdated(&self, now: Duration) -> bool {
        let shared = &self.seats.shared;
        shared.epoch() != self.epoch || now >= self.view.refresh_at || shared.cell.version() != self.version
    }

    /// Looks again; where another worker is at it right now, the old view serves one request more.
    #[cold]
    fn renew(&mut self, seed: u64, now: Duration) {
        let shared = self.seats.shared.clone();
        let version = shared.cell.version();
        let Some((state, epoch)) = shared.try_look(now) else { return };
        let (roster, sweep_at) = (state.roster.clone(), state.sweep_at);
        drop(state);
        // Turns begin elsewhere each time: shares that change often would else favour the first.
        let random = further(seed, epoch ^ ewma::nanos(now));
        let same = Arc::ptr_eq(&roster, &self.seats.roster);
        let seats =
            if same { self.seats.clone() } else { Rc::new(Seats::new(&shared, roster, Some(&self.seats))) };
        *self = Local::new(seats, epoch, version, sweep_at, random, now);
    }
}

impl Seats {
    /// Lanes of endpoints that stay are kept, with what they counted.
    fn new(shared: &Arc<Shared>, roster: Arc<Roster>, before: Option<&Seats>) -> Seats {
        let kept = |address, member: &Arc<_>| {
            let before = before?;
            let place = before.roster.place(address)?;
            Arc::ptr_eq(&before.roster.members[place], member).then(|| before.lanes[place].clone())
        };
        let pairs = roster.endpoints.addresses().zip(&roster.members);
        let lanes =
            pairs.map(|(address, member)| kept(address, member).unwrap_or_else(|| member.lane())).collect();
        Seats { shared: shared.clone(), roster, lanes }
    }
}

/// An endpoint that was chosen, and the request under way to it until this is dropped.
#[derive(Debug)]
#[must_use = "dropping ends the request"]
pub struct Pick {
    seats: Rc<Seats>,
    place: usize,
}

impl Pick {
    fn new(seats: Rc<Seats>, place: usize) -> Pick {
        seats.lanes[place].enter();
        Pick { seats, place }
    }

    /// Where the request goes.
    pub fn address(&self) -> SocketAddr {
        self.endpoint().address
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.seats.roster.endpoints.usable[self.place]
    }

    /// Says how the request ended, and how long it took until the head of the response or the failure. At most once;
    /// the body may still be under way.
    pub fn finished(&self, ended: Ended, latency: Duration, now: Duration) {
        let Seats { shared, roster, lanes } = &*self.seats;
        if ended != Ended::Abandoned && matches!(shared.policy.balancing, Balancing::PeakEwma) {
            let latency = if ended.is_failure() { latency.max(ewma::FAILURE) } else { latency };
            lanes[self.place].latency.observe(latency, now);
        }
        if shared.policy.ejection.is_some() {
            shared.judge(&roster.members[self.place], ended, now);
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.seats.lanes[self.place].leave();
    }
}
