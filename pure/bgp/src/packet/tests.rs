//! Golden bytes, the table of RFC 7606, round trips, and hostile input.

use super::*;
use crate::peer::PeerKind;
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::net::Ipv4Addr;

mod malformed;

const EBGP: UpdateContext =
    UpdateContext { kind: PeerKind::External, peer_as: 65001, four_byte_as: true, enforce_first_as: true };
const IBGP: UpdateContext = UpdateContext { kind: PeerKind::Internal, ..EBGP };

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn with_header(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn decode(bytes: &[u8], context: &UpdateContext) -> Result<Message, crate::MessageError> {
    let mut framer = Framer::new();
    let mut input = bytes;
    let frame = framer.next(&mut input)?.expect("a whole message");
    assert!(input.is_empty());
    Message::decode(frame, context)
}

fn update(bytes: &[u8], context: &UpdateContext) -> Update {
    match decode(bytes, context) {
        Ok(Message::Update(update)) => *update,
        other => panic!("not an update: {other:?}"),
    }
}

/// The OPEN we send is these bytes, and reads back as it was.
#[test]
fn open_golden() {
    let open = Open {
        asn: 4_200_000_000,
        hold_secs: 9,
        router_id: Ipv4Addr::new(10, 0, 0, 11),
        capabilities: vec![
            Capability::MultiProtocol(Family::IPV4_UNICAST),
            Capability::RouteRefresh,
            Capability::GracefulRestart { restarting: false, restart_secs: 0, families: vec![] },
            Capability::FourByteAs(4_200_000_000),
        ],
    };
    #[rustfmt::skip]
    let golden = with_header(1, &[
        4, 0x5b, 0xa0, 0, 9, 10, 0, 0, 11, 26,
        2, 6, 1, 4, 0, 1, 0, 1,
        2, 2, 2, 0,
        2, 4, 64, 2, 0, 0,
        2, 6, 65, 4, 0xfa, 0x56, 0xea, 0x00,
    ]);
    assert_eq!(open.encode(), golden);
    assert_eq!(decode(&golden, &EBGP), Ok(Message::Open(open)));
}

/// One parameter may hold several capabilities; unknown ones are kept; lengths may have two bytes (RFC 9072).
#[test]
fn open_capabilities_in_other_shapes() {
    let expected = vec![
        Capability::RouteRefresh,
        Capability::Unknown { code: 73, value: vec![1, 2] },
        Capability::FourByteAs(65001),
    ];
    let list = [2, 0, 73, 2, 1, 2, 65, 4, 0, 0, 0xfd, 0xe9];
    let fixed = [4, 0xfd, 0xe9, 0, 90, 1, 2, 3, 4];
    let plain = [&fixed[..], &[14, 2, 12], &list].concat();
    let extended = [&fixed[..], &[255, 255, 0, 15, 2, 0, 12], &list].concat();
    for body in [plain, extended] {
        match decode(&with_header(1, &body), &EBGP) {
            Ok(Message::Open(open)) => assert_eq!(open.capabilities, expected),
            other => panic!("{other:?}"),
        }
    }
}

/// Each fault of an OPEN is answered with its subcode.
#[test]
fn open_faults() {
    let table: [(&str, &[u8], (u8, u8)); 9] = [
        ("version 3", &[3, 0, 1, 0, 9, 1, 1, 1, 1, 0], (2, 1)),
        ("AS 0", &[4, 0, 0, 0, 9, 1, 1, 1, 1, 0], (2, 2)),
        ("AS 0 in four bytes", &[4, 0, 1, 0, 9, 1, 1, 1, 1, 8, 2, 6, 65, 4, 0, 0, 0, 0], (2, 2)),
        ("identifier 0.0.0.0", &[4, 0, 1, 0, 9, 0, 0, 0, 0, 0], (2, 3)),
        ("parameter 1", &[4, 0, 1, 0, 9, 1, 1, 1, 1, 3, 1, 1, 0], (2, 4)),
        ("hold time 2", &[4, 0, 1, 0, 2, 1, 1, 1, 1, 0], (2, 6)),
        ("parameters run past", &[4, 0, 1, 0, 9, 1, 1, 1, 1, 9], (2, 0)),
        ("capability runs past", &[4, 0, 1, 0, 9, 1, 1, 1, 1, 4, 2, 2, 65, 4], (2, 0)),
        ("AS capability of 2 bytes", &[4, 0, 1, 0, 9, 1, 1, 1, 1, 6, 2, 4, 65, 2, 0, 1], (2, 0)),
    ];
    for (name, body, (code, subcode)) in table {
        let error = decode(&with_header(1, body), &EBGP).expect_err(name);
        assert_eq!((error.notification.code, error.notification.subcode), (code, subcode), "{name}: {error}");
    }
}

/// Each fault of a header is answered with its subcode and data.
#[test]
fn header_faults() {
    let mut marker = keepalive();
    marker[3] = 0;
    let mut length = keepalive();
    length[17] = 18;
    let table = [
        ("marker", marker, 1, vec![]),
        ("length 18", length, 2, vec![0, 18]),
        ("length 4097", [&[0xff; 16][..], &[0x10, 0x01, 2]].concat(), 2, vec![0x10, 0x01]),
        ("keepalive with a body", with_header(4, &[0]), 2, vec![0, 20]),
        ("update too short", with_header(2, &[0, 0]), 2, vec![0, 21]),
        ("type 9", with_header(9, &[]), 3, vec![9]),
    ];
    for (name, bytes, subcode, data) in table {
        let error = Framer::new().next(&mut bytes.as_slice()).expect_err(name);
        assert_eq!(error.notification, Notification { code: 1, subcode, data }, "{name}");
    }
}

/// An announcement is these bytes: to an external peer no LOCAL_PREF, prefixes packed.
#[test]
fn announcement_golden() {
    let attributes = Attributes {
        as_path: AsPath::sequence([65001]),
        med: Some(50),
        communities: vec![Community(64512 << 16 | 100)],
        ..Attributes::default()
    };
    let prefixes = [net("203.0.113.7/32"), net("0.0.0.0/0"), net("10.244.128.0/17")];
    let messages = encode_announcements(&attributes, Ipv4Addr::new(10, 0, 0, 50), &prefixes, true).unwrap();
    #[rustfmt::skip]
    let golden = with_header(2, &[
        0, 0, 0, 34,
        0x40, 1, 1, 0,
        0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9,
        0x40, 3, 4, 10, 0, 0, 50,
        0x80, 4, 4, 0, 0, 0, 50,
        0xc0, 8, 4, 0xfc, 0x00, 0, 100,
        32, 203, 0, 113, 7,
        0,
        17, 10, 244, 128,
    ]);
    assert_eq!(messages, vec![golden.clone()]);
    let read = update(&golden, &EBGP);
    assert_eq!(
        read.announced,
        [Announced { next_hop: Ipv4Addr::new(10, 0, 0, 50), prefixes: prefixes.to_vec() }]
    );
    assert_eq!(read.attributes, attributes);
}

/// Withdrawals and both forms of End-of-RIB are these bytes.
#[test]
fn withdrawal_and_end_of_rib_golden() {
    let withdrawal = with_header(2, &[0, 4, 24, 10, 1, 2, 0, 0]);
    assert_eq!(encode_withdrawals(&[net("10.1.2.0/24")]), vec![withdrawal.clone()]);
    let read = update(&withdrawal, &EBGP);
    assert_eq!((read.withdrawn, read.end_of_rib), (vec![net("10.1.2.0/24")], false));
    assert_eq!(end_of_rib(), with_header(2, &[0, 0, 0, 0]));
    let by_mp_unreach = with_header(2, &[0, 0, 0, 6, 0x80, 15, 3, 0, 1, 1]);
    for bytes in [end_of_rib(), by_mp_unreach] {
        assert_eq!(update(&bytes, &EBGP), Update { end_of_rib: true, ..Update::default() });
    }
}

/// MP_REACH_NLRI and MP_UNREACH_NLRI of IPv4 unicast mean what the old fields mean, and both may
/// stand in one message with a next hop each.
#[test]
fn multiprotocol_ipv4() {
    let mp_reach = [0x80, 14, 12, 0, 1, 1, 4, 10, 0, 0, 9, 0, 16, 10, 9];
    let mp_unreach = [0x80, 15, 5, 0, 1, 1, 8, 11];
    let rest = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 10, 0, 0, 1];
    let list = [&mp_reach[..], &mp_unreach, &rest].concat();
    let body = [&[0, 0, 0, list.len() as u8][..], &list, &[16, 10, 1]].concat();
    let read = update(&with_header(2, &body), &EBGP);
    let announced =
        |last, prefix| Announced { next_hop: Ipv4Addr::new(10, 0, 0, last), prefixes: vec![net(prefix)] };
    assert_eq!(read.announced, [announced(1, "10.1.0.0/16"), announced(9, "10.9.0.0/16")]);
    assert_eq!(read.withdrawn, [net("11.0.0.0/8")]);
    assert_eq!(read.treat_as_withdraw, None);
}

/// A text for the other operator survives the trip, is cut at a character, and cannot forge lines.
#[test]
fn shutdown_text() {
    let text = |text: &str| {
        let reason = CeaseReason::AdministrativeShutdown { text: text.into() };
        match decode(&Notification::from(&reason).encode(), &EBGP) {
            Ok(Message::Notification(notification)) => notification.shutdown_text(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(text("new kernel, back at 9:00"), Some("new kernel, back at 9:00".into()));
    assert_eq!(text(""), None);
    assert_eq!(text("one\ntwo\u{7}"), Some("one two".into()));
    assert_eq!(text(&"é".repeat(200)), Some("é".repeat(127)));
    let lying = Notification { code: 6, subcode: 2, data: vec![9, b'x'] };
    assert_eq!(lying.shutdown_text(), None);
    assert_eq!(
        Notification::from(&CeaseReason::AdministrativeReset { text: "soon".into() }).to_string(),
        "6/4 Cease: Administrative Reset, saying \"soon\""
    );
    assert_eq!(
        Notification { code: 3, subcode: 11, data: vec![] }.to_string(),
        "3/11 UPDATE Message Error: Malformed AS_PATH"
    );
    assert_eq!(Notification { code: 99, subcode: 0, data: vec![] }.to_string(), "99/0 unknown code");
}

/// RFC 6793, section 4.2.3: the long path replaces the tail of the short one; a longer one is ignored.
#[test]
fn as4_path_is_merged() {
    let trans = u32::from(AS_TRANS);
    let table = [
        (vec![100, trans, trans], vec![70000, 80000], vec![100, 70000, 80000]),
        (vec![trans], vec![70000], vec![70000]),
        (vec![100], vec![70000, 80000], vec![100]),
        (vec![100, 200], vec![], vec![100, 200]),
    ];
    for (short, long, merged) in table {
        let result = AsPath::sequence(short.clone()).merged_with(AsPath::sequence(long.clone()));
        assert_eq!(result, AsPath::sequence(merged), "{short:?} with {long:?}");
    }
}

/// A peer of two-byte numbers is told AS_TRANS and the truth in AS4_PATH, and we read that back.
#[test]
fn four_byte_numbers_cross_a_two_byte_session() {
    let attributes = Attributes {
        as_path: AsPath::sequence([64512, 4_200_000_001]),
        aggregator: Some(Aggregator { asn: 4_200_000_002, address: Ipv4Addr::new(1, 2, 3, 4) }),
        ..Attributes::default()
    };
    let prefix = [net("10.0.0.0/8")];
    let messages = encode_announcements(&attributes, Ipv4Addr::new(10, 0, 0, 1), &prefix, false).unwrap();
    let context = UpdateContext { peer_as: 64512, four_byte_as: false, ..EBGP };
    let read = update(&messages[0], &context);
    assert_eq!((read.attributes, read.treat_as_withdraw), (attributes, None));
}

/// Attributes that leave no room are refused; many prefixes are split, and none is lost.
#[test]
fn splitting_at_4096_bytes() {
    let prefixes: Vec<Ipv4Net> =
        (0..5000u32).map(|i| Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + i), 32).unwrap()).collect();
    let attributes = Attributes { as_path: AsPath::sequence([65001]), ..Attributes::default() };
    let next_hop = Ipv4Addr::new(10, 0, 0, 1);
    let messages = encode_announcements(&attributes, next_hop, &prefixes, true).unwrap();
    assert_eq!(messages.len(), 7);
    assert!(messages[..6].iter().all(|m| m.len() > 4090 && m.len() <= 4096));
    let read: Vec<Ipv4Net> =
        messages.iter().flat_map(|m| update(m, &EBGP).announced).flat_map(|a| a.prefixes).collect();
    assert_eq!(read, prefixes);
    let withdrawn: Vec<Ipv4Net> =
        encode_withdrawals(&prefixes).iter().flat_map(|m| update(m, &EBGP).withdrawn).collect();
    assert_eq!(withdrawn, prefixes);

    let huge = Attributes { communities: vec![Community(1); 1020], ..attributes };
    let refused = encode_announcements(&huge, next_hop, &prefixes[..1], true);
    assert!(matches!(refused, Err(crate::EncodeError::AttributesTooLarge { bytes }) if bytes > 4080));
}

fn any_prefix() -> impl Strategy<Value = Ipv4Net> {
    (any::<u32>(), 0u8..=32).prop_map(|(address, bits)| Ipv4Net::new(address.into(), bits).unwrap().trunc())
}

fn any_as_path() -> impl Strategy<Value = AsPath> {
    let asns = || proptest::collection::vec(1..u32::MAX, 1..6);
    let tail = proptest::collection::vec(
        prop_oneof![asns().prop_map(Segment::Sequence), asns().prop_map(Segment::Set)],
        0..3,
    );
    tail.prop_map(|mut tail| {
        tail.insert(0, Segment::Sequence(vec![65001]));
        AsPath(tail)
    })
}

prop_compose! {
    fn any_attributes()(
        origin in prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        as_path in any_as_path(),
        med in any::<Option<u32>>(),
        local_pref in any::<u32>(),
        atomic_aggregate in any::<bool>(),
        aggregator in proptest::option::of((1..u32::MAX, any::<Ipv4Addr>())),
        communities in proptest::collection::vec(any::<u32>().prop_map(Community), 0..100),
        originator_id in any::<Option<Ipv4Addr>>(),
        cluster_list in proptest::collection::vec(any::<Ipv4Addr>(), 0..4),
        large in proptest::collection::vec(any::<(u32, u32, u32)>(), 0..30),
        unknown in proptest::collection::vec(any::<u8>(), 0..300),
    ) -> Attributes {
        Attributes {
            origin, as_path, med, local_pref: Some(local_pref), atomic_aggregate,
            aggregator: aggregator.map(|(asn, address)| Aggregator { asn, address }),
            communities, originator_id, cluster_list,
            large_communities: large.into_iter()
                .map(|(global, local1, local2)| LargeCommunity { global, local1, local2 }).collect(),
            unknown: vec![RawAttribute { flags: 0xc0, code: 200, value: unknown }],
        }
    }
}

/// The next hops a decoder takes.
fn any_next_hop() -> impl Strategy<Value = Ipv4Addr> {
    (1u8..=223, any::<[u8; 3]>())
        .prop_filter("loopback", |(first, _)| *first != 127)
        .prop_map(|(first, [b, c, d])| Ipv4Addr::new(first, b, c, d))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What is announced is what is read, in sequence and however many messages it takes.
    #[test]
    fn announcements_round_trip(
        attributes in any_attributes(),
        next_hop in any_next_hop(),
        prefixes in proptest::collection::vec(any_prefix(), 1..1500),
    ) {
        let messages = encode_announcements(&attributes, next_hop, &prefixes, true).unwrap();
        let mut read = Vec::new();
        for message in &messages {
            prop_assert!(message.len() <= MESSAGE_BYTES_MAX);
            let update = update(message, &IBGP);
            prop_assert_eq!(&update.attributes, &attributes);
            prop_assert_eq!(&update.treat_as_withdraw, &None);
            for announced in update.announced {
                prop_assert_eq!(announced.next_hop, next_hop);
                read.extend(announced.prefixes);
            }
        }
        prop_assert_eq!(read, prefixes);
    }

    /// However a stream is cut, the framer yields the same messages and holds less than one.
    #[test]
    fn framing_does_not_depend_on_cuts(cuts in proptest::collection::vec(1usize..200, 1..60)) {
        let sent = [keepalive(), end_of_rib(), with_header(3, &[6; 900]), keepalive(), with_header(2, &[7; 4077])];
        let stream = sent.concat();
        let mut framer = Framer::new();
        let mut received = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (mut chunk, tail) = rest.split_at((*cut).min(rest.len()));
            rest = tail;
            while let Some(frame) = framer.next(&mut chunk).unwrap() {
                received.push(with_header(frame.kind.code(), frame.body));
            }
            prop_assert!(framer.held_bytes() < MESSAGE_BYTES_MAX);
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(received, sent.to_vec());
    }

    /// Random bytes never panic, in any message and under any context.
    #[test]
    fn random_bodies_never_panic(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        kind in 1u8..=5,
        four_byte_as in any::<bool>(),
        internal in any::<bool>(),
    ) {
        let kind = MessageKind::from_code(kind).unwrap();
        let context = UpdateContext { four_byte_as, kind: if internal { PeerKind::Internal } else { PeerKind::External }, ..EBGP };
        if let Ok(Message::Notification(notification)) = Message::decode(Frame { kind, body: &body }, &context) {
            prop_assert!(!notification.to_string().contains('\n'));
        }
        let _ = Framer::new().next(&mut body.as_slice());
    }

    /// A sound UPDATE with some bytes changed or cut off never panics, and what is treated as
    /// withdrawn announces nothing.
    #[test]
    fn damaged_updates_never_panic(
        attributes in any_attributes(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let prefixes = [net("10.0.0.0/8"), net("192.0.2.1/32")];
        let message = &encode_announcements(&attributes, Ipv4Addr::new(10, 0, 0, 1), &prefixes, true).unwrap()[0];
        let mut body = message[HEADER_BYTES..].to_vec();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if cut {
            body.truncate(keep.index(body.len()));
        }
        for context in [EBGP, IBGP, UpdateContext { four_byte_as: false, ..EBGP }] {
            if let Ok(update) = Update::decode(&body, &context) {
                prop_assert!(update.treat_as_withdraw.is_none() || update.announced.is_empty());
            }
        }
    }
}
