//! Virtual router ids and default priorities: two gateways that read the same objects must choose alike.
//!
//! So both follow from names alone, never from the wire, from time or from a standard library's hash.

use std::collections::{BTreeMap, BTreeSet};

/// Smallest distance between two default priorities, as long as the number of gateways allows it. Closer ones
/// let two backups time out within one advert of each other.
pub const PRIORITY_GAP: u8 = 26;

const PRIORITY_MAX: u8 = 254;
const IDS: u32 = 255;

/// One id, 1 to 255, for each (advertisement name, index). The order of `names` does not matter. More than
/// 255 names do not fit on one segment: those that come last by name get none.
pub fn virtual_router_ids<I>(names: I) -> BTreeMap<(String, u32), u8>
where
    I: IntoIterator<Item = (String, u32)>,
{
    virtual_router_ids_except(names, &BTreeSet::new())
}

/// As [`virtual_router_ids`], but never one of `taken`, the ids that somebody chose by hand.
pub fn virtual_router_ids_except<I>(names: I, taken: &BTreeSet<u8>) -> BTreeMap<(String, u32), u8>
where
    I: IntoIterator<Item = (String, u32)>,
{
    let names: BTreeSet<_> = names.into_iter().collect();
    let mut taken = taken.clone();
    let mut ids = BTreeMap::new();
    for name in names {
        let home = hash(&name.0, name.1) % IDS;
        // 1 + (0..255) is at most 255.
        let mut probes = (0..IDS).map(|step| 1 + ((home + step) % IDS) as u8);
        let Some(id) = probes.find(|id| !taken.contains(id)) else { break };
        taken.insert(id);
        ids.insert(name, id);
    }
    ids
}

/// The priority of every gateway in the group of this index: 200, 150, 100, ... rotated by the index, so that
/// each gateway masters its share of the groups. Values of `explicit` stand as they are (brought into 1 to
/// 254), and the others keep their distance from them. Never 0, never 255.
pub fn priorities(
    group_index: usize,
    gateways_sorted: &[String],
    explicit: &BTreeMap<String, u8>,
) -> BTreeMap<String, u8> {
    let chosen: BTreeMap<&String, u8> = gateways_sorted
        .iter()
        .filter_map(|name| Some((name, (*explicit.get(name)?).clamp(1, PRIORITY_MAX))))
        .collect();
    let others: Vec<_> = gateways_sorted.iter().filter(|name| !chosen.contains_key(name)).collect();
    let avoid: Vec<u8> = chosen.values().copied().collect();
    let ladder = ladder(others.len(), &avoid);
    let count = others.len();
    let ranked = others.into_iter().enumerate().map(|(place, name)| {
        let rank = (place + count - group_index % count) % count;
        (name.clone(), ladder.get(rank).copied().unwrap_or(1))
    });
    ranked.chain(chosen.iter().map(|(name, priority)| ((*name).clone(), *priority))).collect()
}

/// `count` values from high to low, as far apart as they fit, none near one of `avoid`; fewer than `count`
/// only beyond 254.
fn ladder(count: usize, avoid: &[u8]) -> Vec<u8> {
    let wide = [(200, 50), (250, 50)].into_iter();
    let narrow = (PRIORITY_GAP..50).rev().map(|step| (250, step));
    let tight = (1..PRIORITY_GAP).rev().map(|step| (PRIORITY_MAX, step));
    let mut rungs = Vec::new();
    for (top, step) in wide.chain(narrow).chain(tight) {
        let gap = step.min(PRIORITY_GAP);
        rungs = (1..=top).rev().step_by(usize::from(step)).collect();
        rungs.retain(|rung| avoid.iter().all(|other| rung.abs_diff(*other) >= gap));
        if rungs.len() >= count {
            rungs.truncate(count);
            break;
        }
    }
    rungs
}

/// FNV-1a, 32 bits, over the name, a byte that no name contains, and the index in network order. Part of
/// what gateways of different releases must agree on: it can never change.
fn hash(name: &str, index: u32) -> u32 {
    let bytes = name.bytes().chain([0xff]).chain(index.to_be_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("gw{number:03}")).collect()
    }

    #[test]
    fn the_hash_never_changes() {
        // Computed with an independent implementation of FNV-1a.
        let golden = [
            ("", 0, 0xb53c_d92e),
            ("vips", 0, 0xcc1a_ef92),
            ("vips", 1, 0xcd1a_f125),
            ("vips", 2, 0xca1a_ec6c),
            ("cp", 0, 0x0937_162b),
        ];
        for (name, index, expected) in golden {
            assert_eq!(hash(name, index), expected, "{name} {index}");
        }
    }

    #[test]
    fn ids_never_change() {
        let ids = virtual_router_ids([
            ("vips".into(), 0),
            ("vips".into(), 1),
            ("vips".into(), 2),
            ("cp".into(), 0),
        ]);
        let expected: [((String, u32), u8); 4] =
            [("cp", 0, 130), ("vips", 0, 106), ("vips", 1, 255), ("vips", 2, 63)]
                .map(|(name, index, id)| ((name.to_owned(), index), id));
        assert_eq!(ids, expected.into());
    }

    #[test]
    fn an_id_chosen_by_hand_is_not_given_again() {
        let free = virtual_router_ids([("vips".into(), 0)]);
        let id = free[&("vips".to_owned(), 0)];
        let other = virtual_router_ids_except([("vips".into(), 0)], &BTreeSet::from([id]));
        assert_eq!(other[&("vips".to_owned(), 0)], id % 255 + 1);
    }

    #[test]
    fn default_priorities_are_this_table() {
        let table: [(usize, usize, &[u8]); 7] = [
            (0, 0, &[]),
            (1, 5, &[200]),
            (3, 0, &[200, 150, 100]),
            (3, 1, &[100, 200, 150]),
            (3, 5, &[150, 100, 200]),
            (4, 0, &[200, 150, 100, 50]),
            (5, 0, &[250, 200, 150, 100, 50]),
        ];
        for (count, index, expected) in table {
            let got: Vec<u8> = priorities(index, &names(count), &BTreeMap::new()).into_values().collect();
            assert_eq!(got, expected, "{count} gateways, group {index}");
        }
    }

    #[test]
    fn explicit_priorities_stand_and_the_others_keep_away() {
        let table: [(u8, usize, [u8; 3]); 5] = [
            (200, 0, [200, 150, 100]),
            (200, 1, [200, 100, 150]),
            (100, 0, [100, 200, 150]),
            (180, 0, [180, 150, 100]),
            (255, 0, [254, 200, 150]),
        ];
        for (first, index, expected) in table {
            let explicit = BTreeMap::from([("gw001".to_owned(), first), ("elsewhere".to_owned(), 150)]);
            let got: Vec<u8> = priorities(index, &names(3), &explicit).into_values().collect();
            assert_eq!(got, expected, "gw001 at {first}, group {index}");
        }
    }

    proptest! {
        #[test]
        fn ids_are_distinct_in_range_and_independent_of_order(
            names in prop::collection::vec(("[a-d]{1,2}", 0..8u32), 0..300), at: usize,
        ) {
            let ids = virtual_router_ids(names.clone());
            let distinct: BTreeSet<_> = names.iter().cloned().collect();
            prop_assert_eq!(ids.len(), distinct.len().min(255));
            prop_assert_eq!(ids.values().collect::<BTreeSet<_>>().len(), ids.len());
            prop_assert!(!ids.values().any(|id| *id == 0));
            let mut turned = names;
            let middle = if turned.is_empty() { 0 } else { at % turned.len() };
            turned.rotate_left(middle);
            prop_assert_eq!(virtual_router_ids(turned), ids);
        }

        #[test]
        fn default_priorities_are_distinct_and_spaced_while_they_fit(count in 0..=254usize, index in 0..1000usize) {
            let mut values: Vec<u8> = priorities(index, &names(count), &BTreeMap::new()).into_values().collect();
            values.sort_unstable();
            let gap = if count <= 10 { PRIORITY_GAP } else { 1 };
            prop_assert!(values.windows(2).all(|pair| pair[1] - pair[0] >= gap), "{:?}", values);
            prop_assert!(values.iter().all(|value| (1..=254).contains(value)));
        }

        #[test]
        fn every_gateway_is_first_in_its_share_of_the_groups(count in 1..20usize) {
            let first = |index| {
                let all = priorities(index, &names(count), &BTreeMap::new());
                all.into_iter().max_by_key(|(_, priority)| *priority).map(|(name, _)| name)
            };
            let firsts: BTreeSet<_> = (0..count).map(first).collect();
            prop_assert_eq!(firsts.len(), count);
        }

        #[test]
        fn explicit_priorities_never_meet_a_default_one(
            explicit in prop::collection::btree_map(1..=6usize, 1..=254u8, 0..=6), count in 0..=6usize, index in 0..9usize,
        ) {
            let explicit: BTreeMap<_, _> =
                explicit.into_iter().map(|(number, priority)| (format!("gw{number:03}"), priority)).collect();
            let all = priorities(index, &names(count), &explicit);
            prop_assert_eq!(all.len(), count);
            for (name, priority) in &all {
                prop_assert_eq!(explicit.get(name).unwrap_or(priority), priority);
                let meets = all.iter().any(|(other, same)| other != name && same == priority && !explicit.contains_key(other));
                prop_assert!(!meets || priority == &1, "{:?}", all);
            }
        }
    }
}
