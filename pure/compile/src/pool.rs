//! IPAddressPools: their ranges, which pools overlap, and finding one by name.

use std::net::Ipv4Addr;

use tidegate_ipam::{Pool as Ipam, Range, RangeError, parse_range};
use tidegate_objects::metallb::IpAddressPool;
use tidegate_objects::{Key, Kind, LabelSelector, Resource, Snapshot};

use crate::verdicts::Verdicts;
use crate::words::{asks, meant};

/// A pool that may be used. Other objects of its source call it by name.
pub(crate) struct Pool<'a> {
    pub resource: &'a Resource<IpAddressPool>,
    pub ipam: Ipam,
}

/// All usable pools, older first.
pub(crate) struct Pools<'a>(Vec<Pool<'a>>);

impl<'a> Pools<'a> {
    pub fn new(snapshot: &'a Snapshot, verdicts: &mut Verdicts) -> Self {
        let mut resources: Vec<_> = snapshot.ip_address_pools.values().collect();
        resources.sort_by_key(|pool| pool.metadata.precedence());
        let mut pools = Pools(Vec::new());
        for resource in resources {
            let written = ranges(resource, verdicts);
            let ranges: Vec<Range> = written.iter().map(|(_, range)| *range).collect();
            if ranges.is_empty() || pools.refuses(resource, &written, verdicts) {
                continue;
            }
            let restricted = asks(&resource.spec.service_allocation);
            if restricted {
                let consequence = "so the pool gives addresses only to who names it";
                verdicts.not_served(
                    Kind::IPAddressPool,
                    resource.key(),
                    "spec.serviceAllocation",
                    consequence,
                );
            }
            let ipam = Ipam {
                name: identity(resource.key()),
                ranges,
                auto_assign: resource.spec.auto_assign && !restricted,
                avoid_buggy_ips: resource.spec.avoid_buggy_ips,
            };
            pools.0.push(Pool { resource, ipam });
        }
        pools
    }

    /// Overlaps an older pool, or has the name of one.
    fn refuses(
        &self,
        resource: &Resource<IpAddressPool>,
        ranges: &[(usize, Range)],
        verdicts: &mut Verdicts,
    ) -> bool {
        let key = resource.key();
        if let Some(other) = self.named(&key.source, &key.name) {
            let message = format!(
                "IPAddressPool {} has this name already, and pools are called by name alone; rename one",
                other.resource.key()
            );
            verdicts.whole(Kind::IPAddressPool, key, "DuplicateName", "metadata.name", message);
            return true;
        }
        for other in &self.0 {
            let common = |range: &Range| other.ipam.ranges.iter().find_map(|theirs| theirs.intersect(range));
            if let Some((index, common)) =
                ranges.iter().find_map(|(index, range)| Some((index, common(range)?)))
            {
                let message = format!(
                    "{common} is in IPAddressPool {} too; take it out of one of them",
                    other.resource.key()
                );
                verdicts.whole(
                    Kind::IPAddressPool,
                    key,
                    "Overlaps",
                    format!("spec.addresses[{index}]"),
                    message,
                );
                return true;
            }
        }
        false
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pool<'a>> {
        self.0.iter()
    }

    /// The pool of that source with this name.
    pub fn named(&self, source: &str, name: &str) -> Option<&Pool<'a>> {
        self.0
            .iter()
            .find(|pool| &*pool.resource.key().source == source && &*pool.resource.key().name == name)
    }

    /// The pool that holds an address.
    pub fn holding(&self, address: Ipv4Addr) -> Option<&Pool<'a>> {
        self.0.iter().find(|pool| pool.ipam.contains(address))
    }

    /// The pools of a source that are named or selected, and a note where a name fits none.
    pub fn chosen(&self, asked: Asked<'_>, verdicts: &mut Verdicts) -> Vec<&Pool<'a>> {
        let source = &asked.key.source;
        for (index, name) in asked.names.iter().enumerate() {
            if self.named(source, name).is_none() {
                let names = self.0.iter().map(|pool| &*pool.resource.key().name);
                let message = format!(
                    "no usable IPAddressPool is named {name:?}{}; create it, or correct the name",
                    meant(name, names)
                );
                verdicts.part(
                    asked.kind,
                    asked.key,
                    "PoolNotFound",
                    format!("spec.ipAddressPools[{index}]"),
                    message,
                );
            }
        }
        let of_source = self.0.iter().filter(|pool| pool.resource.key().source == *source);
        let chosen = of_source.filter(|pool| {
            asked.names.iter().any(|name| **name == *pool.resource.key().name)
                || asked
                    .selectors
                    .iter()
                    .any(|selector| selector.selects_labels(&pool.resource.metadata.labels))
        });
        chosen.collect()
    }
}

/// Who asks for pools, and how.
pub(crate) struct Asked<'a> {
    pub kind: Kind,
    pub key: &'a Key,
    pub names: &'a [String],
    pub selectors: &'a [LabelSelector],
}

/// Unique over sources; what `ipam` calls a pool.
pub(crate) fn identity(key: &Key) -> String {
    format!("{}/{}", key.source, key.name)
}

/// The sound ranges, each with its place in the list.
fn ranges(resource: &Resource<IpAddressPool>, verdicts: &mut Verdicts) -> Vec<(usize, Range)> {
    let key = resource.key();
    let mut ranges: Vec<(usize, Range)> = Vec::new();
    for (index, text) in resource.spec.addresses.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        match parse_range(text) {
            Ok(range) => ranges.push((index, range)),
            Err(RangeError::Ipv6) => {
                let message = format!("{text} is left out: this version gives out IPv4 addresses only");
                verdicts.part(Kind::IPAddressPool, key, "UnsupportedValue", field, message);
            }
            Err(error) => {
                let message = match error {
                    RangeError::Backwards => {
                        format!("{text:?} begins above its end; write the lower address first")
                    }
                    RangeError::Families => format!("{text:?} begins and ends in different families"),
                    _ => format!(
                        "{text:?} is neither a CIDR such as 10.0.50.0/24 nor a range such as 10.0.50.10-10.0.50.19"
                    ),
                };
                verdicts.part(Kind::IPAddressPool, key, "InvalidAddress", field, message);
            }
        }
    }
    if ranges.is_empty() {
        let message = "the pool has no IPv4 address to give".to_owned();
        verdicts.whole(Kind::IPAddressPool, key, "Empty", "spec.addresses", message);
    }
    for (place, (index, range)) in ranges.iter().enumerate() {
        if let Some(common) = ranges[..place].iter().find_map(|(_, other)| other.intersect(range)) {
            let message = format!("{common} is listed twice; it counts once");
            verdicts.warn(Kind::IPAddressPool, key, "Overlaps", format!("spec.addresses[{index}]"), message);
        }
    }
    ranges
}
