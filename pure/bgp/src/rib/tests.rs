//! Decisions step by step, stale routes over time, limits, and random histories against an oracle
//! that knows no increments.

use super::*;
use crate::packet::{Announced, AsPath, Origin, Update};
use ipnet::Ipv4Net;
use std::time::{Duration, Instant};

mod oracle;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[allow(clippy::disallowed_methods)] // a fake clock needs one true instant to count from
fn start_of_time() -> Instant {
    Instant::now()
}

fn facts(kind: PeerKind, id: u8) -> PeerFacts {
    PeerFacts { kind, router_id: Ipv4Addr::new(1, 1, 1, id), address: Ipv4Addr::new(10, 0, 0, id) }
}

fn policy() -> ImportPolicy {
    let any = PrefixRange { cidr: net("10.0.0.0/8"), min_len: 8, max_len: 32 };
    ImportPolicy { prefixes: vec![any], maximum_prefixes: 100, multipath: 4 }
}

/// A table of AS 64512 with peers 1 to 4 up: 1 and 2 external, 3 and 4 internal.
fn table(now: Instant) -> Table {
    let mut table = Table::new(LocalFacts::new(64512, Ipv4Addr::new(9, 9, 9, 9)));
    for id in 1..=4 {
        table.peer_up(PeerId(id.into()), peer(id), policy(), now);
    }
    table
}

fn peer(id: u8) -> PeerFacts {
    facts(if id <= 2 { PeerKind::External } else { PeerKind::Internal }, id)
}

fn announce(prefixes: &[&str], last: u8, attributes: Attributes) -> Update {
    let prefixes = prefixes.iter().map(|prefix| net(prefix)).collect();
    let announced = vec![Announced { next_hop: Ipv4Addr::new(172, 16, 0, last), prefixes }];
    Update { announced, attributes, ..Update::default() }
}

fn withdraw(prefix: &str) -> Update {
    Update { withdrawn: vec![net(prefix)], ..Update::default() }
}

fn path(asns: &[u32]) -> Attributes {
    Attributes { as_path: AsPath::sequence(asns), local_pref: Some(100), ..Attributes::default() }
}

fn hops(last: &[u8]) -> Option<Vec<NextHop>> {
    Some(last.iter().map(|last| Ipv4Addr::new(172, 16, 0, *last)).collect())
}

/// A peer, and the attributes it sends.
type Sent = (u8, Attributes);

const P: &str = "10.1.0.0/16";

/// For each step: what the first path has, what the second has, and that the second loses there.
#[test]
fn each_step_decides_in_its_turn() {
    let base = || path(&[1, 2]);
    let cluster = |count| vec![Ipv4Addr::new(3, 3, 3, 3); count];
    let originator = |last| Some(Ipv4Addr::new(0, 0, 0, last));
    // (peer and attributes of the winner, of the loser, the step)
    let table_of_steps: Vec<(Sent, Sent, Step)> = vec![
        (
            (3, Attributes { local_pref: Some(101), as_path: AsPath::sequence([1, 2, 3]), ..base() }),
            (1, Attributes { local_pref: None, ..base() }),
            Step::LocalPref,
        ),
        ((3, path(&[1])), (1, base()), Step::AsPathLength),
        ((3, base()), (1, Attributes { origin: Origin::Egp, ..base() }), Step::Origin),
        ((3, base()), (1, Attributes { med: Some(1), ..base() }), Step::Med),
        ((1, Attributes { med: Some(9), ..base() }), (3, path(&[7, 2])), Step::ExternalPeer),
        ((1, base()), (2, base()), Step::Age),
        ((3, base()), (4, base()), Step::RouterId),
        ((4, Attributes { originator_id: originator(1), ..base() }), (3, base()), Step::RouterId),
        (
            (3, Attributes { originator_id: originator(1), ..base() }),
            (4, Attributes { originator_id: originator(1), cluster_list: cluster(1), ..base() }),
            Step::ClusterListLength,
        ),
        (
            (3, Attributes { originator_id: originator(1), ..base() }),
            (4, Attributes { originator_id: originator(1), ..base() }),
            Step::PeerAddress,
        ),
    ];
    for (winner, loser, step) in table_of_steps {
        let now = start_of_time();
        // Only the age may depend on the order of arrival.
        for reversed in [false, true] {
            if reversed && step == Step::Age {
                continue;
            }
            let mut table = table(now);
            for id in 1..=4 {
                table.set_policy(PeerId(id), ImportPolicy { multipath: 1, ..policy() });
            }
            let mut arrivals = vec![&winner, &loser];
            if reversed {
                arrivals.reverse();
            }
            for (id, attributes) in arrivals {
                table.apply(PeerId((*id).into()), &announce(&[P], *id, attributes.clone()));
            }
            let explanation = table.explain(net(P)).unwrap();
            let verdicts: Vec<_> = explanation.paths.iter().map(|e| (e.path.peer.0, e.verdict)).collect();
            let expected = [(winner.0.into(), Verdict::Best), (loser.0.into(), Verdict::Lost(step))];
            assert_eq!(verdicts, expected, "{step:?}, reversed: {reversed}");
            assert_eq!(table.changes(), [(net(P), hops(&[winner.0]))].into());
        }
    }
}

/// MED counts within one neighbouring AS only, and the answer does not depend on the order of arrival,
/// which is where comparing pair by pair goes wrong.
#[test]
fn med_does_not_depend_on_order() {
    let now = start_of_time();
    let med = |asn, med| Attributes { med: Some(med), ..path(&[asn, 9]) };
    // By pairs: 3 beats 4 (router id), 1 (peer 5) beats 3 by MED, 4 beats peer 5 by router id.
    let routes = [(3, med(1, 20)), (4, med(2, 30)), (5, med(1, 10))];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut table = table(now);
        table.peer_up(PeerId(5), facts(PeerKind::Internal, 5), policy(), now);
        for index in order {
            let (id, attributes) = &routes[index];
            table.apply(PeerId(*id), &announce(&[P], *id as u8, attributes.clone()));
        }
        let explanation = table.explain(net(P)).unwrap();
        assert_eq!(explanation.next_hops, hops(&[4, 5]).unwrap(), "order {order:?}");
        assert_eq!(explanation.paths[0].path.peer, PeerId(4));
        assert_eq!(explanation.paths[1].verdict, Verdict::Lost(Step::Med));
    }
}

/// Equal paths are installed together: each next hop once, no more than allowed, best first in line.
#[test]
fn multipath() {
    let now = start_of_time();
    let mut table = table(now);
    table.apply(PeerId(3), &announce(&[P], 3, path(&[])));
    table.apply(PeerId(4), &announce(&[P], 4, path(&[])));
    assert_eq!(table.changes(), [(net(P), hops(&[3, 4]))].into());
    table.apply(PeerId(4), &announce(&[P], 3, path(&[])));
    assert_eq!(table.changes(), [(net(P), hops(&[3]))].into());
    assert_eq!(table.explain(net(P)).unwrap().paths[1].verdict, Verdict::SameNextHop);
    table.apply(PeerId(4), &announce(&[P], 4, path(&[])));
    table.set_policy(PeerId(3), ImportPolicy { multipath: 1, ..policy() });
    assert_eq!(table.changes(), [].into());
    assert_eq!(table.explain(net(P)).unwrap().paths[1].verdict, Verdict::Lost(Step::RouterId));
}

/// Loops and next hops that lead nowhere are kept, shown, and never used.
#[test]
fn ineligible_paths() {
    let me = Ipv4Addr::new(9, 9, 9, 9);
    let local =
        LocalFacts { addresses: [Ipv4Addr::new(172, 16, 0, 77)].into(), ..LocalFacts::new(64512, me) };
    let mut table = Table::new(local.clone());
    table.peer_up(
        PeerId(3),
        peer(3),
        ImportPolicy {
            prefixes: vec![PrefixRange { cidr: net("0.0.0.0/0"), min_len: 0, max_len: 32 }],
            ..policy()
        },
        start_of_time(),
    );
    let cases = [
        (P, 3, path(&[1, 64512]), Ineligible::AsLoop),
        (P, 3, Attributes { originator_id: Some(me), ..path(&[]) }, Ineligible::OriginatedHere),
        (P, 3, Attributes { cluster_list: vec![me], ..path(&[]) }, Ineligible::ClusterLoop),
        (P, 77, path(&[]), Ineligible::OwnNextHop),
        ("172.16.0.5/32", 5, path(&[]), Ineligible::NextHopIsDestination),
    ];
    for (prefix, last, attributes, reason) in cases {
        table.apply(PeerId(3), &announce(&[prefix], last, attributes));
        assert_eq!(table.changes(), [].into(), "{reason}");
        assert_eq!(table.explain(net(prefix)).unwrap().paths[0].verdict, Verdict::Ineligible(reason));
    }
    table.apply(PeerId(3), &announce(&[P], 77, path(&[])));
    table.set_local(LocalFacts { addresses: [].into(), ..local });
    assert_eq!(table.changes(), [(net(P), hops(&[77]))].into(), "an address that left this host");
}

/// A lost session keeps its routes for a while; fresh ones win over them whatever they carry; what is
/// repeated is fresh again; what is not goes at End-of-RIB.
#[test]
fn stale_routes() {
    let now = start_of_time();
    let mut table = table(now);
    table.apply(PeerId(3), &announce(&[P, "10.2.0.0/16"], 3, path(&[])));
    table.apply(PeerId(4), &announce(&[P], 4, Attributes { local_pref: Some(1), ..path(&[5, 6]) }));
    assert_eq!(table.changes(), [(net(P), hops(&[3])), (net("10.2.0.0/16"), hops(&[3]))].into());

    table.peer_down(PeerId(3), now, secs(120));
    assert_eq!(table.changes(), [(net(P), hops(&[4]))].into(), "fresh beats stale; the only path stays");
    assert_eq!(table.explain(net(P)).unwrap().paths[1].verdict, Verdict::Lost(Step::Stale));
    assert_eq!(table.poll_timeout(), Some(now + secs(120)));

    table.peer_up(PeerId(3), peer(3), policy(), now + secs(60));
    table.apply(PeerId(3), &announce(&[P], 3, path(&[])));
    assert_eq!(table.changes(), [(net(P), hops(&[3]))].into());
    assert_eq!(table.summary(PeerId(3)).map(|s| (s.held, s.stale)), Some((2, 1)));
    table.end_of_rib(PeerId(3));
    assert_eq!(table.changes(), [(net("10.2.0.0/16"), None)].into());
    assert_eq!((table.poll_timeout(), table.summary(PeerId(3)).map(|s| s.stale)), (None, Some(0)));
}

/// What nobody repeats goes at its deadline. A new session gives it that time again, flapping does not
/// prolong it without end, and zero keeps nothing.
#[test]
fn stale_routes_go_at_their_deadline() {
    let now = start_of_time();
    let mut table = table(now);
    table.apply(PeerId(3), &announce(&[P], 3, path(&[])));
    table.changes();
    table.peer_down(PeerId(3), now, secs(100));
    table.handle_timeout(now + secs(99));
    assert_eq!(table.changes(), [].into());
    table.peer_up(PeerId(3), peer(3), policy(), now + secs(90));
    assert_eq!(table.poll_timeout(), Some(now + secs(190)));
    for at in (100..190).step_by(10) {
        table.peer_down(PeerId(3), now + secs(at), secs(100));
        table.peer_up(PeerId(3), peer(3), policy(), now + secs(at + 5));
    }
    assert_eq!(table.poll_timeout(), Some(now + secs(200)));
    table.handle_timeout(now + secs(200));
    assert_eq!((table.changes(), table.poll_timeout()), ([(net(P), None)].into(), None));

    table.apply(PeerId(3), &announce(&[P], 3, path(&[])));
    table.changes();
    table.peer_down(PeerId(3), now + secs(300), Duration::ZERO);
    assert_eq!(table.changes(), [(net(P), None)].into());
}

/// Beyond the limit nothing is kept, all is counted, what was held stays; once there is room the peer
/// is to be asked again, once.
#[test]
fn maximum_prefixes() {
    let now = start_of_time();
    let mut table = table(now);
    table.set_policy(PeerId(3), ImportPolicy { maximum_prefixes: 2, ..policy() });
    assert_eq!(table.take_refresh_wanted(), [PeerId(3)], "another policy may admit more");
    table.apply(
        PeerId(3),
        &announce(&["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"], 3, path(&[])),
    );
    assert_eq!(table.changes().len(), 2);
    let summary = table.summary(PeerId(3)).unwrap();
    assert_eq!((summary.held, summary.rejected_by_maximum), (2, 2));
    assert_eq!(
        table.explain(net("10.3.0.0/16")).unwrap().rejected,
        [(PeerId(3), Rejection::MaximumPrefixes)]
    );
    // One that is held may change at the limit.
    table.apply(PeerId(3), &announce(&["10.2.0.0/16"], 4, path(&[])));
    assert_eq!(table.changes(), [(net("10.2.0.0/16"), hops(&[4]))].into());
    assert_eq!(table.take_refresh_wanted(), []);
    table.apply(PeerId(3), &withdraw("10.1.0.0/16"));
    assert_eq!(table.take_refresh_wanted(), [PeerId(3)]);
    assert_eq!(table.take_refresh_wanted(), []);
    table.apply(PeerId(3), &announce(&["10.3.0.0/16"], 3, path(&[])));
    assert_eq!(table.explain(net("10.3.0.0/16")).unwrap().rejected, []);
}

/// The policy decides by range and length, martians never pass, a narrower policy takes effect at once,
/// and a rejected announcement replaces an accepted one.
#[test]
fn import_policy() {
    let mut table = table(start_of_time());
    let range = |cidr, min_len, max_len| PrefixRange { cidr: net(cidr), min_len, max_len };
    let pods = ImportPolicy {
        prefixes: vec![range("10.244.0.0/16", 24, 32), range("224.0.0.0/4", 4, 32)],
        ..policy()
    };
    table.set_policy(PeerId(3), pods.clone());
    let sent =
        ["10.244.1.0/24", "10.244.0.0/16", "10.244.1.7/32", "10.245.1.0/24", "224.1.0.0/16", "0.0.0.0/0"];
    table.apply(PeerId(3), &announce(&sent, 3, path(&[])));
    let held: Vec<_> = table.paths().map(|(prefix, _)| prefix.to_string()).collect();
    assert_eq!(held, ["10.244.1.0/24", "10.244.1.7/32"]);
    assert_eq!(table.summary(PeerId(3)).unwrap().rejected_by_policy, 4);
    assert_eq!(table.explain(net("224.1.0.0/16")).unwrap().rejected, [(PeerId(3), Rejection::Martian)]);
    assert_eq!(table.explain(net("10.99.0.0/16")), None);
    table.changes();
    table.set_policy(PeerId(3), ImportPolicy { prefixes: vec![range("10.244.0.0/16", 24, 24)], ..pods });
    assert_eq!(table.changes(), [(net("10.244.1.7/32"), None)].into());
    table.remove_peer(PeerId(3));
    assert_eq!(table.changes(), [(net("10.244.1.0/24"), None)].into());
    assert_eq!(table.summary(PeerId(3)), None);
}

/// A peer that churns through attributes and prefixes leaves nothing behind.
#[test]
fn memory_is_given_back() {
    let mut table = table(start_of_time());
    for round in 0..5000u32 {
        let prefix = Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + round), 32).unwrap().to_string();
        table.apply(PeerId(3), &announce(&[&prefix], 3, Attributes { med: Some(round), ..path(&[]) }));
        if round % 2 == 0 {
            table.changes();
        }
        table.apply(PeerId(3), &withdraw(&prefix));
    }
    assert!(table.interned() <= 256, "{}", table.interned());
    table.changes();
    assert_eq!((table.paths().count(), table.summary(PeerId(3)).unwrap().held), (0, 0));
    assert!(table.is_empty());
}

/// What is repeated unchanged is no change, and keeps its age.
#[test]
fn repetition_is_silent() {
    let mut table = table(start_of_time());
    table.apply(PeerId(1), &announce(&[P], 1, path(&[1])));
    table.apply(PeerId(2), &announce(&[P], 2, path(&[2])));
    table.changes();
    table.apply(PeerId(1), &announce(&[P], 1, path(&[1])));
    assert_eq!(table.changes(), [].into());
    assert_eq!(table.explain(net(P)).unwrap().paths[0].path.peer, PeerId(1), "still the older");
    // There and back between two looks is no change either.
    table.apply(PeerId(1), &withdraw(P));
    table.apply(PeerId(1), &announce(&[P], 1, path(&[1])));
    assert_eq!(table.changes(), [].into());
}
