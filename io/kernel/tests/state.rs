//! Declared state against a real kernel: it converges, is adopted, spares strangers and leaves without a trace.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{
    Listening, address, converge, full, in_namespace, key, lan, open, remaining, sh, snapshot, succeeds, via,
};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::time::Instant;
use tidegate_kernel::Kernel;
use tidegate_plan::{Desired, Egress, Filter, Note, Op};

#[test]
fn what_was_applied_is_observed_and_nothing_remains_to_do() {
    in_namespace(async || {
        lan();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &full()).await;
        let rest = remaining(&mut kernel, &full()).await;
        assert_eq!(rest.ops, [], "{:?}", rest.notes);
        assert_eq!(rest.notes, []);
        let routes = sh("ip route show proto 84");
        assert!(routes.contains("nexthop via 10.1.0.12"), "{routes}");
        let rules = sh("ip rule");
        assert!(rules.contains("8400:\tfrom 10.60.0.0/16 fwmark 0x100/0xff00 lookup 1000"), "{rules}");
    });
}

#[test]
fn the_ruleset_reads_sensibly_in_nft() {
    in_namespace(async || {
        lan();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &full()).await;
        let ruleset = sh("nft list ruleset");
        let reloaded = common::Namespace::new().run({
            let text = ruleset.clone();
            move || sh(&format!("nft -f - <<'END'\n{text}END\nnft list ruleset"))
        });
        assert_eq!(ruleset, reloaded, "what nft lists it can read back");
        for line in [
            "type filter hook input priority filter - 1; policy accept;",
            "type nat hook postrouting priority srcnat - 5; policy accept;",
            "type filter hook postrouting priority srcnat + 10; policy accept;",
            "snat ip to ip saddr . ip daddr map @egress_to",
            "ip saddr . ip daddr @egress_drop counter name \"egress_denied\" drop",
            "elements = { 10.60.0.1 . 10.7.0.0/16 }",
            "10.60.0.1 . 10.8.0.0-10.8.2.255 : 10.9.1.1",
            "elements = { 10.60.0.0/16, 240.0.0.0/4 }",
            "ip saddr @pod_ranges ip saddr != @pods counter name \"unknown_pod\" drop",
            "tcp flags ! syn ct state invalid,new counter name \"stray_tcp\" drop",
            "socket transparent <= 1 return",
            "type filter hook prerouting priority mangle; policy accept;",
            "ip saddr @transparent_endpoints socket transparent 1 meta mark set meta mark | 0x00002000",
            "ip6 saddr @transparent_endpoints6 socket transparent 1 meta mark set meta mark | 0x00002000",
        ] {
            assert!(ruleset.contains(line), "no `{line}` in\n{ruleset}");
        }
    });
}

#[test]
fn a_second_start_changes_nothing_and_no_notification_is_seen() {
    in_namespace(async || {
        lan();
        let (mut kernel, state) = open();
        converge(&mut kernel, &full()).await;
        drop(kernel);
        // The kernel tells of an IPv6 address once more when it is in use.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let ip = Listening::start("ip monitor link address route rule nexthop");
        let nft = Listening::start("nft monitor");
        let mut second = Kernel::open(state.path()).unwrap();
        let made = converge(&mut second, &full()).await;
        assert_eq!(made.ops, []);
        assert_eq!((ip.stop(), nft.stop()), (String::new(), String::new()));
    });
}

#[test]
fn cleanup_leaves_the_namespace_as_it_was_and_strangers_in_it() {
    in_namespace(async || {
        lan();
        sh("nft add table inet stranger; nft add chain inet stranger c '{ type filter hook input priority 0; }'
            nft add rule inet stranger c tcp dport 22 accept
            ip address add 10.9.0.77/32 dev lo
            ip route add 10.60.0.0/26 via 10.1.0.99 metric 21
            ip route add 10.61.0.0/16 via 10.1.0.99 proto 99 metric 19
            ip route add 10.62.0.0/16 via 10.1.0.99 proto bird
            ip rule add priority 8401 from 10.3.0.0/16 lookup 55
            echo 1 > /proc/sys/net/ipv4/conf/far0/forwarding
            echo 0 > /proc/sys/net/ipv4/conf/all/accept_redirects");
        let before = snapshot();
        let (mut kernel, state) = open();
        converge(&mut kernel, &full()).await;
        assert_ne!(before, snapshot());
        assert!(state.path().join("sysctls.json").exists());

        // Another process cleans up.
        drop(kernel);
        let mut cleaner = Kernel::open(state.path()).unwrap();
        let announced = cleaner.cleanup(true).await.unwrap();
        let done = cleaner.cleanup(false).await.unwrap();
        assert_eq!(announced.done, done.done);
        assert!(done.errors.is_empty(), "{:?}", done.errors);
        for (was, is) in before.iter().zip(snapshot()) {
            assert_eq!(*was, is);
        }
        assert!(!state.path().join("sysctls.json").exists());
        assert_eq!(cleaner.cleanup(false).await.unwrap().done, Vec::<String>::new());
    });
}

#[test]
fn an_address_or_route_of_someone_else_is_noted_and_kept() {
    in_namespace(async || {
        lan();
        sh("ip address add 10.9.0.1/32 dev lo; ip route add 10.60.0.0/26 via 10.1.0.99 metric 20");
        let (mut kernel, _state) = open();
        let made = converge(&mut kernel, &full()).await;
        assert!(
            made.notes.contains(&Note::AddressTaken { address: address("10.9.0.1/32", "lo"), protocol: 0 })
        );
        assert!(made.notes.contains(&Note::RouteTaken(key("10.60.0.0/26"))));
        kernel.cleanup(false).await.unwrap();
        assert!(sh("ip address show dev lo").contains("10.9.0.1/32"));
        assert!(sh("ip route").contains("10.60.0.0/26 via 10.1.0.99"));
    });
}

#[test]
fn damage_to_the_table_is_repaired_by_one_operation() {
    in_namespace(async || {
        lan();
        let (mut kernel, _state) = open();
        let desired = full();
        converge(&mut kernel, &desired).await;
        for (damage, elements_only) in [
            ("nft flush ruleset", false),
            ("nft flush table inet tidegate", false),
            ("nft delete table inet tidegate", false),
            ("nft add rule inet tidegate forward accept", false),
            ("nft insert rule inet tidegate postrouting_nat accept", false),
            ("nft flush chain inet tidegate guard", false),
            ("nft 'chain inet tidegate forward { policy drop; }'", false),
            ("nft 'add table inet tidegate { flags dormant; }'", false),
            ("nft add set inet tidegate extra '{ type ipv4_addr; }'", false),
            ("nft flush set inet tidegate pods", true),
            ("nft add element inet tidegate pods '{ 10.60.0.77 }'", true),
            ("nft flush map inet tidegate egress_to", true),
            ("nft flush set inet tidegate pod_ranges", true),
            ("nft add element inet tidegate egress_pods '{ 10.60.0.2 }'", true),
        ] {
            sh(damage);
            let made = converge(&mut kernel, &desired).await;
            match made.ops.as_slice() {
                [Op::TableRebuild(_)] if !elements_only => {}
                [Op::TableChange { .. }] if elements_only => {}
                other => panic!("{damage}: {other:?}"),
            }
            assert_eq!(remaining(&mut kernel, &desired).await.ops, [], "{damage}");
        }
    });
}

#[test]
fn routes_are_kept_until_their_sources_have_spoken_and_change_in_place() {
    in_namespace(async || {
        lan();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &full()).await;

        let starting = Desired { routes: [].into(), routes_settled: false, ..full() };
        assert_eq!(remaining(&mut kernel, &starting).await.ops, []);

        let mut moved = full();
        moved.routes.insert(key("10.61.0.0/16"), via(&["10.1.0.12", "10.1.0.13", "10.1.0.14"]));
        moved.routes.remove(&key("10.60.0.0/26"));
        let listening = Listening::start("ip monitor route");
        converge(&mut kernel, &moved).await;
        assert_eq!(remaining(&mut kernel, &moved).await.ops, []);
        let seen = listening.stop();
        assert!(seen.contains("10.61.0.0/16") && !seen.contains("Deleted 10.61.0.0/16"), "{seen}");
        assert!(seen.contains("Deleted 10.60.0.0/26"), "{seen}");
    });
}

#[test]
fn an_operation_the_kernel_refuses_keeps_its_reason_and_spares_the_others() {
    in_namespace(async || {
        lan();
        let (mut kernel, _state) = open();
        let hop = via(&["192.0.2.1"]);
        let ops = [
            Op::RouteAdd(key("10.60.1.0/24"), via(&["10.1.0.11"])),
            Op::RouteAdd(key("10.60.2.0/24"), hop),
            Op::RouteAdd(key("10.60.3.0/24"), via(&["10.1.0.11"])),
            Op::AddressAdd(address("10.9.0.5/32", "absent0")),
            Op::AddressAdd(address("10.9.0.5/32", "lo")),
        ];
        let errors: Vec<String> = kernel.apply(&ops).await.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors[0].starts_with("route add 10.60.2.0/24") && errors[0].contains("gateway"),
            "{}",
            errors[0]
        );
        assert!(errors[1].contains("there is no interface absent0"), "{}", errors[1]);
        assert!(sh("ip route").contains("10.60.3.0/24"));
        assert!(sh("ip address").contains("10.9.0.5/32"));
    });
}

#[test]
fn an_ipv6_route_converges_and_leaves() {
    in_namespace(async || {
        lan();
        sh("ip address add 2001:db8:1::1/64 dev eth0 nodad");
        let (mut kernel, _state) = open();
        let mut desired = Desired::default();
        desired.routes.insert(key("2001:db8:60::/64"), via(&["2001:db8:1::11", "2001:db8:1::12"]));
        desired.routes.insert(key("2001:db8:61::/64"), via(&["2001:db8:1::11"]));
        converge(&mut kernel, &desired).await;
        assert_eq!(remaining(&mut kernel, &desired).await.ops, []);
        desired.routes.insert(key("2001:db8:60::/64"), via(&["2001:db8:1::13"]));
        converge(&mut kernel, &desired).await;
        assert_eq!(remaining(&mut kernel, &desired).await.ops, []);
        kernel.cleanup(false).await.unwrap();
        assert!(!succeeds("ip -6 route show proto 84 | grep ."));
    });
}

#[test]
fn a_setting_changed_after_us_is_not_set_back() {
    in_namespace(async || {
        lan();
        let (mut kernel, _state) = open();
        converge(&mut kernel, &full()).await;
        sh("echo 2 > /proc/sys/net/ipv4/conf/eth0/arp_ignore");
        let done = kernel.cleanup(false).await.unwrap();
        assert_eq!(done.left.len(), 1, "{:?}", done.left);
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/eth0/arp_ignore").trim(), "2");
    });
}

#[test]
fn large_sets_load_and_change_in_one_transaction() {
    in_namespace(async || {
        lan();
        let (mut kernel, _state) = open();
        let mut desired = full();
        let filter = desired.filter.as_mut().unwrap();
        filter.pods = (0..20_000u32).map(|n| std::net::Ipv4Addr::from(0x0a3c_0000 + n)).collect();
        converge(&mut kernel, &desired).await;
        assert_eq!(remaining(&mut kernel, &desired).await.ops, []);
        let filter = desired.filter.as_mut().unwrap();
        filter.pods = (5_000..25_000u32).map(|n| std::net::Ipv4Addr::from(0x0a3c_0000 + n)).collect();
        converge(&mut kernel, &desired).await;
        assert_eq!(remaining(&mut kernel, &desired).await.ops, []);
    });
}

/// A small generator; the seed is printed, so that a failure can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn filter(&mut self) -> Filter {
        let mut filter = Filter::default();
        for _ in 0..self.below(5) {
            let len = 16 + self.below(17) as u8;
            let low = self.below(8) as u32 * 0x1_8100;
            filter.pod_ranges.insert(Ipv4Net::new((0x0a3c_0000 + low).into(), len).unwrap().trunc());
        }
        for _ in 0..self.below(30) {
            let pod = Ipv4Addr::from(0x0a3c_0000 + self.below(40) as u32);
            filter.pods.insert(pod);
            filter.pod_class.insert(pod, self.below(3) as u32);
        }
        for _ in 0..self.below(8) {
            let len = 8 + self.below(25) as u8;
            let to = Ipv4Net::new((0x0a08_0000 + self.below(600) as u32 * 77).into(), len).unwrap().trunc();
            let how = match self.below(4) {
                0 => Egress::Drop,
                1 => Egress::Untouched,
                n => Egress::To([10, 9, 1, n as u8].into()),
            };
            filter.egress.insert((self.below(3) as u32, to), how);
        }
        filter
    }
}

#[test]
fn any_sequence_of_contents_is_taken_by_the_kernel_as_planned() {
    in_namespace(async || {
        let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        println!("seed {seed}");
        let mut chance = Chance(seed);
        let (mut kernel, _state) = open();
        for _ in 0..100 {
            let desired = Desired { filter: Some(chance.filter()), ..Desired::default() };
            converge(&mut kernel, &desired).await;
            let rest = remaining(&mut kernel, &desired).await;
            assert_eq!(rest.ops, [], "seed {seed}");
        }
    });
}

/// One pod more among thousands that a policy selects changes a handful of elements; how long that takes is printed.
#[test]
fn a_pod_more_among_thousands_of_selected_ones_costs_little() {
    in_namespace(async || {
        let (mut kernel, _state) = open();
        let pod = |n: u32| Ipv4Addr::from(0x0a3c_0000 + 2 * n);
        let mut filter = Filter {
            pods: (0..3_000).map(pod).collect(),
            pod_class: (0..3_000).map(|n| (pod(n), 1)).collect(),
            ..Filter::default()
        };
        for to in ["10.8.0.0/16", "192.0.2.0/24", "198.51.100.0/25"] {
            filter.egress.insert((1, to.parse().unwrap()), Egress::To([10, 9, 1, 1].into()));
        }
        let mut desired = Desired { filter: Some(filter), ..Desired::default() };
        let start = Instant::now();
        converge(&mut kernel, &desired).await;
        println!("9,000 pairs loaded in {:?}", start.elapsed());
        let mut observed = kernel.observe(&desired).await.unwrap();
        desired.filter.as_mut().unwrap().pod_class.insert(pod(3_000), 1);
        let start = Instant::now();
        let ops = tidegate_plan::plan(&desired, &observed).ops;
        let planned = start.elapsed();
        assert!(kernel.apply(&ops).await.is_empty());
        println!("one pod more: planned in {planned:?}, applied after {:?}", start.elapsed());
        let [Op::TableChange { delete, add }] = ops.as_slice() else { panic!("{} operations", ops.len()) };
        let touched =
            |of: &tidegate_plan::nft::elements::Elements| of.values().map(|set| set.len()).sum::<usize>();
        // The pod itself, and it beside each of the three destinations.
        assert_eq!((touched(delete), touched(add)), (0, 4));
        assert!(ops.iter().all(|op| observed.apply(op).is_ok()));
        assert_eq!(remaining(&mut kernel, &desired).await.ops, []);
    });
}
