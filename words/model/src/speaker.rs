//! What is spoken: elections for addresses (VRRP) and sessions with routers and nodes (BGP).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Serialize;
use tidegate_objects::Key;

/// Everything spoken.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Speaker {
    /// Elections this gateway takes part in, by name.
    pub groups: BTreeMap<String, Group>,
    /// BGP peers, by name.
    pub peers: BTreeMap<String, Peer>,
}

/// Addresses that move together, and how this gateway competes for them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// `group`, if it is a sync group; else `advertisement/gateway` or, where the virtual router id is given,
    /// `advertisement/id`, with `@interface` where it has several. `:source` follows if an older object of another
    /// source has the name.
    pub name: String,
    /// One for each segment; never empty.
    pub legs: Vec<Leg>,
    /// This gateway's priority, 1 to 254.
    pub priority: u8,
    /// How often the master speaks.
    pub interval: Duration,
    /// Whether a higher priority takes over from a living master.
    pub preempt: bool,
    /// How long it waits before it does.
    pub preempt_delay: Duration,
    /// Whether only a ready gateway competes.
    pub track_ready: bool,
}

/// A virtual router on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// The interface.
    pub interface: String,
    /// 1 to 255, unique on the segment.
    pub virtual_router_id: u8,
    /// The addresses it moves, sorted.
    pub addresses: Vec<Ipv4Addr>,
}

/// A BGP peer, what it is told and what may be learned from it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peer {
    /// The BGPPeer.
    pub name: Key,
    /// Where it is.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Our AS.
    pub local_as: u32,
    /// Its AS.
    pub remote_as: RemoteAs,
    /// The address we speak from; none: the kernel's choice.
    pub source: Option<IpAddr>,
    /// Our router id; none: made from our address.
    pub router_id: Option<Ipv4Addr>,
    /// Proposed hold time; zero for none.
    pub hold: Duration,
    /// First wait between attempts to connect, 1 s to 30 s.
    pub connect_retry: Duration,
    /// Whether an external peer may be more than one hop away.
    pub multihop: bool,
    /// What it is told.
    pub exports: BTreeMap<Ipv4Net, Export>,
    /// What may be learned from it.
    pub imports: Vec<Import>,
}

/// A peer's AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RemoteAs {
    /// This one.
    Exactly(u32),
    /// Ours, whatever it is.
    Internal,
    /// Any but ours.
    External,
}

/// How a prefix is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Export {
    /// The NEXT_HOP; none: our own address on that session.
    pub next_hop: Option<Ipv4Addr>,
    /// LOCAL_PREF, for an internal peer.
    pub local_preference: u32,
    /// MED, for an external peer.
    pub med: Option<u32>,
    /// Communities, as sent (RFC 1997).
    pub communities: Vec<u32>,
}

/// What may be learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The covering prefix.
    pub prefix: Ipv4Net,
    /// Shortest length.
    pub length_min: u8,
    /// Longest length.
    pub length_max: u8,
    /// How many prefixes the peer may send.
    pub prefixes_max: u32,
    /// How many next hops a prefix may have.
    pub multipath: u8,
}
