//! Prefixes as the wire packs them: a length in bits and as many bytes as that needs.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Longest encoding of one IPv4 prefix.
pub(super) const PREFIX_BYTES_MAX: usize = 5;

/// All prefixes of a field, host bits cleared. Err says what is wrong.
pub(super) fn decode_all(mut bytes: &[u8]) -> Result<Vec<Ipv4Net>, String> {
    let mut prefixes = Vec::with_capacity(bytes.len() / 4);
    while let Some((&bits, rest)) = bytes.split_first() {
        let Some((packed, rest)) = rest.split_at_checked(usize::from(bits).div_ceil(8)) else {
            return Err(format!("a prefix of {bits} bits runs past its field"));
        };
        let mut octets = [0u8; 4];
        let Some(room) = octets.get_mut(..packed.len()) else {
            return Err(format!("a prefix length of {bits} bits is above 32"));
        };
        room.copy_from_slice(packed);
        let Ok(prefix) = Ipv4Net::new(Ipv4Addr::from(octets), bits) else {
            return Err(format!("a prefix length of {bits} bits is above 32"));
        };
        prefixes.push(prefix.trunc());
        bytes = rest;
    }
    Ok(prefixes)
}

/// Appends one prefix.
pub(super) fn encode(prefix: &Ipv4Net, out: &mut Vec<u8>) {
    let bits = prefix.prefix_len();
    out.push(bits);
    out.extend_from_slice(&prefix.network().octets()[..usize::from(bits).div_ceil(8)]);
}

/// How many bytes `encode` appends.
pub(super) fn encoded_bytes(prefix: &Ipv4Net) -> usize {
    1 + usize::from(prefix.prefix_len()).div_ceil(8)
}
