//! Legs: where on this machine the addresses of an election live, and the groups that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use tidegate_model::Machine;
use tidegate_model::speaker::{Group, Leg};
use tidegate_vrrp::priorities;

use crate::election::Election;
use crate::verdicts::Verdicts;
use crate::vrrp::{Advertisement, Input, KIND, Moved};
use crate::words::list;

/// Gives an election its legs on this machine, if this machine competes and its interfaces are known.
pub(crate) fn place(
    input: &Input<'_>,
    advertisements: &[Advertisement<'_>],
    election: &Election<'_>,
    moved: &mut Moved,
    verdicts: &mut Verdicts,
) {
    let Some(here) = input.gateways.here().filter(|here| election.leader.eligible.contains(&here.name))
    else {
        return;
    };
    if input.machine.interfaces.is_none() {
        return;
    }
    let mut segments: BTreeMap<String, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for address in &election.addresses {
        let Some(adv) = advertisements.iter().find(|adv| adv.addresses.contains_key(address)) else {
            continue;
        };
        if let Some(interface) = interface(input.machine, adv, *address, verdicts) {
            segments.entry(interface).or_default().insert(*address);
        }
    }
    segments.retain(|interface, addresses| {
        let clash = moved.groups.values().find(|group| {
            group.legs.iter().any(|leg| leg.interface == *interface && leg.virtual_router_id == election.virtual_router_id)
        });
        if let Some(other) = clash {
            let message = format!(
                "virtual router id {} is used on {interface} by group {} already, so {} are not moved there; choose another",
                election.virtual_router_id,
                other.name,
                list(addresses.iter())
            );
            verdicts.part(KIND, election.leader.resource.key(), "VirtualRouterIDInUse", "spec.virtualRouterID", message);
        }
        clash.is_none()
    });
    let explicit = &election.leader.resource.spec.priorities;
    let priority =
        priorities(election.turn, &election.leader.eligible, explicit).get(&here.name).copied().unwrap_or(1);
    for group in groups(election, segments, priority) {
        for address in group.legs.iter().flat_map(|leg| &leg.addresses) {
            if let Some(mover) = moved.by_address.get_mut(address) {
                mover.group = Some(group.name.clone());
            }
        }
        moved.groups.insert(group.name.clone(), group);
    }
}

/// One group with a leg for each segment, if they are to move together; else one group for each segment.
fn groups(
    election: &Election<'_>,
    segments: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    priority: u8,
) -> Vec<Group> {
    let (leader, several) = (election.leader, segments.len() > 1);
    let legs: Vec<Leg> = segments
        .into_iter()
        .map(|(interface, addresses)| Leg {
            interface,
            virtual_router_id: election.virtual_router_id,
            addresses: addresses.into_iter().collect(),
        })
        .collect();
    let group = |name: String, legs: Vec<Leg>| Group {
        name,
        legs,
        priority,
        interval: leader.interval,
        preempt: leader.resource.spec.preempt,
        preempt_delay: leader.preempt_delay,
        track_ready: leader.resource.spec.track.ready,
    };
    match election.sync {
        _ if legs.is_empty() => Vec::new(),
        true => vec![group(election.name.to_string(), legs)],
        false => legs
            .into_iter()
            .map(|leg| {
                let name = if several { election.name.on(&leg.interface) } else { election.name.to_string() };
                group(name, vec![leg])
            })
            .collect(),
    }
}

/// The interface on which an address lives; a note if there is none.
fn interface(
    machine: &Machine,
    adv: &Advertisement<'_>,
    address: Ipv4Addr,
    verdicts: &mut Verdicts,
) -> Option<String> {
    let key = adv.resource.key();
    let allowed = &adv.resource.spec.interfaces;
    let all = machine.interfaces.as_deref().unwrap_or_default();
    let towards = machine.interface_towards(address.into()).map(|interface| interface.name.clone());
    if allowed.is_empty() {
        if towards.is_none() {
            let networks = all.iter().flat_map(|interface| {
                interface.networks_v4().map(move |net| format!("{} on {}", net.trunc(), interface.name))
            });
            let message = format!(
                "no interface of this machine leads to {address}; its networks are {}. Choose an address in one of them, or set spec.interfaces",
                list(networks)
            );
            verdicts.part(KIND, key, "NoInterface", "spec.interfaces", message);
        }
        return towards;
    }
    if let Some(interface) = towards.filter(|name| allowed.contains(name)) {
        return Some(interface);
    }
    let found = allowed.iter().find(|name| all.iter().any(|interface| interface.name == **name));
    if found.is_none() {
        let message = format!(
            "this machine has none of the interfaces {}; it has {}",
            list(allowed),
            list(all.iter().map(|interface| &interface.name))
        );
        verdicts.part(KIND, key, "NoInterface", "spec.interfaces", message);
    }
    found.cloned()
}
