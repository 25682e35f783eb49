//! How the objects of Gateway API stand to one another: which listeners take which routes, which Gateways lead to which
//! Services. What is wrong with an object is in its [`Verdict`](crate::Verdict), not here; conditions come from both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tidegate_objects::{Key, Kind, ObjectRef};

use crate::traffic::Transport;

/// What compile found between objects. Only what is ours is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The Gateways of our classes.
    pub gateways: BTreeMap<Key, GatewayStanding>,
    /// The ListenerSets whose parent is one of them.
    pub listener_sets: BTreeMap<Key, SetStanding>,
    /// Routes of every kind: one for each of `spec.parentRefs`, in that order.
    pub routes: BTreeMap<ObjectRef, Vec<ParentStanding>>,
    /// Services, and the Gateways whose routes lead to them, whether they can be followed there or not.
    pub services: BTreeMap<Key, BTreeSet<Key>>,
}

/// A Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayStanding {
    /// Where it listens; unspecified: on every local address.
    pub places: Vec<IpAddr>,
    /// Its own listeners, in the order written.
    pub listeners: Vec<ListenerStanding>,
}

/// A ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetStanding {
    /// Its parent.
    pub gateway: Key,
    /// Its listeners, in the order written; none, if the Gateway does not take it.
    pub listeners: Vec<ListenerStanding>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStanding {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// What it carries.
    pub transport: Transport,
    /// The kinds of routes that may attach.
    pub kinds: Vec<Kind>,
    /// Whether it can be served: sound, and without a conflict.
    pub served: bool,
    /// The certificates of its clients are looked at: an HTTPS listener that asks for them.
    pub asks_clients: bool,
    /// Another listener behind the same socket ends TLS for hosts that this one serves too, by a wider or narrower
    /// pattern.
    pub overlaps: bool,
}

/// What a route is to a parent it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParentStanding {
    /// Not one of ours, or not there.
    Foreign,
    /// These listeners take it, whether they are served or not; never empty.
    Attached(Vec<ListenerRef>),
    /// It is ours and takes it not.
    Refused {
        /// Gateway API's reason.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
}

/// A listener of a Gateway or ListenerSet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerRef {
    /// The Gateway or ListenerSet.
    pub owner: ObjectRef,
    /// Its place there, from 0.
    pub index: usize,
}
