//! The election of one group: one machine, one state, one or more legs.
//!
//! A *leg* is one virtual router on one interface. A group with one leg is RFC 9568's state machine (section
//! 6.4); a group with several is what keepalived calls a sync group: its addresses have one owner on all of its
//! networks, because traffic that comes in through one gateway must go out through the same.
//!
//! ```text
//!                    all links up
//!   +------------+ ---------------> +----------+
//!   | Initialize |                  |  Backup  | <--+ master speaks: timer again
//!   +------------+ <--------------- +----------+ ---+
//!      ^             link down, stop   |     ^
//!      |                               |     |  outranked; drained (farewell); own clock stood still
//!      |      master down, farewell,   v     |
//!      |      preemption            +----------+
//!      +--------------------------- |  Master  | --+ advert timer: speak; a lesser router
//!        link down, stop (farewell) +----------+ <-+ speaks: answer and announce again
//! ```
//!
//! **When a group takes over.** The Master_Down timer of *some* leg has fired, and *no* leg hears a live master
//! that outranks us. Take a master that is cut off on one of two networks and alive on the other. If any silent
//! leg were enough, a lesser backup would take over, be outranked on the living leg at the next advert, fall
//! back, and flap for ever. If all legs had to be silent, the cut network would stay without a gateway although
//! a better backup could serve both. So the group moves exactly when the move will last: a lesser master
//! yields on the living leg when it hears us; a greater one has to learn of its cut by itself (link, tracking).
//!
//! **Beyond the RFC**, each for a failure that others had:
//! - A master that yields speaks once more. The winner then knows that a rival was believed, answers, and
//!   announces again; else neighbours that believed the rival wait for the next refresh.
//! - A farewell counts only from the master that is followed: another's does not start a takeover.
//! - A clock that stood still (SIGSTOP, a paused machine) means Backup first, without a farewell, which would only
//!   disturb the heir. A backup that woke late takes one more look at the socket, once.
//! - A router that is not ready or is drained does not compete; see [`Config::ready_grace`].
//! - Of two routers of equal priority each can have the greater address on one leg, and each would make the other
//!   yield for ever. The one with the smaller address on the leg of lowest virtual router id (then lowest address) waits an
//!   interval longer.
//!
//! The session is a value: no task, no socket, no clock. After every `handle`, drain `poll_output`.

mod config;
mod event;
mod leg;
mod memory;
mod outbox;
mod reconfigure;
mod status;

use std::net::IpAddr;
use std::time::{Duration, Instant};

pub use config::{Config, LegConfig, LegId, Priority};
pub use event::{ClaimReason, Input, Output, RebalanceRefusal, ReleaseReason, Report};
pub use leg::Heard;
pub use memory::{HeardMemory, LegMemory, Memory};
pub use status::{LegStatus, State, Status};

use crate::error::ConfigError;
use crate::packet::{self, Advert};
use leg::{Leg, earliest, since};
use outbox::Outbox;

/// Most legs of one group.
pub const MAX_LEGS: usize = 32;
/// Most unicast peers of one leg.
pub const MAX_UNICAST_PEERS: usize = 64;
/// Most senders told of for each kind of report; later ones are counted as rejected only.
pub const MAX_REPORTED: usize = 16;
/// Most outputs kept for a shell that does not fetch them; beyond it only the last word on ownership is kept.
pub const MAX_OUTPUTS: usize = 8192;

/// One group's election.
#[derive(Debug)]
pub struct Session {
    config: Config,
    legs: Vec<Leg>,
    state: State,
    since: Instant,
    priority: Priority,
    ready: bool,
    drained: bool,
    stopped: bool,
    /// Adver_Timer, in Master only.
    advert_at: Option<Instant>,
    /// When a router that is not ready takes over nevertheless; only while nothing else is in the way.
    grace_at: Option<Instant>,
    /// Last advert of a master heard on any leg.
    last_heard: Option<Instant>,
    /// Since when a live, lesser master has been heard while we were fit to preempt it.
    could_preempt_since: Option<Instant>,
    /// A late wake has had its second look.
    looked: bool,
    /// A leg fired, but a master that outranks us lives on another.
    held_back: bool,
    told_held_back: bool,
    /// A router of our priority has the greater address on the leg that decides ties.
    loses_tie: bool,
    transitions: u64,
    last_reason: Option<String>,
    outbox: Outbox,
}

impl Session {
    /// A group that starts now: in Backup if all links are up, else in Initialize.
    pub fn new(config: Config, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let legs: Vec<_> = config.legs.iter().map(|leg| Leg::new(leg.clone(), config.interval)).collect();
        let mut session = Self {
            legs,
            state: State::Initialize,
            since: now,
            priority: config.priority,
            ready: config.ready,
            drained: config.drained,
            stopped: false,
            advert_at: None,
            grace_at: None,
            last_heard: None,
            could_preempt_since: None,
            looked: false,
            held_back: false,
            told_held_back: false,
            loses_tie: false,
            transitions: 0,
            last_reason: None,
            outbox: Outbox::default(),
            config,
        };
        session.start_if_links_are_up(now);
        Ok(session)
    }

    /// Something happened. A late wake is noticed first, then the input counts, then timers that are due.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        if self.stopped {
            return;
        }
        self.notice_late_wake(now);
        match input {
            Input::Timeout => {}
            Input::Advert { leg, source, destination, ttl, payload } => {
                self.on_payload(leg, source, destination, ttl, payload, now);
            }
            Input::Link { leg, up } => self.on_link(leg, up, now),
            Input::Priority(priority) => self.on_priority(priority, now),
            Input::Ready(ready) => self.on_ready(ready, now),
            Input::Drain(drained) => self.on_drain(drained, now),
            Input::Rebalance => self.on_rebalance(now),
            Input::Stop => self.on_stop(now),
        }
        self.run_timers(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// When to say [`Input::Timeout`], unless something else happens before; it may change with every `handle`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Initialize => None,
            State::Master => self.advert_at,
            State::Backup => earliest(&self.legs).into_iter().chain(self.grace_at).min(),
        }
    }

    // ---- adverts

    fn on_payload(
        &mut self,
        id: LegId,
        source: IpAddr,
        destination: IpAddr,
        ttl: u8,
        payload: &[u8],
        now: Instant,
    ) {
        let Some(at) = self.legs.iter().position(|leg| leg.id() == id) else { return };
        let leg = &mut self.legs[at];
        if packet::peek_vrid(payload).is_some_and(|vrid| vrid != leg.config.vrid.get()) {
            return;
        }
        let interface = leg.interface();
        let received = match packet::decode(payload, source, destination, ttl) {
            Ok(received) => received,
            Err(error) => {
                let report = Report::Malformed { interface, from: source, error };
                return self.reject(at, source, report);
            }
        };
        if source == leg.config.source {
            return self.reject(at, source, Report::OwnAddress { interface, address: source });
        }
        if !leg.accepts(source) {
            return self.reject(at, source, Report::Stranger { interface, from: source });
        }
        let advert = received.advert;
        if leg.lists_none_of_ours(&advert) {
            let (vrid, lists) = (advert.vrid.get(), advert.addresses[0]);
            return self.reject(at, source, Report::VridClash { interface, from: source, vrid, lists });
        }
        leg.adverts_in += 1;
        leg.checksum = received.checksum;
        let (missing, foreign) = leg.differences(&advert);
        if missing.is_some() || foreign.is_some() {
            self.report_once(
                at,
                source,
                Report::AddressesDiffer { interface, from: source, missing, foreign },
            );
        }
        self.on_advert(at, &advert, source, now);
    }

    fn on_advert(&mut self, at: usize, advert: &Advert, source: IpAddr, now: Instant) {
        self.compare_tie(at, advert, source);
        match (self.state, advert.priority) {
            (State::Initialize, _) => {}
            (State::Backup, 0) => self.backup_hears_farewell(at, source, now),
            (State::Backup, _) => self.backup_hears_master(at, advert, source, now),
            (State::Master, 0) => {
                self.send_adverts(self.priority.get());
                self.advert_at = Some(now + self.config.interval.duration());
                self.announce_again(at, now);
            }
            (State::Master, priority) if self.legs[at].outranks(source, priority, self.priority.get()) => {
                self.yield_to(at, advert, source, now);
            }
            (State::Master, _) => self.answer(at, now),
        }
    }

    fn backup_hears_farewell(&mut self, at: usize, source: IpAddr, now: Instant) {
        let own = self.priority.get();
        let leg = &mut self.legs[at];
        if leg.live(own, now).is_some_and(|heard| heard.address != source) {
            return;
        }
        leg.heard = None;
        leg.farewell = Some(source);
        leg.arm(now + leg.interval.skew(own));
        self.last_heard = Some(now);
    }

    fn backup_hears_master(&mut self, at: usize, advert: &Advert, source: IpAddr, now: Instant) {
        let own = self.priority.get();
        self.legs[at].remember(advert, source, own, now);
        self.consider_preemption(now);
        if advert.priority < own && self.preempts(now) {
            return; // RFC 9568 section 6.4.2: discarded, so that Master_Down passes.
        }
        let leg = &mut self.legs[at];
        leg.farewell = None;
        leg.interval = leg.heard.map_or(advert.interval, |heard| heard.interval);
        let interval = leg.interval;
        let patience = interval.master_down(own) + self.tie_penalty();
        self.legs[at].arm(now + patience);
        self.last_heard = Some(now);
        self.looked = false;
    }

    /// A master hears a lesser one: say so at once, and settle the caches. Not more than twice an interval:
    /// more would say nothing new, and a flood would be answered with a flood.
    fn answer(&mut self, at: usize, now: Instant) {
        let pause = self.config.interval.duration() / 2;
        if self.legs[at].answered_at.is_some_and(|last| since(last, now) < pause) {
            return;
        }
        let adverts = self.legs[at].adverts(self.priority.get(), self.config.interval);
        self.outbox.push_all(adverts);
        self.announce_again(at, now);
    }

    fn announce_again(&mut self, at: usize, now: Instant) {
        self.legs[at].answered_at = Some(now);
        self.outbox.push(Output::Announce);
    }

    fn yield_to(&mut self, at: usize, advert: &Advert, source: IpAddr, now: Instant) {
        self.send_adverts(self.priority.get());
        let (interface, priority) = (self.legs[at].interface(), advert.priority);
        self.release(ReleaseReason::Outranked { interface, from: source, priority });
        self.enter_backup(now);
        self.backup_hears_master(at, advert, source, now);
    }

    // ---- what else happens

    fn on_link(&mut self, id: LegId, up: bool, now: Instant) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.id() == id) else { return };
        if leg.up == up {
            return;
        }
        leg.up = up;
        let interface = leg.interface();
        if up {
            self.start_if_links_are_up(now);
        } else if self.state != State::Initialize {
            self.say_farewell(ReleaseReason::LinkDown { interface });
            self.enter_initialize(now);
        }
    }

    fn on_priority(&mut self, priority: Priority, now: Instant) {
        if self.priority == priority {
            return;
        }
        self.priority = priority;
        self.loses_tie = false;
        self.consider_preemption(now);
        if self.state == State::Master {
            self.send_adverts(priority.get());
        }
    }

    fn on_ready(&mut self, ready: bool, now: Instant) {
        if self.ready != ready {
            self.ready = ready;
            self.compete_again(now);
        }
    }

    fn on_drain(&mut self, drained: bool, now: Instant) {
        if self.drained == drained {
            return;
        }
        self.drained = drained;
        if drained && self.state == State::Master {
            self.say_farewell(ReleaseReason::Drained);
            self.enter_backup(now);
        }
        self.compete_again(now);
    }

    fn on_rebalance(&mut self, now: Instant) {
        let refusal = match self.state {
            State::Master => RebalanceRefusal::AlreadyMaster,
            State::Backup if self.ready && !self.drained => match self.lesser_master(now) {
                Some((at, master)) => {
                    let (master, priority) = (master.address, master.priority);
                    let interface = self.legs[at].interface();
                    return self.enter_master(ClaimReason::Rebalance { interface, master, priority }, now);
                }
                None => RebalanceRefusal::NotOutranked,
            },
            State::Backup | State::Initialize => RebalanceRefusal::NotCompeting,
        };
        self.outbox.push(Output::Report(Report::RebalanceRefused(refusal)));
    }

    fn on_stop(&mut self, now: Instant) {
        self.say_farewell(ReleaseReason::Stopped);
        if self.state != State::Initialize {
            self.enter_initialize(now);
        }
        self.stopped = true;
    }

    /// Readiness or drain changed: whoever waited waits another skew, so that of two who were freed together the
    /// better one speaks first.
    fn compete_again(&mut self, now: Instant) {
        self.consider_preemption(now);
        self.take_a_skew(now);
    }

    fn take_a_skew(&mut self, now: Instant) {
        let own = self.priority.get();
        for leg in self.legs.iter_mut().filter(|leg| leg.fired_at.is_some()) {
            leg.arm(now + leg.interval.skew(own));
        }
    }

    // ---- timers

    /// The process may have stood still. Whatever our timers say was decided without us; see the module header.
    fn notice_late_wake(&mut self, now: Instant) {
        let Some(due) = self.poll_timeout() else { return };
        let (late, interval, own) = (since(due, now), self.config.interval, self.priority.get());
        match self.state {
            State::Master if late > interval.master_down(own) => {
                self.release(ReleaseReason::Frozen { late });
                self.enter_backup(now);
            }
            State::Backup if late > interval.duration() => {
                self.could_preempt_since = None;
                if !self.looked {
                    self.looked = true;
                    let look = now + interval.duration() + interval.skew(own);
                    let due = |leg: &&mut Leg| leg.down_at.is_none_or(|at| at <= now);
                    self.legs.iter_mut().filter(due).for_each(|leg| leg.arm(look));
                }
            }
            _ => {}
        }
    }

    fn run_timers(&mut self, now: Instant) {
        if let Some(due) = self.advert_at.filter(|due| *due <= now) {
            self.send_adverts(self.priority.get());
            let interval = self.config.interval.duration();
            // Keep the beat, unless it is lost already.
            let next = due + interval;
            self.advert_at = Some(if next > now { next } else { now + interval });
        }
        if self.state == State::Backup {
            let mut fired = false;
            for leg in self.legs.iter_mut().filter(|leg| leg.down_at.is_some_and(|due| due <= now)) {
                leg.down_at = None;
                leg.fired_at = Some(now);
                fired = true;
            }
            self.compete(fired, now);
        }
    }

    /// In Backup: take over if some leg is silent and nobody speaks against it. `fired` says whether a timer
    /// brought us here.
    fn compete(&mut self, fired: bool, now: Instant) {
        self.grace_at = None;
        let Some(at) = self.legs.iter().position(|leg| leg.fired_at.is_some()) else {
            return self.hold_nothing_back();
        };
        if self.drained {
            return;
        }
        if let Some((other, master)) = self.outranker(now) {
            return self.hold_back(at, other, master, now);
        }
        let held = self.held_back;
        self.hold_nothing_back();
        if held && !fired {
            // The master that stood in the way left it. Every backup sees that now; the best one shall move.
            self.take_a_skew(now);
        } else if self.ready {
            self.enter_master(self.reason_of(at, now), now);
        } else if now >= self.grace_ends() {
            let silent = since(self.last_heard.unwrap_or(self.since).max(self.since), now);
            self.enter_master(ClaimReason::Degraded { silent }, now);
        } else {
            self.grace_at = Some(self.grace_ends());
        }
    }

    /// After a clean cut legs fire within moments of each other; only what lasts is worth a report.
    fn hold_back(&mut self, at: usize, other: usize, master: Heard, now: Instant) {
        self.held_back = true;
        let fired = self.legs[at].fired_at.unwrap_or(now);
        if self.told_held_back || since(fired, now) < self.config.interval.duration() {
            return;
        }
        self.told_held_back = true;
        let (interface, other) = (self.legs[at].interface(), self.legs[other].interface());
        let (master, priority) = (master.address, master.priority);
        self.outbox.push(Output::Report(Report::HeldBack { interface, other, master, priority }));
    }

    fn hold_nothing_back(&mut self) {
        (self.held_back, self.told_held_back) = (false, false);
    }

    fn reason_of(&self, at: usize, now: Instant) -> ClaimReason {
        let leg = &self.legs[at];
        let interface = leg.interface();
        if let Some(from) = leg.farewell {
            return ClaimReason::Farewell { interface, from };
        }
        if let Some(live) = leg.live(self.priority.get(), now) {
            return ClaimReason::Preempt { interface, master: live.address, priority: live.priority };
        }
        let silent = since(leg.heard.map_or(self.since, |heard| heard.at), now);
        ClaimReason::MasterDown { interface, master: leg.heard.map(|heard| heard.address), silent }
    }

    fn grace_ends(&self) -> Instant {
        let from = self.last_heard.map_or(self.since, |heard| heard.max(self.since));
        from + self.config.ready_grace + self.config.interval.skew(self.priority.get())
    }

    // ---- who else is there

    /// A live master that outranks us, on any leg.
    fn outranker(&self, now: Instant) -> Option<(usize, Heard)> {
        let own = self.priority.get();
        self.legs.iter().enumerate().find_map(|(at, leg)| {
            let heard = leg.live(own, now)?;
            leg.outranks(heard.address, heard.priority, own).then_some((at, *heard))
        })
    }

    /// A live master of lower priority, unless another one of at least our priority lives.
    fn lesser_master(&self, now: Instant) -> Option<(usize, Heard)> {
        let own = self.priority.get();
        let live = |(at, leg): (usize, &Leg)| leg.live(own, now).map(|heard| (at, *heard));
        let mut all = self.legs.iter().enumerate().filter_map(live);
        let first = all.next()?;
        (first.1.priority < own && all.all(|(_, heard)| heard.priority < own)).then_some(first)
    }

    fn consider_preemption(&mut self, now: Instant) {
        let fit = self.state == State::Backup && self.ready && !self.drained;
        if fit && self.lesser_master(now).is_some() {
            self.could_preempt_since.get_or_insert(now);
        } else {
            self.could_preempt_since = None;
        }
    }

    fn preempts(&self, now: Instant) -> bool {
        let waited =
            self.could_preempt_since.is_some_and(|start| since(start, now) >= self.config.preempt_delay);
        self.config.preempt && waited
    }

    /// With one leg a tie has one winner; with more, one leg decides who waits. Every gateway finds the same one.
    fn compare_tie(&mut self, at: usize, advert: &Advert, source: IpAddr) {
        let lowest = self.legs.iter().map(Leg::common_name).min();
        let decides = self.legs.len() > 1 && lowest == Some(self.legs[at].common_name());
        if decides && advert.priority == self.priority.get() {
            self.loses_tie = source > self.legs[at].config.source;
        }
    }

    fn tie_penalty(&self) -> Duration {
        if self.loses_tie { self.config.interval.duration() } else { Duration::ZERO }
    }

    // ---- transitions

    fn start_if_links_are_up(&mut self, now: Instant) {
        if self.state == State::Initialize && self.legs.iter().all(|leg| leg.up) {
            self.enter_backup(now);
        }
    }

    fn enter_initialize(&mut self, now: Instant) {
        self.enter(State::Initialize, now);
    }

    fn enter_backup(&mut self, now: Instant) {
        self.enter(State::Backup, now);
        let patience = self.config.interval.master_down(self.priority.get()) + self.tie_penalty();
        self.legs.iter_mut().for_each(|leg| leg.arm(now + patience));
    }

    fn enter_master(&mut self, reason: ClaimReason, now: Instant) {
        self.enter(State::Master, now);
        self.advert_at = Some(now + self.config.interval.duration());
        self.send_adverts(self.priority.get());
        self.last_reason = Some(reason.to_string());
        self.outbox.push(Output::Claim(reason));
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.transitions += u64::from(self.state != state);
        self.state = state;
        self.since = now;
        self.advert_at = None;
        self.grace_at = None;
        self.could_preempt_since = None;
        self.looked = false;
        self.hold_nothing_back();
        let interval = self.config.interval;
        self.legs.iter_mut().for_each(|leg| leg.forget(interval));
    }

    fn release(&mut self, reason: ReleaseReason) {
        self.last_reason = Some(reason.to_string());
        self.outbox.push(Output::Release(reason));
    }

    /// Priority 0 on every leg that still has a link, if we are master.
    fn say_farewell(&mut self, reason: ReleaseReason) {
        if self.state == State::Master {
            self.send_adverts(0);
            self.release(reason);
        }
    }

    // ---- outputs

    fn send_adverts(&mut self, priority: u8) {
        let interval = self.config.interval;
        let up = self.legs.iter_mut().filter(|leg| leg.up);
        let adverts: Vec<_> = up.flat_map(|leg| leg.adverts(priority, interval)).collect();
        self.outbox.push_all(adverts);
    }

    fn reject(&mut self, at: usize, source: IpAddr, report: Report) {
        self.legs[at].rejected += 1;
        self.report_once(at, source, report);
    }

    fn report_once(&mut self, at: usize, source: IpAddr, report: Report) {
        self.outbox.report_once(self.legs[at].id(), source, report);
    }
}

#[cfg(test)]
mod tests;
