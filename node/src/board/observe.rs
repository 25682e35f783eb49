//! The status: what each shell observes, in the words of `tidegate status`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tidegate_decode::SourceState;
use tidegate_model::Verdict;
use tidegate_model::address::{HeldAddress, Protocol, Use};
use tidegate_model::observed::{
    AddressStatus, BgpStatus, DrainingStatus, EgressStatus, EndpointStatus, KernelStatus, ListenerStatus,
    ObjectStatus, RouteStatus, ServiceStatus, SourceError, SourceStatus, Status, VrrpStatus,
};
use tidegate_model::traffic::BackendId;
use tidegate_proxy::{SocketKey, SocketState};
use tidegate_speaker::{Election, LearnedRoute};
use tidegate_traffic::balance::EndpointFacts;

use super::{Board, Decided, KernelView};

impl Board {
    /// Everything, now.
    pub(super) fn observe(&self, routes: Vec<LearnedRoute>) -> Status {
        let decided = self.decided();
        let elections = self.0.speaker.elections().borrow().clone();
        let addresses = addresses(&decided, &elections, &self.0.node);
        Status {
            node: self.0.node.clone(),
            ready: *self.0.ready.borrow(),
            sources: sources(&decided),
            objects: objects(&decided),
            listeners: self.listeners(&decided),
            egress: self.egress_status(&addresses),
            addresses,
            bgp: self.sessions(),
            bfd: Vec::new(),
            vrrp: elections.iter().map(election).collect(),
            routes: routes.into_iter().map(route).collect(),
            services: services(&decided, self.0.endpoints.facts()),
            load_balancers: self.balanced(),
            kernel: self.kernel(),
            draining: self
                .0
                .draining
                .each()
                .into_iter()
                .map(|(pid, connections)| DrainingStatus { pid, connections })
                .collect(),
            drained: (*self.0.drain.drained()).clone(),
            peers: self.0.peering.status(),
        }
    }

    fn listeners(&self, decided: &Decided) -> Vec<ListenerStatus> {
        let observed = self.0.proxy.borrow().clone();
        let each = decided.model.traffic.entrances.iter().flat_map(|entrance| {
            entrance.listeners.iter().map(|listener| (SocketKey::of(entrance), listener.clone()))
        });
        each.map(|(key, listener)| {
            let socket = observed.sockets.get(&key);
            ListenerStatus {
                listener: listener.name.to_string(),
                address: Some(key.address),
                hostname: listener.hostname.as_ref().map_or("*".into(), ToString::to_string),
                routes: listener.route_count(),
                listening: socket == Some(&SocketState::Listening),
                error: match socket {
                    Some(SocketState::Failed(reason)) => reason.clone(),
                    _ => String::new(),
                },
            }
        })
        .collect()
    }

    fn sessions(&self) -> Vec<BgpStatus> {
        let observed = self.0.speaker.sessions().borrow().clone();
        let each = observed.sessions.iter().map(|session| BgpStatus {
            peer: session.peer.clone(),
            address: session.address.clone(),
            local_as: session.local_as,
            remote_as: session.remote_as,
            state: session.state.clone(),
            since_secs: Instant::now().saturating_duration_since(session.since).as_secs(),
            received: session.received,
            refused: session.refused,
            announced: session.announced,
            last_error: match observed.listen_error.as_str() {
                "" => session.last_error.clone(),
                listen_error => format!("{}; {listen_error}", session.last_error),
            },
        });
        each.collect()
    }

    fn egress_status(&self, addresses: &[AddressStatus]) -> Vec<EgressStatus> {
        use tidegate_model::egress::Identity;
        let pods = self.pods();
        let each = pods.pods_per_policy().into_iter().map(|(policy, pods)| {
            let (address, dropped) = match &policy.identity {
                Identity::Address(address) => (Some(IpAddr::V4(*address)), String::new()),
                Identity::Unavailable(reason) => (None, reason.clone()),
            };
            EgressStatus {
                policy: policy.name.to_string(),
                address: address.map(|address| address.to_string()).unwrap_or_default(),
                here: addresses.iter().any(|status| Some(status.address) == address && status.here),
                pods,
                dropped,
            }
        });
        each.collect()
    }

    fn kernel(&self) -> KernelStatus {
        match &self.0.kernel {
            KernelView::Refused(message) => {
                KernelStatus { message: message.clone(), ..KernelStatus::default() }
            }
            KernelView::Kept(applied) => {
                let applied = applied.borrow();
                KernelStatus {
                    programmable: true,
                    message: applied.notes.join("; "),
                    addresses: applied.holds.addresses,
                    routes: applied.holds.routes,
                    repairs: applied.repairs,
                    errors: applied.errors.clone(),
                }
            }
        }
    }
}

/// Every source; the first also carries what concerns this gateway as a whole.
fn sources(decided: &Decided) -> Vec<SourceStatus> {
    let status = |source: &Arc<SourceState>| {
        let warnings = source.warnings.clone();
        SourceStatus { warnings, ..source.status.clone() }
    };
    let mut sources: Vec<SourceStatus> = decided.sources.iter().map(status).collect();
    if let (Some(first), Some(notice)) = (sources.first_mut(), &decided.notice) {
        first.errors.push(SourceError { message: notice.clone(), ..SourceError::default() });
    }
    sources
}

fn objects(decided: &Decided) -> Vec<ObjectStatus> {
    decided.verdicts.values().map(|verdict| object(decided, verdict)).collect()
}

/// One line for each object: its worst problem, if it has one.
fn object(decided: &Decided, verdict: &Verdict) -> ObjectStatus {
    let key = &verdict.object.key;
    let worst = verdict.worst();
    let field = worst.map(|problem| problem.field.clone()).unwrap_or_default();
    let source = decided.sources.iter().find(|source| source.status.name == *key.source);
    ObjectStatus {
        kind: verdict.object.kind.to_string(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        source: key.source.to_string(),
        verdict: verdict.outcome.to_string(),
        reason: worst.map_or("Accepted", |problem| problem.reason).to_owned(),
        message: worst.map(|problem| problem.message.clone()).unwrap_or_default(),
        location: source.and_then(|source| source.place(&verdict.object, &field)).unwrap_or_default(),
        path: field,
    }
}

fn addresses(decided: &Decided, elections: &[Election], node: &str) -> Vec<AddressStatus> {
    let each = decided.model.addresses.held.iter();
    let names = decided.gateway_names();
    each.map(|(address, held)| address_status(*address, held, elections, node, &names)).collect()
}

fn address_status(
    address: IpAddr,
    held: &HeldAddress,
    elections: &[Election],
    node: &str,
    names: &BTreeMap<IpAddr, String>,
) -> AddressStatus {
    let uses: Vec<&str> = held
        .uses
        .iter()
        .map(|usage| match usage {
            Use::Vip => "Vip",
            Use::NextHop => "NextHop",
            Use::Egress => "Egress",
        })
        .collect();
    let (protocol, here, holder) = match &held.protocol {
        Protocol::Bgp => ("bgp", true, "every gateway".to_owned()),
        Protocol::Vrrp(group) => {
            let election = elections.iter().find(|election| election.group == *group);
            let here = election.is_some_and(|election| election.master_here);
            let master = election.and_then(|election| election.master);
            let other =
                master.map(|master| names.get(&master).cloned().unwrap_or_else(|| master.to_string()));
            ("vrrp", here, if here { node.to_owned() } else { other.unwrap_or_default() })
        }
    };
    AddressStatus { address, usage: uses.join(","), holder, here, protocol: protocol.into() }
}

fn election(election: &Election) -> VrrpStatus {
    let legs = election.legs.iter();
    VrrpStatus {
        group: election.group.clone(),
        state: election.state.clone(),
        since_ms: Instant::now().saturating_duration_since(election.since).as_millis() as u64,
        priority: election.priority,
        master: election.master.map(|master| master.to_string()).unwrap_or_default(),
        legs: legs.clone().map(|leg| format!("{}/{}", leg.interface, leg.virtual_router_id)).collect(),
        addresses: legs.flat_map(|leg| leg.addresses.iter().map(|&address| IpAddr::V4(address))).collect(),
        reason: election.reason.clone(),
        transitions: election.transitions,
    }
}

fn route(route: LearnedRoute) -> RouteStatus {
    RouteStatus {
        prefix: route.prefix.to_string(),
        next_hops: route.next_hops.iter().map(ToString::to_string).collect(),
        peers: route.peers,
        stale: route.stale,
    }
}

fn services(decided: &Decided, facts: Vec<(BackendId, Vec<EndpointFacts>)>) -> Vec<ServiceStatus> {
    let mut impaired = impaired(facts);
    let backends = decided.model.traffic.endpoints.iter();
    backends
        .map(|(id, cell)| {
            let endpoints = cell.load();
            let parts = decided.model.traffic.unions.parts(id).unwrap_or_default();
            ServiceStatus {
                service: id.to_string(),
                source: id.service.source.to_string(),
                parts: parts.iter().map(|part| part.service.source.to_string()).collect(),
                endpoints: endpoints.addresses().collect(),
                crowded: endpoints.crowded.iter().map(ToString::to_string).collect(),
                impaired: impaired.remove(id).unwrap_or_default().into_values().collect(),
            }
        })
        .collect()
}

/// Endpoints that do not get their share, each as it fares where it fares worst.
fn impaired(
    facts: Vec<(BackendId, Vec<EndpointFacts>)>,
) -> BTreeMap<BackendId, BTreeMap<SocketAddr, EndpointStatus>> {
    let mut impaired: BTreeMap<BackendId, BTreeMap<SocketAddr, EndpointStatus>> = BTreeMap::new();
    for (id, endpoints) in facts {
        let known = impaired.entry(id).or_default();
        for facts in endpoints {
            let whole = facts.healthy && facts.ejected_secs.is_none() && facts.slow_percent.is_none();
            if whole && !facts.draining {
                continue;
            }
            let status = known.entry(facts.address).or_insert(EndpointStatus {
                address: facts.address,
                healthy: true,
                ejected_secs: None,
                draining: false,
                under_way: 0,
                slow_percent: None,
            });
            status.under_way = status.under_way.saturating_add(facts.in_flight);
            status.healthy &= facts.healthy;
            status.draining |= facts.draining;
            status.ejected_secs = status.ejected_secs.max(facts.ejected_secs);
            let both = status.slow_percent.into_iter().chain(facts.slow_percent);
            status.slow_percent = both.min();
        }
    }
    impaired
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_objects::Key;

    /// An endpoint is told of as it fares under the settings that give it least; one that gets its share everywhere is not.
    #[test]
    fn endpoints_that_get_less() {
        let endpoint = |port: u16| EndpointFacts {
            address: ([10, 0, 0, 1], port).into(),
            weight: 1,
            zone: None,
            healthy: true,
            ejected_secs: None,
            draining: false,
            slow_percent: None,
            in_flight: 1,
            latency_micros: None,
        };
        let id = BackendId::tcp(Key::new("test", "shop", "web"), 80);
        let one = vec![endpoint(1), EndpointFacts { slow_percent: Some(40), ..endpoint(2) }];
        let other = vec![
            EndpointFacts { slow_percent: Some(10), ejected_secs: Some(3), ..endpoint(2) },
            EndpointFacts { healthy: false, draining: true, ..endpoint(3) },
        ];
        let impaired = impaired(vec![(id.clone(), one), (id.clone(), other)]);
        let told: Vec<_> = impaired[&id].values().cloned().collect();
        let address = |port: u16| ([10, 0, 0, 1], port).into();
        let (healthy, ejected_secs, slow_percent) = (true, Some(3), Some(10));
        assert_eq!(
            told,
            [
                EndpointStatus {
                    address: address(2),
                    healthy,
                    ejected_secs,
                    draining: false,
                    under_way: 2,
                    slow_percent
                },
                EndpointStatus {
                    address: address(3),
                    healthy: false,
                    ejected_secs: None,
                    draining: true,
                    under_way: 1,
                    slow_percent: None
                },
            ]
        );
    }
}
