//! How the objects of Gateway API stand to one another: which listeners take which routes, which Gateways lead to which
//! Services. What is wrong with an object is in its [`Verdict`](crate::Verdict), not here; conditions come from both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

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
    /// The Ingresses of our classes.
    pub ingresses: BTreeMap<Key, IngressStanding>,
    /// Services, and the Gateways whose routes lead to them, whether they can be followed there or not.
    pub services: BTreeMap<Key, BTreeSet<Key>>,
    /// The Services of type LoadBalancer that are ours.
    pub balanced: BTreeMap<Key, ServiceStanding>,
    /// How full pools are; those that are refused are not among them.
    pub pools: BTreeMap<Key, PoolStanding>,
}

/// A Service of type LoadBalancer that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStanding {
    /// Its addresses, and the name of the pool each is from; none: its user named it.
    pub addresses: Vec<(IpAddr, Option<String>)>,
    /// It names our class; else others may write its status too.
    pub classed: bool,
    /// Its sockets.
    pub sockets: Vec<(SocketAddr, Transport)>,
    /// Some endpoint could answer.
    pub audible: bool,
    /// Every one of its addresses is announced by some gateway.
    pub announced: bool,
}

/// How full a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStanding {
    /// IPv4 addresses in use.
    pub assigned_v4: u64,
    /// IPv6 addresses in use.
    pub assigned_v6: u64,
    /// IPv4 addresses that are free.
    pub available_v4: u128,
    /// IPv6 addresses that are free; one short of 2^128 at most.
    pub available_v6: u128,
}

/// A Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayStanding {
    /// Where it listens; unspecified: on every local address.
    pub places: Vec<IpAddr>,
    /// Its own listeners, in the order written.
    pub listeners: Vec<ListenerStanding>,
}

/// An Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressStanding {
    /// Where it is served; unspecified: on every local address; none: nowhere.
    pub places: Vec<IpAddr>,
    /// The ports there.
    pub ports: BTreeSet<u16>,
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
