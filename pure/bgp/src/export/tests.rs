//! What reaches a peer: the messages are read back by our own decoder, from the peer's side.

use super::*;
use crate::packet::{Framer, Message, Update, UpdateContext};
use crate::session::{ConnId, Direction};
use proptest::prelude::*;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn hop(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// A peer of ours, who are AS 64512.
fn peer(kind: PeerKind, four_byte_as: bool) -> PeerInfo {
    PeerInfo {
        conn: ConnId(1),
        direction: Direction::Outgoing,
        kind,
        remote_as: if kind == PeerKind::Internal { 64512 } else { 65001 },
        router_id: hop(9),
        hold_secs: 9,
        four_byte_as,
        route_refresh: true,
        capabilities: vec![],
    }
}

/// What the peer makes of the messages.
fn read(messages: &[Vec<u8>], kind: PeerKind, four_byte_as: bool) -> Vec<Update> {
    let context = UpdateContext { kind, peer_as: 64512, four_byte_as, enforce_first_as: true };
    let stream = messages.concat();
    let (mut input, mut framer, mut updates) = (stream.as_slice(), Framer::new(), Vec::new());
    while let Some(frame) = framer.next(&mut input).unwrap() {
        match Message::decode(frame, &context).unwrap() {
            Message::Update(update) => updates.push(*update),
            other => panic!("{other:?}"),
        }
    }
    updates
}

fn desired(routes: &[(&str, Advertisement)]) -> BTreeMap<Ipv4Net, Advertisement> {
    routes.iter().map(|(prefix, ad)| (net(prefix), ad.clone())).collect()
}

/// External peers see our AS and no LOCAL_PREF; internal ones an empty AS_PATH and always a LOCAL_PREF.
#[test]
fn attributes_depend_on_the_peer() {
    let ad = Advertisement {
        local_pref: Some(300),
        med: Some(5),
        communities: vec![Community(7), Community(3), Community(7)],
        as_path_prepend: 2,
        ..Advertisement::via(hop(1))
    };
    let routes = desired(&[("203.0.113.7/32", ad), ("0.0.0.0/0", Advertisement::via(hop(1)))]);
    let table = [
        (PeerKind::External, vec![64512; 3], None, vec![64512], None),
        (PeerKind::Internal, vec![], Some(300), vec![], Some(100)),
    ];
    for (kind, full_path, full_pref, plain_path, plain_pref) in table {
        let mut adj_out = AdjOut::new(64512);
        adj_out.set(routes.clone());
        let export = adj_out.up(&peer(kind, true));
        let updates = read(&export.messages, kind, true);
        assert_eq!(updates.len(), 3);
        let by_prefix = |prefix| {
            let of = |update: &&Update| update.announced.iter().any(|a| a.prefixes == [net(prefix)]);
            updates.iter().find(of).unwrap().attributes.clone()
        };
        let full = by_prefix("203.0.113.7/32");
        assert_eq!(
            (full.as_path, full.local_pref, full.med),
            (AsPath::sequence(full_path), full_pref, Some(5))
        );
        assert_eq!(full.communities, [Community(3), Community(7)]);
        let plain = by_prefix("0.0.0.0/0");
        assert_eq!((plain.as_path, plain.local_pref), (AsPath::sequence(plain_path), plain_pref));
        assert!(updates[2].end_of_rib);
    }
}

/// Nothing is said before something was asked for; the first time ends with End-of-RIB, later ones do
/// not; what is known already is not repeated; a refresh repeats all.
#[test]
fn only_differences_are_sent() {
    let mut adj_out = AdjOut::new(64512);
    assert_eq!(adj_out.up(&peer(PeerKind::External, true)), Export::default());
    let one = desired(&[("192.0.2.1/32", Advertisement::via(hop(1)))]);
    let both = desired(&[
        ("192.0.2.1/32", Advertisement::via(hop(1))),
        ("192.0.2.2/32", Advertisement::via(hop(1))),
    ]);
    let count = |export: Export| {
        let updates = read(&export.messages, PeerKind::External, true);
        let announced: usize = updates.iter().flat_map(|u| &u.announced).map(|a| a.prefixes.len()).sum();
        let withdrawn: usize = updates.iter().map(|u| u.withdrawn.len()).sum();
        (announced, withdrawn, updates.iter().filter(|u| u.end_of_rib).count())
    };
    assert_eq!(count(adj_out.set(one.clone())), (1, 0, 1));
    assert_eq!(count(adj_out.set(one.clone())), (0, 0, 0));
    assert_eq!(count(adj_out.set(both.clone())), (1, 0, 0));
    assert_eq!(count(adj_out.refresh()), (2, 0, 1));
    assert_eq!(count(adj_out.set(one)), (0, 1, 0));
    adj_out.reset();
    assert_eq!(count(adj_out.set(both)), (0, 0, 0));
    assert_eq!(count(adj_out.refresh()), (0, 0, 0));
    assert_eq!(count(adj_out.up(&peer(PeerKind::External, true))), (2, 0, 1));
}

/// What would make an address unreachable is refused by name, and withdrawn if it had been announced.
#[test]
fn refusals() {
    let mut adj_out = AdjOut::new(64512);
    adj_out.up(&peer(PeerKind::Internal, true));
    adj_out.set(desired(&[("10.0.0.7/32", Advertisement::via(hop(1)))]));
    let export = adj_out.set(desired(&[
        ("10.0.0.7/32", Advertisement::via(hop(7))),
        ("10.0.0.8/32", Advertisement::via(hop(1))),
        ("192.0.2.0/24", Advertisement::via(hop(8))),
        ("192.0.2.1/32", Advertisement::via(Ipv4Addr::UNSPECIFIED)),
    ]));
    let refused: Vec<_> =
        export.refused.iter().map(|r| (r.prefix.to_string(), r.reason.to_string())).collect();
    let expected = [
        ("10.0.0.7/32", "an address cannot be its own next hop"),
        ("10.0.0.8/32", "it is the next hop announced for 192.0.2.0/24"),
        ("192.0.2.1/32", "0.0.0.0 cannot be a next hop"),
    ];
    assert_eq!(refused, expected.map(|(prefix, reason)| (prefix.to_owned(), reason.to_owned())));
    let updates = read(&export.messages, PeerKind::Internal, true);
    assert_eq!(updates.iter().flat_map(|u| &u.withdrawn).collect::<Vec<_>>(), [&net("10.0.0.7/32")]);
    assert_eq!(adj_out.sent().keys().collect::<Vec<_>>(), [&net("192.0.2.0/24")]);

    let huge =
        Advertisement { communities: (0..2000).map(Community).collect(), ..Advertisement::via(hop(1)) };
    let export = adj_out.set(desired(&[("198.51.100.0/24", huge)]));
    assert!(matches!(
        export.refused[0].reason,
        RefusalReason::Encode(EncodeError::AttributesTooLarge { .. })
    ));
}

/// 10,000 prefixes that share attributes travel in a dozen full messages.
#[test]
fn prefixes_that_share_attributes_share_messages() {
    let mut adj_out = AdjOut::new(4_200_000_000);
    adj_out.up(&peer(PeerKind::External, false));
    let prefix = |i: u32| Ipv4Net::new(Ipv4Addr::from(0xcb00_0000 + i), 32).unwrap();
    let export = adj_out.set((0..10_000).map(|i| (prefix(i), Advertisement::via(hop(1)))).collect());
    assert_eq!(export.messages.len(), 14);
    assert!(export.messages.iter().all(|message| message.len() <= 4096));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is desired in turn, and whenever sessions come, go and refresh, the peer ends up with
    /// what was last desired.
    #[test]
    fn the_peer_ends_with_what_is_desired(
        history in proptest::collection::vec(
            (proptest::collection::btree_map(0u8..8, (1u8..4, proptest::option::of(0u32..3)), 0..8), 0u8..5), 1..20),
        internal in any::<bool>(),
    ) {
        let kind = if internal { PeerKind::Internal } else { PeerKind::External };
        let mut adj_out = AdjOut::new(64512);
        let mut known: BTreeMap<Ipv4Net, (Ipv4Addr, Option<u32>)> = BTreeMap::new();
        let mut last = BTreeMap::new();
        let mut learn = |export: &Export, reset: bool| {
            if reset { known.clear(); }
            for update in read(&export.messages, kind, true) {
                for prefix in update.withdrawn { known.remove(&prefix); }
                for announced in update.announced {
                    for prefix in announced.prefixes { known.insert(prefix, (announced.next_hop, update.attributes.med)); }
                }
            }
            known.clone()
        };
        learn(&adj_out.up(&peer(kind, true)), true);
        for (routes, event) in history {
            last = routes.iter()
                .map(|(prefix, (via, med))| {
                    let prefix = Ipv4Net::new(Ipv4Addr::new(192, 0, *prefix, 0), 24).unwrap();
                    (prefix, Advertisement { med: *med, ..Advertisement::via(hop(*via)) })
                })
                .collect();
            learn(&adj_out.set(last.clone()), false);
            match event {
                0 => { adj_out.reset(); }
                1 => { learn(&adj_out.refresh(), false); }
                _ => {}
            }
            if event == 0 { learn(&adj_out.up(&peer(kind, true)), true); }
        }
        let end = learn(&Export::default(), false);
        let wanted = last.into_iter().map(|(prefix, ad)| (prefix, (ad.next_hop, ad.med))).collect();
        prop_assert_eq!(end, wanted);
    }
}
