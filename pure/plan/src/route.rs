//! A route: its key, its next hops, and when an observed one is the one we asked for.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// The kernel's main routing table.
pub const MAIN_TABLE: u32 = 254;

/// The table, and the rule's place, by which answers to a transparent socket are delivered here.
pub const TRANSPARENT_TABLE: u32 = 8400;
/// See [`TRANSPARENT_TABLE`].
pub const TRANSPARENT_PRIORITY: u32 = 8400;

const LOOPBACK: &str = "lo";

/// What makes a route the same route for the kernel. Two routes of one key differ only in next hops and protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Routing table, 1..; [`MAIN_TABLE`] is 254. The local table (255) is never ours.
    pub table: u32,
    /// Destination with host bits clear.
    pub destination: IpNet,
    /// Priority; the lower one wins. The kernel turns 0 into 1024 for IPv6.
    pub metric: u32,
}

impl RouteKey {
    /// The key as the kernel will report it: host bits clear, no IPv6 metric of 0.
    pub fn new(table: u32, destination: IpNet, metric: u32) -> Self {
        let metric = if metric == 0 && matches!(destination, IpNet::V6(_)) { 1024 } else { metric };
        Self { table, destination: destination.trunc(), metric }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} table {} metric {}", self.destination, self.table, self.metric)
    }
}

/// One way to a destination. A route with several is multipath (ECMP).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The router to hand the packet to; none means that the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The interface; none lets the kernel find it from the gateway when the route is added.
    pub interface: Option<String>,
    /// The gateway is reachable on `interface` although no address there covers it.
    pub onlink: bool,
    /// Share in a multipath route, 1..=256.
    pub weight: u16,
}

impl NextHop {
    /// The machine itself: what is routed there is delivered here (a route of type `local`).
    pub fn local() -> Self {
        Self { gateway: None, interface: Some(LOOPBACK.to_owned()), onlink: false, weight: 1 }
    }

    /// Whether packets are delivered to the machine itself. A route out of the loopback interface can mean nothing else.
    pub fn is_local(&self) -> bool {
        self.gateway.is_none() && self.interface.as_deref() == Some(LOOPBACK)
    }

    /// A gateway of weight 1 whose interface the kernel finds.
    pub fn via(gateway: IpAddr) -> Self {
        Self { gateway: Some(gateway), interface: None, onlink: false, weight: 1 }
    }

    /// Whether `observed`, in which the kernel has filled the interface, is what was asked for here.
    fn is(&self, observed: &NextHop) -> bool {
        self.gateway == observed.gateway
            && self.onlink == observed.onlink
            && self.weight == observed.weight
            && (self.interface.is_none() || self.interface == observed.interface)
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if self.is_local() {
            words.push("local".to_owned());
        }
        if let Some(gateway) = self.gateway {
            words.push(format!("via {gateway}"));
        }
        if let Some(interface) = &self.interface {
            words.push(format!("dev {interface}"));
        }
        if self.onlink {
            words.push("onlink".to_owned());
        }
        if self.weight != 1 {
            words.push(format!("weight {}", self.weight));
        }
        f.write_str(&words.join(" "))
    }
}

/// Whether the observed next hops are the desired ones, in any order. The weight of a single next hop means nothing.
pub(crate) fn same_next_hops(desired: &[NextHop], observed: &[NextHop]) -> bool {
    if let ([want], [have]) = (desired, observed) {
        return want.is(&NextHop { weight: want.weight, ..have.clone() });
    }
    let mut left: Vec<&NextHop> = observed.iter().collect();
    desired.len() == observed.len()
        && desired.iter().all(|want| match left.iter().position(|have| want.is(have)) {
            Some(at) => {
                left.swap_remove(at);
                true
            }
            None => false,
        })
}
