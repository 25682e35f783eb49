//! What a group is made of: its legs, its timing and its manners. Checked once, here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{MAX_LEGS, MAX_UNICAST_PEERS};
use crate::error::ConfigError;
use crate::packet::Vrid;
use crate::timers::AdvertInterval;

/// A router's own priority: 1 to 254. (0 is a farewell and 255 an address owner; neither is a router's choice.)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Priority(u8);

impl Priority {
    /// `None` for 0 and 255.
    pub fn new(priority: u8) -> Option<Self> {
        (1..=254).contains(&priority).then_some(Self(priority))
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// The shell's name for a leg, an interface index for instance. The session only compares it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegId(pub u32);

/// One virtual router on one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegConfig {
    /// Unique in the group.
    pub id: LegId,
    /// Interface name, for sentences that a person reads.
    pub interface: String,
    /// Virtual router id on this interface.
    pub vrid: Vrid,
    /// Our own primary address there: the source of adverts, and what breaks a tie of priorities.
    pub source: IpAddr,
    /// The addresses that adverts list: 1 to 255, the same ones on every gateway. A group may move more than it lists.
    pub addresses: Vec<IpAddr>,
    /// Empty: multicast. Else adverts go to these, and only theirs are heard.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether the link is up now.
    pub up: bool,
}

/// One group of addresses that move together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Our own advertisement interval; while in Backup the master's is learned from its adverts.
    pub interval: AdvertInterval,
    /// Effective priority at the start.
    pub priority: Priority,
    /// Whether to take over from a live master of lower priority.
    pub preempt: bool,
    /// How long that master must have been heard, while we were ready, before it is preempted.
    pub preempt_delay: Duration,
    /// Whether this gateway could carry traffic now (peers and routes are there).
    pub ready: bool,
    /// How long a gateway that is not ready leaves the group without a master before it takes over
    /// nevertheless, from the last advert heard or from entering Backup; its skew is added.
    pub ready_grace: Duration,
    /// Whether it starts drained.
    pub drained: bool,
    /// Empty is refused; the usual number is one, or one for each LAN of a sync group.
    pub legs: Vec<LegConfig>,
}

impl Config {
    /// Grace of a gateway that is not ready, unless told otherwise.
    pub const READY_GRACE: Duration = Duration::from_secs(5);

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.legs.is_empty() || self.legs.len() > MAX_LEGS {
            return Err(ConfigError::Legs { found: self.legs.len(), max: MAX_LEGS });
        }
        let mut ids = BTreeSet::new();
        for leg in &self.legs {
            if !ids.insert(leg.id) {
                return Err(ConfigError::DuplicateLeg { interface: leg.interface.clone() });
            }
            leg.check()?;
        }
        Ok(())
    }
}

impl LegConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let interface = || self.interface.clone();
        if !(1..=255).contains(&self.addresses.len()) {
            return Err(ConfigError::Addresses { interface: interface(), found: self.addresses.len() });
        }
        if self.unicast_peers.len() > MAX_UNICAST_PEERS {
            let (found, max) = (self.unicast_peers.len(), MAX_UNICAST_PEERS);
            return Err(ConfigError::UnicastPeers { interface: interface(), found, max });
        }
        let mut all = self.addresses.iter().chain(&self.unicast_peers);
        match all.find(|address| address.is_ipv4() != self.source.is_ipv4()) {
            None => Ok(()),
            Some(&address) => {
                Err(ConfigError::Family { interface: interface(), address, source_address: self.source })
            }
        }
    }
}
