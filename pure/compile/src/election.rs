//! Elections as all gateways see them: which addresses move together, under which id, and in whose favour.
//!
//! Nothing here knows this machine; two gateways that read the same objects find the same elections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use tidegate_objects::Key;
use tidegate_vrrp::virtual_router_ids_except;

use crate::verdicts::Verdicts;
use crate::vrrp::{Advertisement, KIND};

/// An election as all gateways see it.
pub(crate) struct Election<'a> {
    pub name: Name,
    /// The advertisement whose settings count.
    pub leader: &'a Advertisement<'a>,
    pub addresses: BTreeSet<Ipv4Addr>,
    pub virtual_router_id: u8,
    /// Turns the order of default priorities.
    pub turn: usize,
    pub sync: bool,
}

/// The name of an election. No two are alike: only what an advertisement holds alone has a `/`, and neither names nor
/// interfaces have `:`, so that what follows it is the source, whatever that is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    stem: String,
    /// Where an older object of another source has the stem.
    source: Option<Arc<str>>,
}

impl Name {
    /// Of the part of it that lives on this interface.
    pub fn on(&self, interface: &str) -> String {
        Name { stem: format!("{}@{interface}", self.stem), source: self.source.clone() }.to_string()
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.stem)?;
        self.source.as_ref().map_or(Ok(()), |source| write!(f, ":{source}"))
    }
}

/// The elections, older first. Ids and priorities follow from names, so that gateways choose alike.
pub(crate) fn elections<'a>(
    advertisements: &'a [Advertisement<'a>],
    verdicts: &mut Verdicts,
) -> Vec<Election<'a>> {
    let mut groups: BTreeMap<GroupId<'_>, Vec<&Advertisement<'_>>> = BTreeMap::new();
    let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for adv in advertisements {
        let spec = &adv.resource.spec;
        let group = GroupId { name: &spec.sync_group, source: &adv.resource.key().source };
        let first = !groups.contains_key(&group);
        let indexes = if spec.sync_group.is_empty() { adv.eligible.len() } else { usize::from(first) };
        match spec.virtual_router_id {
            Some(id) => drop(taken.insert(id)),
            None => names.extend((0..indexes as u32).map(|index| (adv.label.clone(), index))),
        }
        if !spec.sync_group.is_empty() {
            groups.entry(group).or_default().push(adv);
        }
    }
    let ids = Ids(virtual_router_ids_except(names, &taken));
    let mut elections: Vec<Election<'_>> = Vec::new();
    for (id, members) in &groups {
        elections.extend(sync_election(group_name(*id, &groups), members, &ids, verdicts));
    }
    for adv in advertisements.iter().filter(|adv| adv.resource.spec.sync_group.is_empty()) {
        match adv.resource.spec.virtual_router_id {
            Some(id) => elections.push(fixed_election(adv, id)),
            None => elections.extend(spread_elections(adv, &ids, verdicts)),
        }
    }
    elections.retain(|election| !election.addresses.is_empty());
    // Where two of them want one id on one segment, the older has it.
    elections.sort_by(|a, b| {
        (a.leader.resource.metadata.precedence(), &a.name)
            .cmp(&(b.leader.resource.metadata.precedence(), &b.name))
    });
    elections
}

/// A sync group; groups of two sources have nothing to do with each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GroupId<'a> {
    name: &'a str,
    source: &'a Arc<str>,
}

/// Its plain name, if no group of another source has that and an older member.
fn group_name(id: GroupId<'_>, groups: &BTreeMap<GroupId<'_>, Vec<&Advertisement<'_>>>) -> Name {
    let alike = groups.iter().filter(|(other, _)| other.name == id.name);
    let age = |members: &[&Advertisement<'_>]| members.iter().map(|adv| precedence(adv)).min();
    let first = alike.min_by_key(|(_, members)| age(members)).map(|(other, _)| *other);
    Name { stem: id.name.into(), source: (first != Some(id)).then(|| id.source.clone()) }
}

fn precedence(adv: &Advertisement<'_>) -> (i64, Key) {
    let (created_secs, key) = adv.resource.metadata.precedence();
    (created_secs, key.clone())
}

/// Ids that follow from (advertisement, index).
struct Ids(BTreeMap<(String, u32), u8>);

impl Ids {
    fn of(&self, adv: &Advertisement<'_>, index: u32, verdicts: &mut Verdicts) -> Option<u8> {
        let id = self.0.get(&(adv.label.clone(), index)).copied();
        if id.is_none() {
            let message =
                "all 255 virtual router ids are in use; use fewer advertisements, or set virtualRouterID"
                    .to_owned();
            verdicts.part(KIND, adv.resource.key(), "NoVirtualRouterID", "spec.virtualRouterID", message);
        }
        id
    }
}

fn sync_election<'a>(
    name: Name,
    members: &[&'a Advertisement<'a>],
    ids: &Ids,
    verdicts: &mut Verdicts,
) -> Option<Election<'a>> {
    let leader = *members.first()?;
    for member in members.iter().skip(1) {
        note_differences(leader, member, verdicts);
    }
    let virtual_router_id = match leader.resource.spec.virtual_router_id {
        Some(id) => id,
        None => ids.of(leader, 0, verdicts)?,
    };
    let addresses = members.iter().flat_map(|member| member.addresses.keys().copied()).collect();
    Some(Election { name, leader, addresses, virtual_router_id, turn: virtual_router_id.into(), sync: true })
}

/// A group has one set of settings: those of its first member by name.
fn note_differences(leader: &Advertisement<'_>, member: &Advertisement<'_>, verdicts: &mut Verdicts) {
    let (a, b) = (&leader.resource.spec, &member.resource.spec);
    let fields = [
        (leader.eligible != member.eligible, "spec.nodeSelectors"),
        (leader.interval != member.interval, "spec.advertisementInterval"),
        (a.preempt != b.preempt, "spec.preempt"),
        (leader.preempt_delay != member.preempt_delay, "spec.preemptDelay"),
        (a.priorities != b.priorities, "spec.priorities"),
        (a.track != b.track, "spec.track"),
        (b.virtual_router_id.is_some() && a.virtual_router_id != b.virtual_router_id, "spec.virtualRouterID"),
    ];
    for (differs, field) in fields {
        if differs {
            let message = format!(
                "it differs from VRRPAdvertisement {}, the first of syncGroup {:?}, whose value counts; make them equal",
                leader.resource.key(),
                a.sync_group
            );
            verdicts.part(KIND, member.resource.key(), "SyncGroupConflict", field, message);
        }
    }
}

/// The name of an election that an advertisement holds alone.
fn own_name(adv: &Advertisement<'_>, which: &str) -> Name {
    Name { stem: format!("{}/{which}", adv.resource.key().name), source: adv.source.clone() }
}

fn fixed_election<'a>(adv: &'a Advertisement<'a>, id: u8) -> Election<'a> {
    let addresses = adv.addresses.keys().copied().collect();
    Election {
        name: own_name(adv, &id.to_string()),
        leader: adv,
        addresses,
        virtual_router_id: id,
        turn: id.into(),
        sync: false,
    }
}

/// One election for each eligible gateway. Fixed addresses are dealt in order; what comes from a pool goes by its
/// number, so that an address that comes or goes moves no other.
fn spread_elections<'a>(adv: &'a Advertisement<'a>, ids: &Ids, verdicts: &mut Verdicts) -> Vec<Election<'a>> {
    let count = adv.eligible.len();
    let mut shares = vec![BTreeSet::new(); count];
    let mut dealt = 0;
    for (address, fixed) in &adv.addresses {
        let share = if *fixed { dealt } else { address.to_bits() as usize };
        dealt += usize::from(*fixed);
        shares[share % count].insert(*address);
    }
    let mut elections = Vec::new();
    for (index, (gateway, addresses)) in adv.eligible.iter().zip(shares).enumerate() {
        if addresses.is_empty() {
            continue;
        }
        let Some(virtual_router_id) = ids.of(adv, index as u32, verdicts) else { continue };
        elections.push(Election {
            name: own_name(adv, gateway),
            leader: adv,
            addresses,
            virtual_router_id,
            turn: index,
            sync: false,
        });
    }
    elections
}
