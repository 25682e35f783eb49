//! What the kernel should hold: addresses, routes, settings and filter, from the Model, what BGP learned, and the pods.
//!
//! It follows from what was asked for, never from who holds an address now: every gateway has all of it all the time,
//! so that a takeover touches no kernel table and a restart finds what it would write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tidegate_egress::{Destination, KernelTables, Leaves};
use tidegate_model::address::Use;
use tidegate_model::traffic::Backend;
use tidegate_model::{Machine, Model, Traffic};
use tidegate_plan::{
    Address, ClassId, Desired, Egress, Filter, MAIN_TABLE, NextHop, RouteKey, Rule, TRANSPARENT_MARK,
    TRANSPARENT_PRIORITY, TRANSPARENT_TABLE, sysctl,
};

/// Metric of learned routes: behind what an administrator set (0), before what a DHCP client sets (100 and more).
const LEARNED_METRIC: u32 = 20;

/// What the kernel should hold. `routes` were learned over BGP; `settled` says whether they are all. `transparent`: the
/// endpoints that are spoken to from the client's own address, or were until lately.
pub fn desired(
    model: &Model,
    machine: &Machine,
    routes: &BTreeMap<Ipv4Net, Vec<Ipv4Addr>>,
    settled: bool,
    pods: &KernelTables,
    transparent: BTreeSet<IpAddr>,
) -> Desired {
    let on_lo =
        model.addresses.held.iter().filter(|(_, held)| held.stands_on_lo()).map(|(address, _)| *address);
    let (rules, ways_home) = delivery(&transparent);
    Desired {
        addresses: on_lo
            .map(|address| Address { interface: "lo".into(), net: IpNet::from(address) })
            .collect(),
        routes: routes.iter().map(learned).chain(ways_home).collect(),
        routes_settled: settled,
        rules,
        sysctls: sysctls(model, machine),
        filter: filter(model, pods, transparent),
    }
}

/// The backends of a Traffic that are spoken to from the client's own address: the kernel must know of their endpoints that
/// come and go. Found once for each Traffic, as that costs a look at every route.
#[derive(Clone, Debug, Default)]
pub struct Transparent(Vec<Arc<Backend>>);

impl Transparent {
    /// Those of this Traffic.
    pub fn of(traffic: &Traffic) -> Self {
        let mut found = Vec::new();
        traffic.each_backend(|backend| {
            if backend.policy.client_source {
                found.push(backend.clone());
            }
        });
        Transparent(found)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where their endpoints run now.
    pub fn endpoints(&self) -> BTreeSet<IpAddr> {
        let mut found = BTreeSet::new();
        for backend in &self.0 {
            found.extend(backend.endpoints.load().addresses().map(|address| address.ip().to_canonical()));
        }
        found
    }
}

/// Rules and routes that deliver marked packets here, whatever their destination; only of the families needed.
fn delivery(endpoints: &BTreeSet<IpAddr>) -> (BTreeSet<Rule>, Vec<(RouteKey, Vec<NextHop>)>) {
    let families = [(false, IpNet::from(Ipv4Net::default())), (true, IpNet::from(Ipv6Net::default()))];
    let needed = |ipv6: bool| endpoints.iter().any(|address| address.is_ipv6() == ipv6);
    let (mut rules, mut routes) = (BTreeSet::new(), Vec::new());
    for (ipv6, everywhere) in families.into_iter().filter(|(ipv6, _)| needed(*ipv6)) {
        rules.insert(Rule {
            priority: TRANSPARENT_PRIORITY,
            ipv6,
            from: None,
            to: None,
            mark: Some((TRANSPARENT_MARK, TRANSPARENT_MARK)),
            table: TRANSPARENT_TABLE,
        });
        routes.push((RouteKey::new(TRANSPARENT_TABLE, everywhere, 0), vec![NextHop::local()]));
    }
    (rules, routes)
}

fn learned((prefix, next_hops): (&Ipv4Net, &Vec<Ipv4Addr>)) -> (RouteKey, Vec<NextHop>) {
    let key = RouteKey::new(MAIN_TABLE, IpNet::V4(*prefix), LEARNED_METRIC);
    (key, next_hops.iter().map(|&next_hop| NextHop::via(IpAddr::V4(next_hop))).collect())
}

/// A gateway that speaks routes packets; one that only proxies changes nothing on its machine.
fn sysctls(model: &Model, machine: &Machine) -> BTreeMap<sysctl::SysctlKey, String> {
    let speaker = &model.speaker;
    if speaker.groups.is_empty() && speaker.peers.is_empty() && model.egress.policies.is_empty() {
        return BTreeMap::new();
    }
    let legs = speaker.groups.values().flat_map(|group| &group.legs).map(|leg| leg.interface.as_str());
    let towards = |peer: &tidegate_model::speaker::Peer| machine.interface_towards(peer.address);
    let peers = speaker.peers.values().filter_map(towards).map(|interface| interface.name.as_str());
    sysctl::for_gateway(legs.chain(peers).collect::<BTreeSet<_>>())
}

/// The filter, wherever there is something to guard.
fn filter(model: &Model, pods: &KernelTables, transparent: BTreeSet<IpAddr>) -> Option<Filter> {
    let v4 = |wanted: fn(&tidegate_model::address::HeldAddress) -> bool| {
        let held = model.addresses.held.iter().filter(move |(_, held)| wanted(held));
        held.filter_map(|(address, _)| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
        .collect::<BTreeSet<_>>()
    };
    let policies = !model.egress.policies.is_empty();
    if model.addresses.held.is_empty() && !policies && transparent.is_empty() {
        return None;
    }
    let mut filter = Filter {
        local_addresses: v4(|held| held.stands_on_lo()),
        forwarded_addresses: v4(|held| held.uses.iter().all(|usage| *usage == Use::Egress)),
        transparent_endpoints: transparent,
        ..Filter::default()
    };
    if policies {
        filter.pod_ranges = model.egress.pod_ranges.iter().copied().collect();
        filter.pods = pods.pods.clone();
        filter.pod_class = pods.pod_class.iter().map(|(pod, class)| (*pod, ClassId::from(*class))).collect();
        filter.egress = pods.destinations.iter().flat_map(|(class, all)| destinations(*class, all)).collect();
    }
    Some(filter)
}

fn destinations(class: u16, all: &[Destination]) -> impl Iterator<Item = ((ClassId, Ipv4Net), Egress)> + '_ {
    all.iter().flat_map(move |destination| {
        let egress = match destination.leaves {
            Leaves::With(address) => Egress::To(address),
            Leaves::Dropped => Egress::Drop,
        };
        destination.prefixes().map(move |prefix| ((ClassId::from(class), prefix), egress))
    })
}
