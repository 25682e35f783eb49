use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::nft::elements::Elements;
use crate::sysctl::for_gateway;
use crate::{Address, Egress, Filter, NextHop, RouteKey, Rule, SysctlKey};

fn address(n: u8) -> Address {
    Address { interface: "lo".to_owned(), net: format!("10.9.0.{n}/32").parse().unwrap() }
}

fn key(n: u8, metric: u32) -> RouteKey {
    RouteKey::new(254, format!("10.60.{n}.0/24").parse().unwrap(), metric)
}

fn hops(last: &[u8]) -> Vec<NextHop> {
    last.iter().map(|n| NextHop::via(format!("10.1.0.{n}").parse().unwrap())).collect()
}

fn setting(n: u8) -> SysctlKey {
    SysctlKey::try_from(format!("net/ipv4/conf/eth{n}/arp_ignore")).unwrap()
}

fn rule(priority: u32) -> Rule {
    Rule { priority, ipv6: false, from: None, to: None, mark: None, table: 7 }
}

/// A kernel that has the settings of four interfaces.
fn kernel() -> Observed {
    Observed { sysctls: (0..4).map(|n| (setting(n), "0".to_owned())).collect(), ..Observed::default() }
}

fn apply(observed: &mut Observed, ops: &[Op]) {
    for op in ops {
        observed.apply(op).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn an_address_with_our_tag_is_adopted_and_one_without_is_left_and_noted() {
    let desired = Desired { addresses: [address(1), address(2), address(3)].into(), ..Desired::default() };
    let mut observed = kernel();
    observed.addresses = [(address(1), OURS), (address(2), 0), (address(4), OURS), (address(5), 3)].into();
    let made = plan(&desired, &observed);
    assert_eq!(made.ops, [Op::AddressDelete(address(4)), Op::AddressAdd(address(3))]);
    assert_eq!(made.notes, [Note::AddressTaken { address: address(2), protocol: 0 }]);
}

#[test]
fn an_interface_the_kernel_filled_in_is_no_difference_but_one_we_asked_for_is() {
    let observed_hop = NextHop { interface: Some("eth0".to_owned()), ..hops(&[1]).remove(0) };
    let mut observed = kernel();
    observed.routes.insert(key(1, 20), vec![observed_hop.clone()]);
    let with = |next_hops: Vec<NextHop>| {
        plan(&Desired { routes: [(key(1, 20), next_hops)].into(), ..Desired::default() }, &observed).ops
    };
    assert_eq!(with(hops(&[1])), []);
    assert_eq!(with(vec![NextHop { interface: Some("eth1".to_owned()), ..observed_hop.clone() }]).len(), 1);
    assert_eq!(with(vec![NextHop { onlink: true, ..observed_hop }]).len(), 1);
    assert_eq!(with(hops(&[1, 2])).len(), 1);
}

#[test]
fn a_route_of_ours_is_kept_until_the_sources_have_spoken() {
    let mut observed = kernel();
    observed.routes.insert(key(1, 20), hops(&[1]));
    let starting = Desired { routes_settled: false, ..Desired::default() };
    assert_eq!(plan(&starting, &observed).ops, []);
    assert_eq!(plan(&Desired::default(), &observed).ops, [Op::RouteDelete(key(1, 20))]);
}

#[test]
fn a_strangers_route_of_the_same_key_is_neither_replaced_nor_joined() {
    let mut observed = kernel();
    observed.foreign_routes.insert(key(1, 20));
    let desired =
        Desired { routes: [(key(1, 20), hops(&[1])), (key(1, 21), hops(&[1]))].into(), ..Desired::default() };
    let made = plan(&desired, &observed);
    assert_eq!(made.ops, [Op::RouteAdd(key(1, 21), hops(&[1]))]);
    assert_eq!(made.notes, [Note::RouteTaken(key(1, 20))]);
    observed.routes.insert(key(1, 20), hops(&[2]));
    assert_eq!(
        plan(&desired, &observed).notes,
        [Note::RouteTaken(key(1, 20))],
        "a replacement might hit theirs"
    );
}

#[test]
fn the_table_drops_before_the_host_forwards_and_addresses_go_before_their_protection() {
    let names = |ops: &[Op]| {
        ops.iter()
            .map(|op| op.to_string().split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let forwarding = for_gateway([]);
    let mut observed = kernel();
    observed.sysctls.extend(forwarding.keys().map(|key| (key.clone(), "x".to_owned())));
    let desired = Desired {
        addresses: [address(1)].into(),
        routes: [(key(1, 20), hops(&[1]))].into(),
        rules: [rule(8400), rule(7)].into(),
        sysctls: forwarding,
        filter: Some(Filter::default()),
        ..Desired::default()
    };
    let up = plan(&desired, &observed);
    assert_eq!(
        names(&up.ops),
        ["nftables rebuild", "sysctl set", "sysctl set", "address add", "rule add", "route add"]
    );
    assert_eq!(up.notes, [Note::RuleOutOfRange(rule(7))]);
    apply(&mut observed, &up.ops);
    let down = cleanup_plan(&observed);
    assert_eq!(
        names(&down.ops),
        [
            "address delete",
            "rule delete",
            "route delete",
            "sysctl restore",
            "sysctl restore",
            "nftables delete"
        ]
    );
}

/// Applies as the kernel does when it refuses the operation at `refused`.
fn apply_but(observed: &mut Observed, ops: &[Op], refused: usize) {
    for (at, op) in ops.iter().enumerate() {
        if at != refused && !op.relies_on(&ops[refused]) {
            observed.apply(op).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn whatever_fails_no_address_stands_unmuted_and_no_host_forwards_without_a_table() {
    let settings = for_gateway(["eth1"]);
    let mut idle = kernel();
    idle.sysctls.extend(settings.keys().map(|key| (key.clone(), "x".to_owned())));
    let desired = Desired {
        addresses: [address(1), address(2)].into(),
        routes: [(key(1, 20), hops(&[1]))].into(),
        rules: [rule(8400)].into(),
        sysctls: settings.clone(),
        filter: Some(Filter::default()),
        ..Desired::default()
    };
    let safe = |observed: &Observed, failed: &Op| {
        let set = |key: &SysctlKey| observed.sysctls[key] == settings[key];
        let stands = observed.addresses.values().any(|protocol| *protocol == OURS);
        let arp = settings.keys().filter(|key| key.path().contains("/arp_"));
        let forwarding = settings.keys().any(|key| key.path() == crate::IP_FORWARD && set(key));
        assert!(!stands || arp.clone().all(set), "an address is answered for: {failed}");
        assert!(!stands || observed.table.is_some(), "an address without a table: {failed}");
        assert!(!forwarding || observed.table.is_some(), "forwards without a table: {failed}");
        assert!(observed.routes.is_empty() || observed.table.is_some(), "routes without a table: {failed}");
    };
    let up = plan(&desired, &idle).ops;
    let mut busy = idle.clone();
    apply(&mut busy, &up);
    let down = cleanup_plan(&busy).ops;
    for (before, wanted, ops) in [(&idle, &desired, &up), (&busy, &Desired::default(), &down)] {
        for refused in (0..ops.len()).filter(|at| !ops[*at].is_route()) {
            let mut observed = before.clone();
            apply_but(&mut observed, ops, refused);
            safe(&observed, &ops[refused]);
            let rest = plan(wanted, &observed).ops;
            assert!(!rest.is_empty());
            apply(&mut observed, &rest);
            assert_eq!(plan(wanted, &observed).ops, []);
        }
    }
}

#[test]
fn without_the_table_what_takes_traffic_away_still_happens() {
    let table = Op::TableRebuild(Elements::new());
    let forward = SysctlKey::try_from(crate::IP_FORWARD.to_owned()).unwrap();
    let write = |key: SysctlKey| Op::SysctlSet { key, value: "1".to_owned() };
    for (op, relies) in [
        (Op::AddressAdd(address(1)), true),
        (Op::RuleAdd(rule(8400)), true),
        (Op::RouteAdd(key(1, 20), hops(&[1])), true),
        (Op::RouteReplace(key(1, 20), hops(&[1])), true),
        (write(forward.clone()), true),
        (write(setting(0)), false),
        (Op::RuleDelete(rule(8400)), false),
        (Op::RouteDelete(key(1, 20)), false),
        (Op::SysctlRestore(forward), false),
        (Op::SysctlForget(setting(0)), false),
    ] {
        assert_eq!(op.relies_on(&table), relies, "{op}");
        assert!(!op.relies_on(&Op::RouteDelete(key(2, 20))), "nothing relies on a route");
    }
}

#[test]
fn a_setting_keeps_its_first_original_and_is_put_back_only_if_nobody_changed_it_since() {
    let mut observed = kernel();
    let want =
        |value: &str| Desired { sysctls: [(setting(0), value.to_owned())].into(), ..Desired::default() };
    for value in ["1", "2"] {
        let ops = plan(&want(value), &observed).ops;
        apply(&mut observed, &ops);
    }
    assert_eq!(observed.recorded[&setting(0)].original, "0");
    assert_eq!(cleanup_plan(&observed).ops, [Op::SysctlRestore(setting(0))]);
    observed.sysctls.insert(setting(0), "9".to_owned());
    let made = cleanup_plan(&observed);
    assert_eq!(
        (made.ops, made.notes),
        (vec![Op::SysctlForget(setting(0))], vec![Note::SysctlChanged(setting(0))])
    );
    observed.sysctls.remove(&setting(0));
    assert_eq!(cleanup_plan(&observed).ops, [Op::SysctlForget(setting(0))]);
    assert_eq!(plan(&want("1"), &observed).notes, [Note::SysctlAbsent(setting(0))]);
}

#[test]
fn a_setting_that_was_right_already_is_not_recorded() {
    let mut observed = kernel();
    observed.sysctls.insert(setting(0), "1".to_owned());
    let desired = Desired { sysctls: [(setting(0), "1".to_owned())].into(), ..Desired::default() };
    assert_eq!(plan(&desired, &observed).ops, []);
}

#[test]
fn pods_beside_each_other_share_elements_and_the_longest_destination_decides() {
    let class = 3;
    let filter = Filter {
        pod_class: ["10.60.0.4", "10.60.0.5", "10.60.0.9"].map(|pod| (pod.parse().unwrap(), class)).into(),
        egress: BTreeMap::from([
            ((class, "10.8.0.0/16".parse().unwrap()), Egress::To("10.9.1.1".parse().unwrap())),
            ((class, "10.8.255.0/24".parse().unwrap()), Egress::Drop),
            ((class, "10.8.254.0/24".parse().unwrap()), Egress::Untouched),
        ]),
        ..Filter::default()
    };
    let elements: Elements = filter.elements();
    let to: Vec<(Vec<u8>, Vec<u8>)> =
        elements["egress_to"].iter().map(|element| (element.first.clone(), element.last.clone())).collect();
    assert_eq!(
        to,
        [
            (vec![10, 60, 0, 4, 10, 8, 0, 0], vec![10, 60, 0, 5, 10, 8, 253, 255]),
            (vec![10, 60, 0, 9, 10, 8, 0, 0], vec![10, 60, 0, 9, 10, 8, 253, 255]),
        ]
    );
    assert_eq!(elements["egress_drop"].len(), 2);
    assert_eq!(elements["egress_pods"].len(), 3);
}

prop_compose! {
    fn any_filter()(
        local in btree_set(0u8..6, 0..4),
        ranges in btree_set((0u8..4, 16u8..=32), 0..3),
        pods in btree_map(0u8..12, 0u32..3, 0..8),
        egress in btree_map((0u32..3, 0u8..8, 20u8..=32), 0u8..4, 0..8),
        transparent in btree_set((any::<bool>(), 0u8..4), 0..4),
    ) -> Filter {
        let net = |n: u8, len: u8| ipnet::Ipv4Net::new([10, 8, n, n].into(), len).unwrap();
        Filter {
            local_addresses: local.into_iter().map(|n| [10, 9, 0, n].into()).collect(),
            forwarded_addresses: [[10, 9, 1, 1].into()].into(),
            pod_ranges: ranges.into_iter().map(|(n, len)| net(n, len)).collect(),
            pods: pods.keys().map(|n| [10, 60, 0, *n].into()).collect(),
            pod_class: pods.iter().map(|(n, class)| ([10, 60, 0, *n].into(), *class)).collect(),
            egress: egress
                .into_iter()
                .map(|((class, n, len), how)| {
                    let how = match how {
                        0 => Egress::Drop,
                        1 => Egress::Untouched,
                        n => Egress::To([10, 9, 1, n].into()),
                    };
                    ((class, net(n, len)), how)
                })
                .collect(),
            transparent_endpoints: transparent
                .into_iter()
                .map(|(v4, n)| if v4 { [10, 60, 1, n].into() } else { [0x20, 1, 0, 0, 0, 0, 0, n.into()].into() })
                .collect(),
        }
    }
}

prop_compose! {
    fn any_desired()(
        addresses in btree_set(0u8..6, 0..5),
        routes in btree_map((0u8..5, 20u32..22), btree_set(1u8..4, 1..3), 0..6),
        routes_settled in any::<bool>(),
        rules in btree_set(8398u32..8404, 0..3),
        settings in btree_map(0u8..5, 0u8..3, 0..4),
        filter in proptest::option::weighted(0.8, any_filter()),
    ) -> Desired {
        Desired {
            addresses: addresses.into_iter().map(address).collect(),
            routes: routes
                .into_iter()
                .map(|((n, metric), last)| (key(n, metric), hops(&last.into_iter().collect::<Vec<_>>())))
                .collect(),
            routes_settled,
            rules: rules.into_iter().map(rule).collect(),
            sysctls: settings.into_iter().map(|(n, value)| (setting(n), value.to_string())).collect(),
            filter,
        }
    }
}

/// What others hold.
fn foreign(observed: &Observed) -> (BTreeMap<Address, u8>, std::collections::BTreeSet<RouteKey>) {
    let theirs = observed.addresses.iter().filter(|(_, protocol)| **protocol != OURS);
    (
        theirs.map(|(address, protocol)| (address.clone(), *protocol)).collect(),
        observed.foreign_routes.clone(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Over any history of intents and of strangers who add and destroy, every plan is possible step by step, ends at
    /// what was wanted, touches nothing of others, and leaves nothing for a second plan; a cleanup leaves nothing of ours.
    #[test]
    fn any_history_converges_and_spares_strangers(
        history in vec((any_desired(), 0u8..6, 0u8..8), 1..6),
    ) {
        let untouched = kernel();
        let mut observed = kernel();
        for (desired, n, mischief) in history {
            match mischief {
                0 => { observed.addresses.entry(address(n)).or_insert(0); }
                1 => { observed.foreign_routes.insert(key(n, 20)); }
                2 => { observed.addresses.remove(&address(n)); }
                3 => { observed.routes.remove(&key(n, 20)); }
                4 => observed.table = None,
                5 => if let Some(table) = &mut observed.table { table.chains.remove("guard"); },
                6 => if let Some(table) = &mut observed.table {
                    table.sets.values_mut().for_each(|set| { set.elements.pop_first(); });
                },
                _ => {}
            }
            let theirs = foreign(&observed);
            let made = plan(&desired, &observed);
            for op in &made.ops {
                prop_assert!(observed.apply(op).is_ok(), "{op}");
            }
            prop_assert_eq!(&plan(&desired, &observed).ops, &[]);
            prop_assert_eq!(theirs, foreign(&observed));
            for address in &desired.addresses {
                prop_assert!(observed.addresses.contains_key(address));
            }
            for (key, next_hops) in &desired.routes {
                prop_assert!(observed.routes.get(key) == Some(next_hops) || observed.foreign_routes.contains(key));
            }
            let elements = observed.table.as_ref().map(|table| {
                table.sets.iter().map(|(name, set)| (name.clone(), set.elements.clone())).collect::<BTreeMap<_, _>>()
            });
            let wanted = desired.filter.as_ref().map(|filter| {
                filter.elements().into_iter().map(|(name, of_set)| (name.to_owned(), of_set)).collect()
            });
            prop_assert_eq!(elements, wanted);
        }
        let theirs = foreign(&observed);
        for op in &cleanup_plan(&observed).ops {
            prop_assert!(observed.apply(op).is_ok(), "{op}");
        }
        prop_assert_eq!(theirs, foreign(&observed));
        prop_assert!(observed.addresses.values().all(|protocol| *protocol != OURS));
        prop_assert!(observed.routes.is_empty() && observed.rules.is_empty() && observed.recorded.is_empty());
        prop_assert!(observed.table.is_none());
        prop_assert_eq!(observed.sysctls, untouched.sysctls);
    }
}
