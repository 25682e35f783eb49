use proptest::prelude::*;

use super::*;
use crate::{Share, parse_range};

fn pool(name: &str, ranges: &[&str]) -> Pool {
    let ranges = ranges.iter().map(|text| parse_range(text).expect("a range")).collect();
    Pool { name: name.into(), ranges, avoid_buggy_ips: false }
}

fn request(key: &str, pools: usize) -> Request<String> {
    Request {
        key: key.into(),
        families: vec![Family::V4],
        one_will_do: false,
        exact: Vec::new(),
        standing: Vec::new(),
        pools: (0..pools).collect(),
        tenancy: Tenancy::default(),
    }
}

fn sharing(key: &str, share: &str, leads_to: &str, port: u16) -> Request<String> {
    let share = Some(Share { key: share.into(), leads_to: leads_to.into() });
    Request { tenancy: Tenancy { share, ports: [(6, port)].into() }, ..request(key, 1) }
}

fn give(pools: &[Pool], requests: &[Request<String>]) -> BTreeMap<String, Given<String>> {
    allocate(pools, requests, &BTreeSet::new(), &BTreeSet::new())
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The one address, or the one refusal.
fn one(given: &Given<String>) -> Result<String, Refusal<String>> {
    match (&given.addresses[..], &given.refusals[..]) {
        ([address], []) => Ok(address.to_string()),
        ([], [refusal]) => Err(refusal.clone()),
        _ => panic!("{given:?}"),
    }
}

/// Where a free choice starts is part of what gateways of different releases must agree on.
#[test]
fn the_hash_never_changes() {
    // Published test vectors of FNV-1a, 64 bits.
    assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
}

/// Pools are asked in the order given, and what cannot be had is said when all are full.
#[test]
fn pools_are_asked_in_order_until_all_are_full() {
    let pools = [pool("a", &["10.0.0.0/32"]), pool("b", &["10.0.1.0/32"])];
    let given = give(&pools, &[request("x", 2), request("y", 2), request("z", 2), request("n", 0)]);
    assert_eq!(one(&given["x"]), Ok("10.0.0.0".into()));
    assert_eq!(one(&given["y"]), Ok("10.0.1.0".into()));
    assert_eq!(one(&given["z"]), Err(Refusal::Exhausted(Family::V4)));
    assert_eq!(one(&given["n"]), Err(Refusal::NoPool));
}

/// Addresses that end in .0 and .255 are left out where that is asked for.
#[test]
fn buggy_addresses_are_avoided() {
    let mut careful = pool("p", &["10.0.0.255-10.0.1.1"]);
    careful.avoid_buggy_ips = true;
    let given = give(&[careful], &[request("x", 1), request("y", 1)]);
    assert_eq!(one(&given["x"]), Ok("10.0.1.1".into()));
    assert_eq!(one(&given["y"]), Err(Refusal::Exhausted(Family::V4)));
}

/// Who has an address keeps it before anybody gets it, by number or not, whoever is older; else the elder who asks by
/// number has it.
#[test]
fn who_has_comes_first_then_who_asks_by_number() {
    let asks = |key: &str, text: &str| Request { exact: vec![address(text)], ..request(key, 1) };
    let has = |key: &str, text: &str| Request { standing: vec![address(text)], ..request(key, 1) };
    let pools = [pool("p", &["10.0.0.0/31"])];
    let given = give(&pools, &[asks("elder", "10.0.0.0"), request("free", 1), has("holder", "10.0.0.0")]);
    assert_eq!(one(&given["elder"]), Err(Refusal::Taken(address("10.0.0.0"), Some("holder".into()))));
    assert_eq!(one(&given["holder"]), Ok("10.0.0.0".into()));
    assert_eq!(one(&given["free"]), Ok("10.0.0.1".into()));
    let given = give(&pools, &[request("free", 1), asks("first", "10.0.0.1"), asks("second", "10.0.0.1")]);
    assert_eq!(one(&given["first"]), Ok("10.0.0.1".into()));
    assert_eq!(one(&given["second"]), Err(Refusal::Taken(address("10.0.0.1"), Some("first".into()))));
    assert_eq!(one(&given["free"]), Ok("10.0.0.0".into()));
}

/// What is reserved goes only to who asks for it by number, what is owned to nobody new; who asks for another number gives
/// up what he has.
#[test]
fn reserved_and_owned() {
    let asks = |key: &str, text: &str| Request { exact: vec![address(text)], ..request(key, 1) };
    let reserved = [address("10.0.0.0")].into();
    let owned: BTreeSet<_> = [address("10.0.0.1")].into();
    let moves = Request { standing: vec![address("10.0.0.2")], ..asks("moves", "10.0.0.0") };
    let holds = Request { standing: vec![address("10.0.0.1")], ..request("holds", 1) };
    let pools = [pool("p", &["10.0.0.0/30"])];
    let given = allocate(
        &pools,
        &[asks("owned", "10.0.0.1"), moves, holds.clone(), request("free", 1)],
        &reserved,
        &owned,
    );
    assert_eq!(one(&given["moves"]), Ok("10.0.0.0".into()));
    assert_eq!(one(&given["holds"]), Ok("10.0.0.1".into()));
    assert_eq!(one(&given["owned"]), Err(Refusal::Taken(address("10.0.0.1"), Some("holds".into()))));
    assert!(["10.0.0.2", "10.0.0.3"].contains(&one(&given["free"]).expect("an address").as_str()));
    let given = allocate(&pools, &[asks("owned", "10.0.0.1")], &reserved, &owned);
    assert_eq!(one(&given["owned"]), Err(Refusal::Taken(address("10.0.0.1"), None)));
}

/// Those with one sharing key come together while their ports differ and they lead to the same; others never join them.
#[test]
fn sharing_keys() {
    let pools = [pool("p", &["10.0.0.0/24"])];
    let requests = [
        sharing("a", "k", "", 80),
        sharing("b", "k", "", 443),
        sharing("same-port", "k", "", 80),
        sharing("elsewhere", "k", "app=x", 1),
        sharing("other-key", "j", "", 2),
        request("alone", 1),
    ];
    let given = give(&pools, &requests);
    assert_eq!(given["a"].addresses, given["b"].addresses);
    let distinct: BTreeSet<_> = given.values().flat_map(|given| &given.addresses).collect();
    assert_eq!(distinct.len(), 5, "{given:?}");
    let mut joins = sharing("joins", "k", "", 8080);
    joins.exact = given["a"].addresses.clone();
    let mut hurts = request("hurts", 1);
    hurts.exact = given["a"].addresses.clone();
    let first = Request { standing: given["a"].addresses.clone(), ..sharing("a", "k", "", 80) };
    let given = give(&pools, &[joins, hurts, first]);
    assert_eq!(given["joins"].addresses, given["a"].addresses);
    assert!(matches!(one(&given["hurts"]), Err(Refusal::Taken(_, Some(_)))));
}

/// Two families come from one pool where one has both, else from two; where one will do, it does; where both are needed,
/// one alone is not given.
#[test]
fn dual_stack() {
    let (four, six) = (pool("four", &["10.0.0.0/24"]), pool("six", &["fd00::/64"]));
    let both = pool("both", &["10.9.0.0/24", "fd09::/64"]);
    let asks = |pools: &[usize], one_will_do| Request {
        families: vec![Family::V6, Family::V4],
        one_will_do,
        pools: pools.to_vec(),
        ..request("x", 0)
    };
    let pools = [four, six, both];
    let ask = |places: &[usize], one_will_do| give(&pools, &[asks(places, one_will_do)])["x"].clone();
    let begins = |given: &Given<String>| -> Vec<String> {
        given.addresses.iter().map(|address| address.to_string().chars().take(4).collect()).collect()
    };
    assert_eq!(begins(&ask(&[0, 1, 2], false)), ["fd09", "10.9"]);
    assert_eq!(begins(&ask(&[0, 1], false)), ["fd00", "10.0"]);
    let required = ask(&[0], false);
    assert_eq!(required.refusals, [Refusal::Exhausted(Family::V6)]);
    assert!(required.addresses.is_empty());
    let preferred = ask(&[0], true);
    assert_eq!((begins(&preferred).as_slice(), preferred.refusals.len()), (&["10.0".to_owned()][..], 1));
    let grows = Request { standing: vec![address("10.0.0.9")], ..asks(&[0, 1], true) };
    assert_eq!(begins(&give(&pools, &[grows])["x"]), ["10.0", "fd00"]);
}

/// In a pool with room, one that comes first by name moves nobody, even with nothing remembered.
#[test]
fn a_newcomer_moves_nobody_while_places_differ() {
    let pools = [pool("p", &["10.0.0.0/16"])];
    let before = give(&pools, &[request("shop/edge", 1), request("shop/other", 1)]);
    let after = give(&pools, &[request("a/first", 1), request("shop/edge", 1), request("shop/other", 1)]);
    assert_eq!(before["shop/edge"], after["shop/edge"]);
    assert_eq!(before["shop/other"], after["shop/other"]);
}

/// Who is there: key, sharing key, port, whether it wants IPv6 too, and which address it asks for by number.
type Member = (u8, u8, u16, bool, Option<u8>);

fn member(&(key, share, port, dual, exact): &Member, standing: Vec<IpAddr>) -> Request<String> {
    let share = (share > 0).then(|| Share { key: share.to_string(), leads_to: String::new() });
    let families = if dual { vec![Family::V4, Family::V6] } else { vec![Family::V4] };
    Request {
        key: format!("s{key}"),
        families,
        one_will_do: key % 2 == 0,
        exact: exact.map(|last| address(&format!("10.0.0.{last}"))).into_iter().collect(),
        standing,
        pools: vec![0, 1],
        tenancy: Tenancy { share, ports: [(6, port)].into() },
    }
}

fn members() -> impl Strategy<Value = BTreeMap<u8, Member>> {
    let one = (0..12u8, 0..3u8, 80..83u16, any::<bool>(), prop::option::weighted(0.2, 0..9u8));
    prop::collection::vec(one, 0..10).prop_map(|all| all.into_iter().map(|one| (one.0, one)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the history of arrivals and departures, restarts included: no address has two owners that may not share it,
    /// none that is new is outside of the pools, whoever is still there and asks for the same keeps what he had, two gateways
    /// that read the same come to the same, and a refusal for want of room means that there is none.
    #[test]
    fn histories(history in prop::collection::vec(members(), 1..8), size in 1..9u32) {
        let last = format!("10.0.0.1-10.0.0.{size}");
        let pools = [pool("p", &[&last]), pool("q", &["fd00::1-fd00::3", "10.0.1.1-10.0.1.2"])];
        let mut before: BTreeMap<u8, (Member, Vec<IpAddr>)> = BTreeMap::new();
        for now in history {
            let standing = |number| before.get(&number).map(|(_, had)| had.clone()).unwrap_or_default();
            let requests: Vec<_> = now.values().map(|one| member(one, standing(one.0))).collect();
            let given = give(&pools, &requests);
            prop_assert_eq!(&given, &give(&pools, &requests));
            let mut tenants: BTreeMap<IpAddr, Vec<&Request<String>>> = BTreeMap::new();
            for request in &requests {
                let given = &given[&request.key];
                for address in &given.addresses {
                    let inside = pools.iter().any(|pool| pool.offers(*address));
                    prop_assert!(inside || request.exact.contains(address) || request.standing.contains(address));
                    tenants.entry(*address).or_default().push(request);
                }
                let families: BTreeSet<_> = given.addresses.iter().map(|address| Family::of(*address)).collect();
                prop_assert_eq!(families.len(), given.addresses.len(), "one of each family");
            }
            for tenants in tenants.values() {
                for (at, one) in tenants.iter().enumerate() {
                    for other in &tenants[..at] {
                        prop_assert!(one.tenancy.share.is_some() && one.tenancy.share == other.tenancy.share);
                        prop_assert!(one.tenancy.ports.is_disjoint(&other.tenancy.ports));
                    }
                }
            }
            for request in requests.iter().filter(|request| given[&request.key].refusals.contains(&Refusal::Exhausted(Family::V4))) {
                prop_assert!((1..=size).all(|last| tenants.contains_key(&address(&format!("10.0.0.{last}")))), "{:?}", request);
            }
            let everyone = &now;
            for (number, one) in everyone {
                let now = &given[&format!("s{number}")].addresses;
                // Where one of those who share an address asks for other terms, they cannot all stay.
                let calm = |address: &&IpAddr| before.iter().all(|(other, (was, had))| {
                    !had.contains(address) || everyone.get(other).is_none_or(|is| is == was)
                });
                if let Some((was, had)) = before.get(number) && was == one {
                    prop_assert!(had.iter().filter(calm).all(|address| now.contains(address)), "{had:?} became {now:?}");
                }
            }
            before = now.into_iter().map(|(number, one)| (number, (one, given[&format!("s{number}")].addresses.clone()))).collect();
        }
    }
}
