//! RouteAdvertisements: prefixes beside service addresses, and which gateway attracts their traffic.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use tidegate_objects::ours::{Active, NextHop, RouteAdvertisement};
use tidegate_objects::{Key, Kind, Resource};

use crate::bgp::{Input, Known, Spoken, choose, communities};
use crate::export::{Announcement, Entry, Hop};
use crate::verdicts::{Verdicts, object};

const KIND: Kind = Kind::RouteAdvertisement;

/// Reads them; floating addresses are noted as next hops, whether a peer of this machine is told or not.
pub(crate) fn read(
    input: &Input<'_>,
    known: &[Known],
    spoken: &mut Spoken,
    verdicts: &mut Verdicts,
) -> Vec<Announcement> {
    let mut announcements = Vec::new();
    for (key, resource) in &input.snapshot.route_advertisements {
        let peers = choose(known, KIND, key, &resource.spec.peers, verdicts);
        let prefixes = prefixes(key, &resource.spec, verdicts);
        let Some((hop, floating)) = hop(input, key, resource, verdicts) else { continue };
        for address in floating {
            spoken.next_hops.entry(address).or_default().insert(object(KIND, key));
        }
        let (local_preference, med) = rank(input, key, &resource.spec, verdicts);
        let entry =
            |(index, prefix)| Entry { prefix, field: format!("spec.prefixes[{index}]"), hop: hop.clone() };
        announcements.push(Announcement {
            kind: KIND,
            key: key.clone(),
            peers,
            entries: prefixes.into_iter().map(entry).collect(),
            local_preference,
            med,
            communities: communities(KIND, key, &resource.spec.communities, verdicts),
        });
    }
    announcements
}

fn prefixes(key: &Key, spec: &RouteAdvertisement, verdicts: &mut Verdicts) -> Vec<(usize, Ipv4Net)> {
    let mut prefixes = Vec::new();
    for (index, prefix) in spec.prefixes.iter().enumerate() {
        match prefix {
            IpNet::V4(net) => prefixes.push((index, net.trunc())),
            IpNet::V6(net) => {
                let message = format!("{net} is left out: this version announces IPv4 prefixes only");
                verdicts.part(KIND, key, "UnsupportedValue", format!("spec.prefixes[{index}]"), message);
            }
        }
    }
    prefixes
}

/// `One` with the gateway's own address: the first by name is preferred, by LOCAL_PREF among ourselves and by MED
/// elsewhere. Everything else is announced alike by all.
fn rank(
    input: &Input<'_>,
    key: &Key,
    spec: &RouteAdvertisement,
    verdicts: &mut Verdicts,
) -> (u32, Option<u32>) {
    if (spec.active, spec.next_hop) != (Active::One, NextHop::Own) {
        return (spec.local_preference, None);
    }
    let (count, place) =
        (input.gateways.count() as u32, input.gateways.here_index().unwrap_or_default() as u32);
    if spec.local_preference < count - 1 {
        let message = format!(
            "{} leaves no room to rank {count} gateways; use {} or more",
            spec.local_preference,
            count - 1
        );
        verdicts.part(KIND, key, "InvalidValue", "spec.localPreference", message);
    }
    (spec.local_preference.saturating_sub(place), Some(place))
}

/// How the NEXT_HOP is found, and the floating addresses concerned; none when the object is refused.
fn hop(
    input: &Input<'_>,
    key: &Key,
    resource: &Resource<RouteAdvertisement>,
    verdicts: &mut Verdicts,
) -> Option<(Hop, Vec<Ipv4Addr>)> {
    let spec = &resource.spec;
    if spec.next_hop == NextHop::Own {
        if !spec.floating_addresses.is_empty() {
            let message = "floatingAddresses count only with nextHop: Floating".to_owned();
            verdicts.warn(KIND, key, "NoEffect", "spec.floatingAddresses", message);
        }
        return Some((Hop::Own, Vec::new()));
    }
    let mut covered = BTreeSet::new();
    for (index, address) in spec.floating_addresses.iter().enumerate() {
        if input.moved.by_address.contains_key(address) {
            covered.insert(*address);
        } else {
            let message = format!("no VRRPAdvertisement moves {address}; add it to the addresses of one");
            verdicts.part(KIND, key, "NotFloating", format!("spec.floatingAddresses[{index}]"), message);
        }
    }
    let (addresses, gateways) = (covered.len(), input.gateways.count());
    let refused = match spec.active {
        _ if addresses == 0 => {
            Some("nextHop: Floating needs an address that a VRRPAdvertisement moves".to_owned())
        }
        Active::All if addresses < gateways => Some(format!(
            "with active: All every gateway needs a floating address of its own; there are {gateways} gateways and {addresses} addresses"
        )),
        Active::All | Active::One => None,
    };
    if let Some(message) = refused {
        verdicts.whole(KIND, key, "TooFewFloatingAddresses", "spec.floatingAddresses", message);
        return None;
    }
    let place = match spec.active {
        Active::One => 0,
        Active::All => input.gateways.here_index().unwrap_or_default(),
    };
    let addresses: Vec<Ipv4Addr> = covered.into_iter().collect();
    Some((Hop::Floating { addresses: addresses.clone(), place }, addresses))
}
