//! Addresses: what this gateway may come to hold, what for, and what moves each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use tidegate_model::address::{Given, HeldAddress, Protocol, Use};
use tidegate_model::egress::{Egress, Identity};
use tidegate_model::{Addresses, Machine};
use tidegate_objects::{Kind, LabelSelector, ObjectRef, Snapshot};

use crate::bgp::Spoken;
use crate::entrance::Doors;
use crate::gateway::OurGateway;
use crate::pool::Pools;
use crate::service::OurService;
use crate::verdicts::{Verdicts, object};
use crate::vrrp::Moved;

/// Addresses that Gateways listen on, unspecified ones excluded, and those of Services.
pub(crate) struct Vips {
    served: BTreeMap<IpAddr, Vip>,
    /// What was given, served or not.
    given: BTreeMap<ObjectRef, Vec<Given>>,
}

struct Vip {
    owners: BTreeSet<ObjectRef>,
    from_pool: bool,
}

impl Vips {
    /// Only what somebody serves: an address behind which nothing listens, or behind which no endpoint of a Service could
    /// answer, is not announced.
    pub fn new(
        gateways: &[OurGateway<'_>],
        doors: &Doors,
        services: &[OurService<'_>],
        pools: &Pools<'_>,
    ) -> Self {
        let mut vips = Vips { served: BTreeMap::new(), given: BTreeMap::new() };
        for ((socket, _), listeners) in doors.iter().filter(|((socket, _), _)| !socket.ip().is_unspecified())
        {
            for gateway in listeners.iter().filter_map(|(number, _)| gateways.get(*number)) {
                let from_pool =
                    gateway.places.iter().any(|place| place.address == socket.ip() && place.from_pool);
                let (kind, owner) = gateway.owner();
                vips.add(socket.ip(), from_pool, object(kind, owner));
            }
        }
        for service in services.iter().filter(|service| service.audible) {
            for address in service.sockets.keys().map(|(socket, _)| socket.ip()) {
                let from_pool = pools.origin(address).is_some();
                vips.add(address, from_pool, object(Kind::Service, service.resource.key()));
            }
        }
        for gateway in gateways {
            let pool = |address| pools.origin(address).cloned();
            let given = gateway.given.map(|address| vec![Given { address, pool: pool(address) }]);
            let object = object(Kind::Gateway, gateway.resource.key());
            vips.given.extend(given.map(|given| (object, given)));
        }
        for service in services {
            let own = service.places.iter().chain(&service.withheld).filter(|place| !place.external);
            let given = own.map(|place| Given { address: place.address, pool: place.pool.clone() });
            let given: Vec<Given> = given.collect();
            if !given.is_empty() {
                vips.given.insert(object(Kind::Service, service.resource.key()), given);
            }
        }
        vips
    }

    fn add(&mut self, address: IpAddr, from_pool: bool, owner: ObjectRef) {
        let vip = self.served.entry(address).or_insert(Vip { owners: BTreeSet::new(), from_pool });
        vip.owners.insert(owner);
    }

    pub fn v4(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.served.keys().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }

    /// Whether a Service with one of these labels has the address; without selectors it need not be a Service's.
    pub fn is_of(&self, address: Ipv4Addr, selectors: &[LabelSelector], snapshot: &Snapshot) -> bool {
        let selected = |owner: &ObjectRef| {
            let service = snapshot.services.get(&owner.key).filter(|_| owner.kind == Kind::Service);
            let labels = service.map(|service| &service.metadata.labels);
            labels.is_some_and(|labels| selectors.iter().any(|selector| selector.selects_labels(labels)))
        };
        let owners = self.served.get(&IpAddr::V4(address)).into_iter().flat_map(|vip| &vip.owners);
        selectors.is_empty() || owners.into_iter().any(selected)
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
        let IpAddr::V4(address) = address else {
            held.add_v6(*address, vip, verdicts);
            continue;
        };
        if !held.has_mover(*address) && vip.from_pool {
            note_unannounced(*address, vip, verdicts);
            held.add_with((*address).into(), Use::Vip, Protocol::Bgp, vip.owners.iter().cloned());
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
    let message = format!(
        "no VRRPAdvertisement or BGPAdvertisement covers {address}, so nothing brings traffic for it here; add one for its pool"
    );
    tell_owners(vip, &message, verdicts);
}

fn tell_owners(vip: &Vip, message: &str, verdicts: &mut Verdicts) {
    for owner in &vip.owners {
        let field = if owner.kind == Kind::Service { "status.loadBalancer" } else { "spec.addresses" };
        verdicts.warn(owner.kind, &owner.key, "NotAnnounced", field, message.to_owned());
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
            self.add_with(address.into(), usage, protocol, owners);
        }
    }

    /// Nothing announces it yet; routed here by hand it is served, as it stands on this machine. Gateways get none of pools.
    fn add_v6(&mut self, address: IpAddr, vip: &Vip, verdicts: &mut Verdicts) {
        if vip.from_pool {
            let message =
                format!("this version announces IPv4 addresses only; route {address} to the gateways");
            tell_owners(vip, &message, verdicts);
            self.add_with(address, Use::Vip, Protocol::Bgp, vip.owners.iter().cloned());
        }
    }

    fn add_with(
        &mut self,
        address: IpAddr,
        usage: Use,
        protocol: Protocol,
        owners: impl IntoIterator<Item = ObjectRef>,
    ) {
        let empty = HeldAddress { uses: BTreeSet::new(), protocol, owners: BTreeSet::new() };
        let held = self.addresses.held.entry(address).or_insert(empty);
        held.uses.insert(usage);
        held.owners.extend(owners);
    }
}
