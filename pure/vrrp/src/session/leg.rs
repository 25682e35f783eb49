//! One leg of a group: who is heard on it, its Master_Down timer, and its adverts as bytes.
//!
//! A leg never decides; it answers the session's questions about itself.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::config::{LegConfig, LegId};
use super::event::Output;
use crate::packet::{Advert, Checksum, Vrid, group_of};
use crate::timers::AdvertInterval;

/// A master as heard on one leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Source address of its adverts.
    pub address: IpAddr,
    /// Its priority, 1 to 255.
    pub priority: u8,
    /// How often it speaks.
    pub interval: AdvertInterval,
    /// When it last did.
    pub at: Instant,
}

#[derive(Debug)]
pub(super) struct Leg {
    pub config: LegConfig,
    pub up: bool,
    /// The best master heard since Backup was entered; it may be dead by now.
    pub heard: Option<Heard>,
    /// Who said farewell here, until somebody speaks again.
    pub farewell: Option<IpAddr>,
    /// Master_Adver_Interval: ours until a master's is learned.
    pub interval: AdvertInterval,
    /// Master_Down_Timer. `None` in Backup: it has fired.
    pub down_at: Option<Instant>,
    /// When it fired.
    pub fired_at: Option<Instant>,
    /// When a master last answered a rival here.
    pub answered_at: Option<Instant>,
    /// The form of checksum heard here last, and so the form sent.
    pub checksum: Checksum,
    pub adverts_in: u64,
    pub adverts_out: u64,
    pub rejected: u64,
}

impl Leg {
    pub fn new(config: LegConfig, interval: AdvertInterval) -> Self {
        Self {
            up: config.up,
            config,
            heard: None,
            farewell: None,
            interval,
            down_at: None,
            fired_at: None,
            answered_at: None,
            checksum: Checksum::default(),
            adverts_in: 0,
            adverts_out: 0,
            rejected: 0,
        }
    }

    pub fn id(&self) -> LegId {
        self.config.id
    }

    pub fn interface(&self) -> String {
        self.config.interface.clone()
    }

    /// What all gateways call this leg alike: its virtual router id and its lowest virtual address.
    pub fn common_name(&self) -> (Vrid, Option<IpAddr>) {
        (self.config.vrid, self.config.addresses.iter().min().copied())
    }

    /// Forget what was heard, and every timer.
    pub fn forget(&mut self, interval: AdvertInterval) {
        self.heard = None;
        self.farewell = None;
        self.interval = interval;
        self.down_at = None;
        self.fired_at = None;
    }

    pub fn arm(&mut self, at: Instant) {
        self.down_at = Some(at);
        self.fired_at = None;
    }

    /// The master heard here, if its silence is not yet that of the dead.
    pub fn live(&self, own_priority: u8, now: Instant) -> Option<&Heard> {
        self.heard.as_ref().filter(|heard| now < heard.at + heard.interval.master_down(own_priority))
    }

    /// Whether a sender with this priority outranks a router of `own_priority` on this leg (RFC 9568 section
    /// 6.4.3): higher priority, or the same and a greater address.
    pub fn outranks(&self, address: IpAddr, priority: u8, own_priority: u8) -> bool {
        (priority, address) > (own_priority, self.config.source)
    }

    /// Take note of an advert. A live master is not displaced in our memory by a lesser one that also speaks.
    pub fn remember(&mut self, advert: &Advert, address: IpAddr, own_priority: u8, now: Instant) {
        let lesser = self.live(own_priority, now).is_some_and(|heard| {
            heard.address != address && (heard.priority, heard.address) > (advert.priority, address)
        });
        if !lesser {
            self.heard =
                Some(Heard { address, priority: advert.priority, interval: advert.interval, at: now });
        }
    }

    /// The first address of ours that an advert lacks, and the first that it has and we have not.
    pub fn differences(&self, advert: &Advert) -> (Option<IpAddr>, Option<IpAddr>) {
        let (ours, theirs) = (&self.config.addresses, &advert.addresses);
        if ours == theirs {
            return (None, None);
        }
        let missing = ours.iter().find(|address| !theirs.contains(address)).copied();
        let foreign = theirs.iter().find(|address| !ours.contains(address)).copied();
        (missing, foreign)
    }

    pub fn lists_none_of_ours(&self, advert: &Advert) -> bool {
        !advert.addresses.iter().any(|address| self.config.addresses.contains(address))
    }

    pub fn accepts(&self, source: IpAddr) -> bool {
        self.config.unicast_peers.is_empty() || self.config.unicast_peers.contains(&source)
    }

    /// Our advert for each destination of this leg.
    pub fn adverts(&mut self, priority: u8, interval: AdvertInterval) -> Vec<Output> {
        let (source, leg) = (self.config.source, self.config.id);
        let group = [group_of(source)];
        let peers = &self.config.unicast_peers[..];
        let destinations = if peers.is_empty() { &group[..] } else { peers };
        self.adverts_out += destinations.len() as u64;
        let addresses = self.config.addresses.clone();
        let advert = Advert { vrid: self.config.vrid, priority, interval, addresses };
        let send = |&destination: &IpAddr| {
            let bytes = advert.encode(source, destination, self.checksum);
            Output::Send { leg, destination, bytes }
        };
        destinations.iter().map(send).collect()
    }
}

/// What `poll_timeout` promises of a leg: when its timer fires.
pub(super) fn earliest<'a>(legs: impl IntoIterator<Item = &'a Leg>) -> Option<Instant> {
    legs.into_iter().filter_map(|leg| leg.down_at).min()
}

/// How long after `then` it is now.
pub(super) fn since(then: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(then)
}
