//! Which endpoints a port of a Service has: its pods, or the nodes they run on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_model::traffic::{Endpoint, EndpointCell, EndpointMode, Endpoints};
use tidegate_objects::core::{EXCLUDE, EndpointSlice, Node, Service, ServicePort};
use tidegate_objects::snapshot::Objects;
use tidegate_objects::{Key, Resource};

/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A port of a Service, how it is reached, and what is known of the nodes.
#[derive(Clone, Copy)]
pub(crate) struct Reached<'a> {
    pub service: &'a Resource<Service>,
    pub port: &'a ServicePort,
    pub mode: EndpointMode,
    pub nodes: &'a Objects<Node>,
}

/// A pod's port, as slices have it.
#[derive(Clone, Default)]
struct Member<'s> {
    zone: Option<Arc<str>>,
    node: Option<&'s str>,
}

/// The endpoints of several cells as one.
pub(crate) fn union<'c>(cells: impl Iterator<Item = &'c Arc<EndpointCell>>) -> Endpoints {
    let parts: Vec<Arc<Endpoints>> = cells.map(|cell| Arc::clone(&cell.load())).collect();
    Endpoints::union(parts.iter().map(|part| &**part))
}

impl Reached<'_> {
    /// Its endpoints, as these slices have it.
    pub fn endpoints<'s>(&self, slices: impl Iterator<Item = &'s EndpointSlice>) -> Endpoints {
        let (members, leaving) = self.members(slices);
        let found = match self.mode {
            EndpointMode::Pod => {
                let usable = members.into_iter().map(|(address, member)| Endpoint {
                    address,
                    weight: 1,
                    zone: member.zone,
                });
                Endpoints { usable: usable.collect(), ..Endpoints::default() }
            }
            EndpointMode::NodePort => self.nodes_of(&members),
        };
        let leaving = leaving && !found.usable.is_empty();
        Endpoints { leaving, ..found }
    }

    /// Ready pods, or where none is ready those that serve while they terminate; whether they are these.
    fn members<'s>(
        &self,
        slices: impl Iterator<Item = &'s EndpointSlice>,
    ) -> (BTreeMap<SocketAddr, Member<'s>>, bool) {
        let port = self.port;
        // Who writes the slices of such a Service calls all of them ready, but a file may not.
        let unready = self.service.spec.publish_not_ready;
        let (mut ready, mut terminating) = (BTreeMap::new(), BTreeMap::new());
        for slice in slices {
            let ports = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
            for number in ports.filter_map(|port| port.port) {
                for endpoint in &slice.endpoints {
                    let address = SocketAddr::new(endpoint.address, number);
                    let chosen = match (endpoint.ready || unready, endpoint.serving && endpoint.terminating) {
                        (true, _) => &mut ready,
                        (false, true) => &mut terminating,
                        (false, false) => continue,
                    };
                    // Where two slices disagree about one address, the order of slices must not decide.
                    let member: &mut Member<'s> = chosen.entry(address).or_default();
                    member.zone = member.zone.take().max(endpoint.zone.clone());
                    member.node = member.node.max(endpoint.node_name.as_deref());
                }
            }
        }
        if ready.is_empty() { (terminating, true) } else { (ready, false) }
    }

    /// The nodes that have one of these pods, each once for each family. Under `externalTrafficPolicy: Local` a node keeps
    /// what it gets to its own pods, and so weighs as many as it has; else kube-proxy spreads over all pods from wherever.
    fn nodes_of(&self, members: &BTreeMap<SocketAddr, Member<'_>>) -> Endpoints {
        let Some(port) = self.port.node_port else { return Endpoints::default() };
        let mut counts: BTreeMap<(&str, bool), u32> = BTreeMap::new();
        for (address, member) in members {
            if let Some(node) = member.node {
                *counts.entry((node, address.is_ipv4())).or_default() += 1;
            }
        }
        let mut usable: Vec<Endpoint> = Vec::new();
        let mut crowded: Vec<Arc<str>> = Vec::new();
        for ((name, is_ipv4), count) in counts {
            let Some((address, zone)) = self.node(name, is_ipv4) else { continue };
            let weight = if self.service.spec.local_traffic_only { count } else { 1 };
            usable.push(Endpoint { address: SocketAddr::new(address, port), weight, zone });
            if count > 1 && crowded.last().is_none_or(|last| **last != *name) {
                crowded.push(name.into());
            }
        }
        usable.sort();
        usable.dedup_by_key(|endpoint| endpoint.address);
        Endpoints { usable, crowded, leaving: false }
    }

    /// The address and zone of a node that external load balancers may use.
    fn node(&self, name: &str, is_ipv4: bool) -> Option<(IpAddr, Option<Arc<str>>)> {
        let node = self.nodes.get(&Key::new(&self.service.key().source, "", name))?;
        let labels = &node.metadata.labels;
        if labels.contains_key(EXCLUDE) {
            return None;
        }
        Some((node.spec.address(is_ipv4)?, labels.get(ZONE).map(|zone| Arc::from(zone.as_str()))))
    }
}
