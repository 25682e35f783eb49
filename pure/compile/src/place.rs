//! Where a Gateway listens: what it asks for, an address from a pool, or every local address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use tidegate_ipam::{Assigned, Refusal, Request, allocate};
use tidegate_objects::{Key, Kind};

use crate::gateway::OurGateway;
use crate::pool::{Pools, identity};
use crate::verdicts::Verdicts;
use crate::words::{list, meant};

/// Annotations that name a pool, MetalLB's newer spelling first.
const POOL_ANNOTATIONS: [&str; 2] = ["metallb.io/address-pool", "metallb.universe.tf/address-pool"];

/// An address that a Gateway listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Unspecified: every local address.
    pub address: IpAddr,
    /// It lies in a pool.
    pub from_pool: bool,
}

/// What a Gateway asks for.
enum Wish {
    /// These addresses; empty: what it asked for cannot be had.
    Exact(Vec<IpAddr>),
    /// One from this pool (as `ipam` calls it), or from any that assigns by itself.
    Pool(Option<String>),
    /// Every local address.
    Everywhere,
}

/// Gives every Gateway its places. `reserved` are addresses that other objects name, which no pool gives out;
/// `remembered` is what pools gave before, unless other machines could remember otherwise.
pub(crate) fn assign(
    gateways: &mut [OurGateway<'_>],
    pools: &Pools<'_>,
    reserved: &BTreeSet<Ipv4Addr>,
    remembered: Option<&BTreeMap<Key, Ipv4Addr>>,
    verdicts: &mut Verdicts,
) {
    let wishes: Vec<Wish> = gateways.iter().map(|gateway| wish(gateway, pools, verdicts)).collect();
    let mut taken = reserved.clone();
    taken.extend(wishes.iter().flat_map(exact_v4));
    let requests: Vec<Request<Name>> = gateways
        .iter()
        .zip(&wishes)
        .filter_map(|(gateway, wish)| match wish {
            Wish::Pool(pool) => {
                Some(Request { key: Name(gateway.resource.key().clone()), pool: pool.clone() })
            }
            Wish::Exact(_) | Wish::Everywhere => None,
        })
        .collect();
    let ipam: Vec<_> = pools.iter().map(|pool| pool.ipam.clone()).collect();
    let previous = gateways.iter().zip(&wishes).filter_map(|(gateway, wish)| {
        let key = gateway.resource.key();
        let before = listened_on(gateway, wish, pools).or_else(|| remembered?.get(key).copied())?;
        Some((Name(key.clone()), before))
    });
    let given = allocate(&ipam, &requests, &taken, &previous.collect());
    for (gateway, wish) in gateways.iter_mut().zip(wishes) {
        gateway.places = match wish {
            Wish::Everywhere => vec![Place { address: Ipv4Addr::UNSPECIFIED.into(), from_pool: false }],
            Wish::Exact(addresses) => {
                addresses.into_iter().map(|address| exact_place(address, pools)).collect()
            }
            Wish::Pool(_) => {
                let assigned = given.get(&Name(gateway.resource.key().clone()));
                gateway.given = assigned.and_then(|found| Some(found.as_ref().ok()?.address));
                assigned.map_or(Vec::new(), |assigned| pool_place(gateway, assigned, pools, verdicts))
            }
        };
    }
}

/// The name by which `ipam` finds where to begin: it says nothing of the source, so that a folder and a cluster that
/// hold the same objects agree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name(Key);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The address in its status that a pool it asks for holds.
fn listened_on(gateway: &OurGateway<'_>, wish: &Wish, pools: &Pools<'_>) -> Option<Ipv4Addr> {
    let Wish::Pool(wanted) = wish else { return None };
    let v4 = gateway.resource.spec.listened_on.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    v4.into_iter().find(|address| {
        let pool = pools.holding(*address);
        pool.is_some_and(|pool| wanted.as_ref().is_none_or(|wanted| pool.ipam.name == *wanted))
    })
}

fn exact_v4(wish: &Wish) -> Vec<Ipv4Addr> {
    let Wish::Exact(addresses) = wish else { return Vec::new() };
    let v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    v4.collect()
}

fn exact_place(address: IpAddr, pools: &Pools<'_>) -> Place {
    let from_pool = matches!(address, IpAddr::V4(v4) if pools.holding(v4).is_some());
    Place { address, from_pool }
}

fn pool_place(
    gateway: &OurGateway<'_>,
    assigned: &Result<Assigned, Refusal>,
    pools: &Pools<'_>,
    verdicts: &mut Verdicts,
) -> Vec<Place> {
    let key = gateway.resource.key();
    let message = match assigned {
        Ok(assigned) => return vec![Place { address: assigned.address.into(), from_pool: true }],
        Err(Refusal::Exhausted(asked)) => {
            let by_identity = |name: &&String| pools.iter().find(|pool| pool.ipam.name == **name);
            let names = list(
                asked.iter().filter_map(|name| by_identity(&name)).map(|pool| &pool.resource.key().name),
            );
            format!(
                "every address of the pools {names} is in use; add addresses to one of them, or set spec.addresses"
            )
        }
        // Unknown names were told when the wish was read.
        Err(Refusal::UnknownPool(_) | Refusal::NoPool) => return Vec::new(),
    };
    verdicts.whole(Kind::Gateway, key, "AddressNotAssigned", "spec.addresses", message);
    Vec::new()
}

fn wish(gateway: &OurGateway<'_>, pools: &Pools<'_>, verdicts: &mut Verdicts) -> Wish {
    if gateway.resource.spec.addresses.is_empty() {
        return pool_wish(gateway, pools, verdicts);
    }
    let key = gateway.resource.key();
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut any = false;
    for (index, asked) in gateway.resource.spec.addresses.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        match (asked.address_type.as_str(), asked.value.as_deref().filter(|value| !value.is_empty())) {
            ("IPAddress", None) => any = true,
            ("IPAddress", Some(value)) => match value.parse() {
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) if !is_unicast(address) => {
                    let message = format!("{address} is no address of one machine; the others are served");
                    verdicts.part(Kind::Gateway, key, "AddressNotUsable", field + ".value", message);
                }
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let message = format!("{value:?} is no IP address; write one such as 10.0.50.10");
                    verdicts.part(Kind::Gateway, key, "UnsupportedAddress", field + ".value", message);
                }
            },
            (other, _) => {
                let message = format!("type {other:?} is not served by this version; it serves IPAddress");
                verdicts.part(Kind::Gateway, key, "UnsupportedAddress", field + ".type", message);
            }
        }
    }
    if addresses.is_empty() && any { pool_wish(gateway, pools, verdicts) } else { Wish::Exact(addresses) }
}

/// Whether one machine may have an address: not multicast, not broadcast, not reserved (RFC 1112 section 4, class E).
/// Unspecified means all of this machine.
fn is_unicast(address: IpAddr) -> bool {
    !address.is_multicast() && !matches!(address, IpAddr::V4(v4) if v4.octets()[0] >= 240)
}

fn pool_wish(gateway: &OurGateway<'_>, pools: &Pools<'_>, verdicts: &mut Verdicts) -> Wish {
    let (key, annotations) = (gateway.resource.key(), &gateway.resource.metadata.annotations);
    let named = POOL_ANNOTATIONS.iter().find_map(|name| Some((name, annotations.get(*name)?)));
    let Some((annotation, name)) = named else {
        let automatic = pools.iter().any(|pool| pool.ipam.auto_assign);
        return if automatic { Wish::Pool(None) } else { Wish::Everywhere };
    };
    if let Some(pool) = pools.named(&key.source, name) {
        return Wish::Pool(Some(identity(pool.resource.key())));
    }
    let names = pools.iter().map(|pool| &*pool.resource.key().name);
    let message = format!(
        "no usable IPAddressPool is named {name:?}{}; create it, or correct the annotation",
        meant(name, names)
    );
    verdicts.whole(
        Kind::Gateway,
        key,
        "AddressNotAssigned",
        format!("metadata.annotations[{annotation}]"),
        message,
    );
    Wish::Exact(Vec::new())
}
