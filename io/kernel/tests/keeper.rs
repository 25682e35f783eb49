//! The keeper: repairs what strangers break, does not chase its own tail, is quick, and says when it may not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Listening, full, in_namespace, key, lan, sh, snapshot, succeeds, via};
use tidegate_kernel::{Applied, Capabilities, Keeper, Kernel, OpenError, Surroundings};
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
        let keeper = Keeper::start(state.path().to_owned()).unwrap();
        let holds = settled(&keeper, &full()).await.holds;
        assert_eq!((holds.addresses, holds.routes, holds.rules), (3, 3, 1));
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
        let keeper = Keeper::start(state.path().to_owned()).unwrap();
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
        let again = Keeper::start(state.path().to_owned()).unwrap();
        assert_eq!(settled(&again, &full()).await.repairs, 0);
        assert_eq!((ip.stop(), nft.stop()), (String::new(), String::new()));
    });
}

#[test]
fn a_route_change_reaches_the_kernel_at_once() {
    in_namespace(async || {
        lan();
        let state = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(state.path().to_owned()).unwrap();
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
        assert!(slowest < Duration::from_millis(100), "{slowest:?}");
    });
}

#[test]
fn what_fails_is_told_and_tried_again() {
    in_namespace(async || {
        lan();
        let state = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(state.path().to_owned()).unwrap();
        let mut desired = full();
        desired.routes.insert(key("10.65.0.0/16"), via(&["10.2.0.1"]));
        let generation = keeper.set(Arc::new(desired));
        let told = until(&keeper, |now| now.generation == generation && !now.errors.is_empty()).await;
        assert_eq!(told.errors.len(), 1, "{:?}", told.errors);
        assert!(told.errors[0].starts_with("route add 10.65.0.0/16"), "{}", told.errors[0]);
        sh("ip address add 10.2.0.9/24 dev eth0");
        let mended = until(&keeper, |now| now.errors.is_empty()).await;
        assert_eq!((mended.holds.routes, mended.repairs), (4, 0), "a late success is no repair");
    });
}

#[test]
fn a_namespace_is_as_before_after_keeper_and_cleanup() {
    in_namespace(async || {
        lan();
        let before = snapshot();
        let state = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(state.path().to_owned()).unwrap();
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
        let eth0 = find("eth0", &surroundings.borrow());
        assert!(eth0.up && eth0.carrier && !eth0.loopback && eth0.mac.is_some() && eth0.mtu_bytes == 1500);
        assert!(eth0.addresses.contains(&"10.1.0.1/24".parse().unwrap()));
        let start = Instant::now();
        sh("ip link set far0 down");
        let cut = |all: &Arc<Surroundings>| !find("eth0", all).carrier;
        timeout(Duration::from_secs(1), surroundings.wait_for(cut)).await.unwrap().unwrap();
        println!("carrier loss seen after {:?}", start.elapsed());

        sh("ip link set far0 up; ip route add 10.66.0.0/16 via 10.1.0.7");
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
        let error = Keeper::start(state).err().unwrap();
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        let capabilities = Capabilities::read();
        assert!(!capabilities.net_admin && !capabilities.net_raw && !capabilities.nftables);
        assert!(capabilities.missing().len() >= 3);
        assert_eq!(Surroundings::look().await.unwrap().links[0].name, "lo", "a look needs no privilege");
    });
}
