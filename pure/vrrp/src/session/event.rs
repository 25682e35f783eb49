//! What goes into a session and what comes out of it, in words a person understands.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::{LegId, Priority};
use crate::error::DecodeError;

/// Everything that can happen to a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// The time that `poll_timeout` named has come. Read the sockets dry before saying so.
    Timeout,
    /// A payload of IP protocol 112 arrived. One for another virtual router is ignored, so the shell may
    /// hand it to every session on the interface.
    Advert {
        /// Where it arrived.
        leg: LegId,
        /// From the IP header.
        source: IpAddr,
        /// From the IP header.
        destination: IpAddr,
        /// TTL or hop limit, from the IP header.
        ttl: u8,
        /// What follows the IP header.
        payload: &'a [u8],
    },
    /// A link went up or down.
    Link {
        /// Which leg stands on it.
        leg: LegId,
        /// Its state now.
        up: bool,
    },
    /// The effective priority changed (tracking).
    Priority(Priority),
    /// Whether this gateway could carry traffic.
    Ready(bool),
    /// Leave mastership and do not compete until told otherwise.
    Drain(bool),
    /// Preempt a live master of lower priority, once, now.
    Rebalance,
    /// Leave for good: farewell if master. Nothing is heard or said afterwards.
    Stop,
}

/// What the shell must do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a payload with TTL 255 from the leg's source address.
    Send {
        /// Out of which leg.
        leg: LegId,
        /// The multicast group, or one unicast peer.
        destination: IpAddr,
        /// The payload, checksummed for that destination.
        bytes: Vec<u8>,
    },
    /// The group's addresses are ours now: hold and announce them, on every leg.
    Claim(ClaimReason),
    /// They are no longer ours: fall silent first, clean up after.
    Release(ReleaseReason),
    /// They are still ours, but a neighbour may believe otherwise: announce them again.
    Announce,
    /// Something a person should see.
    Report(Report),
}

/// Why a group took over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimReason {
    /// The master fell silent, or there never was one.
    MasterDown {
        /// Interface of the leg that noticed.
        interface: String,
        /// The last master heard there.
        master: Option<IpAddr>,
        /// Since its last advert, or since we began to listen.
        silent: Duration,
    },
    /// The master said farewell.
    Farewell {
        /// Interface it was heard on.
        interface: String,
        /// Who left.
        from: IpAddr,
    },
    /// Our preemption of a live master of lower priority is due.
    Preempt {
        /// Interface it was heard on.
        interface: String,
        /// The master preempted.
        master: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// As [`Preempt`](Self::Preempt), by a person's order.
    Rebalance {
        /// Interface it was heard on.
        interface: String,
        /// The master preempted.
        master: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// We are not ready, but nobody else came forward within the grace.
    Degraded {
        /// How long the group had no master.
        silent: Duration,
    },
}

/// Why a group gave its addresses up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReleaseReason {
    /// A router that outranks us speaks.
    Outranked {
        /// Interface it was heard on.
        interface: String,
        /// Who.
        from: IpAddr,
        /// Its priority, equal to ours if its address decided.
        priority: u8,
    },
    /// A group needs all its legs.
    LinkDown {
        /// The interface that went down.
        interface: String,
    },
    /// By order.
    Drained,
    /// By order.
    Stopped,
    /// Our own timer fired so late that another has long taken over.
    Frozen {
        /// How late.
        late: Duration,
    },
}

/// Something seen that is not part of the election. Each kind is reported once per sender and leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// Somebody else's virtual router has our id: it lists none of our addresses. Its adverts are ignored.
    VridClash {
        /// Interface it was heard on.
        interface: String,
        /// Its sender.
        from: IpAddr,
        /// The id.
        vrid: u8,
        /// The first address it lists.
        lists: IpAddr,
    },
    /// A member of our group lists other addresses than we do: the gateways are configured differently.
    AddressesDiffer {
        /// Interface it was heard on.
        interface: String,
        /// Its sender.
        from: IpAddr,
        /// The first of ours that it does not list.
        missing: Option<IpAddr>,
        /// The first of its that we do not list.
        foreign: Option<IpAddr>,
    },
    /// A sender that is not among the unicast peers. Its adverts are ignored.
    Stranger {
        /// Interface it was heard on.
        interface: String,
        /// Its sender.
        from: IpAddr,
    },
    /// An advert came from our own address: it is looped back, or the address is used twice.
    OwnAddress {
        /// Interface it was heard on.
        interface: String,
        /// The address.
        address: IpAddr,
    },
    /// A packet that is no valid advert.
    Malformed {
        /// Interface it was heard on.
        interface: String,
        /// Its sender.
        from: IpAddr,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// One leg hears no master, but taking over would not last: a master that outranks us lives on another.
    HeldBack {
        /// Interface of the silent leg.
        interface: String,
        /// Interface where the master is heard.
        other: String,
        /// The master.
        master: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// A rebalance was asked for that cannot be.
    RebalanceRefused(RebalanceRefusal),
}

/// Why a rebalance does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RebalanceRefusal {
    /// We hold the group already.
    AlreadyMaster,
    /// Not ready, drained, or a link is down.
    NotCompeting,
    /// No master is heard, or one that we do not outrank.
    NotOutranked,
}

impl fmt::Display for ClaimReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MasterDown { interface, master: Some(master), silent } => {
                write!(f, "master down on {interface} ({master} silent for {} ms)", silent.as_millis())
            }
            Self::MasterDown { interface, master: None, silent } => {
                write!(f, "no master on {interface} (none heard for {} ms)", silent.as_millis())
            }
            Self::Farewell { interface, from } => write!(f, "priority 0 from {from} on {interface}"),
            Self::Preempt { interface, master, priority } => {
                write!(f, "preempted lower priority {priority} of {master} on {interface}")
            }
            Self::Rebalance { interface, master, priority } => {
                write!(f, "rebalance: took over from lower priority {priority} of {master} on {interface}")
            }
            Self::Degraded { silent } => {
                write!(f, "not ready, but no other master for {} ms", silent.as_millis())
            }
        }
    }
}

impl fmt::Display for ReleaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outranked { interface, from, priority } => {
                write!(f, "priority {priority} from {from} on {interface} outranks ours")
            }
            Self::LinkDown { interface } => write!(f, "link of {interface} is down"),
            Self::Drained => write!(f, "drained"),
            Self::Stopped => write!(f, "stopped"),
            Self::Frozen { late } => {
                write!(f, "own advert {} ms late: this process stood still", late.as_millis())
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VridClash { interface, from, vrid, lists } => write!(
                f,
                "{from} on {interface} uses virtual router id {vrid} for other addresses ({lists}): choose another id"
            ),
            Self::AddressesDiffer { interface, from, missing, foreign } => {
                write!(f, "{from} on {interface} lists other addresses for this group")?;
                missing.map_or(Ok(()), |address| write!(f, ", {address} is missing"))?;
                foreign.map_or(Ok(()), |address| write!(f, ", {address} is not ours"))
            }
            Self::Stranger { interface, from } => {
                write!(f, "advert from {from} on {interface}, which is not a unicast peer, ignored")
            }
            Self::OwnAddress { interface, address } => {
                write!(
                    f,
                    "advert from our own address {address} on {interface}: looped, or the address is used twice"
                )
            }
            Self::Malformed { interface, from, error } => {
                write!(f, "bad advert from {from} on {interface}: {error}")
            }
            Self::HeldBack { interface, other, master, priority } => write!(
                f,
                "no master heard on {interface}, but {master} with priority {priority} is master on {other}"
            ),
            Self::RebalanceRefused(refusal) => write!(f, "rebalance does nothing: {refusal}"),
        }
    }
}

impl fmt::Display for RebalanceRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyMaster => "this gateway is master already",
            Self::NotCompeting => "this gateway is not ready, is drained, or has a link down",
            Self::NotOutranked => "no master of lower priority is heard",
        })
    }
}
