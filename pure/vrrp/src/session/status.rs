//! A look at a session from outside: what `status`, metrics and tests read. Never changes anything.

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use super::leg::Heard;
use super::{LegId, Priority, Session};
use crate::packet::Checksum;

/// RFC 9568 section 6.4; its *Active* is our Master.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// Not all links are up, or stopped.
    Initialize,
    /// Another holds the addresses, or nobody yet.
    Backup,
    /// We hold them.
    Master,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialize => "Initialize",
            Self::Backup => "Backup",
            Self::Master => "Master",
        })
    }
}

/// A group as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// State of the group.
    pub state: State,
    /// When it entered that state.
    pub since: Instant,
    /// Effective priority.
    pub priority: Priority,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is drained.
    pub drained: bool,
    /// Changes of state so far; the start of a group whose links are up is one.
    pub transitions: u64,
    /// The reason of the last claim or release, as a sentence.
    pub last_reason: Option<String>,
    /// Every leg.
    pub legs: Vec<LegStatus>,
}

/// A leg as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegStatus {
    /// Its id.
    pub id: LegId,
    /// Its interface.
    pub interface: String,
    /// Its virtual router id.
    pub vrid: u8,
    /// Our own address on it.
    pub source: IpAddr,
    /// Whether its link is up.
    pub up: bool,
    /// The other master heard last, in Backup only. It may be silent by now: see its `at`.
    pub master: Option<Heard>,
    /// The form of checksum that is sent.
    pub checksum: Checksum,
    /// Adverts heard and counted in the election.
    pub adverts_in: u64,
    /// Adverts sent.
    pub adverts_out: u64,
    /// Packets for this virtual router that were refused or ignored.
    pub rejected: u64,
}

impl Session {
    /// State of the group.
    pub fn state(&self) -> State {
        self.state
    }

    /// Everything there is to know.
    pub fn status(&self) -> Status {
        let leg = |leg: &super::Leg| LegStatus {
            id: leg.id(),
            interface: leg.interface(),
            vrid: leg.config.vrid.get(),
            source: leg.config.source,
            up: leg.up,
            master: leg.heard,
            checksum: leg.checksum,
            adverts_in: leg.adverts_in,
            adverts_out: leg.adverts_out,
            rejected: leg.rejected,
        };
        Status {
            state: self.state,
            since: self.since,
            priority: self.priority,
            ready: self.ready,
            drained: self.drained,
            transitions: self.transitions,
            last_reason: self.last_reason.clone(),
            legs: self.legs.iter().map(leg).collect(),
        }
    }
}
