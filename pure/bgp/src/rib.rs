//! Routes learned from peers, and which of them are used (RFC 4271, section 9.1). Owns no session
//! and installs nothing: `Table::changes` says what the kernel should have.

mod best;
mod explain;
mod intern;
mod policy;
mod table;
#[cfg(test)]
mod tests;

pub use best::Step;
pub use explain::{ExplainedPath, Explanation, Verdict};
pub use policy::{ImportPolicy, PrefixRange, Rejection};
pub use table::{PeerSummary, Table};

use crate::packet::Attributes;
use crate::peer::PeerKind;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A peer, by the number the caller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// A gateway to a prefix.
pub type NextHop = Ipv4Addr;

/// What best-path selection needs to know of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerFacts {
    /// iBGP or eBGP.
    pub kind: PeerKind,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// The address we speak with.
    pub address: Ipv4Addr,
}

/// What it needs to know of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFacts {
    /// Our AS: a path through it is a loop.
    pub asn: u32,
    /// Our BGP identifier: a route that bears it came from us.
    pub router_id: Ipv4Addr,
    /// Our cluster when we reflect routes; `router_id` otherwise (RFC 4456, section 7).
    pub cluster_id: Ipv4Addr,
    /// Addresses of this host: none can be a next hop.
    pub addresses: BTreeSet<Ipv4Addr>,
}

impl LocalFacts {
    /// A speaker that reflects nothing and names no addresses.
    pub fn new(asn: u32, router_id: Ipv4Addr) -> LocalFacts {
        LocalFacts { asn, router_id, cluster_id: router_id, addresses: BTreeSet::new() }
    }
}

/// One way to one prefix, learned from one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// From whom.
    pub peer: PeerId,
    /// Shared with all paths that have the same.
    pub attributes: Arc<Attributes>,
    /// To whom packets go.
    pub next_hop: NextHop,
    /// The session that brought it is gone; it is kept for a while (RFC 4724, section 4.2).
    pub stale: bool,
    /// Order of arrival: smaller is older. A re-announcement without change keeps it.
    pub age: u64,
    /// Why it is never used.
    pub ineligible: Option<Ineligible>,
}

/// Why a path is kept but never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ineligible {
    /// Our AS is in its AS_PATH (RFC 4271, section 9.1.2).
    AsLoop,
    /// Its ORIGINATOR_ID is ours (RFC 4456, section 8).
    OriginatedHere,
    /// Our cluster is in its CLUSTER_LIST (RFC 4456, section 8).
    ClusterLoop,
    /// Its next hop is an address of this host.
    OwnNextHop,
    /// It leads to the very address it asks us to reach it through.
    NextHopIsDestination,
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ineligible::AsLoop => "our own AS is in its AS_PATH",
            Ineligible::OriginatedHere => "its ORIGINATOR_ID is our router id",
            Ineligible::ClusterLoop => "our cluster is in its CLUSTER_LIST",
            Ineligible::OwnNextHop => "its next hop is an address of this host",
            Ineligible::NextHopIsDestination => "its next hop is the address it leads to",
        })
    }
}
