//! Codec: golden bytes, round trip, every refusal, never a panic.

use proptest::prelude::*;

use super::*;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
const GROUP: IpAddr = IpAddr::V4(GROUP_V4);

/// VRID 51, priority 200, 100 ms, 10.0.50.20: what keepalived 2.2.7 was seen to send. The sums are done by hand:
/// message 3133+c801+000a+0a00+3214 = 13552 -> 3553 -> !3553 = caac;
/// pseudo 0a00+000b+e000+0012+0070+000c = ea99, and 13552+ea99 = 21feb -> 1fed -> !1fed = e012.
const WITH: [u8; 12] = [0x31, 51, 200, 1, 0x00, 10, 0xe0, 0x12, 10, 0, 50, 20];
const WITHOUT: [u8; 12] = [0x31, 51, 200, 1, 0x00, 10, 0xca, 0xac, 10, 0, 50, 20];

fn golden() -> Advert {
    Advert {
        vrid: Vrid::new(51).unwrap(),
        priority: 200,
        interval: AdvertInterval::from_centiseconds(10).unwrap(),
        addresses: vec!["10.0.50.20".parse().unwrap()],
    }
}

/// `payload` with its checksum made right again after a change.
fn resummed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    bytes[6..8].fill(0);
    let right = fold(sum(&bytes) + pseudo_sum(SOURCE, GROUP, bytes.len()));
    bytes[6..8].copy_from_slice(&right.to_be_bytes());
    bytes
}

#[test]
fn an_advert_has_these_bytes_in_either_checksum_form() {
    assert_eq!(golden().encode(SOURCE, GROUP, Checksum::WithPseudoHeader), WITH);
    assert_eq!(golden().encode(SOURCE, GROUP, Checksum::MessageOnly), WITHOUT);
}

#[test]
fn either_checksum_form_is_accepted_and_named() {
    for (bytes, checksum) in [(WITH, Checksum::WithPseudoHeader), (WITHOUT, Checksum::MessageOnly)] {
        let received = decode(&bytes, SOURCE, GROUP, 255).unwrap();
        assert_eq!(received, Received { advert: golden(), checksum });
    }
}

#[test]
fn the_farewell_that_keepalived_sends_is_understood() {
    let captured = [0x31, 51, 0, 1, 0x00, 10, 0xa8, 0x13, 10, 0, 50, 20];
    assert_eq!(decode(&captured, SOURCE, GROUP, 255).unwrap().advert, Advert { priority: 0, ..golden() });
}

#[test]
fn the_reserved_bits_are_ignored() {
    let mut bytes = WITH;
    bytes[4] = 0xf0;
    assert_eq!(decode(&resummed(&bytes), SOURCE, GROUP, 255).unwrap().advert, golden());
}

#[test]
fn what_is_wrong_is_named() {
    let edit = |at: usize, value: u8| {
        let mut bytes = WITH;
        bytes[at] = value;
        resummed(&bytes)
    };
    let longer = resummed(&[&WITH[..], &[0, 0, 0, 0]].concat());
    let table = [
        (WITH[..7].to_vec(), DecodeError::Truncated { found: 7, needed: 8 }),
        (vec![], DecodeError::Truncated { found: 0, needed: 8 }),
        (edit(0, 0x21), DecodeError::Version { found: 2 }),
        (edit(0, 0x32), DecodeError::Type { found: 2 }),
        (edit(1, 0), DecodeError::VirtualRouterId),
        (edit(3, 0), DecodeError::NoAddress),
        (edit(3, 2), DecodeError::Truncated { found: 12, needed: 16 }),
        (edit(5, 0), DecodeError::Interval),
        (longer, DecodeError::Trailing { found: 16, expected: 12 }),
    ];
    for (bytes, error) in table {
        assert_eq!(decode(&bytes, SOURCE, GROUP, 255), Err(error), "{bytes:02x?}");
    }
    assert_eq!(decode(&WITH, SOURCE, GROUP, 254), Err(DecodeError::Ttl { found: 254 }));
    assert_eq!(decode(&WITH, SOURCE, GROUP_V6.into(), 255), Err(DecodeError::Family));
    let mut bytes = WITH;
    bytes[2] = 201;
    let expected = DecodeError::Checksum { found: 0xe012, with: 0xdf12, without: 0xc9ac };
    assert_eq!(decode(&bytes, SOURCE, GROUP, 255), Err(expected));
    assert_eq!(
        expected.to_string(),
        "checksum is 0xe012; right would be 0xdf12 with the pseudo-header or 0xc9ac without"
    );
}

#[test]
fn more_than_255_addresses_are_cut_and_never_wrap() {
    let mut advert = golden();
    advert.addresses = vec![SOURCE; 300];
    let received = decode(&advert.encode(SOURCE, GROUP, Checksum::MessageOnly), SOURCE, GROUP, 255).unwrap();
    assert_eq!(received.advert.addresses.len(), 255);
}

prop_compose! {
    fn any_advert()(
        vrid in 1..=255u8, priority: u8, centiseconds in 1..=4095u16,
        v4 in prop::collection::vec(any::<u32>(), 1..=255),
        v6 in prop::collection::vec(any::<u128>(), 1..=255),
        six: bool, source: u128, destination: u128,
    ) -> (Advert, IpAddr, IpAddr) {
        let addresses = if six {
            v6.into_iter().map(|bits| Ipv6Addr::from(bits).into()).collect()
        } else {
            v4.into_iter().map(|bits| Ipv4Addr::from(bits).into()).collect()
        };
        let ip = |bits: u128| if six {
            IpAddr::from(Ipv6Addr::from(bits))
        } else {
            IpAddr::from(Ipv4Addr::from(bits as u32))
        };
        let interval = AdvertInterval::from_centiseconds(centiseconds).unwrap();
        let vrid = Vrid::new(vrid).unwrap();
        (Advert { vrid, priority, interval, addresses }, ip(source), ip(destination))
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself((advert, source, destination) in any_advert(), message_only: bool) {
        let form = if message_only { Checksum::MessageOnly } else { Checksum::WithPseudoHeader };
        let bytes = advert.encode(source, destination, form);
        prop_assert!(bytes.len() <= PAYLOAD_BYTES_MAX);
        let received = decode(&bytes, source, destination, TTL).unwrap();
        prop_assert_eq!(received.advert, advert);
    }

    #[test]
    fn one_flipped_bit_is_always_noticed((advert, source, destination) in any_advert(), at: usize, bit in 0..8u8) {
        let mut bytes = advert.encode(source, destination, Checksum::WithPseudoHeader);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        // Once in 65,535 the other form fits by chance; the form that was sent never does.
        let noticed = decode(&bytes, source, destination, TTL);
        prop_assert_ne!(noticed.map(|received| received.checksum), Ok(Checksum::WithPseudoHeader));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), six: bool, ttl in 250..=255u8) {
        let group = if six { GROUP_V6.into() } else { GROUP };
        let _ = peek_vrid(&bytes);
        let _ = decode(&bytes, SOURCE, group, ttl);
        let mut plausible = bytes;
        if plausible.len() >= 8 {
            plausible[0] = 0x31;
            let _ = decode(&resummed(&plausible), SOURCE, GROUP, 255);
        }
    }
}
