//! Where Services of type ExternalName lead: to names and addresses outside of Kubernetes, and which addresses are refused
//! to them, because a tenant could have the gateway ask what he could not ask himself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;
use tidegate_objects::Key;
use tidegate_objects::dns::{Answer, DnsName};

/// The Services of type ExternalName that routes use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outside {
    /// Where each leads.
    pub services: BTreeMap<Key, Leads>,
    /// Which addresses are not for them.
    #[serde(skip)]
    pub shunned: Arc<Shunned>,
}

/// Where a Service leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leads {
    /// The name or address.
    pub to: Destination,
    /// The gateway's owner has named it: every address will do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub vouched: bool,
    /// Its addresses that were refused when this was compiled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<IpAddr>,
}

/// What an `externalName` is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Destination {
    /// A name, whose addresses DNS has.
    Name(DnsName),
    /// An address.
    Address(IpAddr),
}

impl Outside {
    /// Whether no Service is one of these.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The names whose addresses are wanted; true: some address of it was refused, so it need not be asked for often.
    pub fn wanted(&self) -> BTreeMap<DnsName, bool> {
        let mut wanted = BTreeMap::new();
        for leads in self.services.values() {
            if let Destination::Name(name) = &leads.to {
                *wanted.entry(name.clone()).or_default() |= !leads.refused.is_empty();
            }
        }
        wanted
    }

    /// The Services that stand for one of these names.
    pub fn of(&self, names: &BTreeSet<DnsName>) -> impl Iterator<Item = &Key> {
        let of = |leads: &Leads| matches!(&leads.to, Destination::Name(name) if names.contains(name));
        self.services.iter().filter(move |(_, leads)| of(leads)).map(|(key, _)| key)
    }
}

impl Leads {
    /// The addresses to which it leads, and those that are refused, each in order.
    pub fn addresses(&self, answer: Option<&Answer>, shunned: &Shunned) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let all = match &self.to {
            Destination::Address(address) => std::slice::from_ref(address),
            Destination::Name(_) => answer.map(Answer::addresses).unwrap_or_default(),
        };
        all.iter().partition(|address| self.vouched || shunned.reason(**address).is_none())
    }
}

/// Addresses to which no Service of type ExternalName leads, unless the gateway's owner has named it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shunned {
    /// This gateway's, and those of gateways beside it.
    pub own: BTreeSet<IpAddr>,
    /// API servers, as the EndpointSlices of the Service default/kubernetes have them.
    pub api_servers: BTreeSet<IpAddr>,
    /// What Services have.
    pub services: BTreeSet<IpAddr>,
    /// Where pods and Services are, as Nodes, ServiceCIDRs and RouteImports say.
    pub clusters: Vec<IpNet>,
}

/// Where clouds tell a machine its secrets, and which are not link-local: Alibaba, Azure, AWS over IPv6.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

impl Shunned {
    /// Why an address is refused, as a part of a sentence ("which is …"); none: it is not.
    pub fn reason(&self, address: IpAddr) -> Option<&'static str> {
        let address = plain(address);
        let is_special = match address {
            IpAddr::V4(v4) => special_v4(v4),
            IpAddr::V6(v6) => special_v6(v6),
        };
        is_special
            .or_else(|| METADATA.contains(&address).then_some("where a cloud tells a machine its secrets"))
            .or_else(|| self.own.contains(&address).then_some("a gateway's own"))
            .or_else(|| self.api_servers.contains(&address).then_some("an API server's"))
            .or_else(|| self.services.contains(&address).then_some("another Service's"))
            .or_else(|| {
                self.clusters
                    .iter()
                    .any(|net| net.contains(&address))
                    .then_some("in the network of a cluster")
            })
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (RFC 4291 section 2.5.5.2), compatible (2.5.5.1), NAT64 (RFC 6052
/// section 2.1), 6to4 (RFC 3056). Others are themselves.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            v4(high, low)
        }
        _ => address,
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("loopback"),
        [169, 254, ..] => Some("link-local"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments()[0] {
        _ if address.is_unspecified() => Some("unspecified"),
        _ if address.is_loopback() => Some("loopback"),
        0xfe80..=0xfebf => Some("link-local"),
        0xff00..=0xffff => Some("multicast"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no Service of a tenant's may lead to is refused in each of its spellings, and what is next to it is not.
    #[test]
    fn who_is_refused() {
        let set = |address: &str| BTreeSet::from([address.parse::<IpAddr>().unwrap()]);
        let shunned = Shunned {
            own: set("192.0.2.1"),
            api_servers: set("fd00::6443"),
            services: set("10.96.0.1"),
            clusters: vec!["10.244.0.0/16".parse().unwrap()],
        };
        for (address, reason) in [
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("::", Some("unspecified")),
            ("127.0.0.1", Some("loopback")),
            ("127.255.0.9", Some("loopback")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::127.0.0.1", Some("loopback")),
            ("64:ff9b::7f00:1", Some("loopback")),
            ("2002:7f00:1::", Some("loopback")),
            ("169.254.169.254", Some("link-local")),
            ("::ffff:169.254.169.254", Some("link-local")),
            ("64:ff9b::a9fe:a9fe", Some("link-local")),
            ("fe80::1", Some("link-local")),
            ("febf::1", Some("link-local")),
            ("224.0.0.18", Some("multicast")),
            ("ff02::1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("100.100.100.200", Some("where a cloud tells a machine its secrets")),
            ("fd00:ec2::254", Some("where a cloud tells a machine its secrets")),
            ("192.0.2.1", Some("a gateway's own")),
            ("::ffff:192.0.2.1", Some("a gateway's own")),
            ("fd00::6443", Some("an API server's")),
            ("10.96.0.1", Some("another Service's")),
            ("64:ff9b::a60:1", Some("another Service's")),
            ("10.244.9.9", Some("in the network of a cluster")),
            ("10.245.0.1", None),
            ("192.0.2.2", None),
            ("169.253.0.1", None),
            ("128.0.0.1", None),
            ("2001:db8::1", None),
            ("fec0::1", None),
            ("64:ff9b::c000:202", None),
        ] {
            assert_eq!(shunned.reason(address.parse().unwrap()), reason, "{address}");
        }
    }
}
