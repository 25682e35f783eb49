//! Egress policies of other projects, as ours: which pods, which destinations, which address.
//!
//! A policy whose address cannot be had stays in the Model: what it selects is dropped, never sent with another
//! address. One that selects nothing is left out.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use tidegate_model::egress::{Egress, EgressPolicy, Identity};
use tidegate_model::{Machine, egress};
use tidegate_objects::egress::{CiliumEgressGatewayPolicy, EgressGateway, EgressSelector};
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::bgp::Spoken;
use crate::held::Vips;
use crate::node::{Gateways, Node};
use crate::verdicts::{Verdicts, object};
use crate::vrrp::Moved;
use crate::words::list;

const KIND: Kind = Kind::CiliumEgressGatewayPolicy;

/// What a rejected policy costs whom it selects.
const DROPPED: &str = "what the policy selects is dropped until then, never sent with another address";

/// What egress is compiled from.
pub(crate) struct Input<'a> {
    pub snapshot: &'a Snapshot,
    pub machine: &'a Machine,
    pub gateways: &'a Gateways,
    pub moved: &'a Moved,
    pub spoken: &'a Spoken,
    pub vips: &'a Vips,
}

/// The addresses that policies name, if they select anything.
pub(crate) fn wanted_addresses(snapshot: &Snapshot) -> BTreeSet<Ipv4Addr> {
    let effective = |spec: &CiliumEgressGatewayPolicy| {
        spec.selectors.iter().any(|selector| !is_empty(selector))
            && spec.destination_cidrs.iter().any(|net| matches!(net, IpNet::V4(_)))
    };
    let policies = snapshot.cilium_egress_policies.values().map(|policy| &policy.spec);
    let gateways = policies.filter(|spec| effective(spec)).filter_map(gateway);
    let v4 = gateways.filter_map(|gateway| match gateway.egress_ip {
        Some(IpAddr::V4(address)) if gateway.interface.is_none() => Some(address),
        _ => None,
    });
    v4.collect()
}

/// Compiles all policies, in order of precedence.
pub(crate) fn compile(input: &Input<'_>, verdicts: &mut Verdicts) -> Egress {
    let mut resources: Vec<_> = input.snapshot.cilium_egress_policies.values().collect();
    resources.sort_by_key(|policy| policy.metadata.precedence());
    let policies = resources.into_iter().filter_map(|resource| policy(input, resource, verdicts)).collect();
    Egress { pod_ranges: input.spoken.pod_ranges.clone(), policies }
}

fn gateway(spec: &CiliumEgressGatewayPolicy) -> Option<&EgressGateway> {
    spec.egress_gateway.as_ref().or(spec.egress_gateways.first())
}

fn policy(
    input: &Input<'_>,
    resource: &Resource<CiliumEgressGatewayPolicy>,
    verdicts: &mut Verdicts,
) -> Option<EgressPolicy> {
    let (spec, key) = (&resource.spec, resource.key());
    let selectors = selectors(key, spec, verdicts);
    let destinations = destinations(key, spec, verdicts);
    if spec.egress_gateways.len() + usize::from(spec.egress_gateway.is_some()) > 1 {
        verdicts.not_served(
            KIND,
            key,
            "spec.egressGateways",
            "the first gateway listed is used, the others are not",
        );
    }
    let identity = match identity(input, spec) {
        Ok(identity) => identity,
        Err((reason, field, message)) => {
            verdicts.whole(KIND, key, reason, field, format!("{message}; {DROPPED}"));
            Identity::Unavailable(message)
        }
    };
    let identity = note_node_selectors(key, spec, verdicts).map_or(identity, Identity::Unavailable);
    note_sharing(input, key, spec, &identity, verdicts);
    if selectors.is_empty() || destinations.is_empty() {
        return None;
    }
    if !input.spoken.with_pod_ranges.contains(&key.source) {
        let message = "no RouteImport of this source says where its pods live, so a pod that is not known yet leaves as if there were no policy; add one with the pods' prefix, such as 10.244.0.0/16 (0.0.0.0/0 is none)".to_owned();
        verdicts.warn(KIND, key, "NoPodRange", "spec.selectors", message);
    }
    Some(egress::EgressPolicy {
        name: object(KIND, key),
        selectors,
        destinations,
        excluded: spec
            .excluded_cidrs
            .iter()
            .filter(|net| matches!(net, IpNet::V4(_)))
            .map(IpNet::trunc)
            .collect(),
        identity,
    })
}

/// Whether a selector says nothing of pods, and that must never mean all of them.
fn is_empty(selector: &EgressSelector) -> bool {
    selector.pod_selector.is_none() && selector.namespace_selector.is_none()
}

/// Why the policy has no address, if it asks for labels of nodes: pods are not told apart by those here, so some would
/// leave with an address that is not theirs, or with their own.
fn note_node_selectors(
    key: &Key,
    spec: &CiliumEgressGatewayPolicy,
    verdicts: &mut Verdicts,
) -> Option<String> {
    let narrows = |selector: &EgressSelector| {
        selector.node_selector.as_ref().is_some_and(|nodes| !nodes.is_empty()) && !is_empty(selector)
    };
    let message = "nodeSelector is not served by this version, so pods of every node count as selected; remove it, and select the pods by label";
    let mut found = None;
    for (index, _) in spec.selectors.iter().enumerate().filter(|(_, selector)| narrows(selector)) {
        let field = format!("spec.selectors[{index}].nodeSelector");
        verdicts.whole(KIND, key, "UnsupportedValue", field, format!("{message}; {DROPPED}"));
        found = Some(message.to_owned());
    }
    found
}

fn selectors(key: &Key, spec: &CiliumEgressGatewayPolicy, verdicts: &mut Verdicts) -> Vec<EgressSelector> {
    let mut selectors = Vec::new();
    for (index, selector) in spec.selectors.iter().enumerate() {
        if is_empty(selector) {
            let message = "podSelector and namespaceSelector are both absent, so it selects nothing; write podSelector: {} to select all pods".to_owned();
            verdicts.part(KIND, key, "EmptySelector", format!("spec.selectors[{index}]"), message);
        } else {
            selectors.push(selector.clone());
        }
    }
    if selectors.is_empty() {
        verdicts.whole(KIND, key, "EmptySelector", "spec.selectors", "the policy selects no pods".to_owned());
    }
    selectors
}

fn destinations(key: &Key, spec: &CiliumEgressGatewayPolicy, verdicts: &mut Verdicts) -> Vec<IpNet> {
    let mut destinations = Vec::new();
    for (index, net) in spec.destination_cidrs.iter().enumerate() {
        match net {
            IpNet::V4(_) => destinations.push(net.trunc()),
            IpNet::V6(_) => {
                let message = format!("{net} is left out: this version serves IPv4 destinations only");
                verdicts.part(
                    KIND,
                    key,
                    "UnsupportedValue",
                    format!("spec.destinationCIDRs[{index}]"),
                    message,
                );
            }
        }
    }
    if destinations.is_empty() {
        let message = "the policy names no IPv4 destination; 0.0.0.0/0 means all".to_owned();
        verdicts.whole(KIND, key, "NoDestination", "spec.destinationCIDRs", message);
    }
    destinations
}

/// Reason, field, sentence.
type Refusal = (&'static str, &'static str, String);

fn identity(input: &Input<'_>, spec: &CiliumEgressGatewayPolicy) -> Result<Identity, Refusal> {
    let Some(gateway) = gateway(spec) else {
        return Err((
            "InvalidValue",
            "spec.egressGateway",
            "the policy names no gateway; set egressGateway".into(),
        ));
    };
    let matched = input.gateways.selected(std::slice::from_ref(&gateway.node_selector));
    if matched.is_empty() {
        let message = format!("no GatewayNode is selected as gateway; there are {}", input.gateways.names());
        return Err(("NoMatchingGateway", "spec.egressGateway.nodeSelector", message));
    }
    let here = input.gateways.here().is_some_and(|here| matched.iter().any(|node| node.name == here.name));
    let elsewhere = || {
        let names = list(matched.iter().map(|node| &node.name));
        Identity::Unavailable(format!("it is served by {names}, not by this gateway"))
    };
    match (&gateway.interface, gateway.egress_ip) {
        (Some(_), Some(_)) => {
            let message = "interface and egressIP exclude each other; remove one".to_owned();
            Err(("InvalidValue", "spec.egressGateway", message))
        }
        (None, Some(IpAddr::V6(address))) => {
            let message = format!("{address}: this version serves IPv4 egress addresses only");
            Err(("UnsupportedValue", "spec.egressGateway.egressIP", message))
        }
        (None, Some(IpAddr::V4(address))) => {
            let stands = stands(input, &matched, here, address);
            held(input, &matched, address, stands)?;
            Ok(if here { Identity::Address(address) } else { elsewhere() })
        }
        (interface, None) if here => by_interface(input.machine, interface.as_deref()),
        (_, None) => Ok(elsewhere()),
    }
}

/// Whether the address is one of a selected gateway's own.
fn stands(input: &Input<'_>, matched: &[&Node], here: bool, address: Ipv4Addr) -> bool {
    (here && input.machine.owns(address.into())) || matched.iter().any(|node| node.owns(address))
}

/// An address is held only where something brings traffic for it.
fn held(input: &Input<'_>, matched: &[&Node], address: Ipv4Addr, stands: bool) -> Result<(), Refusal> {
    let field = "spec.egressGateway.egressIP";
    if let Some(mover) = input.moved.by_address.get(&address) {
        if matched.iter().any(|node| mover.eligible.contains(&node.name)) {
            return Ok(());
        }
        let message = format!(
            "{} may move {address} to {}, but the policy selects {} as gateways; let them have one in common",
            mover.advertisement,
            list(&mover.eligible),
            list(matched.iter().map(|node| &node.name))
        );
        return Err(("AddressNotHeld", field, message));
    }
    if stands || input.spoken.covered.contains_key(&address) {
        return Ok(());
    }
    let message = format!(
        "no gateway holds {address}: no VRRPAdvertisement or BGPAdvertisement covers it, and it stands on no interface of a selected gateway. Add it to the addresses of a VRRPAdvertisement"
    );
    Err(("AddressNotHeld", field, message))
}

/// The first address of an interface; without a name, of the one that the default route leaves by.
fn by_interface(machine: &Machine, name: Option<&str>) -> Result<Identity, Refusal> {
    let Some(interfaces) = &machine.interfaces else {
        return Ok(Identity::Unavailable("the interfaces of the machine are not looked at here".into()));
    };
    let field = "spec.egressGateway.interface";
    let default = || {
        machine
            .routes
            .iter()
            .find(|route| route.destination.prefix_len() == 0 && route.destination.addr().is_ipv4())
    };
    let Some(name) = name.or_else(|| default().map(|route| route.interface.as_str())) else {
        let message =
            "neither egressIP nor interface is set, and this machine has no default route; set egressIP"
                .to_owned();
        return Err(("AddressNotHeld", "spec.egressGateway", message));
    };
    let Some(interface) = interfaces.iter().find(|interface| interface.name == name) else {
        let names = list(interfaces.iter().map(|interface| &interface.name));
        return Err(("NoInterface", field, format!("this machine has no interface {name}; it has {names}")));
    };
    match interface.primary_v4() {
        Some(address) => Ok(Identity::Address(address)),
        None => Err(("NoInterface", field, format!("interface {name} of this machine has no IPv4 address"))),
    }
}

fn note_sharing(
    input: &Input<'_>,
    key: &Key,
    spec: &CiliumEgressGatewayPolicy,
    identity: &Identity,
    verdicts: &mut Verdicts,
) {
    let Identity::Address(address) = identity else { return };
    let field = "spec.egressGateway.egressIP";
    if input.vips.contains(*address) {
        let message = format!(
            "{address} is the address of a Gateway too; this version does not split its ports between the two"
        );
        verdicts.warn(KIND, key, "SharedAddress", field, message);
    }
    let (Some(mover), Some(gateway)) = (input.moved.by_address.get(address), gateway(spec)) else { return };
    let matched = input.gateways.selected(std::slice::from_ref(&gateway.node_selector));
    let others: Vec<_> =
        mover.eligible.iter().filter(|name| !matched.iter().any(|node| node.name == **name)).collect();
    if !others.is_empty() {
        let message = format!(
            "{} may move {address} to {}, which the policy does not select as gateway; while it is there, what the policy selects is dropped",
            mover.advertisement,
            list(others)
        );
        verdicts.warn(KIND, key, "GatewaysDiffer", field, message);
    }
}
