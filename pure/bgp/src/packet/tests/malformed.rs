//! RFC 7606 as a table: one fault in an otherwise sound UPDATE, and the one right answer.

use super::*;

/// The right answer to a malformed UPDATE.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing is wrong.
    Accept,
    /// The attribute is ignored, the route stays.
    Discard(u8),
    /// The route is withdrawn, the session stays.
    Withdraw,
    /// NOTIFICATION 3/subcode.
    Reset(u8),
}
use Answer::{Accept, Discard, Reset, Withdraw};

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 1];
const LOCAL_PREF: &[u8] = &[0x40, 5, 4, 0, 0, 0, 100];
const NLRI: &[u8] = &[24, 10, 1, 2];

fn body(attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let list = attributes.concat();
    [&[0, 0], &(list.len() as u16).to_be_bytes()[..], &list, nlri].concat()
}

fn answer(body: &[u8], context: &UpdateContext) -> Answer {
    let update = match Update::decode(body, context) {
        Err(error) => {
            assert_eq!(error.notification.code, 3);
            return Reset(error.notification.subcode);
        }
        Ok(update) => update,
    };
    if update.treat_as_withdraw.is_some() {
        assert!(update.announced.is_empty());
        assert_eq!(update.withdrawn, [net("10.1.2.0/24")]);
        return Withdraw;
    }
    assert_eq!(update.announced.len(), 1);
    assert!(update.withdrawn.is_empty());
    update.discarded.first().map_or(Accept, |discarded| Discard(discarded.attribute))
}

/// An additional attribute on an otherwise sound route of an external peer.
#[test]
fn one_more_attribute_from_outside() {
    let table: &[(&str, &[u8], Answer)] = &[
        ("MED", &[0x80, 4, 4, 0, 0, 0, 1], Accept),
        ("MED length 3", &[0x80, 4, 3, 0, 0, 1], Withdraw),
        ("MED marked transitive", &[0xc0, 4, 4, 0, 0, 0, 1], Withdraw),
        ("MED twice", &[0x80, 4, 4, 0, 0, 0, 1, 0x80, 4, 4, 0, 0, 0, 2], Discard(4)),
        ("ORIGIN again, malformed", &[0x40, 1, 1, 9], Discard(1)),
        ("LOCAL_PREF from outside", LOCAL_PREF, Discard(5)),
        ("LOCAL_PREF from outside, length 1", &[0x40, 5, 1, 0], Discard(5)),
        ("ATOMIC_AGGREGATE", &[0x40, 6, 0], Accept),
        ("ATOMIC_AGGREGATE length 1", &[0x40, 6, 1, 0], Discard(6)),
        ("AGGREGATOR", &[0xc0, 7, 8, 0, 0, 0, 1, 1, 2, 3, 4], Accept),
        ("AGGREGATOR length 3", &[0xc0, 7, 3, 0, 0, 1], Discard(7)),
        ("AGGREGATOR of a two-byte speaker", &[0xc0, 7, 6, 0, 1, 1, 2, 3, 4], Discard(7)),
        ("AGGREGATOR with AS 0", &[0xc0, 7, 8, 0, 0, 0, 0, 1, 2, 3, 4], Discard(7)),
        ("COMMUNITIES length 7", &[0xc0, 8, 7, 0, 0, 0, 0, 0, 0, 0], Withdraw),
        ("COMMUNITIES length 0", &[0xc0, 8, 0], Withdraw),
        ("COMMUNITIES not marked optional", &[0x40, 8, 4, 0, 0, 0, 1], Withdraw),
        ("ORIGINATOR_ID from outside", &[0x80, 9, 4, 1, 1, 1, 1], Discard(9)),
        ("CLUSTER_LIST from outside, length 5", &[0x80, 10, 5, 1, 1, 1, 1, 1], Discard(10)),
        ("extended communities", &[0xc0, 16, 8, 0, 2, 0, 0, 0, 0, 0, 1], Accept),
        ("extended communities length 7", &[0xc0, 16, 7, 0, 2, 0, 0, 0, 0, 0], Withdraw),
        ("AS4_PATH of a four-byte speaker", &[0xc0, 17, 6, 2, 1, 0, 0, 0xfd, 0xe9], Discard(17)),
        ("AS4_AGGREGATOR of a four-byte speaker", &[0xc0, 18, 1, 0], Discard(18)),
        ("large communities length 11", &[0xc0, 32, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Withdraw),
        ("unknown optional transitive", &[0xc0, 99, 1, 0], Accept),
        ("unknown optional, not transitive", &[0x80, 99, 1, 0], Accept),
        ("unknown well-known", &[0x40, 99, 1, 0], Reset(2)),
        ("attribute runs past the list", &[0xc0, 99, 200, 0], Withdraw),
        ("half an attribute header", &[0xc0], Withdraw),
        ("MP_UNREACH too short", &[0x80, 15, 2, 0, 1], Reset(9)),
        ("MP_UNREACH twice", &[0x80, 15, 3, 0, 1, 1, 0x80, 15, 3, 0, 1, 1], Reset(1)),
        ("MP_UNREACH with /33", &[0x80, 15, 9, 0, 1, 1, 33, 1, 1, 1, 1, 1], Reset(9)),
        ("MP_REACH with a next hop of 5 bytes", &[0x80, 14, 10, 0, 1, 1, 5, 1, 1, 1, 1, 1, 0], Reset(9)),
        ("MP_REACH ends in its next hop", &[0x80, 14, 6, 0, 1, 1, 4, 1, 1], Reset(9)),
        ("MP_REACH of a family not spoken", &[0x80, 14, 5, 0, 25, 65, 0, 0], Discard(14)),
    ];
    for (name, attribute, expected) in table {
        let message = body(&[ORIGIN, AS_PATH, NEXT_HOP, attribute], NLRI);
        assert_eq!(answer(&message, &EBGP), *expected, "{name}");
    }
}

/// One attribute replaced or left out.
#[test]
fn mandatory_attributes_from_outside() {
    let table: &[(&str, &[&[u8]], Answer)] = &[
        ("sound", &[ORIGIN, AS_PATH, NEXT_HOP], Accept),
        ("ORIGIN 9", &[&[0x40, 1, 1, 9], AS_PATH, NEXT_HOP], Withdraw),
        ("ORIGIN length 2", &[&[0x40, 1, 2, 0, 0], AS_PATH, NEXT_HOP], Withdraw),
        ("ORIGIN marked optional", &[&[0xc0, 1, 1, 0], AS_PATH, NEXT_HOP], Withdraw),
        ("no ORIGIN", &[AS_PATH, NEXT_HOP], Withdraw),
        ("no AS_PATH", &[ORIGIN, NEXT_HOP], Withdraw),
        ("no NEXT_HOP", &[ORIGIN, AS_PATH], Withdraw),
        ("NEXT_HOP length 5", &[ORIGIN, AS_PATH, &[0x40, 3, 5, 10, 0, 0, 1, 0]], Withdraw),
        ("NEXT_HOP 0.0.0.0", &[ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0]], Withdraw),
        ("NEXT_HOP 224.0.0.1", &[ORIGIN, AS_PATH, &[0x40, 3, 4, 224, 0, 0, 1]], Withdraw),
        ("segment type 7", &[ORIGIN, &[0x40, 2, 6, 7, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP], Withdraw),
        ("confederation segment", &[ORIGIN, &[0x40, 2, 6, 3, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP], Withdraw),
        ("segment too long", &[ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xe9], NEXT_HOP], Withdraw),
        ("empty segment", &[ORIGIN, &[0x40, 2, 8, 2, 1, 0, 0, 0xfd, 0xe9, 2, 0], NEXT_HOP], Withdraw),
        ("one byte of a segment", &[ORIGIN, &[0x40, 2, 7, 2, 1, 0, 0, 0xfd, 0xe9, 2], NEXT_HOP], Withdraw),
        ("AS 0", &[ORIGIN, &[0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0], NEXT_HOP], Withdraw),
        ("another first AS", &[ORIGIN, &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea], NEXT_HOP], Withdraw),
        ("empty AS_PATH", &[ORIGIN, &[0x40, 2, 0], NEXT_HOP], Withdraw),
    ];
    for (name, attributes, expected) in table {
        assert_eq!(answer(&body(attributes, NLRI), &EBGP), *expected, "{name}");
    }
    let route_server = UpdateContext { enforce_first_as: false, ..EBGP };
    let foreign = body(&[ORIGIN, &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea], NEXT_HOP], NLRI);
    assert_eq!(answer(&foreign, &route_server), Accept, "the check of the first AS is off");
}

/// Internal peers must send LOCAL_PREF and may send what reflectors add.
#[test]
fn attributes_from_inside() {
    let table: &[(&str, &[u8], Answer)] = &[
        ("no LOCAL_PREF", &[], Withdraw),
        ("LOCAL_PREF", LOCAL_PREF, Accept),
        ("LOCAL_PREF length 3", &[0x40, 5, 3, 0, 0, 1], Withdraw),
        ("ORIGINATOR_ID", &[0x40, 5, 4, 0, 0, 0, 1, 0x80, 9, 4, 1, 1, 1, 1], Accept),
        ("ORIGINATOR_ID length 3", &[0x40, 5, 4, 0, 0, 0, 1, 0x80, 9, 3, 1, 1, 1], Withdraw),
        ("CLUSTER_LIST length 0", &[0x40, 5, 4, 0, 0, 0, 1, 0x80, 10, 0], Withdraw),
        ("CLUSTER_LIST length 6", &[0x40, 5, 4, 0, 0, 0, 1, 0x80, 10, 6, 1, 1, 1, 1, 1, 1], Withdraw),
    ];
    for (name, more, expected) in table {
        // An internal peer passes on any AS_PATH, an empty one too.
        let message = body(&[ORIGIN, &[0x40, 2, 0], NEXT_HOP, more], NLRI);
        assert_eq!(answer(&message, &IBGP), *expected, "{name}");
    }
}

/// What cannot be delimited resets; so does a fault where nothing shows what to withdraw (section 5.2).
#[test]
fn resets() {
    let sound = [ORIGIN, AS_PATH, NEXT_HOP];
    let malformed_med: &[u8] = &[0x80, 4, 3, 0, 0, 1];
    let table: Vec<(&str, Vec<u8>, u8)> = vec![
        ("NLRI /33", body(&sound, &[33, 10, 1, 2, 3, 4]), 10),
        ("NLRI runs past", body(&sound, &[24, 10]), 10),
        ("withdrawn /200", vec![0, 1, 200, 0, 0], 10),
        ("withdrawn routes run past", vec![0, 9, 0, 0], 1),
        ("attributes run past", vec![0, 0, 0, 9], 1),
        ("no attribute length", vec![0, 1, 0], 1),
        ("malformed MED, nothing announced", body(&[ORIGIN, AS_PATH, malformed_med], &[]), 5),
        ("ORIGIN 9, nothing announced", body(&[&[0x40, 1, 1, 9]], &[]), 6),
        ("overrun behind MP_UNREACH", body(&[&[0x80, 15, 3, 0, 1, 1], &[0x80, 4, 9]], &[]), 1),
    ];
    for (name, message, subcode) in table {
        let error = Update::decode(&message, &EBGP).expect_err(name);
        assert_eq!((error.notification.code, error.notification.subcode), (3, subcode), "{name}: {error}");
    }
}

/// The first of two is the one that counts.
#[test]
fn the_first_of_two_is_kept() {
    let med: &[u8] = &[0x80, 4, 4, 0, 0, 0, 1, 0x80, 4, 4, 0, 0, 0, 2];
    let update = Update::decode(&body(&[ORIGIN, AS_PATH, NEXT_HOP, med], NLRI), &EBGP).unwrap();
    assert_eq!(update.attributes.med, Some(1));
    assert_eq!(update.discarded[0].to_string(), "MULTI_EXIT_DISC is there twice");
}

/// Faults read as sentences.
#[test]
fn faults_are_named() {
    let table: [(&[&[u8]], &str); 3] = [
        (&[&[0x40, 1, 1, 9], AS_PATH, NEXT_HOP], "ORIGIN origin 9 is not defined"),
        (&[ORIGIN, AS_PATH], "NEXT_HOP is missing"),
        (&[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0]], "the attribute list runs past the end of the attributes"),
    ];
    for (attributes, sentence) in table {
        let update = Update::decode(&body(attributes, NLRI), &EBGP).unwrap();
        assert_eq!(update.treat_as_withdraw.unwrap().to_string(), sentence);
    }
}
