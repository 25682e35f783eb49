use proptest::prelude::*;

use super::*;
use crate::parse_range;

fn pool(name: &str, ranges: &[&str]) -> Pool {
    let ranges = ranges.iter().map(|text| parse_range(text).expect("a range")).collect();
    Pool { name: name.into(), ranges, auto_assign: true, avoid_buggy_ips: false }
}

fn request(key: &str) -> Request<String> {
    Request { key: key.into(), pool: None }
}

fn give(pools: &[Pool], requests: &[Request<String>]) -> BTreeMap<String, Result<Assigned, Refusal>> {
    allocate(pools, requests, &BTreeSet::new(), &BTreeMap::new())
}

/// Where a free choice starts is part of what gateways of different releases must agree on.
#[test]
fn the_hash_never_changes() {
    // Published test vectors of FNV-1a, 64 bits.
    assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
}

/// A full pool says which pools were asked; the next in order of name helps out before that.
#[test]
fn pools_are_asked_in_order_of_name_until_all_are_full() {
    let pools = [pool("b", &["10.0.1.0/32"]), pool("a", &["10.0.0.0/32"])];
    let given = give(&pools, &[request("x"), request("y"), request("z")]);
    assert_eq!(given["x"], Ok(Assigned { address: Ipv4Addr::new(10, 0, 0, 0), pool: "a".into() }));
    assert_eq!(given["y"], Ok(Assigned { address: Ipv4Addr::new(10, 0, 1, 0), pool: "b".into() }));
    assert_eq!(given["z"], Err(Refusal::Exhausted(vec!["a".into(), "b".into()])));
}

/// A pool that does not assign by itself serves only who names it; a name that nobody has is told.
#[test]
fn named_pools() {
    let mut named = pool("named", &["10.0.0.0/32"]);
    named.auto_assign = false;
    let ask = |pool: Option<&str>| {
        let request = Request { key: "x".to_owned(), pool: pool.map(str::to_owned) };
        give(std::slice::from_ref(&named), &[request]).remove("x")
    };
    assert_eq!(ask(None), Some(Err(Refusal::NoPool)));
    assert_eq!(ask(Some("other")), Some(Err(Refusal::UnknownPool("other".into()))));
    assert!(ask(Some("named")).is_some_and(|given| given.is_ok()));
}

/// Addresses that end in .0 and .255 are left out where that is asked for.
#[test]
fn buggy_addresses_are_avoided() {
    let mut careful = pool("p", &["10.0.0.255-10.0.1.1"]);
    careful.avoid_buggy_ips = true;
    let given = give(&[careful], &[request("x"), request("y")]);
    assert_eq!(given["x"].as_ref().map(|assigned| assigned.address), Ok(Ipv4Addr::new(10, 0, 1, 1)));
    assert_eq!(given["y"], Err(Refusal::Exhausted(vec!["p".into()])));
}

proptest! {
    /// Nobody shares an address, nobody gets one that is taken or outside, and a refusal means that all are in use.
    #[test]
    fn addresses_are_distinct_inside_and_exhausted_only_when_full(
        keys in prop::collection::btree_set("[a-z]{1,3}", 0..12), size in 1..9u32, taken in prop::collection::btree_set(0..9u32, 0..4),
    ) {
        let last = Ipv4Addr::from_bits(0x0a00_0000 + size - 1);
        let pools = [Pool { name: "p".into(), ranges: vec![Range { first: Ipv4Addr::new(10, 0, 0, 0), last }], auto_assign: true, avoid_buggy_ips: false }];
        let taken: BTreeSet<_> = taken.into_iter().map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n)).collect();
        let requests: Vec<_> = keys.iter().map(|key| request(key)).collect();
        let given = allocate(&pools, &requests, &taken, &BTreeMap::new());
        let addresses: Vec<_> = given.values().flatten().map(|assigned| assigned.address).collect();
        prop_assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len());
        prop_assert!(addresses.iter().all(|address| pools[0].contains(*address) && !taken.contains(address)));
        let free = (0..size).filter(|n| !taken.contains(&Ipv4Addr::from_bits(0x0a00_0000 + n))).count();
        prop_assert_eq!(addresses.len(), free.min(keys.len()));
    }

    /// Whoever had an address that is still allowed keeps it, whoever else comes first in precedence.
    #[test]
    fn previous_addresses_are_kept(keys in prop::collection::btree_set("[a-z]{1,3}", 2..8), newcomer in "[A-Z]{3}") {
        let pools = [pool("p", &["10.0.0.0/28"])];
        let before: Vec<_> = keys.iter().map(|key| request(key)).collect();
        let first = give(&pools, &before);
        let previous = first.iter().filter_map(|(key, given)| Some((key.clone(), given.as_ref().ok()?.address))).collect();
        let mut after = before;
        after.insert(0, request(&newcomer));
        let second = allocate(&pools, &after, &BTreeSet::new(), &previous);
        for key in &keys {
            prop_assert_eq!(&first[key], &second[key]);
        }
    }
}

/// In a pool with room, one that comes first by name moves nobody, even with nothing remembered.
#[test]
fn a_newcomer_moves_nobody_while_places_differ() {
    let pools = [pool("p", &["10.0.0.0/16"])];
    let before = give(&pools, &[request("shop/edge"), request("shop/other")]);
    let after = give(&pools, &[request("a/first"), request("shop/edge"), request("shop/other")]);
    assert_eq!(before["shop/edge"], after["shop/edge"]);
    assert_eq!(before["shop/other"], after["shop/other"]);
}
