//! Statuses: what objects of Gateway API and ours, Ingresses, Services of type LoadBalancer and pools are told, as conditions,
//! addresses and counts, from verdicts and [`Standing`](tidegate_model::Standing).
//!
//! Everything that is ours gets its whole status anew each time; whoever writes it compares with what stands there. What
//! belongs to other controllers is never spoken of. Nothing here decides: a listener is served, a route attached, a
//! policy followed or not before this is asked.

mod class;
mod condition;
mod gateway;
mod infrastructure;
mod ingress;
mod listener;
mod own;
mod policy;
mod pool;
mod problems;
mod route;
mod service;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use tidegate_model::traffic::Transport;
use tidegate_model::{Machine, Standing, StatusOf, Verdict};
use tidegate_objects::{ObjectRef, Snapshot};

pub use class::SUPPORTED_FEATURES;
pub use infrastructure::{Made, infrastructure};
pub use service::statuses as service_statuses;

/// What the shells have made of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It takes connections or datagrams.
    Yes,
    /// It is not open yet.
    NotYet,
    /// It cannot be opened, for this reason.
    Failed(String),
}

/// What statuses are made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What was asked for.
    pub snapshot: &'a Snapshot,
    /// What became of each object; of the same snapshot, as all that follows.
    pub verdicts: &'a BTreeMap<ObjectRef, Verdict>,
    /// How they stand to one another.
    pub standing: &'a Standing,
    /// Why this machine serves nothing.
    pub notice: Option<&'a str>,
    /// Where it was compiled for.
    pub machine: &'a Machine,
    /// What has become of each socket.
    pub sockets: &'a dyn Fn(SocketAddr, Transport) -> Opened,
}

impl Facts<'_> {
    /// The addresses that clients know a place by: its own; of an unspecified one, those of this machine.
    fn addresses(&self, place: IpAddr) -> Vec<IpAddr> {
        if !place.is_unspecified() {
            return vec![place];
        }
        let interfaces = self.machine.interfaces.iter().flatten();
        let nets = interfaces.flat_map(|interface| &interface.addresses).map(ipnet::IpNet::addr);
        nets.filter(|address| address.is_ipv4() || is_global(*address)).collect()
    }
}

fn is_global(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if !address.is_unicast_link_local())
}

/// The status of every object of ours that has one, by kind and name.
pub fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let mut all = class::statuses(facts);
    all.extend(gateway::statuses(facts));
    all.extend(route::statuses(facts));
    all.extend(policy::statuses(facts));
    all.extend(service::statuses(facts));
    all.extend(pool::statuses(facts));
    all.extend(own::statuses(facts));
    all.extend(ingress::statuses(facts));
    all
}
