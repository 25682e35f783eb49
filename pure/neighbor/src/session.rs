//! One interface's voice: it answers for the addresses that are held, and announces them.
//!
//! ```text
//!             Hold: burst of announcements
//!   silent ---------------------------------> held --+ request, probe: reply to the asker
//!      ^                                       | ^   | refresh, Announce, link up: announce
//!      |              Release                  | +---+ another claims it: Conflict, announce once
//!      +---------------------------------------+
//! ```
//!
//! It owns no decision about who holds what: that is the election's. It never speaks of an address that is not
//! held, not even from its queue: `Release` takes back what was not fetched. Nothing is sent while the link is down.
//!
//! The session is a value: no task, no socket, no clock. After every `handle`, drain `poll_output`.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::arp::{Arp, FRAME_BYTES, Mac, Operation};
use crate::timers::Schedule;

/// Most outputs kept for a shell that does not fetch them. Beyond it replies are dropped (the asker asks again)
/// and announcements wait for the next fetch.
pub const MAX_OUTPUTS: usize = 1024;
/// Least time between two conflicts told of, and between two announcements against them, for one address.
pub const CONFLICT_PAUSE: Duration = Duration::from_secs(1);

/// What can happen on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// The time that `poll_timeout` named has come.
    Timeout,
    /// This address is ours from now on. Holding it twice changes nothing.
    Hold(Ipv4Addr),
    /// It is no longer.
    Release(Ipv4Addr),
    /// Announce it again, as a burst; ignored unless it is held.
    Announce(Ipv4Addr),
    /// An Ethernet frame arrived. One that is not ARP, or is our own, is ignored.
    Frame(&'a [u8]),
    /// The link went up or down. A session starts with its link up.
    Link {
        /// Its state now.
        up: bool,
    },
}

/// What the shell must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// Put this frame on the wire.
    Send([u8; FRAME_BYTES]),
    /// Another interface claims an address that is held here.
    Conflict {
        /// The address.
        address: Ipv4Addr,
        /// Who claims it.
        mac: Mac,
    },
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Announcements handed out.
    pub announced: u64,
    /// Requests answered.
    pub answered: u64,
    /// Replies dropped because the shell did not fetch.
    pub dropped: u64,
    /// Frames in which another claimed a held address.
    pub conflicts: u64,
}

/// One interface.
#[derive(Debug)]
pub struct Session {
    mac: Mac,
    link_up: bool,
    /// The addresses held, and when a conflict over each was last told of.
    held: BTreeMap<Ipv4Addr, Option<Instant>>,
    schedule: Schedule<Ipv4Addr>,
    /// With the address each is about.
    outputs: VecDeque<(Ipv4Addr, Output)>,
    counters: Counters,
}

impl Session {
    /// An interface with this MAC address, its link up, that holds nothing.
    pub fn new(mac: Mac) -> Self {
        Self {
            mac,
            link_up: true,
            held: BTreeMap::new(),
            schedule: Schedule::default(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Something happened.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Timeout => {}
            Input::Hold(address) => {
                if !self.holds(address) {
                    self.held.insert(address, None);
                    self.begin(address, now);
                }
            }
            Input::Release(address) => {
                self.held.remove(&address);
                self.schedule.forget(address);
                self.outputs.retain(|(about, _)| *about != address);
            }
            Input::Announce(address) => {
                if self.held.contains_key(&address) {
                    self.begin(address, now);
                }
            }
            Input::Frame(frame) => self.on_frame(frame, now),
            Input::Link { up } => self.on_link(up, now),
        }
        self.announce_what_is_due(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().map(|(_, output)| output)
    }

    /// When to say [`Input::Timeout`], unless something else happens before; it may change with every `handle`.
    /// While outputs are waiting and there is no room for more, it is in the past: fetch them first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// Whether this address is held.
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.held.contains_key(&address)
    }

    /// The addresses held, in order.
    pub fn held(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.held.keys().copied()
    }

    /// Our own MAC address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn on_link(&mut self, up: bool, now: Instant) {
        if self.link_up == up {
            return;
        }
        self.link_up = up;
        if up {
            self.held.keys().for_each(|address| self.schedule.begin(*address, now));
        } else {
            self.schedule.clear();
            self.outputs.retain(|(_, output)| !matches!(output, Output::Send(_)));
        }
    }

    fn begin(&mut self, address: Ipv4Addr, now: Instant) {
        if self.link_up {
            self.schedule.begin(address, now);
        }
    }

    fn on_frame(&mut self, frame: &[u8], now: Instant) {
        let Ok(arp) = Arp::decode(frame) else { return };
        let own = arp.source == self.mac || arp.sender_mac == self.mac;
        let to_us = arp.destination == self.mac || !arp.destination.is_unicast();
        if own || !to_us || !self.link_up {
            return;
        }
        if self.held.contains_key(&arp.sender) {
            self.on_conflict(&arp, now);
        }
        // Asking for the address it claims is an announcement, not a question.
        let asks = arp.operation == Operation::Request && arp.sender != arp.target;
        if asks && arp.sender_mac.is_unicast() && self.held.contains_key(&arp.target) {
            self.answer(&arp);
        }
    }

    fn answer(&mut self, request: &Arp) {
        if self.outputs.len() >= MAX_OUTPUTS {
            self.counters.dropped += 1;
            return;
        }
        self.counters.answered += 1;
        self.outputs.push_back((request.target, Output::Send(request.reply(self.mac).encode())));
    }

    fn on_conflict(&mut self, arp: &Arp, now: Instant) {
        self.counters.conflicts += 1;
        let (address, mac) = (arp.sender, arp.sender_mac);
        let Some(told) = self.held.get_mut(&address) else { return };
        let paused = told.is_some_and(|last| now.saturating_duration_since(last) < CONFLICT_PAUSE);
        if paused || self.outputs.len() >= MAX_OUTPUTS {
            return;
        }
        *told = Some(now);
        self.outputs.push_back((address, Output::Conflict { address, mac }));
        self.push_announcement(address);
    }

    fn announce_what_is_due(&mut self, now: Instant) {
        while self.outputs.len() < MAX_OUTPUTS
            && let Some(address) = self.schedule.pop(now)
        {
            self.push_announcement(address);
        }
    }

    fn push_announcement(&mut self, address: Ipv4Addr) {
        self.counters.announced += 1;
        self.outputs.push_back((address, Output::Send(Arp::gratuitous(self.mac, address).encode())));
    }
}

#[cfg(test)]
mod tests;
