//! IPAddressPools: their ranges, which overlap with what, who may have their addresses, and which pool an address is of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_ipam::{Family, Pool as Ipam, Range, RangeError, parse_range};
use tidegate_objects::metallb::{IpAddressPool, ServiceAllocation};
use tidegate_objects::{Key, Kind, LabelSelector, Resource, Snapshot};

use crate::verdicts::Verdicts;
use crate::words::{list, meant};

/// A RouteImport's prefix as short as this says where routes come from, not where pods are.
pub(crate) const POD_PREFIX_MIN: u8 = 8;

/// How many Services that stand in a pool's way are named.
const NAMED_MAX: usize = 5;

/// A pool that may be used. Other objects of its source call it by name.
pub(crate) struct Pool<'a> {
    pub resource: &'a Resource<IpAddressPool>,
    pub ipam: Ipam,
}

impl Pool<'_> {
    /// Who may have its addresses without naming it, where not everybody may.
    fn allocation(&self) -> Option<&ServiceAllocation> {
        self.resource.spec.service_allocation.as_ref()
    }

    /// Whether it gives addresses to Gateways that do not name it.
    pub fn serves_any_gateway(&self) -> bool {
        self.resource.spec.auto_assign && self.allocation().is_none() && self.ipam.has(Family::V4)
    }

    /// Whether it may give addresses to this Service, named or not.
    pub fn admits(&self, asker: &Asker<'_>) -> bool {
        let Some(allocation) = self.allocation() else { return true };
        let anywhere = allocation.namespaces.is_empty() && allocation.namespace_selectors.is_empty();
        let here = anywhere
            || allocation.namespaces.iter().any(|name| **name == *asker.key.namespace)
            || allocation
                .namespace_selectors
                .iter()
                .any(|selector| asker.namespace_labels.is_some_and(|labels| selector.selects_labels(labels)));
        let selectors = &allocation.service_selectors;
        here && (selectors.is_empty()
            || selectors.iter().any(|selector| selector.selects_labels(asker.labels)))
    }
}

/// A Service that needs addresses.
pub(crate) struct Asker<'a> {
    pub key: &'a Key,
    pub labels: &'a BTreeMap<String, String>,
    /// Labels of its namespace; none: not known.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
}

/// All usable pools, older first.
pub(crate) struct Pools<'a> {
    all: Vec<Pool<'a>>,
    /// Addresses that Services keep although their pool has changed or is gone, and that pool.
    kept: BTreeMap<IpAddr, Key>,
    /// Those that are refused included, older first.
    written: Vec<&'a Resource<IpAddressPool>>,
}

impl<'a> Pools<'a> {
    pub fn new(snapshot: &'a Snapshot, verdicts: &mut Verdicts) -> Self {
        let mut resources: Vec<&'a Resource<IpAddressPool>> =
            snapshot.ip_address_pools.values().map(AsRef::as_ref).collect();
        resources.sort_by_key(|pool| pool.metadata.precedence());
        let mut pools = Pools { all: Vec::new(), kept: BTreeMap::new(), written: resources.clone() };
        for resource in resources {
            let written = ranges(resource, verdicts);
            let ranges: Vec<Range> = written.iter().map(|(_, range)| *range).collect();
            if ranges.is_empty()
                || pools.refuses(resource, &written, verdicts)
                || overlaps_cluster(resource, &written, snapshot, verdicts)
            {
                continue;
            }
            let ipam = Ipam {
                name: identity(resource.key()),
                ranges,
                avoid_buggy_ips: resource.spec.avoid_buggy_ips,
            };
            pools.all.push(Pool { resource, ipam });
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
        for other in &self.all {
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
        self.all.iter()
    }

    /// The pool at this place.
    pub fn get(&self, place: usize) -> Option<&Pool<'a>> {
        self.all.get(place)
    }

    /// Places of the pools that pass, sorted by name.
    pub fn places(&self, passes: impl Fn(&Pool<'a>) -> bool) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.all.len()).filter(|place| passes(&self.all[*place])).collect();
        places.sort_by(|a, b| self.all[*a].ipam.name.cmp(&self.all[*b].ipam.name));
        places
    }

    /// Places of the pools that a Service may be given addresses from without naming one: those that are for it, by
    /// priority, then those that are for all.
    pub fn for_service(&self, asker: &Asker<'_>) -> Vec<usize> {
        let mut places = self.places(|pool| pool.resource.spec.auto_assign && pool.admits(asker));
        let rank = |place: &usize| match self.all[*place].allocation() {
            Some(allocation) => (0, allocation.priority == 0, allocation.priority),
            None => (1, false, 0),
        };
        places.sort_by_key(rank);
        places
    }

    /// The pool of that source with this name.
    pub fn named(&self, source: &str, name: &str) -> Option<&Pool<'a>> {
        self.all
            .iter()
            .find(|pool| &*pool.resource.key().source == source && &*pool.resource.key().name == name)
    }

    /// The pool that holds an address.
    pub fn holding(&self, address: IpAddr) -> Option<&Pool<'a>> {
        self.all.iter().find(|pool| pool.ipam.contains(address))
    }

    /// The pool that an address is of, whether it still holds it or not.
    pub fn origin(&self, address: IpAddr) -> Option<&Key> {
        self.kept.get(&address).or_else(|| Some(self.holding(address)?.resource.key()))
    }

    /// The key of the pool of that source with this name, whether it is usable or there at all.
    pub fn key(&self, source: &Arc<str>, name: &str) -> Key {
        let keys = self.written.iter().map(|pool| pool.key());
        let known = keys.into_iter().find(|key| key.source == *source && *key.name == *name);
        known.cloned().unwrap_or_else(|| Key {
            source: source.clone(),
            namespace: "".into(),
            name: name.into(),
        })
    }

    /// Notes an address that stays with a Service although its pool does not hold it any more.
    pub fn keep(&mut self, address: IpAddr, pool: Key) {
        self.kept.insert(address, pool);
    }

    /// Tells every pool that gave addresses it does not hold any more which Services stand in its way.
    pub fn note_kept(&self, users: &BTreeMap<IpAddr, BTreeSet<Key>>, verdicts: &mut Verdicts) {
        let mut by_pool: BTreeMap<&Key, Vec<String>> = BTreeMap::new();
        for (address, pool) in &self.kept {
            let users = list(users.get(address).into_iter().flatten());
            by_pool.entry(pool).or_default().push(format!("{address} (Service {users})"));
        }
        for (pool, kept) in by_pool {
            let more = kept.len().saturating_sub(NAMED_MAX);
            let named = list(kept.iter().take(NAMED_MAX));
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!(
                "the change is not carried out for {named}{more}: no Service loses an address by a change of its pool; delete them, or give them another address, or add it to the pool again"
            );
            verdicts.part(Kind::IPAddressPool, pool, "InUse", "spec.addresses", message);
        }
    }

    /// The pools of a source that are named or selected, and a note where a name fits none.
    pub fn chosen(&self, asked: Asked<'_>, verdicts: &mut Verdicts) -> Chosen<'_> {
        let source = &asked.key.source;
        let is_kept =
            |name: &str| self.kept.values().any(|pool| pool.source == *source && *pool.name == *name);
        for (index, name) in asked.names.iter().enumerate() {
            if self.named(source, name).is_none() {
                let names = self.all.iter().map(|pool| &*pool.resource.key().name);
                let rest = if is_kept(name) { "; what is in use of it is announced" } else { "" };
                let message = format!(
                    "no usable IPAddressPool is named {name:?}{}; create it, or correct the name{rest}",
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
        let of_source = self.all.iter().filter(|pool| pool.resource.key().source == *source);
        let chosen = of_source.filter(|pool| {
            asked.names.iter().any(|name| **name == *pool.resource.key().name)
                || asked
                    .selectors
                    .iter()
                    .any(|selector| selector.selects_labels(&pool.resource.metadata.labels))
        });
        let named = asked.names.iter().map(|name| Arc::from(name.as_str()));
        let names = named.chain(chosen.map(|pool| Arc::clone(&pool.resource.key().name))).collect();
        Chosen { pools: self, source: Arc::clone(source), names: Some(names) }
    }

    /// Every pool of a source.
    pub fn of_source(&self, source: &Arc<str>) -> Chosen<'_> {
        Chosen { pools: self, source: Arc::clone(source), names: None }
    }
}

/// Who asks for pools, and how.
pub(crate) struct Asked<'a> {
    pub kind: Kind,
    pub key: &'a Key,
    pub names: &'a [String],
    pub selectors: &'a [LabelSelector],
}

/// Pools of one source, those that are gone included as far as Services have addresses of them.
pub(crate) struct Chosen<'p> {
    pools: &'p Pools<'p>,
    source: Arc<str>,
    /// None: all.
    names: Option<BTreeSet<Arc<str>>>,
}

impl<'p> Chosen<'p> {
    /// Whether an address is of one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        self.pools.origin(address).is_some_and(|pool| {
            pool.source == self.source && self.names.as_ref().is_none_or(|names| names.contains(&pool.name))
        })
    }

    /// The pool that holds an address of theirs; none: it is kept from one that has changed.
    pub fn holding(&self, address: IpAddr) -> Option<&'p Pool<'p>> {
        self.pools.holding(address).filter(|_| self.has(address))
    }
}

/// Unique over sources; what `ipam` calls a pool.
pub(crate) fn identity(key: &Key) -> String {
    format!("{}/{}", key.source, key.name)
}

/// Whether a pool reaches into where Services and pods of its cluster are, as far as objects tell.
fn overlaps_cluster(
    resource: &Resource<IpAddressPool>,
    ranges: &[(usize, Range)],
    snapshot: &Snapshot,
    verdicts: &mut Verdicts,
) -> bool {
    let key = resource.key();
    let mut refuse = |index: usize, what: String| {
        let field = format!("spec.addresses[{index}]");
        let message = format!("{what}; a pool must lie outside of the ranges of Services and pods");
        verdicts.whole(Kind::IPAddressPool, key, "Overlaps", field, message);
        true
    };
    let services = snapshot.services.iter().filter(|(service, _)| service.source == key.source);
    for (service, object) in services {
        for address in &object.spec.cluster_ips {
            if let Some((index, _)) = ranges.iter().find(|(_, range)| range.contains(*address)) {
                return refuse(*index, format!("{address} is the cluster IP of Service {service}"));
            }
        }
    }
    let nodes = snapshot.nodes.iter().filter(|(node, _)| node.source == key.source);
    let pods = nodes.flat_map(|(node, object)| object.spec.pod_cidrs.iter().map(move |cidr| (*cidr, node)));
    let services = snapshot.service_cidrs.iter().filter(|(cidr, _)| cidr.source == key.source);
    let services =
        services.flat_map(|(name, object)| object.spec.cidrs.iter().map(move |cidr| (*cidr, name)));
    let pods = pods.map(|(cidr, node)| (cidr, format!("the pods of Node {} are", node.name)));
    let services =
        services.map(|(cidr, name)| (cidr, format!("ServiceCIDR {} says Services are", name.name)));
    for (cidr, whose) in services.chain(pods) {
        let taken = Range::of(cidr);
        let common = ranges.iter().find_map(|(index, range)| Some((*index, range.intersect(&taken)?)));
        if let Some((index, common)) = common {
            return refuse(index, format!("{common} is in {cidr}, where {whose}"));
        }
    }
    let imports = snapshot.route_imports.iter().filter(|(import, _)| import.source == key.source);
    for (import, object) in imports {
        for prefix in object.spec.prefixes.iter().map(|prefix| prefix.cidr) {
            let pods = Range::of(prefix);
            let common = ranges.iter().find_map(|(index, range)| Some((*index, range.intersect(&pods)?)));
            if let Some((index, common)) = common.filter(|_| prefix.prefix_len() >= POD_PREFIX_MIN) {
                return refuse(
                    index,
                    format!("{common} is in {prefix}, where RouteImport {import} says pods are"),
                );
            }
        }
    }
    false
}

/// The sound ranges, each with its place in the list.
fn ranges(resource: &Resource<IpAddressPool>, verdicts: &mut Verdicts) -> Vec<(usize, Range)> {
    let key = resource.key();
    let mut ranges: Vec<(usize, Range)> = Vec::new();
    for (index, text) in resource.spec.addresses.iter().enumerate() {
        match parse_range(text) {
            Ok(range) => ranges.push((index, range)),
            Err(error) => {
                let message = match error {
                    RangeError::Backwards => {
                        format!("{text:?} begins above its end; write the lower address first")
                    }
                    RangeError::Families => format!("{text:?} begins and ends in different families"),
                    RangeError::Syntax => format!(
                        "{text:?} is neither a CIDR such as 10.0.50.0/24 nor a range such as 10.0.50.10-10.0.50.19"
                    ),
                };
                let field = format!("spec.addresses[{index}]");
                verdicts.part(Kind::IPAddressPool, key, "InvalidAddress", field, message);
            }
        }
    }
    if ranges.is_empty() {
        let message = "the pool has no address to give".to_owned();
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
