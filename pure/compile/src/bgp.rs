//! BGP: the peers of this machine, what may be learned from each, and what each is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use tidegate_model::Machine;
use tidegate_model::speaker::{Import, Peer, RemoteAs};
use tidegate_objects::metallb::{BgpPeer, DynamicAsn};
use tidegate_objects::ours::RouteImport;
use tidegate_objects::{Key, Kind, ObjectRef, Resource, Snapshot};

use crate::duration;
use crate::export::{self, Announcement};
use crate::held::Vips;
use crate::node::Gateways;
use crate::pool::Pools;
use crate::route_advertisement;
use crate::verdicts::Verdicts;
use crate::vrrp::Moved;
use crate::words::{asks, meant};

const KIND: Kind = Kind::BGPPeer;

/// MetalLB's default.
const HOLD: Duration = Duration::from_secs(90);

/// First wait between attempts to connect, when the peer says nothing.
const CONNECT_RETRY: Duration = Duration::from_secs(10);

/// The session's longest wait between attempts to connect.
const CONNECT_RETRY_MAX: Duration = Duration::from_secs(30);

/// What BGP is compiled from.
pub(crate) struct Input<'a> {
    pub snapshot: &'a Snapshot,
    pub machine: &'a Machine,
    pub gateways: &'a Gateways,
    pub pools: &'a Pools<'a>,
    pub moved: &'a Moved,
    pub vips: &'a Vips,
    pub in_use: &'a BTreeSet<Ipv4Addr>,
}

/// What BGP says and learns.
#[derive(Default)]
pub(crate) struct Spoken {
    /// The peers of this machine.
    pub peers: BTreeMap<String, Peer>,
    /// Addresses in use that a BGPAdvertisement covers, for whichever gateway; true: for this one.
    pub covered: BTreeMap<Ipv4Addr, bool>,
    /// Floating next hops, and who points to them.
    pub next_hops: BTreeMap<Ipv4Addr, BTreeSet<ObjectRef>>,
    /// Where pods live.
    pub pod_ranges: Vec<Ipv4Net>,
    /// The sources whose pods live there.
    pub with_pod_ranges: BTreeSet<Arc<str>>,
}

/// A peer that could be read, this machine's or not.
pub(crate) struct Known {
    pub key: Key,
    pub here: bool,
    pub peer: Peer,
    label: String,
}

impl Known {
    /// Whether the peer is of our own AS.
    pub fn internal(&self) -> bool {
        match self.peer.remote_as {
            RemoteAs::Exactly(number) => number == self.peer.local_as,
            RemoteAs::Internal => true,
            RemoteAs::External => false,
        }
    }
}

/// The peers that an object names.
pub(crate) enum Chosen {
    /// Every peer of its source.
    All,
    /// These.
    These(BTreeSet<Key>),
}

impl Chosen {
    pub fn holds(&self, owner: &Key, peer: &Key) -> bool {
        match self {
            Chosen::All => owner.source == peer.source,
            Chosen::These(keys) => keys.contains(peer),
        }
    }
}

/// Compiles everything BGP.
pub(crate) fn compile(input: &Input<'_>, verdicts: &mut Verdicts) -> Spoken {
    let mut known = peers(input, verdicts);
    let mut spoken = Spoken::default();
    imports(input, &mut known, &mut spoken, verdicts);
    let mut announcements: Vec<Announcement> = export::read(input, &known, &mut spoken, verdicts);
    announcements.extend(route_advertisement::read(input, &known, &mut spoken, verdicts));
    for mut known in known.into_iter().filter(|known| known.here) {
        known.peer.exports = export::settle(input, &known, &announcements, &mut spoken.next_hops, verdicts);
        spoken.peers.insert(known.label, known.peer);
    }
    spoken
}

/// Finds the peers that an object names, and says which do not exist.
pub(crate) fn choose(
    known: &[Known],
    kind: Kind,
    key: &Key,
    names: &[String],
    verdicts: &mut Verdicts,
) -> Chosen {
    if names.is_empty() {
        return Chosen::All;
    }
    let mut chosen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let of_source = || known.iter().map(|known| &known.key).filter(|peer| peer.source == key.source);
        let before = chosen.len();
        chosen.extend(of_source().filter(|peer| *peer.name == **name).cloned());
        if chosen.len() == before && !chosen.iter().any(|peer| *peer.name == **name) {
            let message = format!(
                "no usable BGPPeer is named {name:?}{}; create it, or correct the name",
                meant(name, of_source().map(|peer| &*peer.name))
            );
            verdicts.part(kind, key, "PeerNotFound", format!("spec.peers[{index}]"), message);
        }
    }
    Chosen::These(chosen)
}

fn peers(input: &Input<'_>, verdicts: &mut Verdicts) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    let mut resources: Vec<_> = input.snapshot.bgp_peers.values().collect();
    resources.sort_by_key(|peer| peer.metadata.precedence());
    for resource in resources {
        let key = resource.key();
        let Some(peer) = read(resource, verdicts) else { continue };
        let here = input.gateways.selects_here(&resource.spec.node_selectors);
        if here
            && let Some(other) =
                known.iter().find(|k| k.here && (k.peer.address, k.peer.port) == (peer.address, peer.port))
        {
            let message = format!(
                "BGPPeer {} is at {} port {} too; one session is enough",
                other.key, peer.address, peer.port
            );
            verdicts.whole(KIND, key, "DuplicatePeer", "spec.peerAddress", message);
            continue;
        }
        let mut label = key.name.to_string();
        if known.iter().any(|other| other.label == label) {
            label = format!("{}/{}/{}", key.source, key.namespace, key.name);
        }
        known.push(Known { key: key.clone(), here, peer, label });
    }
    known
}

fn read(resource: &Resource<BgpPeer>, verdicts: &mut Verdicts) -> Option<Peer> {
    let (spec, key) = (&resource.spec, resource.key());
    note_unserved(resource, verdicts);
    let mut sound = true;
    let mut whole = |reason, field: &str, message: String| {
        verdicts.whole(KIND, key, reason, field, message);
        sound = false;
    };
    for (field, message) in unsafe_without(spec) {
        whole("UnsupportedValue", field, message.to_owned());
    }
    let address = match spec.peer_address {
        Some(IpAddr::V4(address)) => Some(address),
        Some(IpAddr::V6(address)) => {
            whole(
                "UnsupportedValue",
                "spec.peerAddress",
                format!("{address}: sessions over IPv6 are not served by this version"),
            );
            None
        }
        None => {
            whole(
                "InvalidValue",
                "spec.peerAddress",
                "a peer needs an address; peers found by interface are not served by this version".into(),
            );
            None
        }
    };
    if spec.my_asn == 0 {
        whole("InvalidValue", "spec.myASN", "0 is no AS number; private ones are 64512 to 65534".into());
    }
    let remote_as = match (spec.peer_asn, spec.dynamic_asn) {
        (0, Some(DynamicAsn::Internal)) => Some(RemoteAs::Internal),
        (0, Some(DynamicAsn::External)) => Some(RemoteAs::External),
        (0, None) => {
            whole(
                "InvalidValue",
                "spec.peerASN",
                "the peer's AS is missing; set peerASN, or dynamicASN".into(),
            );
            None
        }
        (number, None) => Some(RemoteAs::Exactly(number)),
        (_, Some(_)) => {
            whole(
                "InvalidValue",
                "spec.dynamicASN",
                "peerASN and dynamicASN exclude each other; remove one".into(),
            );
            None
        }
    };
    if matches!(spec.source_address, Some(IpAddr::V6(_))) {
        whole(
            "UnsupportedValue",
            "spec.sourceAddress",
            "it is an IPv6 address, but the session is over IPv4".into(),
        );
    }
    let times = times(spec);
    if let Err((field, message)) = &times {
        whole("InvalidValue", field, message.clone());
    }
    let (hold, connect_retry) = times.ok()?;
    note_times(resource, hold, connect_retry, verdicts);
    Some(Peer {
        name: key.clone(),
        address: address?.into(),
        port: spec.peer_port,
        local_as: spec.my_asn,
        remote_as: remote_as?,
        source: spec.source_address,
        router_id: spec.router_id,
        hold,
        connect_retry: connect_retry.min(CONNECT_RETRY_MAX),
        multihop: spec.ebgp_multi_hop,
        exports: BTreeMap::new(),
        imports: Vec::new(),
    })
    .filter(|_| sound)
}

/// What a session must not do without, because it would trust a stranger or reach another network.
fn unsafe_without(spec: &BgpPeer) -> impl Iterator<Item = (&'static str, &'static str)> {
    let password = "a session with a password is not served by this version, and without one the peer would not be authenticated, so there is none; remove it here and at the peer if the segment is trusted";
    let vrf = "a session in a VRF is not served by this version, and its routes do not belong in the main table, so there is none; remove it if the peer is reached by the main table";
    let fields = [
        (asks(&spec.password), "spec.password", password),
        (asks(&spec.password_secret), "spec.passwordSecret", password),
        (asks(&spec.vrf), "spec.vrf", vrf),
    ];
    fields.into_iter().filter(|(asked, ..)| *asked).map(|(_, field, message)| (field, message))
}

/// A duration of the spec, if it is written.
fn time(field: &'static str, text: &Option<String>) -> Result<Option<Duration>, (&'static str, String)> {
    match text {
        None => Ok(None),
        Some(text) => match duration::parse(text) {
            Some(time) => Ok(Some(time)),
            None => Err((field, format!("{text:?} is no duration; write one such as 90s"))),
        },
    }
}

/// Hold time (RFC 4271 section 4.2: 0, or at least 3 s, 16 bits) and first wait, as written.
fn times(spec: &BgpPeer) -> Result<(Duration, Duration), (&'static str, String)> {
    let hold = time("spec.holdTime", &spec.hold_time)?.unwrap_or(HOLD);
    let (three, most) = (Duration::from_secs(3), Duration::from_secs(65_535));
    if hold.subsec_nanos() != 0 || (!hold.is_zero() && !(three..=most).contains(&hold)) {
        let message = "a hold time is whole seconds from 3s to 65535s, or 0s for none".to_owned();
        return Err(("spec.holdTime", message));
    }
    let keepalive = time("spec.keepaliveTime", &spec.keepalive_time)?;
    if keepalive.is_some_and(|keepalive| keepalive > hold) {
        let message =
            "keepalives further apart than the hold time end the session; a third of it is usual".to_owned();
        return Err(("spec.keepaliveTime", message));
    }
    let connect = time("spec.connectTime", &spec.connect_time)?.unwrap_or(CONNECT_RETRY);
    if !(Duration::from_secs(1)..=most).contains(&connect) {
        return Err(("spec.connectTime", "a connect time is 1s to 65535s".to_owned()));
    }
    Ok((hold, connect))
}

/// Times that are sound, but not kept as written.
fn note_times(resource: &Resource<BgpPeer>, hold: Duration, connect: Duration, verdicts: &mut Verdicts) {
    let key = resource.key();
    let keepalive = time("spec.keepaliveTime", &resource.spec.keepalive_time).ok().flatten();
    if keepalive.is_some_and(|keepalive| !keepalive.is_zero() && keepalive != hold / 3) {
        let consequence = "keepalives are a third of the negotiated hold time apart";
        verdicts.not_served(KIND, key, "spec.keepaliveTime", consequence);
    }
    if connect > CONNECT_RETRY_MAX {
        let most = CONNECT_RETRY_MAX.as_secs();
        let message = format!("attempts to connect are at most {most}s apart, so {most}s counts");
        verdicts.warn(KIND, key, "Bounded", "spec.connectTime", message);
    }
}

fn note_unserved(resource: &Resource<BgpPeer>, verdicts: &mut Verdicts) {
    let spec = &resource.spec;
    let fields = [
        (asks(&spec.bfd_profile), "spec.bfdProfile", "only the hold time finds a dead peer"),
        (
            asks(&spec.enable_graceful_restart),
            "spec.enableGracefulRestart",
            "routes go when the session goes",
        ),
        (asks(&spec.disable_mp), "spec.disableMP", "the session carries IPv4 only"),
        (
            asks(&spec.dual_stack_address_family),
            "spec.dualStackAddressFamily",
            "the session carries IPv4 only",
        ),
        (
            spec.interface.as_deref().is_some_and(|name| !name.is_empty()),
            "spec.interface",
            "the session goes to peerAddress",
        ),
    ];
    for (asked, field, consequence) in fields {
        if asked {
            verdicts.not_served(KIND, resource.key(), field, consequence);
        }
    }
}

fn imports(input: &Input<'_>, known: &mut [Known], spoken: &mut Spoken, verdicts: &mut Verdicts) {
    let mut ranges: BTreeMap<Ipv4Net, Key> = BTreeMap::new();
    for (key, resource) in &input.snapshot.route_imports {
        let chosen = choose(known, Kind::RouteImport, key, &resource.spec.peers, verdicts);
        note_bounds(resource, verdicts);
        for (index, prefix) in resource.spec.prefixes.iter().enumerate() {
            let import = import(prefix, resource.spec.maximum_prefixes, resource.spec.multipath);
            let import = import.and_then(|import| clash(&ranges, key, import));
            let import = match import {
                Ok(import) => import,
                Err((reason, below, message)) => {
                    verdicts.part(
                        Kind::RouteImport,
                        key,
                        reason,
                        format!("spec.prefixes[{index}]{below}"),
                        message,
                    );
                    continue;
                }
            };
            if import.prefix.prefix_len() == 0 {
                let message =
                    "0.0.0.0/0 may be learned, but is not taken for a range where pods live".to_owned();
                verdicts.warn(
                    Kind::RouteImport,
                    key,
                    "NoPodRange",
                    format!("spec.prefixes[{index}].cidr"),
                    message,
                );
            } else {
                ranges.insert(import.prefix, key.clone());
            }
            for peer in known.iter_mut().filter(|peer| chosen.holds(key, &peer.key)) {
                peer.peer.imports.push(import.clone());
            }
        }
    }
    spoken.with_pod_ranges = ranges.values().map(|owner| owner.source.clone()).collect();
    spoken.pod_ranges = Ipv4Net::aggregate(&ranges.into_keys().collect());
}

fn note_bounds(resource: &Resource<RouteImport>, verdicts: &mut Verdicts) {
    let fields = [
        ("spec.maximumPrefixes", resource.spec.maximum_prefixes, 1_000_000),
        ("spec.multipath", resource.spec.multipath.into(), 128),
    ];
    for (field, value, most) in fields {
        if !(1..=most).contains(&value) {
            let message = format!("{value} is not between 1 and {most}; the nearest counts");
            verdicts.part(Kind::RouteImport, resource.key(), "InvalidValue", field, message);
        }
    }
}

type BadImport = (&'static str, &'static str, String);

fn import(
    prefix: &tidegate_objects::ours::ImportPrefix,
    prefixes_max: u32,
    multipath: u8,
) -> Result<Import, BadImport> {
    let IpNet::V4(net) = prefix.cidr else {
        let message = format!("{} is left out: this version learns IPv4 routes only", prefix.cidr);
        return Err(("UnsupportedValue", ".cidr", message));
    };
    let length_min = prefix.min_length.unwrap_or(net.prefix_len());
    let length_max = prefix.max_length.unwrap_or(net.prefix_len().max(length_min));
    if length_min < net.prefix_len() || length_max > 32 || length_min > length_max {
        let message = format!(
            "lengths {length_min} to {length_max} do not fit inside {net}; they are {} to 32, the lower one first",
            net.prefix_len()
        );
        return Err(("InvalidValue", "", message));
    }
    let (prefixes_max, multipath) = (prefixes_max.clamp(1, 1_000_000), multipath.clamp(1, 128));
    Ok(Import { prefix: net.trunc(), length_min, length_max, prefixes_max, multipath })
}

/// Pods of two sources are told apart by address, so their ranges must not overlap.
fn clash(ranges: &BTreeMap<Ipv4Net, Key>, key: &Key, import: Import) -> Result<Import, BadImport> {
    let overlaps = |net: &Ipv4Net| net.contains(&import.prefix) || import.prefix.contains(net);
    match ranges.iter().find(|(net, owner)| owner.source != key.source && overlaps(net)) {
        Some((net, owner)) => {
            let message = format!(
                "{} overlaps {net} of RouteImport {owner} in source {}; pods of two sources need ranges of their own",
                import.prefix, owner.source
            );
            Err(("Overlaps", ".cidr", message))
        }
        None => Ok(import),
    }
}

/// Reads `65000:100` (RFC 1997); a large community or a name is told.
pub(crate) fn communities(kind: Kind, key: &Key, texts: &[String], verdicts: &mut Verdicts) -> Vec<u32> {
    let mut communities = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        let halves =
            text.split_once(':').and_then(|(a, b)| Some((a.parse::<u16>().ok()?, b.parse::<u16>().ok()?)));
        match halves {
            Some((high, low)) => drop(communities.insert(u32::from(high) << 16 | u32::from(low))),
            None => {
                let message = format!(
                    "{text:?} is left out: this version sends communities of two numbers up to 65535, such as 65000:100"
                );
                verdicts.part(kind, key, "UnsupportedValue", format!("spec.communities[{index}]"), message);
            }
        }
    }
    communities.into_iter().collect()
}
