//! What features contribute to the table: the contents of its sets and maps, first as nouns, then as bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::nft::ranges::{Range, flatten};
use crate::nft::skeleton as set;

/// Names a class: a set of egress policies that selects the same pods. Chosen by the caller; it never reaches the kernel.
pub type ClassId = u32;

/// How the pods of a class leave towards a destination. The longest prefix decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Egress {
    /// With this source address.
    To(Ipv4Addr),
    /// Not at all.
    Drop,
    /// As it is: an excluded destination inside a wider prefix.
    Untouched,
}

/// The contents of the table. Plain fields; all empty means a table that lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Addresses on `lo` that sockets serve: what finds no socket is dropped silently.
    pub local_addresses: BTreeSet<Ipv4Addr>,
    /// Addresses on no interface (egress addresses): what is still addressed to one after translation is dropped.
    pub forwarded_addresses: BTreeSet<Ipv4Addr>,
    /// Where pods get their addresses from. Packets from here need an entry in `pods`.
    pub pod_ranges: BTreeSet<Ipv4Net>,
    /// Pods that are known, selected by a policy or not.
    pub pods: BTreeSet<Ipv4Addr>,
    /// The class of each selected pod.
    pub pod_class: BTreeMap<Ipv4Addr, ClassId>,
    /// Per class and destination, how to leave. A destination without an entry is `Untouched`.
    pub egress: BTreeMap<(ClassId, Ipv4Net), Egress>,
    /// Endpoints that are spoken to from the client's own address: their answers to such a socket are delivered here.
    pub transparent_endpoints: BTreeSet<IpAddr>,
}

/// One element, or one range, of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The key, or the first key of a range, in packet byte order.
    pub first: Vec<u8>,
    /// The last key of a range, included; the key itself otherwise.
    pub last: Vec<u8>,
    /// The value in a map, as the kernel holds it; empty in a set.
    pub value: Vec<u8>,
}

/// Elements by name of their set.
pub type Elements = BTreeMap<&'static str, BTreeSet<Element>>;

impl Filter {
    /// The elements of every set and map of the skeleton; a set without any is present and empty.
    pub fn elements(&self) -> Elements {
        let (egress_to, egress_drop) = self.egress_elements();
        BTreeMap::from([
            (set::LOCAL_ADDRESSES, addresses(&self.local_addresses)),
            (set::FORWARDED_ADDRESSES, addresses(&self.forwarded_addresses)),
            (set::POD_RANGES, self.pod_range_elements()),
            (set::PODS, addresses(&self.pods)),
            (set::EGRESS_PODS, addresses(self.pod_class.keys())),
            (set::EGRESS_TO, egress_to),
            (set::EGRESS_DROP, egress_drop),
            (set::TRANSPARENT_ENDPOINTS, self.endpoints(true)),
            (set::TRANSPARENT_ENDPOINTS6, self.endpoints(false)),
        ])
    }

    fn endpoints(&self, v4: bool) -> BTreeSet<Element> {
        let of_family = self.transparent_endpoints.iter().filter(|address| address.is_ipv4() == v4);
        of_family
            .map(|address| {
                let key = match address {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                Element { first: key.clone(), last: key, value: Vec::new() }
            })
            .collect()
    }

    fn pod_range_elements(&self) -> BTreeSet<Element> {
        let prefixes = self.pod_ranges.iter().map(|net| (net.trunc(), ())).collect();
        flatten(&prefixes)
            .into_iter()
            .map(|(range, ())| Element {
                first: range.first.octets().to_vec(),
                last: range.last.octets().to_vec(),
                value: Vec::new(),
            })
            .collect()
    }

    /// For every class its pods times its destinations, both as ranges: pods beside each other share elements.
    fn egress_elements(&self) -> (BTreeSet<Element>, BTreeSet<Element>) {
        let pods: BTreeMap<Ipv4Net, ClassId> =
            self.pod_class.iter().map(|(pod, class)| (Ipv4Net::from(*pod), *class)).collect();
        let mut by_class: BTreeMap<ClassId, BTreeMap<Ipv4Net, Egress>> = BTreeMap::new();
        for ((class, net), egress) in &self.egress {
            by_class.entry(*class).or_default().insert(net.trunc(), *egress);
        }
        let destinations: BTreeMap<ClassId, Vec<(Range, Egress)>> =
            by_class.iter().map(|(class, prefixes)| (*class, flatten(prefixes))).collect();
        let (mut to, mut drop) = (BTreeSet::new(), BTreeSet::new());
        for (pods, class) in flatten(&pods) {
            for (destination, egress) in destinations.get(&class).into_iter().flatten() {
                match egress {
                    Egress::To(address) => {
                        to.insert(pods_and_range(pods, *destination, address.octets().to_vec()));
                    }
                    Egress::Drop => {
                        drop.insert(pods_and_range(pods, *destination, Vec::new()));
                    }
                    Egress::Untouched => {}
                }
            }
        }
        (to, drop)
    }
}

fn addresses<'a>(of: impl IntoIterator<Item = &'a Ipv4Addr>) -> BTreeSet<Element> {
    of.into_iter()
        .map(|address| {
            let key = address.octets().to_vec();
            Element { first: key.clone(), last: key, value: Vec::new() }
        })
        .collect()
}

fn pods_and_range(pods: Range, destination: Range, value: Vec<u8>) -> Element {
    let key = |pod: Ipv4Addr, to: Ipv4Addr| [pod.octets(), to.octets()].concat();
    Element { first: key(pods.first, destination.first), last: key(pods.last, destination.last), value }
}
