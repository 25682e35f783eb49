//! Elections as all gateways see them: which addresses move together, under which id, and in whose favour.
//!
//! Nothing here knows this machine; two gateways that read the same objects find the same elections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use tidegate_vrrp::virtual_router_ids_except;

use crate::verdicts::Verdicts;
use crate::vrrp::{Advertisement, KIND};

/// An election as all gateways see it.
pub(crate) struct Election<'a> {
    pub name: String,
    /// The advertisement whose settings count.
    pub leader: &'a Advertisement<'a>,
    pub addresses: BTreeSet<Ipv4Addr>,
    pub virtual_router_id: u8,
    /// Turns the order of default priorities.
    pub turn: usize,
    pub sync: bool,
}

/// The elections, older first. Ids and priorities follow from names, so that gateways choose alike.
pub(crate) fn elections<'a>(
    advertisements: &'a [Advertisement<'a>],
    verdicts: &mut Verdicts,
) -> Vec<Election<'a>> {
    let mut groups: BTreeMap<&str, Vec<&Advertisement<'_>>> = BTreeMap::new();
    let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for adv in advertisements {
        let spec = &adv.resource.spec;
        let first = spec.sync_group.is_empty() || !groups.contains_key(spec.sync_group.as_str());
        let indexes = if spec.sync_group.is_empty() { adv.eligible.len() } else { usize::from(first) };
        match spec.virtual_router_id {
            Some(id) => drop(taken.insert(id)),
            None => names.extend((0..indexes as u32).map(|index| (adv.label.clone(), index))),
        }
        if !spec.sync_group.is_empty() {
            groups.entry(&spec.sync_group).or_default().push(adv);
        }
    }
    let ids = Ids(virtual_router_ids_except(names, &taken));
    let mut elections: Vec<Election<'_>> = Vec::new();
    for (name, members) in groups {
        elections.extend(sync_election(name, &members, &ids, verdicts));
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
    name: &str,
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
    Some(Election {
        name: name.into(),
        leader,
        addresses,
        virtual_router_id,
        turn: virtual_router_id.into(),
        sync: true,
    })
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

fn fixed_election<'a>(adv: &'a Advertisement<'a>, id: u8) -> Election<'a> {
    let addresses = adv.addresses.keys().copied().collect();
    Election {
        name: adv.label.clone(),
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
        let name = format!("{}/{gateway}", adv.label);
        elections.push(Election {
            name,
            leader: adv,
            addresses,
            virtual_router_id,
            turn: index,
            sync: false,
        });
    }
    elections
}
