//! Who gets which address: Gateways and Services of type LoadBalancer in one ledger, so that nobody gets another's.
//!
//! Whoever has an address keeps it: as its status says, which every gateway reads alike, or as this gateway remembers,
//! where it is the only one. No change of a pool takes an address from a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use tidegate_ipam::{Family, Given, Refusal, Request, Tenancy, allocate};
use tidegate_model::address;
use tidegate_model::standing::PoolStanding;
use tidegate_objects::{Key, Kind, ObjectRef, Snapshot};

use crate::gateway::OurGateway;
use crate::place::{self, Wish};
use crate::pool::{Asker, Pool, Pools};
use crate::service::{self, OurService, ServicePlace};
use crate::verdicts::{Verdicts, object};

/// What addresses are given on.
pub(crate) struct Ground<'a> {
    pub snapshot: &'a Snapshot,
    /// Addresses that objects name for other uses: no pool gives them out, and no Service may ask for them.
    pub reserved: BTreeSet<IpAddr>,
    /// Addresses that a VRRPAdvertisement moves by name.
    pub moved: BTreeSet<IpAddr>,
    /// Addresses of machines.
    pub machines: BTreeSet<IpAddr>,
    /// What was given before, unless other machines could remember otherwise.
    pub remembered: Option<&'a BTreeMap<ObjectRef, Vec<address::Given>>>,
}

/// Gives every Gateway its places and every Service its addresses.
pub(crate) fn assign(
    ground: &mut Ground<'_>,
    gateways: &mut [OurGateway<'_>],
    services: &mut [OurService<'_>],
    pools: &mut Pools<'_>,
    verdicts: &mut Verdicts,
) {
    ground.reserved.extend(service::foreign_addresses(ground.snapshot, services));
    for service in services.iter_mut().filter(|service| !service.wish.sound) {
        service.withheld = standing(ground, service, pools, verdicts).places;
        ground.reserved.extend(service.withheld.iter().map(|place| place.address));
    }
    let ground = &*ground;
    let wishes = place::wishes(gateways, pools, verdicts);
    let named = wishes.iter().flat_map(|wish| match wish {
        Wish::Exact(addresses) => addresses.as_slice(),
        Wish::Pool(_) | Wish::Everywhere => &[],
    });
    let by_gateways: BTreeSet<IpAddr> = named.copied().collect();
    let owned: BTreeSet<IpAddr> = by_gateways.union(&ground.machines).copied().collect();
    let mut requests: Vec<Request<Claimant>> = Vec::new();
    for (gateway, wish) in gateways.iter().zip(&wishes) {
        requests.extend(of_gateway(ground, gateway, wish, pools, &owned));
    }
    let mut memory: BTreeMap<Key, Vec<ServicePlace>> = BTreeMap::new();
    for service in services.iter().filter(|service| service.wish.sound) {
        let standing = standing(ground, service, pools, verdicts);
        let asked = Asked { ground, pools, by_gateways: &by_gateways };
        requests.extend(asked.of_service(service, &standing, verdicts));
        requests.extend(asked.external(service, verdicts));
        memory.insert(service.resource.key().clone(), standing.places);
    }
    let ipam: Vec<_> = pools.iter().map(|pool| pool.ipam.clone()).collect();
    let mut given = allocate(&ipam, &requests, &ground.reserved, &owned);
    for (gateway, wish) in gateways.iter_mut().zip(&wishes) {
        let found = given.remove(&Claimant::of(Kind::Gateway, gateway.resource.key()));
        let address = found.and_then(|found| found.addresses.first().copied());
        place::settle(gateway, wish, address, pools, verdicts);
    }
    for service in services.iter_mut() {
        let key = service.resource.key().clone();
        let before = memory.remove(&key).unwrap_or_default();
        let claimant = Claimant::of(Kind::Service, &key);
        if let Some(found) = given.remove(&claimant) {
            settle(service, found, &before, pools, verdicts);
        }
        let external = Claimant { external: true, ..claimant.clone() };
        if let Some(found) = given.remove(&external) {
            settle_external(service, found, &claimant, verdicts);
        }
    }
    let users = users(services);
    pools.note_kept(&users, verdicts);
}

/// How full each pool is.
pub(crate) fn fullness(
    gateways: &[OurGateway<'_>],
    services: &[OurService<'_>],
    pools: &Pools<'_>,
) -> BTreeMap<Key, PoolStanding> {
    let of_gateways = gateways.iter().flat_map(|gateway| &gateway.places).map(|place| place.address);
    let of_services = services.iter().flat_map(|service| &service.places).map(|place| place.address);
    let used: BTreeSet<IpAddr> = of_gateways.chain(of_services).collect();
    let count = |pool: &Pool<'_>, family| {
        let inside = |address: &&IpAddr| Family::of(**address) == family && pool.ipam.contains(**address);
        let assigned = used.iter().filter(inside).count() as u64;
        (assigned, pool.ipam.capacity(family).saturating_sub(u128::from(assigned)))
    };
    let each = pools.iter().map(|pool| {
        let (assigned_v4, available_v4) = count(pool, Family::V4);
        let (assigned_v6, available_v6) = count(pool, Family::V6);
        let standing = PoolStanding { assigned_v4, assigned_v6, available_v4, available_v6 };
        (pool.resource.key().clone(), standing)
    });
    each.collect()
}

/// A Gateway or Service; a Service's `externalIPs` are a claim of their own. How it is written says where `ipam` begins to
/// look: nothing of the source, so that a folder and a cluster that hold the same objects agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    object: ObjectRef,
    external: bool,
}

impl Claimant {
    fn of(kind: Kind, key: &Key) -> Claimant {
        Claimant { object: object(kind, key), external: false }
    }
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object.kind {
            // Older releases knew Gateways only.
            Kind::Gateway => self.object.key.fmt(f),
            _ => self.object.fmt(f),
        }
    }
}

fn of_gateway(
    ground: &Ground<'_>,
    gateway: &OurGateway<'_>,
    wish: &Wish,
    pools: &Pools<'_>,
    owned: &BTreeSet<IpAddr>,
) -> Option<Request<Claimant>> {
    let Wish::Pool(asked) = wish else { return None };
    let key = gateway.resource.key();
    let remembered = || {
        let given = ground.remembered?.get(&object(Kind::Gateway, key))?.first()?.address;
        let offered = asked.iter().filter_map(|place| pools.get(*place));
        offered.into_iter().any(|pool| pool.ipam.offers(given)).then_some(given)
    };
    let standing = place::listened_on(gateway, asked, pools).or_else(remembered);
    Some(Request {
        key: Claimant::of(Kind::Gateway, key),
        families: vec![Family::V4],
        one_will_do: false,
        exact: Vec::new(),
        standing: standing
            .into_iter()
            .filter(|address| !owned.contains(address) && !ground.reserved.contains(address))
            .collect(),
        pools: asked.clone(),
        tenancy: Tenancy::default(),
    })
}

/// What a Service has already.
#[derive(Default)]
struct Standing {
    places: Vec<ServicePlace>,
    /// Another controller's address that nothing here covers.
    foreign: Option<IpAddr>,
}

/// What a Service was given before, as far as it still asks for that: by its status, else by memory.
fn standing(
    ground: &Ground<'_>,
    service: &OurService<'_>,
    pools: &Pools<'_>,
    verdicts: &mut Verdicts,
) -> Standing {
    let (key, spec) = (service.resource.key(), &service.resource.spec);
    let written = spec.given.iter().map(|given| {
        let pool = given.pool.as_ref().map(|name| pools.key(&key.source, name));
        ServicePlace { address: given.ip, pool, external: false }
    });
    let mut before: Vec<ServicePlace> = written.collect();
    let remembered = ground.remembered.and_then(|all| all.get(&object(Kind::Service, key)));
    if before.is_empty() {
        let given = remembered.into_iter().flatten();
        let place = |given: &address::Given| ServicePlace {
            address: given.address,
            pool: given.pool.clone(),
            external: false,
        };
        before.extend(given.map(place));
    }
    let mut standing = Standing::default();
    for place in before {
        let in_memory = || {
            let given = remembered?.iter().find(|given| given.address == place.address)?;
            given.pool.clone()
        };
        let pool = match pools.holding(place.address) {
            Some(pool) => Some(pool.resource.key().clone()),
            None => place.pool.or_else(in_memory),
        };
        let is_external = service.external.contains(&place.address);
        let asked_for = service.wish.exact.contains(&place.address);
        let is_other_pool = |pool: &Key| service.wish.pool.as_ref().is_some_and(|name| *pool.name != **name);
        match pool {
            Some(pool) if !is_other_pool(&pool) || asked_for => {
                standing.places.push(ServicePlace { pool: Some(pool), ..place });
            }
            Some(_) => {}
            None if ground.moved.contains(&place.address) => {
                standing.places.push(ServicePlace { pool: None, ..place });
            }
            None if is_external => {}
            None => standing.foreign = Some(place.address),
        }
    }
    if let Some(address) = standing.foreign {
        note_foreign(service, address, verdicts);
    }
    standing
}

fn note_foreign(service: &OurService<'_>, address: IpAddr, verdicts: &mut Verdicts) {
    let field = "status.loadBalancer.ingress";
    let covered = "is in no IPAddressPool, and no VRRPAdvertisement names it";
    if service.classed {
        let message = format!("{address} {covered}, so it is not kept; add it to a pool if it is to stay");
        verdicts.warn(Kind::Service, service.resource.key(), "AddressNotCovered", field, message);
    } else {
        let message = format!(
            "{address}, which another controller gave, {covered}, so the Service is left to that one; add it to a pool"
        );
        verdicts.whole(Kind::Service, service.resource.key(), "AddressNotCovered", field, message);
    }
}

struct Asked<'a> {
    ground: &'a Ground<'a>,
    pools: &'a Pools<'a>,
    by_gateways: &'a BTreeSet<IpAddr>,
}

impl Asked<'_> {
    fn of_service(
        &self,
        service: &OurService<'_>,
        standing: &Standing,
        verdicts: &mut Verdicts,
    ) -> Option<Request<Claimant>> {
        // Who wrote the address there would write it again: one Service has one master.
        if standing.foreign.is_some() && !service.classed {
            return None;
        }
        let wish = &service.wish;
        let asker = service::asker(service.resource, self.ground.snapshot);
        let named = wish.pool.as_ref().map(|_| service::named_pool(service, self.pools, verdicts));
        let pools = match named {
            None => self.pools.for_service(&asker),
            Some(place) => {
                let admitted = |place: &usize| self.pools.get(*place).is_some_and(|pool| pool.admits(&asker));
                let places: Vec<usize> = place.into_iter().filter(admitted).collect();
                if let (Some(name), true) = (&wish.pool, place.is_some() && places.is_empty()) {
                    let message = format!(
                        "IPAddressPool {name} is not for this Service: its serviceAllocation says so; name another"
                    );
                    let key = service.resource.key();
                    verdicts.part(Kind::Service, key, "PoolNotAllowed", "metadata.annotations", message);
                }
                places
            }
        };
        let mut exact = wish.exact.clone();
        exact.retain(|address| {
            let stands = standing.places.iter().any(|place| place.address == *address);
            stands || self.may_ask(service, &asker, *address, named.flatten(), verdicts)
        });
        if exact.is_empty() && !wish.exact.is_empty() {
            note_unassigned(service, &wish.exact_field, verdicts);
            return None;
        }
        Some(Request {
            key: Claimant::of(Kind::Service, service.resource.key()),
            families: wish.families.clone(),
            one_will_do: wish.one_will_do,
            exact,
            standing: standing.places.iter().map(|place| place.address).collect(),
            pools,
            tenancy: wish.tenancy.clone(),
        })
    }

    /// Whether a Service may ask for an address by number: a pool must hold it that is for this Service.
    fn may_ask(
        &self,
        service: &OurService<'_>,
        asker: &Asker<'_>,
        address: IpAddr,
        named: Option<usize>,
        verdicts: &mut Verdicts,
    ) -> bool {
        let (key, field) = (service.resource.key(), &service.wish.exact_field);
        let pool = self.pools.holding(address);
        let message = match pool {
            None => format!("{address} is in no IPAddressPool; ask for one that is, or add it to a pool"),
            Some(pool) if !pool.admits(asker) => {
                format!(
                    "{address} is in IPAddressPool {}, which is not for this Service",
                    pool.resource.key()
                )
            }
            Some(pool) if !pool.ipam.offers(address) => {
                format!("{address} is left out of IPAddressPool {} by avoidBuggyIPs", pool.resource.key())
            }
            Some(pool) if named.is_some_and(|named| !self.is_at(pool, named)) => {
                format!("{address} is in IPAddressPool {}, and another is asked for", pool.resource.key())
            }
            Some(_) => match self.owner(address) {
                Some(owner) => format!("{address} {owner}; ask for another"),
                None => return true,
            },
        };
        verdicts.part(Kind::Service, key, "AddressNotAllowed", field.clone(), message);
        false
    }

    fn is_at(&self, pool: &Pool<'_>, place: usize) -> bool {
        self.pools.get(place).is_some_and(|other| other.ipam.name == pool.ipam.name)
    }

    /// Whose an address is that no Service may have.
    fn owner(&self, address: IpAddr) -> Option<&'static str> {
        if self.ground.machines.contains(&address) {
            Some("is a machine's own address")
        } else if self.by_gateways.contains(&address) {
            Some("is named by a Gateway")
        } else if self.ground.reserved.contains(&address) {
            Some("is named by another object for another use")
        } else {
            None
        }
    }

    /// The claim of `externalIPs`: addresses that the user brings traffic for.
    fn external(&self, service: &OurService<'_>, verdicts: &mut Verdicts) -> Option<Request<Claimant>> {
        let key = service.resource.key();
        let asker = service::asker(service.resource, self.ground.snapshot);
        let mut exact = service.external.clone();
        exact.retain(|address| {
            let message = match (self.owner(*address), self.pools.holding(*address)) {
                (Some(owner), _) => format!("{address} {owner}; remove it"),
                (None, Some(pool)) if !pool.admits(&asker) => format!(
                    "{address} is in IPAddressPool {}, which is not for this Service; remove it",
                    pool.resource.key()
                ),
                _ => return true,
            };
            verdicts.part(Kind::Service, key, "AddressNotAllowed", "spec.externalIPs", message);
            false
        });
        let claimant = Claimant { external: true, ..Claimant::of(Kind::Service, key) };
        (!exact.is_empty()).then(|| Request {
            key: claimant,
            families: Vec::new(),
            one_will_do: true,
            exact,
            standing: Vec::new(),
            pools: Vec::new(),
            tenancy: service.wish.tenancy.clone(),
        })
    }
}

/// Gives a Service what was found for it, and says what was not.
fn settle(
    service: &mut OurService<'_>,
    found: Given<Claimant>,
    before: &[ServicePlace],
    pools: &mut Pools<'_>,
    verdicts: &mut Verdicts,
) {
    let key = service.resource.key();
    for address in found.addresses {
        let known = before.iter().find(|place| place.address == address);
        let pool = match (pools.holding(address), known) {
            (Some(pool), _) => Some(pool.resource.key().clone()),
            (None, Some(place)) => {
                if let Some(pool) = &place.pool {
                    note_kept(key, address, pool, verdicts);
                    pools.keep(address, pool.clone());
                }
                place.pool.clone()
            }
            (None, None) => None,
        };
        service.places.push(ServicePlace { address, pool, external: false });
    }
    let field = match service.wish.exact_field.as_str() {
        "" => "spec.type",
        field => field,
    };
    for refusal in &found.refusals {
        let message = match refusal {
            Refusal::Taken(address, Some(other)) => format!(
                "{address} is {}'s; two Services share one if both have the annotation metallb.io/allow-shared-ip with one value, different ports, and externalTrafficPolicy Cluster or the same selector",
                other.object
            ),
            Refusal::Taken(address, None) => format!("{address} is in use otherwise; ask for another"),
            Refusal::Exhausted(family) => {
                format!("no {family} address is free in the pools that may serve it; add addresses to one of them")
            }
            // That it was asked for in vain by name was said before.
            Refusal::NoPool if service.wish.pool.is_some() => continue,
            Refusal::NoPool => {
                "no IPAddressPool gives it an address; create one, or name one by the annotation metallb.io/address-pool".to_owned()
            }
        };
        if service.wish.one_will_do && !service.places.is_empty() {
            verdicts.warn(Kind::Service, key, "AddressNotAssigned", field, message);
        } else {
            verdicts.part(Kind::Service, key, "AddressNotAssigned", field, message);
        }
    }
    if service.places.is_empty() {
        note_unassigned(service, field, verdicts);
    }
}

fn note_kept(key: &Key, address: IpAddr, pool: &Key, verdicts: &mut Verdicts) {
    let message = format!(
        "{address} is no longer in IPAddressPool {}, and stays with the Service all the same",
        pool.name
    );
    verdicts.warn(Kind::Service, key, "PoolChanged", "status.loadBalancer.ingress", message);
}

fn note_unassigned(service: &OurService<'_>, field: &str, verdicts: &mut Verdicts) {
    if service.external.is_empty() {
        let message = "the Service has no address, so nobody reaches it from outside".to_owned();
        verdicts.whole(Kind::Service, service.resource.key(), "AddressNotAssigned", field, message);
    }
}

fn settle_external(
    service: &mut OurService<'_>,
    found: Given<Claimant>,
    own: &Claimant,
    verdicts: &mut Verdicts,
) {
    let place = |address| ServicePlace { address, pool: None, external: true };
    let new = found.addresses.into_iter().map(place);
    service.places.extend(new);
    for refusal in &found.refusals {
        let message = match refusal {
            Refusal::Taken(_, Some(other)) if other == own => continue,
            Refusal::Taken(address, Some(other)) => format!("{address} is {}'s; remove it", other.object),
            Refusal::Taken(address, None) => format!("{address} is in use otherwise; remove it"),
            Refusal::Exhausted(_) | Refusal::NoPool => continue,
        };
        let key = service.resource.key();
        verdicts.part(Kind::Service, key, "AddressNotAllowed", "spec.externalIPs", message);
    }
}

/// The Services that have each address.
fn users(services: &[OurService<'_>]) -> BTreeMap<IpAddr, BTreeSet<Key>> {
    let mut users: BTreeMap<IpAddr, BTreeSet<Key>> = BTreeMap::new();
    for service in services {
        for place in &service.places {
            users.entry(place.address).or_default().insert(service.resource.key().clone());
        }
    }
    users
}
