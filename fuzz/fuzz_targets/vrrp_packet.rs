//! Any payload is an advert or refused, never a panic; an advert that is read can be written and read again.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::Source;
use tidegate_vrrp::DecodeError;
use tidegate_vrrp::packet::{decode, group_of, peek_vrid};

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let flags = source.byte();
    let from: IpAddr = if flags & 1 == 0 {
        Ipv4Addr::new(10, 0, 0, 12).into()
    } else {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 12).into()
    };
    let ttl = if flags & 0xf0 == 0xf0 { source.byte() } else { 255 };
    let mut payload = source.0.to_vec();
    // Fuzzers do not guess checksums: the refusal says what would have been right.
    if let Err(DecodeError::Checksum { with, without, .. }) = decode(&payload, from, group_of(from), ttl) {
        let right = if flags & 2 == 0 { with } else { without };
        payload[6..8].copy_from_slice(&right.to_be_bytes());
    }
    match decode(&payload, from, group_of(from), ttl) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(received) => {
            assert_eq!(ttl, 255);
            assert_eq!(peek_vrid(&payload), Some(received.advert.vrid.get()));
            assert!(received.advert.addresses.iter().all(|address| address.is_ipv4() == from.is_ipv4()));
            let again = received.advert.encode(from, group_of(from), received.checksum);
            assert_eq!(decode(&again, from, group_of(from), ttl), Ok(received));
        }
    }
});
