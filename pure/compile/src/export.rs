//! BGPAdvertisements, and how what is announced to a peer gets its NEXT_HOP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use tidegate_model::speaker::Export;
use tidegate_objects::metallb::BgpAdvertisement;
use tidegate_objects::{Key, Kind, ObjectRef, Resource};

use crate::bgp::{Chosen as ChosenPeers, Input, Known, Spoken, choose, communities};
use crate::pool::{Asked, Chosen, Pool};
use crate::verdicts::{Verdicts, object};
use crate::words::list;

const KIND: Kind = Kind::BGPAdvertisement;

/// LOCAL_PREF where an advertisement says nothing.
const LOCAL_PREFERENCE: u32 = 100;

/// What one object announces, to whichever peers of this machine it means.
pub(crate) struct Announcement {
    pub kind: Kind,
    pub key: Key,
    pub peers: ChosenPeers,
    pub entries: Vec<Entry>,
    pub local_preference: u32,
    /// For external peers.
    pub med: Option<u32>,
    pub communities: Vec<u32>,
}

/// A prefix and how its NEXT_HOP is found.
pub(crate) struct Entry {
    pub prefix: Ipv4Net,
    pub field: String,
    pub hop: Hop,
}

/// How a NEXT_HOP is found.
#[derive(Clone, Debug)]
pub(crate) enum Hop {
    /// This machine's own address on the session.
    Own,
    /// Whatever moves with this address on the peer's segment; else our own.
    With(Ipv4Addr),
    /// One of these, sorted, on the peer's segment.
    Floating {
        addresses: Vec<Ipv4Addr>,
        /// Which one, counted among those on the segment.
        place: usize,
    },
}

/// Reads the BGPAdvertisements; notes which addresses they cover.
pub(crate) fn read(
    input: &Input<'_>,
    known: &[Known],
    spoken: &mut Spoken,
    verdicts: &mut Verdicts,
) -> Vec<Announcement> {
    let mut announcements = Vec::new();
    for (key, resource) in &input.snapshot.bgp_advertisements {
        announcements.extend(read_one(input, key, resource, known, spoken, verdicts));
    }
    announcements
}

fn read_one(
    input: &Input<'_>,
    key: &Key,
    resource: &Resource<BgpAdvertisement>,
    known: &[Known],
    spoken: &mut Spoken,
    verdicts: &mut Verdicts,
) -> Option<Announcement> {
    let spec = &resource.spec;
    let length = spec.aggregation_length.unwrap_or(32);
    if !(1..=32).contains(&length) {
        let message = format!("{length} is no length of an IPv4 prefix; they are 1 to 32");
        verdicts.whole(KIND, key, "InvalidValue", "spec.aggregationLength", message);
        return None;
    }
    if spec.aggregation_length_v6.is_some_and(|length| length != 128) {
        verdicts.not_served(KIND, key, "spec.aggregationLengthV6", "only IPv4 addresses are announced");
    }
    if input.gateways.announcers(&spec.node_selectors).is_empty() {
        let message =
            format!("no GatewayNode is selected, so nobody announces; there are {}", input.gateways.names());
        verdicts.whole(KIND, key, "NoMatchingGateway", "spec.nodeSelectors", message);
        return None;
    }
    let pools = pools(input, key, spec, verdicts);
    let here = input.gateways.announces_here(&spec.node_selectors);
    let mut entries = Vec::new();
    for address in input.in_use {
        let selected = input.vips.is_of(*address, &spec.service_selectors, input.snapshot);
        if !selected || !pools.has(IpAddr::V4(*address)) {
            continue;
        }
        *spoken.covered.entry(*address).or_default() |= here;
        // A length up to 32 was checked above.
        let Ok(prefix) = Ipv4Net::new(*address, length).map(|net| net.trunc()) else { continue };
        if let Some(pool) = pools.holding(IpAddr::V4(*address)) {
            note_reach(key, pool, prefix, verdicts);
        }
        entries.push(Entry { prefix, field: "spec.aggregationLength".into(), hop: Hop::With(*address) });
    }
    let announcement = Announcement {
        kind: KIND,
        key: key.clone(),
        peers: choose(known, KIND, key, &spec.peers, verdicts),
        entries,
        local_preference: spec.local_pref.unwrap_or(LOCAL_PREFERENCE),
        med: None,
        communities: communities(KIND, key, &spec.communities, verdicts),
    };
    here.then_some(announcement)
}

/// The pools named or selected; neither means every pool of the source.
fn pools<'a>(
    input: &'a Input<'_>,
    key: &Key,
    spec: &BgpAdvertisement,
    verdicts: &mut Verdicts,
) -> Chosen<'a> {
    if spec.ip_address_pools.is_empty() && spec.ip_address_pool_selectors.is_empty() {
        return input.pools.of_source(&key.source);
    }
    let (names, selectors) = (&spec.ip_address_pools[..], &spec.ip_address_pool_selectors[..]);
    input.pools.chosen(Asked { kind: KIND, key, names, selectors }, verdicts)
}

fn note_reach(key: &Key, pool: &Pool<'_>, prefix: Ipv4Net, verdicts: &mut Verdicts) {
    let inside =
        pool.ipam.ranges.iter().any(|range| {
            range.contains(prefix.network().into()) && range.contains(prefix.broadcast().into())
        });
    if !inside {
        let message = format!(
            "{prefix} reaches beyond IPAddressPool {}, so traffic for addresses that are not in the pool is attracted too",
            pool.resource.key()
        );
        verdicts.warn(KIND, key, "BeyondPool", "spec.aggregationLength", message);
    }
}

/// Settles what one peer of this machine is told.
pub(crate) fn settle(
    input: &Input<'_>,
    peer: &Known,
    announcements: &[Announcement],
    next_hops: &mut BTreeMap<Ipv4Addr, BTreeSet<ObjectRef>>,
    verdicts: &mut Verdicts,
) -> BTreeMap<Ipv4Net, Export> {
    let meant: Vec<&Announcement> =
        announcements.iter().filter(|one| one.peers.holds(&one.key, &peer.key)).collect();
    let prefixes = meant.iter().flat_map(|one| one.entries.iter().map(|entry| entry.prefix));
    let announced = prefixes.filter(|prefix| prefix.prefix_len() == 32).map(|prefix| prefix.addr()).collect();
    let segment = Segment::new(input, peer, announced);
    let mut exports: BTreeMap<Ipv4Net, (Export, &Announcement)> = BTreeMap::new();
    for announcement in meant {
        for entry in &announcement.entries {
            let next_hop = match segment.next_hop(entry) {
                Ok(next_hop) => next_hop,
                Err(None) => continue,
                Err(Some((reason, message))) => {
                    verdicts.part(announcement.kind, &announcement.key, reason, &entry.field, message);
                    continue;
                }
            };
            if let Some(next_hop) = next_hop {
                next_hops.entry(next_hop).or_default().insert(object(announcement.kind, &announcement.key));
            }
            let export = Export {
                next_hop,
                local_preference: announcement.local_preference,
                med: announcement.med.filter(|_| !peer.internal()),
                communities: announcement.communities.clone(),
            };
            merge(&mut exports, entry, export, announcement, peer.internal(), verdicts);
        }
    }
    exports.into_iter().map(|(prefix, (export, _))| (prefix, export)).collect()
}

/// Two objects may announce one prefix: communities add up, of all else the first counts.
fn merge<'a>(
    exports: &mut BTreeMap<Ipv4Net, (Export, &'a Announcement)>,
    entry: &Entry,
    export: Export,
    announcement: &'a Announcement,
    internal: bool,
    verdicts: &mut Verdicts,
) {
    let Some((first, owner)) = exports.get_mut(&entry.prefix) else {
        exports.insert(entry.prefix, (export, announcement));
        return;
    };
    // LOCAL_PREF is said to internal peers only, MED to external ones; a difference in what is not said is none.
    let differs =
        if internal { first.local_preference != export.local_preference } else { first.med != export.med };
    if differs {
        let field = if announcement.kind == KIND { "spec.localPref" } else { "spec.localPreference" };
        let message = format!(
            "{} {} announces {} with another preference, which counts; make them equal",
            owner.kind, owner.key, entry.prefix
        );
        verdicts.part(announcement.kind, &announcement.key, "Conflict", field, message);
    }
    let all: BTreeSet<u32> = first.communities.iter().chain(&export.communities).copied().collect();
    first.communities = all.into_iter().collect();
}

/// The network that this machine shares with a peer, and what the peer is told as single addresses.
struct Segment<'a> {
    input: &'a Input<'a>,
    peer: &'a Known,
    /// None: interfaces are not known here.
    networks: Option<Vec<Ipv4Net>>,
    announced: BTreeSet<Ipv4Addr>,
}

/// A reason and a sentence; none when there is nothing to say.
type NoHop = Option<(&'static str, String)>;

impl<'a> Segment<'a> {
    fn new(input: &'a Input<'a>, peer: &'a Known, announced: BTreeSet<Ipv4Addr>) -> Self {
        let address = peer.peer.address;
        let networks = input.machine.interfaces.is_some().then(|| {
            let interface = input.machine.interface_towards(address);
            interface.map(|interface| interface.networks_v4().collect()).unwrap_or_default()
        });
        Segment { input, peer, networks, announced }
    }

    /// The NEXT_HOP: none for our own address.
    fn next_hop(&self, entry: &Entry) -> Result<Option<Ipv4Addr>, NoHop> {
        match &entry.hop {
            Hop::Own => Ok(None),
            Hop::With(address) => self.moving_with(*address),
            Hop::Floating { addresses, place } => self.floating(entry.prefix, addresses, *place).map(Some),
        }
    }

    /// The floating address of this segment that moves together with `address`: one that has no other use first, then
    /// the lowest. Never one that is announced to this peer itself, which the peer could not resolve.
    fn moving_with(&self, address: Ipv4Addr) -> Result<Option<Ipv4Addr>, NoHop> {
        let movers = &self.input.moved.by_address;
        let Some(mover) = movers.get(&address) else { return Ok(None) };
        let here = self.input.gateways.here().ok_or(None)?;
        if !mover.eligible.contains(&here.name) {
            return Err(None);
        }
        let Some(networks) = &self.networks else { return Ok(None) };
        let candidates = movers.iter().filter(|(other, their)| {
            their.fixed
                && their.election == mover.election
                && networks.iter().any(|net| net.contains(*other))
                && !self.announced.contains(other)
        });
        let used = |address: &Ipv4Addr| self.input.in_use.contains(address);
        Ok(candidates.map(|(other, _)| *other).min_by_key(|other| (used(other), *other)))
    }

    fn floating(&self, prefix: Ipv4Net, addresses: &[Ipv4Addr], place: usize) -> Result<Ipv4Addr, NoHop> {
        let on_segment = |address: &&Ipv4Addr| {
            self.networks.as_ref().is_none_or(|nets| nets.iter().any(|net| net.contains(*address)))
        };
        let here: Vec<Ipv4Addr> = addresses.iter().filter(on_segment).copied().collect();
        let peer = format!("BGPPeer {} ({})", self.peer.key, self.peer.peer.address);
        let Some(next_hop) = here.get(place).copied() else {
            let networks = list(self.networks.iter().flatten().map(Ipv4Net::trunc));
            let message = format!(
                "{} of the floatingAddresses {} are on the network of {peer}, which is {networks}, and place {} is needed; the peer could not resolve another, so it is told nothing",
                here.len(),
                list(addresses),
                place + 1
            );
            return Err(Some(("NextHopNotOnSegment", message)));
        };
        if prefix.prefix_len() == 32 && prefix.addr() == next_hop {
            let message = format!("{next_hop} cannot be its own next hop; take it out of prefixes");
            return Err(Some(("InvalidNextHop", message)));
        }
        if self.announced.contains(&next_hop) {
            let message = format!(
                "next hop {next_hop} is itself announced to {peer}, which could not resolve it; use another floating address"
            );
            return Err(Some(("InvalidNextHop", message)));
        }
        if IpAddr::V4(next_hop) == self.peer.peer.address {
            let message = format!("next hop {next_hop} is the address of {peer} itself");
            return Err(Some(("InvalidNextHop", message)));
        }
        Ok(next_hop)
    }
}
