//! What a session knows, taken to another process on the same machine that goes on with it: who is master does not change,
//! and nothing is said that a session would say at its start or end.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::leg::Heard;
use super::{Config, Session, State};
use crate::error::ConfigError;
use crate::timers::AdvertInterval;

/// What a session knows. Times are counted from when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Whether it is master.
    pub master: bool,
    /// How long it is in its state.
    pub since: Duration,
    /// Changes of state so far.
    pub transitions: u64,
    /// The reason of the last claim or release.
    pub last_reason: Option<String>,
    /// Its legs, in their order.
    pub legs: Vec<LegMemory>,
}

/// What it knows of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegMemory {
    /// Its interface.
    pub interface: String,
    /// Its virtual router id.
    pub vrid: u8,
    /// The master heard last, if it is another.
    pub heard: Option<HeardMemory>,
}

/// A master as it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardMemory {
    /// Source address of its adverts.
    pub address: IpAddr,
    /// Its priority.
    pub priority: u8,
    /// How often it speaks.
    pub interval: AdvertInterval,
    /// Since it last did.
    pub silent: Duration,
}

impl Session {
    /// What it knows now; none while it takes no part.
    pub fn memory(&self, now: Instant) -> Option<Memory> {
        if self.state == State::Initialize {
            return None;
        }
        let ago = |at: Instant| now.saturating_duration_since(at);
        let legs = self.legs.iter().map(|leg| LegMemory {
            interface: leg.interface(),
            vrid: leg.config.vrid.get(),
            heard: leg.heard.map(|heard| HeardMemory {
                address: heard.address,
                priority: heard.priority,
                interval: heard.interval,
                silent: ago(heard.at),
            }),
        });
        Some(Memory {
            master: self.state == State::Master,
            since: ago(self.since),
            transitions: self.transitions,
            last_reason: self.last_reason.clone(),
            legs: legs.collect(),
        })
    }

    /// A session that goes on with what another knew. A master speaks at once and claims nothing anew; a backup waits for
    /// the master that was heard, and no shorter than one interval. Where the legs are other virtual routers, or a link
    /// is down, it starts as any session does.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn resume(config: Config, memory: &Memory, now: Instant) -> Result<Self, ConfigError> {
        let mut session = Session::new(config, now)?;
        let known = memory.legs.iter().map(|leg| (leg.interface.as_str(), leg.vrid));
        let own = session.legs.iter().map(|leg| (leg.config.interface.as_str(), leg.config.vrid.get()));
        if session.state == State::Initialize || !own.eq(known) {
            return Ok(session);
        }
        session.since = now.checked_sub(memory.since).unwrap_or(now);
        session.transitions = memory.transitions;
        session.last_reason.clone_from(&memory.last_reason);
        if memory.master {
            session.state = State::Master;
            session.advert_at = Some(now);
            let interval = session.config.interval;
            session.legs.iter_mut().for_each(|leg| leg.forget(interval));
            return Ok(session);
        }
        let (own, soon) = (session.priority.get(), now + session.config.interval.duration());
        for (leg, known) in session.legs.iter_mut().zip(&memory.legs) {
            let Some(heard) = known.heard else { continue };
            let at = now.checked_sub(heard.silent).unwrap_or(now);
            let HeardMemory { address, priority, interval, .. } = heard;
            leg.heard = Some(Heard { address, priority, interval, at });
            leg.interval = interval;
            leg.arm((at + interval.master_down(own)).max(soon));
            session.last_heard = session.last_heard.max(Some(at));
        }
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::{One, config};
    use crate::session::{Input, Output};

    fn outputs(session: &mut Session) -> Vec<Output> {
        std::iter::from_fn(|| session.poll_output()).collect()
    }

    /// The successor of a master is master, speaks with its first breath, and claims and announces nothing.
    #[test]
    fn a_master_goes_on() {
        let One { session, now, .. } = One::master(config(1, 200, 2));
        let memory = session.memory(now).unwrap();
        let mut successor = Session::resume(config(1, 200, 2), &memory, now).unwrap();
        assert_eq!((successor.state(), successor.poll_timeout()), (State::Master, Some(now)));
        assert_eq!(successor.status().transitions, session.status().transitions);
        assert_eq!(outputs(&mut successor), []);
        successor.handle(Input::Timeout, now);
        let said = outputs(&mut successor);
        assert_eq!(said.len(), 2);
        assert!(said.iter().all(|output| matches!(output, Output::Send { bytes, .. } if bytes[2] == 200)));
    }

    /// A gateway that is not ready yet stays the master that it was.
    #[test]
    fn a_master_need_not_be_ready() {
        let One { session, now, .. } = One::master(config(1, 200, 1));
        let memory = session.memory(now).unwrap();
        let unready = Config { ready: false, ..config(1, 200, 1) };
        let mut successor = Session::resume(unready, &memory, now).unwrap();
        successor.handle(Input::Timeout, now);
        successor.handle(Input::Ready(true), now + Duration::from_millis(50));
        assert_eq!(successor.state(), State::Master);
    }

    /// The successor of a backup follows the master that was heard, and takes over when that one falls silent, no sooner.
    #[test]
    fn a_backup_goes_on() {
        let (mut one, host) = (One::new(config(1, 150, 1)), 9);
        one.hear(0, host, 200);
        let now = one.now + Duration::from_millis(40);
        let memory = one.session.memory(now).unwrap();
        let mut successor = Session::resume(config(1, 150, 1), &memory, now).unwrap();
        assert_eq!(successor.status().legs[0].master.map(|heard| heard.priority), Some(200));
        assert_eq!(successor.poll_timeout(), one.session.poll_timeout());
        let due = successor.poll_timeout().unwrap();
        successor.handle(Input::Timeout, due - Duration::from_millis(1));
        assert_eq!(successor.state(), State::Backup);
        successor.handle(Input::Timeout, due);
        assert_eq!(successor.state(), State::Master);
    }

    /// Other virtual routers, or a link that is down, make a start like any other.
    #[test]
    fn what_does_not_fit_starts_anew() {
        let One { session, now, .. } = One::master(config(1, 200, 2));
        let memory = session.memory(now).unwrap();
        assert_eq!(Session::resume(config(1, 200, 1), &memory, now).unwrap().state(), State::Backup);
        let mut down = config(1, 200, 2);
        down.legs[1].up = false;
        let fresh = Session::resume(down, &memory, now).unwrap();
        assert_eq!((fresh.state(), fresh.memory(now)), (State::Initialize, None));
    }
}
