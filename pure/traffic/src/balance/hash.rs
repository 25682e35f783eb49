//! The hash of keys and addresses: XXH64 (the xxHash specification, 0.1.1), the same on every machine and in every
//! version, so that two gateways send one key to one endpoint. No defence against chosen keys: whoever chooses keys
//! chooses the endpoint anyway.

use std::net::{IpAddr, SocketAddr};

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// The hash of a value.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    seeded(bytes, 0)
}

/// The hash of several values in their order, as of the headers of a key; nothing if there is none.
pub fn of_values<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Option<u64> {
    values.into_iter().fold(None, |hash, value| Some(seeded(value, hash.unwrap_or(0))))
}

/// The hash of a client's address: its octets; IPv4 inside IPv6 counts as IPv4.
pub fn of_client(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => seeded(&address.octets(), 0),
        IpAddr::V6(address) => seeded(&address.octets(), 0),
    }
}

/// The hash of an endpoint: the octets of its address, then its port, most significant byte first.
pub(super) fn of_endpoint(address: SocketAddr, seed: u64) -> u64 {
    let hash = match address.ip().to_canonical() {
        IpAddr::V4(address) => seeded(&address.octets(), seed),
        IpAddr::V6(address) => seeded(&address.octets(), seed),
    };
    seeded(&address.port().to_be_bytes(), hash)
}

/// The `step`th further number from `random`: well mixed, though neighbours go in (SplitMix64).
pub(super) fn further(random: u64, step: u64) -> u64 {
    let mut z = random.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// XXH64 with a seed.
pub(super) fn seeded(bytes: &[u8], seed: u64) -> u64 {
    let (stripes, rest) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() { seed.wrapping_add(P5) } else { striped(stripes, seed) };
    hash = hash.wrapping_add(bytes.len() as u64);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        hash ^= round(0, u64::from_le_bytes(*word));
        hash = hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(P1);
        hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
    }
    for &byte in rest {
        hash ^= u64::from(byte).wrapping_mul(P5);
        hash = hash.rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
    hash ^ (hash >> 32)
}

fn striped(stripes: &[[u8; 32]], seed: u64) -> u64 {
    let mut lanes =
        [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)];
    for stripe in stripes {
        for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }
    let [a, b, c, d] = lanes;
    let hash = a
        .rotate_left(1)
        .wrapping_add(b.rotate_left(7))
        .wrapping_add(c.rotate_left(12))
        .wrapping_add(d.rotate_left(18));
    lanes.iter().fold(hash, |hash, &lane| (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4))
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash is XXH64: published values for the empty text, short ones and one longer than a stripe.
    #[test]
    fn published_values() {
        assert_eq!(of_bytes(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(of_bytes(b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(of_bytes(b"abc"), 0x44BC_2CF5_AD77_0999);
        assert_eq!(of_bytes(b"Nobody inspects the spammish repetition"), 0xFBCE_A83C_8A37_8BF1);
    }

    /// A client is the same however its IPv4 address is written; several values are not their concatenation.
    #[test]
    fn keys() {
        assert_eq!(of_client("192.0.2.1".parse().unwrap()), of_client("::ffff:192.0.2.1".parse().unwrap()));
        let values = |values: &[&'static str]| of_values(values.iter().map(|value| value.as_bytes()));
        assert_eq!(values(&[]), None);
        assert_eq!(values(&["a"]), Some(of_bytes(b"a")));
        assert_ne!(values(&["a", "b"]), values(&["ab"]));
        assert_ne!(values(&["a", "b"]), values(&["b", "a"]));
        assert_ne!(values(&["", "a"]), values(&["a", ""]));
    }
}
