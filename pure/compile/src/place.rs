//! Where a Gateway listens: what it asks for, an address from a pool, or every local address.

use std::net::{IpAddr, Ipv4Addr};

use crate::gateway::OurGateway;
use crate::pool::{Pool, Pools};
use crate::verdicts::Verdicts;
use crate::words::{list, meant};

/// Annotations that name a pool, MetalLB's newer spelling first.
pub(crate) const POOL_ANNOTATIONS: [&str; 2] =
    ["metallb.io/address-pool", "metallb.universe.tf/address-pool"];

/// An address that a Gateway listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Unspecified: every local address.
    pub address: IpAddr,
    /// It lies in a pool.
    pub from_pool: bool,
}

/// What a Gateway asks for.
pub(crate) enum Wish {
    /// These addresses; empty: what it asked for cannot be had.
    Exact(Vec<IpAddr>),
    /// An IPv4 address from one of the pools at these places, the first that has one.
    Pool(Vec<usize>),
    /// Every local address.
    Everywhere,
}

/// What each Gateway asks for, in their order.
pub(crate) fn wishes(gateways: &[OurGateway<'_>], pools: &Pools<'_>, verdicts: &mut Verdicts) -> Vec<Wish> {
    gateways.iter().map(|gateway| wish(gateway, pools, verdicts)).collect()
}

/// Gives a Gateway its places: what it wished for, or what a pool gave.
pub(crate) fn settle(
    gateway: &mut OurGateway<'_>,
    wish: &Wish,
    given: Option<IpAddr>,
    pools: &Pools<'_>,
    verdicts: &mut Verdicts,
) {
    gateway.places = match wish {
        Wish::Everywhere => vec![Place { address: Ipv4Addr::UNSPECIFIED.into(), from_pool: false }],
        Wish::Exact(addresses) => addresses.iter().map(|address| exact_place(*address, pools)).collect(),
        Wish::Pool(asked) => match given {
            Some(address) => vec![Place { address, from_pool: true }],
            None => {
                note_exhausted(gateway, asked, pools, verdicts);
                Vec::new()
            }
        },
    };
    gateway.given = given;
}

/// The address in its status that a pool it asks for holds.
pub(crate) fn listened_on(gateway: &OurGateway<'_>, asked: &[usize], pools: &Pools<'_>) -> Option<IpAddr> {
    let v4 = gateway.resource.spec.listened_on.iter().copied().filter(IpAddr::is_ipv4);
    let offered = |address: &IpAddr| {
        asked.iter().filter_map(|place| pools.get(*place)).any(|pool| pool.ipam.offers(*address))
    };
    v4.into_iter().find(offered)
}

fn exact_place(address: IpAddr, pools: &Pools<'_>) -> Place {
    let from_pool = address.is_ipv4() && pools.holding(address).is_some();
    Place { address, from_pool }
}

fn note_exhausted(gateway: &OurGateway<'_>, asked: &[usize], pools: &Pools<'_>, verdicts: &mut Verdicts) {
    let names =
        list(asked.iter().filter_map(|place| pools.get(*place)).map(|pool| &pool.resource.key().name));
    let message = format!(
        "every address of the pools {names} is in use; add addresses to one of them, or set spec.addresses"
    );
    let (kind, key) = gateway.owner();
    verdicts.whole(kind, key, "AddressNotAssigned", "spec.addresses", message);
}

fn wish(gateway: &OurGateway<'_>, pools: &Pools<'_>, verdicts: &mut Verdicts) -> Wish {
    if gateway.resource.spec.addresses.is_empty() {
        return pool_wish(gateway, pools, verdicts);
    }
    let (kind, key) = gateway.owner();
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
                    verdicts.part(kind, key, "AddressNotUsable", field + ".value", message);
                }
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let message = format!("{value:?} is no IP address; write one such as 10.0.50.10");
                    verdicts.part(kind, key, "UnsupportedAddress", field + ".value", message);
                }
            },
            (other, _) => {
                let message = format!("type {other:?} is not served by this version; it serves IPAddress");
                verdicts.part(kind, key, "UnsupportedAddress", field + ".type", message);
            }
        }
    }
    if addresses.is_empty() && any { pool_wish(gateway, pools, verdicts) } else { Wish::Exact(addresses) }
}

/// Whether one machine may have an address: not multicast, not broadcast, not reserved (RFC 1112 section 4, class E).
/// Unspecified means all of this machine.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    !address.is_multicast() && !matches!(address, IpAddr::V4(v4) if v4.octets()[0] >= 240)
}

fn pool_wish(gateway: &OurGateway<'_>, pools: &Pools<'_>, verdicts: &mut Verdicts) -> Wish {
    let ((kind, key), annotations) = (gateway.owner(), &gateway.resource.metadata.annotations);
    let named = POOL_ANNOTATIONS.iter().find_map(|name| Some((name, annotations.get(*name)?)));
    let Some((annotation, name)) = named else {
        let automatic = pools.places(Pool::serves_any_gateway);
        return if automatic.is_empty() { Wish::Everywhere } else { Wish::Pool(automatic) };
    };
    if pools.named(&key.source, name).is_some() {
        let is_meant =
            |pool: &Pool<'_>| pool.resource.key().source == key.source && *pool.resource.key().name == **name;
        return Wish::Pool(pools.places(is_meant));
    }
    let names = pools.iter().map(|pool| &*pool.resource.key().name);
    let message = format!(
        "no usable IPAddressPool is named {name:?}{}; create it, or correct the annotation",
        meant(name, names)
    );
    verdicts.whole(kind, key, "AddressNotAssigned", format!("metadata.annotations[{annotation}]"), message);
    Wish::Exact(Vec::new())
}
