//! Addresses: what this gateway may come to hold, what for, and what moves each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use tidegate_model::address::{HeldAddress, Protocol, Use};
use tidegate_model::egress::{Egress, Identity};
use tidegate_model::{Addresses, Machine};
use tidegate_objects::{Key, Kind, ObjectRef};

use crate::bgp::Spoken;
use crate::entrance::Doors;
use crate::gateway::OurGateway;
use crate::verdicts::{Verdicts, object};
use crate::vrrp::Moved;

/// Addresses that Gateways listen on, unspecified ones excluded.
pub(crate) struct Vips {
    served: BTreeMap<IpAddr, Vip>,
    /// What pools gave, served or not.
    given: BTreeMap<Key, Ipv4Addr>,
}

struct Vip {
    owners: BTreeSet<ObjectRef>,
    from_pool: bool,
}

impl Vips {
    /// Only what some listener serves: an address behind which nothing listens is not announced.
    pub fn new(gateways: &[OurGateway<'_>], doors: &Doors) -> Self {
        let mut vips: BTreeMap<IpAddr, Vip> = BTreeMap::new();
        for ((socket, _), listeners) in doors.iter().filter(|((socket, _), _)| !socket.ip().is_unspecified())
        {
            for gateway in listeners.iter().filter_map(|(number, _)| gateways.get(*number)) {
                let from_pool =
                    gateway.places.iter().any(|place| place.address == socket.ip() && place.from_pool);
                let vip = vips.entry(socket.ip()).or_insert(Vip { owners: BTreeSet::new(), from_pool });
                vip.owners.insert(object(Kind::Gateway, gateway.resource.key()));
            }
        }
        let given =
            gateways.iter().filter_map(|gateway| Some((gateway.resource.key().clone(), gateway.given?)));
        Vips { served: vips, given: given.collect() }
    }

    pub fn v4(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.served.keys().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.served.contains_key(&IpAddr::V4(address))
    }
}

/// Collects them all.
pub(crate) fn compile(
    vips: &Vips,
    moved: &Moved,
    spoken: &Spoken,
    egress: &Egress,
    machine: &Machine,
    verdicts: &mut Verdicts,
) -> Addresses {
    let mut held = Held {
        moved,
        spoken,
        offline: machine.interfaces.is_none(),
        addresses: Addresses { held: BTreeMap::new(), given: vips.given.clone() },
    };
    for (address, vip) in &vips.served {
        let IpAddr::V4(address) = address else { continue };
        if !held.has_mover(*address) && vip.from_pool {
            note_unannounced(*address, vip, verdicts);
            held.add_with(*address, Use::Vip, Protocol::Bgp, vip.owners.iter().cloned());
        } else {
            held.add(*address, Use::Vip, vip.owners.iter().cloned());
        }
    }
    for policy in &egress.policies {
        if let Identity::Address(address) = policy.identity {
            held.add(address, Use::Egress, [policy.name.clone()]);
        }
    }
    for (address, owners) in &spoken.next_hops {
        held.add(*address, Use::NextHop, owners.iter().cloned());
    }
    for (address, mover) in moved.by_address.iter().filter(|(_, mover)| mover.fixed) {
        // Named for a use that no object states: a static route points to it, or a process binds it.
        if !held.addresses.held.contains_key(&IpAddr::V4(*address)) {
            held.add(*address, Use::NextHop, [mover.advertisement.clone()]);
        }
    }
    held.addresses
}

fn note_unannounced(address: Ipv4Addr, vip: &Vip, verdicts: &mut Verdicts) {
    for owner in &vip.owners {
        let message = format!(
            "no VRRPAdvertisement or BGPAdvertisement covers {address}, so nothing brings traffic for it here; add one for its pool"
        );
        verdicts.warn(owner.kind, &owner.key, "NotAnnounced", "spec.addresses", message);
    }
}

struct Held<'a> {
    moved: &'a Moved,
    spoken: &'a Spoken,
    offline: bool,
    addresses: Addresses,
}

impl Held<'_> {
    fn has_mover(&self, address: Ipv4Addr) -> bool {
        self.moved.by_address.contains_key(&address) || self.spoken.covered.contains_key(&address)
    }

    /// What moves it to this machine; none where this machine never holds it. VRRP comes before BGP.
    fn protocol(&self, address: Ipv4Addr) -> Option<Protocol> {
        match self.moved.by_address.get(&address) {
            Some(mover) => match &mover.group {
                Some(group) => Some(Protocol::Vrrp(group.clone())),
                None => self.offline.then(|| Protocol::Vrrp(mover.election.clone())),
            },
            None => self.spoken.covered.get(&address).filter(|here| **here).map(|_| Protocol::Bgp),
        }
    }

    fn add(&mut self, address: Ipv4Addr, usage: Use, owners: impl IntoIterator<Item = ObjectRef>) {
        if let Some(protocol) = self.protocol(address) {
            self.add_with(address, usage, protocol, owners);
        }
    }

    fn add_with(
        &mut self,
        address: Ipv4Addr,
        usage: Use,
        protocol: Protocol,
        owners: impl IntoIterator<Item = ObjectRef>,
    ) {
        let empty = HeldAddress { uses: BTreeSet::new(), protocol, owners: BTreeSet::new() };
        let held = self.addresses.held.entry(address.into()).or_insert(empty);
        held.uses.insert(usage);
        held.owners.extend(owners);
    }
}
