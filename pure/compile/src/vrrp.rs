//! VRRPAdvertisements, read: which addresses each claims, and which gateways compete for them.
//!
//! Everything that gateways must agree on (who moves what, ids, priorities) follows from objects alone; only the
//! interfaces are this machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::Machine;
use tidegate_model::speaker::Group;
use tidegate_objects::ours::{MacMode, VrrpAdvertisement};
use tidegate_objects::{Key, Kind, ObjectRef, Resource, Snapshot};
use tidegate_vrrp::AdvertInterval;

use crate::duration;
use crate::election::elections;
use crate::leg::place;
use crate::node::Gateways;
use crate::pool::{Asked, Pools};
use crate::verdicts::{Verdicts, object};
use crate::words::{asks, list};

pub(crate) const KIND: Kind = Kind::VRRPAdvertisement;

/// What elections are compiled from.
pub(crate) struct Input<'a> {
    pub snapshot: &'a Snapshot,
    pub machine: &'a Machine,
    pub gateways: &'a Gateways,
    pub pools: &'a Pools<'a>,
    /// Addresses that something serves or leaves with.
    pub in_use: &'a BTreeSet<Ipv4Addr>,
}

/// What VRRP moves.
#[derive(Default)]
pub(crate) struct Moved {
    /// The elections of this machine.
    pub groups: BTreeMap<String, Group>,
    /// Every address that some gateway may come to hold by election.
    pub by_address: BTreeMap<Ipv4Addr, Mover>,
}

/// What moves an address.
pub(crate) struct Mover {
    pub advertisement: ObjectRef,
    /// Addresses of the same election move together.
    pub election: String,
    /// The gateways that compete for it.
    pub eligible: BTreeSet<String>,
    /// Named by the advertisement itself, not found in a pool.
    pub fixed: bool,
    /// The group of this machine that moves it; none where this machine does not compete.
    pub group: Option<String>,
}

/// An advertisement, read.
pub(crate) struct Advertisement<'a> {
    pub resource: &'a Resource<VrrpAdvertisement>,
    /// Its name, unique over sources.
    pub label: String,
    /// Its source, if an older advertisement of another one has the same name.
    pub source: Option<Arc<str>>,
    pub interval: Duration,
    pub preempt_delay: Duration,
    /// Sorted by name.
    pub eligible: Vec<String>,
    /// Sorted; true: fixed.
    pub addresses: BTreeMap<Ipv4Addr, bool>,
}

/// Compiles all of them.
pub(crate) fn compile(input: &Input<'_>, verdicts: &mut Verdicts) -> Moved {
    let advertisements = read(input, verdicts);
    let mut moved = Moved::default();
    for election in elections(&advertisements, verdicts) {
        for address in &election.addresses {
            let advertisement = advertisements.iter().find(|adv| adv.addresses.contains_key(address));
            let Some(advertisement) = advertisement else { continue };
            let mover = Mover {
                advertisement: object(KIND, advertisement.resource.key()),
                election: election.name.to_string(),
                eligible: election.leader.eligible.iter().cloned().collect(),
                fixed: advertisement.addresses.get(address).copied().unwrap_or_default(),
                group: None,
            };
            moved.by_address.insert(*address, mover);
        }
        place(input, &advertisements, &election, &mut moved, verdicts);
    }
    moved
}

/// Reads every advertisement, older first in the claim for addresses, and returns them sorted by name.
fn read<'a>(input: &Input<'a>, verdicts: &mut Verdicts) -> Vec<Advertisement<'a>> {
    let mut resources: Vec<_> = input.snapshot.vrrp_advertisements.values().collect();
    resources.sort_by_key(|adv| adv.metadata.precedence());
    let mut claimed: BTreeMap<Ipv4Addr, Key> = BTreeMap::new();
    let mut advertisements: Vec<Advertisement<'_>> = Vec::new();
    for resource in resources {
        let mut reader = Reader { input, resource, verdicts };
        let Some((interval, preempt_delay, eligible)) = reader.settings() else { continue };
        reader.note_unserved();
        reader.note_priorities(&eligible);
        let addresses = reader.addresses(&mut claimed);
        let name = resource.key().name.to_string();
        let taken = advertisements.iter().any(|other| other.label == name);
        let source = taken.then(|| resource.key().source.clone());
        let label = source.as_ref().map_or(name.clone(), |source| format!("{source}/{name}"));
        let adv = Advertisement { resource, label, source, interval, preempt_delay, eligible, addresses };
        advertisements.push(adv);
    }
    advertisements.sort_by(|a, b| a.label.cmp(&b.label));
    advertisements
}

struct Reader<'a, 'b> {
    input: &'b Input<'a>,
    resource: &'a Resource<VrrpAdvertisement>,
    verdicts: &'b mut Verdicts,
}

impl Reader<'_, '_> {
    fn whole(&mut self, reason: &'static str, field: &str, message: String) {
        self.verdicts.whole(KIND, self.resource.key(), reason, field, message);
    }

    fn part(&mut self, reason: &'static str, field: &str, message: String) {
        self.verdicts.part(KIND, self.resource.key(), reason, field, message);
    }

    /// Interval, delay and eligible gateways; none when there can be no election.
    fn settings(&mut self) -> Option<(Duration, Duration, Vec<String>)> {
        let spec = &self.resource.spec;
        let interval = duration::parse(&spec.advertisement_interval)
            .filter(|interval| *interval <= Duration::from_secs(40))
            .filter(|interval| AdvertInterval::from_duration(*interval).is_some());
        if interval.is_none() {
            let message = format!(
                "{:?} is no advertisement interval; write a multiple of 10ms from 10ms to 40s, such as 100ms",
                spec.advertisement_interval
            );
            self.whole("InvalidValue", "spec.advertisementInterval", message);
        }
        let delay = duration::parse(&spec.preempt_delay);
        if delay.is_none() {
            let message = format!("{:?} is no duration; write one such as 30s", spec.preempt_delay);
            self.whole("InvalidValue", "spec.preemptDelay", message);
        }
        if spec.version != 3 {
            let message = format!(
                "version {} is not served by this version of Tidegate; it speaks VRRP version 3",
                spec.version
            );
            self.whole("UnsupportedValue", "spec.version", message);
        }
        if spec.virtual_router_id == Some(0) {
            self.whole(
                "InvalidValue",
                "spec.virtualRouterID",
                "0 is no virtual router id; they are 1 to 255".into(),
            );
        }
        let named = is_group_name(&spec.sync_group);
        if !named {
            let message = format!(
                "{:?} is no name of a group; one has up to 63 letters, digits, '-', '_' and '.'",
                spec.sync_group
            );
            self.whole("InvalidValue", "spec.syncGroup", message);
        }
        let eligible: Vec<String> = self
            .input
            .gateways
            .announcers(&spec.node_selectors)
            .into_iter()
            .map(|node| node.name.clone())
            .collect();
        if eligible.is_empty() {
            let message = format!(
                "no GatewayNode is selected, so nobody may hold these addresses; there are {}",
                self.input.gateways.names()
            );
            self.whole("NoMatchingGateway", "spec.nodeSelectors", message);
        }
        let sound = spec.version == 3 && spec.virtual_router_id != Some(0) && named && !eligible.is_empty();
        if sound { Some((interval?, delay?, eligible)) } else { None }
    }

    fn note_unserved(&mut self) {
        let spec = &self.resource.spec;
        let fields = [
            (spec.unicast_peers, "spec.unicastPeers", "adverts go to the multicast group"),
            (spec.mac_mode == MacMode::Virtual, "spec.macMode", "the interface's own MAC address answers"),
            (!spec.notify.is_empty(), "spec.notify", "nobody is told"),
            (!spec.track.interfaces.is_empty(), "spec.track.interfaces", "only the group's own are watched"),
            (asks(&spec.track.url), "spec.track.url", "it is not watched"),
            (asks(&spec.track.bfd), "spec.track.bfd", "it is not watched"),
        ];
        for (asked, field, consequence) in fields {
            if asked {
                self.verdicts.not_served(KIND, self.resource.key(), field, consequence);
            }
        }
    }

    fn note_priorities(&mut self, eligible: &[String]) {
        for (name, priority) in &self.resource.spec.priorities {
            let field = format!("spec.priorities.{name}");
            if !eligible.contains(name) {
                let message = format!(
                    "{name} is not among the gateways that may hold these addresses: {}",
                    list(eligible)
                );
                self.verdicts.warn(KIND, self.resource.key(), "NoEffect", field, message);
            } else if !(1..=254).contains(priority) {
                self.part(
                    "InvalidValue",
                    &field,
                    format!("{priority} is no priority; they are 1 to 254, and the nearest counts"),
                );
            }
        }
    }

    fn addresses(&mut self, claimed: &mut BTreeMap<Ipv4Addr, Key>) -> BTreeMap<Ipv4Addr, bool> {
        let (spec, key) = (&self.resource.spec, self.resource.key());
        let mut wanted: BTreeMap<Ipv4Addr, (bool, String)> = BTreeMap::new();
        let asked = Asked { kind: KIND, key, names: &spec.ip_address_pools, selectors: &[] };
        let pools = self.input.pools.chosen(asked, self.verdicts);
        let inside = self.input.in_use.iter().filter(|address| pools.has(IpAddr::V4(**address)));
        wanted.extend(inside.map(|address| (*address, (false, "spec.ipAddressPools".to_owned()))));
        for (index, address) in spec.addresses.iter().enumerate() {
            let field = format!("spec.addresses[{index}]");
            match address {
                IpAddr::V4(address) => drop(wanted.insert(*address, (true, field))),
                IpAddr::V6(_) => {
                    let message = format!("{address} is left out: this version moves IPv4 addresses only");
                    self.part("UnsupportedValue", &field, message);
                }
            }
        }
        if spec.ip_address_pools.is_empty() && spec.addresses.is_empty() {
            let message = "neither ipAddressPools nor addresses are set, so nothing moves".to_owned();
            self.verdicts.warn(KIND, key, "NoEffect", "spec", message);
        }
        let mut addresses = BTreeMap::new();
        for (address, (fixed, field)) in wanted {
            if let Some(owner) = self.input.gateways.owner(address) {
                let message = format!(
                    "{address} is {}'s own address; an address that moves must belong to no machine",
                    owner.name
                );
                self.part("AddressInUse", &field, message);
            } else if let Some(other) = claimed.get(&address) {
                let message = format!(
                    "{address} is moved by VRRPAdvertisement {other} already; take it out of one of them"
                );
                self.part("AddressInUse", &field, message);
            } else {
                claimed.insert(address, key.clone());
                addresses.insert(address, fixed);
            }
        }
        addresses
    }
}

/// Whether it may name a sync group, or is absent. Without `/`, which every other election's name has.
fn is_group_name(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
