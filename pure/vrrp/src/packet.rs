//! The VRRP version 3 advert as bytes (RFC 9568 section 5.2), without the IP header around it.
//!
//! Owns the codec and its checksum in both forms found in the field; never judges whether an advert matters.
//!
//! ```text
//!  0               1               2               3
//! +-------+-------+---------------+---------------+---------------+
//! | ver 3 | typ 1 |     VRID      |   priority    | address count |
//! +-------+-------+---------------+---------------+---------------+
//! | rsvd  | interval, 1/100 s     |           checksum            |
//! +-------+-----------------------+-------------------------------+
//! |             addresses: 4 bytes each, or 16 (IPv6)             |
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;

use crate::error::DecodeError;
use crate::timers::AdvertInterval;

/// IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;
/// Destination of IPv4 adverts.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Destination of IPv6 adverts.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// TTL and hop limit of every advert, sent and received.
pub const TTL: u8 = 255;
/// Longest payload there can be: a header and 255 IPv6 addresses.
pub const PAYLOAD_BYTES_MAX: usize = HEADER_BYTES + 255 * 16;

const HEADER_BYTES: usize = 8;
const VERSION_AND_TYPE: u8 = 0x31;

/// Virtual router id, 1 to 255.
pub type Vrid = NonZeroU8;

/// One advertisement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advert {
    /// The virtual router spoken of.
    pub vrid: Vrid,
    /// 0: the master leaves; 1 to 254: a router's priority; 255: the owner of the addresses.
    pub priority: u8,
    /// How often the sender speaks.
    pub interval: AdvertInterval,
    /// The virtual addresses, all of the family of the IP header; 1 to 255, what is beyond is not encoded.
    pub addresses: Vec<IpAddr>,
}

/// Which bytes the checksum covers. RFC 9568 says the message alone for IPv4; keepalived and FRR follow
/// RFC 5798 and add the pseudo-header. For IPv6 it is always there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checksum {
    /// Message and pseudo-header.
    #[default]
    WithPseudoHeader,
    /// The message alone.
    MessageOnly,
}

/// A decoded advert and the form its checksum had, so that we can answer in kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// The advert.
    pub advert: Advert,
    /// The form its sender uses.
    pub checksum: Checksum,
}

/// The multicast group that adverts of a family go to.
pub fn group_of(source: IpAddr) -> IpAddr {
    if source.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() }
}

/// The virtual router id of a payload, read without checking the rest: enough to find the session it is for.
pub fn peek_vrid(payload: &[u8]) -> Option<u8> {
    payload.get(1).copied()
}

/// Decode and check one payload (RFC 9568 section 7.1). `source`, `destination` and `ttl` are those of its
/// IP header. The reserved bits are ignored.
pub fn decode(payload: &[u8], source: IpAddr, destination: IpAddr, ttl: u8) -> Result<Received, DecodeError> {
    if ttl != TTL {
        return Err(DecodeError::Ttl { found: ttl });
    }
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(DecodeError::Family);
    }
    let Some((&[version_and_type, vrid, priority, count, interval_high, interval_low, high, low], addresses)) =
        payload.split_first_chunk::<HEADER_BYTES>()
    else {
        return Err(DecodeError::Truncated { found: payload.len(), needed: HEADER_BYTES });
    };
    if version_and_type >> 4 != 3 {
        return Err(DecodeError::Version { found: version_and_type >> 4 });
    }
    if version_and_type & 0xf != 1 {
        return Err(DecodeError::Type { found: version_and_type & 0xf });
    }
    let checksum = find_checksum(payload, u16::from_be_bytes([high, low]), source, destination)?;
    let vrid = Vrid::new(vrid).ok_or(DecodeError::VirtualRouterId)?;
    let interval = u16::from_be_bytes([interval_high & 0x0f, interval_low]);
    let interval = AdvertInterval::from_centiseconds(interval).ok_or(DecodeError::Interval)?;
    let addresses = decode_addresses(addresses, count, source.is_ipv4())?;
    Ok(Received { advert: Advert { vrid, priority, interval, addresses }, checksum })
}

impl Advert {
    /// The payload, checksummed for this source and destination. IPv6 always has the pseudo-header.
    pub fn encode(&self, source: IpAddr, destination: IpAddr, checksum: Checksum) -> Vec<u8> {
        let count = self.addresses.len().min(usize::from(u8::MAX));
        let [interval_high, interval_low] = self.interval.centiseconds().to_be_bytes();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + count * 16);
        bytes.extend_from_slice(&[VERSION_AND_TYPE, self.vrid.get(), self.priority]);
        bytes.push(u8::try_from(count).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&[interval_high, interval_low, 0, 0]);
        for address in &self.addresses[..count] {
            match address {
                IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
            }
        }
        let message_only = checksum == Checksum::MessageOnly && source.is_ipv4();
        let pseudo = if message_only { 0 } else { pseudo_sum(source, destination, bytes.len()) };
        let sum = fold(pseudo + sum(&bytes));
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

fn decode_addresses(bytes: &[u8], count: u8, v4: bool) -> Result<Vec<IpAddr>, DecodeError> {
    let each = if v4 { 4 } else { 16 };
    let expected = usize::from(count) * each;
    let (found, needed) = (bytes.len() + HEADER_BYTES, expected + HEADER_BYTES);
    if count == 0 {
        return Err(DecodeError::NoAddress);
    }
    if found < needed {
        return Err(DecodeError::Truncated { found, needed });
    }
    if found > needed {
        return Err(DecodeError::Trailing { found, expected: needed });
    }
    if v4 {
        Ok(bytes.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets).into()).collect())
    } else {
        Ok(bytes.as_chunks::<16>().0.iter().map(|octets| Ipv6Addr::from(*octets).into()).collect())
    }
}

/// Which of the two forms `found` is, or what either would have been.
fn find_checksum(
    payload: &[u8],
    found: u16,
    source: IpAddr,
    destination: IpAddr,
) -> Result<Checksum, DecodeError> {
    let message = sum(payload) - u64::from(found);
    let with = fold(message + pseudo_sum(source, destination, payload.len()));
    let without = fold(message);
    // 0 and 0xffff are the same number in one's complement.
    let same = |right: u16| found == right || (matches!(found, 0 | 0xffff) && matches!(right, 0 | 0xffff));
    if same(with) {
        Ok(Checksum::WithPseudoHeader)
    } else if same(without) && source.is_ipv4() {
        Ok(Checksum::MessageOnly)
    } else {
        Err(DecodeError::Checksum { found, with, without })
    }
}

/// Sum of a pseudo-header: RFC 768's for IPv4, RFC 8200 section 8.1's for IPv6. They add up alike.
fn pseudo_sum(source: IpAddr, destination: IpAddr, length: usize) -> u64 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    address(source) + address(destination) + u64::from(PROTOCOL) + length as u64
}

/// Sum of 16-bit words, an odd last byte padded with zero.
fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |last| u64::from(*last) << 8);
    pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>() + odd
}

/// One's complement of a sum folded to 16 bits (RFC 1071).
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // The loop leaves at most 16 bits.
    !(sum as u16)
}

#[cfg(test)]
mod tests;
