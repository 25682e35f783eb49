//! The keeper: repairs what strangers break, does not chase its own tail, is quick, and says when it may not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Listening, address, full, in_namespace, key, lan, sh, snapshot, succeeds, via};
use prometheus_client::registry::Registry;
use tidegate_kernel::{Applied, Keeper, Kernel, OpenError, Surroundings};
use tidegate_plan::Desired;
use tokio::time::timeout;

async fn until(keeper: &Keeper, what: impl Fn(&Applied) -> bool) -> Arc<Applied> {
    let mut applied = keeper.applied();
    let found = timeout(Duration::from_secs(3), applied.wait_for(|now| what(now))).await;
    found.unwrap_or_else(|_| panic!("{:?}", keeper.applied().borrow())).unwrap().clone()
}

async fn settled(keeper: &Keeper, desired: &Desired) -> Arc<Applied> {
    let generation = keeper.set(Arc::new(desired.clone()));
    until(keeper, |now| now.generation == generation && now.errors.is_empty()).await
}

#[test]
fn what_a_stranger_breaks_is_repaired_within_a_second() {
    in_namespace(async || {
        lan();
        let state = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(state.path().to_owned(), &mut Registry::default()).unwrap();
        let holds = settled(&keeper, &full()).await.holds;
        assert_eq!((holds.addresses, holds.routes), (3, 5));
        for (damage, mended) in [
            ("nft flush ruleset", "nft list set inet tidegate pods | grep 10.60.0.2"),
            (
                "nft delete element inet tidegate pods '{ 10.60.0.2 }'",
                "nft list set inet tidegate pods | grep 10.60.0.2",
            ),
            ("ip address del 10.9.0.2/32 dev lo", "ip address show dev lo | grep 10.9.0.2/32"),
            ("ip route del 10.60.0.0/26", "ip route | grep 10.60.0.0/26"),
            ("ip rule del priority 8400", "ip rule | grep 8400:"),
            ("ip link set eth0 down; ip link set eth0 up", "ip route | grep 10.60.0.0/26"),
        ] {
            let repairs = keeper.applied().borrow().repairs;
            sh(damage);
            let start = Instant::now();
            while !succeeds(mended) {
                assert!(start.elapsed() < Duration::from_secs(1), "{damage}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            until(&keeper, |now| now.repairs > repairs && now.errors.is_empty()).await;
        }
    });
}

#[test]
fn it_does_not_wake_itself_up_and_a_restart_is_not_seen() {
    in_namespace(async || {
        lan();
        let state = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(state.path().to_owned(), &mut Registry::default()).unwrap();
        settled(&keeper, &full()).await;
        // The kernel tells of an IPv6 address once more when it is in use.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut applied = keeper.applied();
        applied.mark_unchanged();
        assert!(
            timeout(Duration::from_millis(600), applied.changed()).await.is_err(),
            "{:?}",
            applied.borrow()
        );
        sh("nft add table inet stranger; ip route add 10.70.0.0/16 via 10.1.0.9");
        assert!(timeout(Duration::from_millis(600), applied.changed()).await.is_err(), "no concern of ours");

        let (ip, nft) =
            (Listening::start("ip monitor link address route rule"), Listening::start("nft monitor"));
        keeper.stop();
        let again = Keeper::start(state.path().to_owned(), &mut Registry::default()).unwrap();
        assert_eq!(settled(&again, &full()).await.repairs, 0);
        assert_eq!((ip.stop(), nft.stop()), (String::new(), String::new()));
    });
}

#[test]
fn a_route_change_reaches_the_kernel_at_once() {
    in_namespace(async || {
        lan();
        let state = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(state.path().to_owned(), &mut Registry::default()).unwrap();
        let mut desired = full();
        settled(&keeper, &desired).await;
        let mut slowest = Duration::ZERO;
        for n in 0..10u8 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            desired.routes.insert(key(&format!("10.64.{n}.0/24")), via(&["10.1.0.11", "10.1.0.12"]));
            let start = Instant::now();
            settled(&keeper, &desired).await;
            slowest = slowest.max(start.elapsed());
            assert!(sh("ip route").contains(&format!("10.64.{n}.0/24")));
        }
        println!("slowest of ten: {slowest:?}");
    });
}

#[test]
fn what_fails_is_told_and_tried_again() {
    in_namespace(async || {
        lan();
        let state = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(state.path().to_owned(), &mut Registry::default()).unwrap();
        let mut desired = full();
        desired.routes.insert(key("10.65.0.0/16"), via(&["10.2.0.1"]));
        let generation = keeper.set(Arc::new(desired));
        let told = until(&keeper, |now| now.generation == generation && !now.errors.is_empty()).await;
        assert_eq!(told.errors.len(), 1, "{:?}", told.errors);
        assert!(told.errors[0].starts_with("route add 10.65.0.0/16"), "{}", told.errors[0]);
        sh("ip address add 10.2.0.9/24 dev eth0");
        let mended = until(&keeper, |now| now.errors.is_empty()).await;
        assert_eq!((mended.holds.routes, mended.repairs), (6, 0), "a late success is no repair");
    });
}

/// Somebody else's table by our name, which the kernel lets nobody change while its owner lives.
struct Owned(std::process::Child);

impl Owned {
    fn take() -> Self {
        let mut nft = std::process::Command::new("nft");
        let mut owner = nft.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let line =
            "add table inet tidegate; delete table inet tidegate; add table inet tidegate { flags owner; }";
        writeln!(owner.stdin.as_mut().unwrap(), "{line}").unwrap();
        let start = Instant::now();
        while !succeeds("nft list table inet tidegate | grep 'flags owner'") {
            assert!(start.elapsed() < Duration::from_secs(3), "nft made no table");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(owner)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_its_table_nothing_comes_that_brings_traffic_and_no_intent_counts_as_applied() {
    in_namespace(async || {
        lan();
        let owner = Owned::take();
        let state = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        let keeper = Keeper::start(state.path().to_owned(), &mut registry).unwrap();
        let generation = keeper.set(Arc::new(full()));
        let told = until(&keeper, |now| !now.errors.is_empty()).await;
        assert_eq!(told.generation, 0);
        let [refused, held_back] = told.errors.as_slice() else { panic!("{:?}", told.errors) };
        assert!(refused.starts_with("nftables rebuild") && refused.contains("not permitted"), "{refused}");
        // ip_forward, three addresses, a rule, five routes.
        assert!(held_back.starts_with("10 held back") && held_back.contains("ip_forward"), "{held_back}");
        assert_eq!(metric(&registry, "tidegate_kernel_errors"), 2);
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");
        assert!(!sh("ip address show dev lo").contains("10.9.0.1"));
        assert!(!succeeds("ip route show proto 84 | grep ."));
        assert_eq!(
            sh("cat /proc/sys/net/ipv4/conf/eth0/arp_ignore").trim(),
            "1",
            "what only protects is done all the same"
        );

        // The table dies with its owner.
        drop(owner);
        let applied = until(&keeper, |now| now.generation == generation).await;
        assert_eq!((&applied.errors, applied.holds.addresses, applied.repairs), (&vec![], 3, 0));
        assert_eq!(metric(&registry, "tidegate_kernel_errors"), 0);
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");

        // A newer intent that the table refuses leaves the generation where it was, and what stood stands.
        let _owner = Owned::take();
        let mut more = full();
        more.addresses.insert(address("10.9.0.3/32", "lo"));
        more.routes.remove(&key("10.60.0.0/26"));
        let newer = keeper.set(Arc::new(more));
        assert!(newer > generation);
        let told = until(&keeper, |now| now.errors.iter().any(|error| error.contains("10.9.0.3"))).await;
        assert_eq!(told.generation, generation);
        until(&keeper, |now| now.holds.routes == 4).await;
        assert!(!sh("ip address show dev lo").contains("10.9.0.3"));
        assert!(!sh("ip route").contains("10.60.0.0/26"), "a withdrawn route goes all the same");
    });
}

fn metric(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[test]
fn dropped_packets_and_repairs_are_counted_and_a_new_table_takes_nothing_back() {
    in_namespace(async || {
        const DROPPED: &str = "tidegate_dropped_packets_total{reason=\"no_socket\"}";
        lan();
        let state = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        let keeper = Keeper::start(state.path().to_owned(), &mut registry).unwrap();
        settled(&keeper, &full()).await;
        let stray = || {
            let socket = std::net::UdpSocket::bind("10.1.0.1:0").unwrap();
            socket.send_to(b"x", "10.9.0.1:9").unwrap();
        };
        stray();
        let start = Instant::now();
        while metric(&registry, DROPPED) == 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "the counters are not read");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stray();
        settled(&keeper, &Desired { filter: None, ..full() }).await;
        assert_eq!(metric(&registry, DROPPED), 2, "read before the table goes");
        settled(&keeper, &full()).await;
        stray();
        settled(&keeper, &Desired { filter: None, ..full() }).await;
        assert_eq!(metric(&registry, DROPPED), 3);

        assert_eq!(metric(&registry, "tidegate_kernel_repairs_total"), 0);
        sh("ip address del 10.9.0.2/32 dev lo");
        let repaired = until(&keeper, |now| now.repairs > 0).await.repairs;
        assert_eq!(metric(&registry, "tidegate_kernel_repairs_total"), repaired);
    });
}

#[test]
fn a_namespace_is_as_before_after_keeper_and_cleanup() {
    in_namespace(async || {
        lan();
        let before = snapshot();
        let state = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(state.path().to_owned(), &mut Registry::default()).unwrap();
        settled(&keeper, &full()).await;
        settled(&keeper, &Desired { filter: None, ..full() }).await;
        settled(&keeper, &full()).await;
        keeper.stop();
        Kernel::open(state.path()).unwrap().cleanup(false).await.unwrap();
        assert_eq!(before, snapshot());
    });
}

#[test]
fn links_are_told_and_their_changes_too() {
    in_namespace(async || {
        lan();
        let mut surroundings = Surroundings::watch().await.unwrap();
        let find = |name: &str, all: &Surroundings| {
            all.links.iter().find(|link| link.name == name).cloned().unwrap()
        };
        let (lo, eth0) = (find("lo", &surroundings.borrow()), find("eth0", &surroundings.borrow()));
        assert!(lo.loopback && !eth0.loopback);
        assert_eq!(eth0.addresses, ["10.1.0.1/24".parse().unwrap()]);
        sh("ip address add 10.2.0.1/24 dev eth0");
        let added = |all: &Arc<Surroundings>| find("eth0", all).addresses.len() == 2;
        timeout(Duration::from_secs(1), surroundings.wait_for(added)).await.unwrap().unwrap();

        sh("ip route add 10.66.0.0/16 via 10.1.0.7");
        let route = ("10.66.0.0/16".parse().unwrap(), "eth0".to_owned());
        let routed = |all: &Arc<Surroundings>| all.routes.contains(&route);
        timeout(Duration::from_secs(1), surroundings.wait_for(routed)).await.unwrap().unwrap();
    });
}

#[test]
fn without_the_capability_it_says_which_one_and_touches_nothing() {
    in_namespace(async || {
        // The thread alone becomes nobody, and so loses its capabilities.
        // SAFETY: the call takes three numbers and changes the credentials of this thread.
        let became = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(became, 0);
        let state = std::env::temp_dir();
        assert!(matches!(Kernel::open(&state), Err(OpenError::NoNetAdmin)));
        let error = Keeper::start(state, &mut Registry::default()).err().unwrap();
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        assert_eq!(Surroundings::look().await.unwrap().links[0].name, "lo", "a look needs no privilege");
    });
}
