//! Health checks: endpoints are asked whether they work, and balancing is told the answers.
//!
//! ```text
//!  Roll ──► Checks ── due ──► a task for each question (probe) ── answers ──► Checker ──► Shared
//! ```
//!
//! One thread of its own for the process, so that neither a busy worker nor a large update makes endpoints look dead.
//! Questions have a timeout and are never more than [`PROBES_MAX`] at once; what is due then waits and is not judged for
//! it. When and how often is asked, and what follows from answers, is decided by
//! [`Checker`](tidegate_traffic::balance::Checker). UDP ports are not asked: a connection says nothing about them, and no policy has a question
//! for them. Nodes are, which answer for their pods at a TCP port of their own.

mod grpc;
mod http;
mod http2;
mod probe;

#[cfg(fuzzing)]
pub use grpc::serving_status;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tidegate_model::traffic::{HealthCheck, Probe, Transport};
use tidegate_traffic::balance::Checker;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::backends::{self, Backends, Roll, Slot, address};
use probe::{Kit, Unfit};

/// Questions under way; the endpoints of one backend may go beyond it together.
const PROBES_MAX: usize = 1024;

/// Between two looks for endpoints that nobody told of.
const LOOK: Duration = Duration::from_secs(1);

/// A look because endpoints have changed is followed by so many times as long without one: where they change all the time, looks
/// cost a small part of a core.
const REST: u32 = 9;

/// Asks until `stop` is ready. Must run where tasks are local.
pub async fn run(backends: Arc<Backends>, changes: Counter, seed: u64, stop: impl Future<Output = ()>) {
    let mut rolls = backends.rolls();
    let (telling, mut told) = mpsc::unbounded_channel();
    let mut checks = Checks::new(changes, seed, telling);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut rest = Instant::now();
    let mut stop = pin!(stop);
    checks.follow(&rolls.borrow_and_update().clone());
    loop {
        checks.ask();
        let next = checks.wait();
        tokio::select! {
            () = &mut stop => return,
            Ok(()) = rolls.changed() => {
                let roll = rolls.borrow_and_update().clone();
                checks.follow(&roll);
            }
            // Never closed: a sender is kept here. As many answers as questions, so it needs no other bound.
            Some(answer) = told.recv() => checks.hear(&answer),
            () = touched(&backends, rest) => {
                let began = Instant::now();
                checks.look(&rolls.borrow().clone());
                rest = Instant::now() + began.elapsed() * REST;
            }
            _ = look.tick() => checks.look(&rolls.borrow().clone()),
            () = tokio::time::sleep(next) => {}
        }
    }
}

/// Waits until endpoints have changed, and not before `rest` is over. One that is not waited for to its end loses nothing.
async fn touched(backends: &Backends, rest: Instant) {
    tokio::time::sleep_until(rest).await;
    backends.touched().await;
}

/// What an endpoint answered.
struct Answer {
    slot: Arc<Slot>,
    endpoint: SocketAddr,
    result: Result<(), Unfit>,
}

/// The checks of all backends that want some.
struct Checks {
    changes: Counter,
    random: u64,
    telling: mpsc::UnboundedSender<Answer>,
    kit: Rc<Kit>,
    /// By the address of the slot.
    checks: HashMap<usize, Check>,
    due: BTreeSet<(Duration, usize)>,
    under_way: usize,
}

struct Check {
    slot: Arc<Slot>,
    checker: Checker,
    settings: Arc<HealthCheck>,
    /// Its place in the queue.
    due: Duration,
}

impl Checks {
    fn new(changes: Counter, seed: u64, telling: mpsc::UnboundedSender<Answer>) -> Checks {
        let (checks, due, kit) = (HashMap::new(), BTreeSet::new(), Rc::new(Kit::new()));
        Checks { changes, random: seed, telling, kit, checks, due, under_way: 0 }
    }

    /// Takes in other backends; those that stay are asked on as before.
    fn follow(&mut self, roll: &Roll) {
        let due = &mut self.due;
        self.checks.retain(|&key, check| {
            let stays = roll.has(&check.slot);
            if !stays {
                due.remove(&(check.due, key));
            }
            stays
        });
        let now = backends::now();
        for slot in roll.slots() {
            let (Some(settings), Some(shared)) = (&slot.backend.policy.health_check, slot.known()) else {
                continue;
            };
            let of_node = matches!(settings.probe, Probe::Node { .. });
            if slot.backend.id.transport == Transport::Udp && !of_node {
                continue;
            }
            let key = address(slot);
            self.checks.entry(key).or_insert_with(|| {
                self.due.insert((now, key));
                let (slot, checker) = (slot.clone(), Checker::new(shared.clone()));
                Check { slot, checker, settings: Arc::new(settings.clone()), due: now }
            });
        }
    }

    /// Looks at the endpoints of every backend, as far as they matter before a request comes.
    fn look(&mut self, roll: &Roll) {
        let now = backends::now();
        for shared in roll.hashed().iter().filter_map(|slot| slot.known()) {
            shared.follow(now);
        }
        let keys: Vec<usize> = self.checks.keys().copied().collect();
        for key in keys {
            self.ask_one(key, now);
        }
    }

    /// How long nothing is due.
    fn wait(&self) -> Duration {
        match self.due.first() {
            Some((due, _)) if self.under_way < PROBES_MAX => due.saturating_sub(backends::now()),
            _ => LOOK,
        }
    }

    /// Asks who is due.
    fn ask(&mut self) {
        let now = backends::now();
        while let Some(&(due, key)) = self.due.first()
            && due <= now
            && self.under_way < PROBES_MAX
        {
            self.ask_one(key, now);
        }
    }

    fn ask_one(&mut self, key: usize, now: Duration) {
        let random = self.random();
        if self.under_way >= PROBES_MAX {
            return;
        }
        let Some(check) = self.checks.get_mut(&key) else { return };
        self.due.remove(&(check.due, key));
        for endpoint in check.checker.due(now, random) {
            self.under_way += 1;
            let (slot, settings) = (check.slot.clone(), check.settings.clone());
            let (kit, telling) = (self.kit.clone(), self.telling.clone());
            spawn_local(async move {
                let result = probe::ask(&kit, &slot.backend, endpoint, &settings).await;
                // Nobody listens any more once the proxy ends.
                let _ = telling.send(Answer { slot, endpoint, result });
            });
        }
        // With nobody there the next look finds who comes.
        if let Some(due) = check.checker.poll_timeout() {
            check.due = due;
            self.due.insert((due, key));
        }
    }

    fn hear(&mut self, answer: &Answer) {
        let Answer { slot, endpoint, result } = answer;
        self.under_way -= 1;
        // The answer holds the slot, so no other can have come to its address.
        let Some(check) = self.checks.get_mut(&address(slot)) else { return };
        if !check.checker.answered(*endpoint, result.is_ok(), backends::now()) {
            return;
        }
        self.changes.inc();
        let backend = &slot.backend.id;
        match result {
            Ok(()) => tracing::info!(%backend, %endpoint, "the endpoint is healthy again"),
            Err(reason) => tracing::warn!(%backend, %endpoint, %reason, "the endpoint is unhealthy"),
        }
    }

    /// A number that spreads questions (SplitMix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
