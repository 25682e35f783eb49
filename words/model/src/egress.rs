//! What leaves, and with which address: policies over pods and destinations.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use tidegate_objects::egress::EgressSelector;
use tidegate_objects::{Key, ObjectRef};

/// Everything about leaving.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Egress {
    /// Where pods live: an address in here that belongs to no known pod is dropped while policies exist.
    pub pod_ranges: Vec<Ipv4Net>,
    /// Policies in order of precedence.
    pub policies: Vec<EgressPolicy>,
}

/// Which pods leave for which destinations with which address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EgressPolicy {
    /// Whose it is.
    pub name: ObjectRef,
    /// Which pods of the same source; any of these.
    pub selectors: Vec<EgressSelector>,
    /// Which destinations.
    pub destinations: Vec<IpNet>,
    /// Destinations left out, which win.
    pub excluded: Vec<IpNet>,
    /// What happens to what is selected.
    pub identity: Identity,
}

/// The address that selected traffic leaves with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Identity {
    /// This one.
    Address(Ipv4Addr),
    /// None can be had: what is selected is dropped, never sent with another address.
    Unavailable(String),
}

/// What a pod's traffic to a destination meets, for `explain` and for status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EgressDecision {
    /// The pod, if the source address is one's.
    pub pod: Option<Key>,
    /// The policy that decided.
    pub policy: Option<ObjectRef>,
    /// The address it leaves with; none: its own, or dropped.
    pub source: Option<IpAddr>,
    /// Why it is dropped.
    pub dropped: Option<String>,
}
