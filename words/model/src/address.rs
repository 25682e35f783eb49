//! Which addresses are ours to hold, what for, and what moves them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;
use tidegate_objects::{Key, ObjectRef};

/// Every address that this gateway may come to hold, or serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// By address.
    pub held: BTreeMap<IpAddr, HeldAddress>,
    /// What pools gave to Gateways and Services, those that are refused for another reason included: the memory of the
    /// next compile, where this machine is the only gateway.
    #[serde(skip)]
    pub given: BTreeMap<ObjectRef, Vec<Given>>,
}

/// An address that somebody was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The address.
    pub address: IpAddr,
    /// The IPAddressPool, which may have changed since or be gone; none: named by its user.
    pub pool: Option<Key>,
}

/// An address, what it is for, and what moves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldAddress {
    /// What for.
    pub uses: BTreeSet<Use>,
    /// What brings traffic for it to a gateway.
    pub protocol: Protocol,
    /// The objects that ask for it.
    pub owners: BTreeSet<ObjectRef>,
}

impl HeldAddress {
    /// Whether it stands on `lo`: what sockets serve, and floating next hops, do; what is only forwarded does not.
    pub fn stands_on_lo(&self) -> bool {
        self.uses.iter().any(|usage| matches!(usage, Use::Vip | Use::NextHop))
    }
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Use {
    /// A socket of ours serves it.
    Vip,
    /// Routes point to it.
    NextHop,
    /// Pods leave with it.
    Egress,
}

/// What brings traffic for an address to a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// An election; the group's name.
    Vrrp(String),
    /// Routes only: every gateway announces itself.
    Bgp,
}
