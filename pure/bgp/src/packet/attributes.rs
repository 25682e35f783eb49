//! Path attributes: their values, and their encoding. How faults are answered is in `update`.

use super::AsPath;
use std::fmt;
use std::net::Ipv4Addr;

/// Type codes of path attributes.
pub(super) mod code {
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MED: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH: u8 = 14;
    pub const MP_UNREACH: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const LARGE_COMMUNITIES: u8 = 32;
}

/// Flag bits (RFC 4271, section 4.3).
pub(super) mod flag {
    pub const OPTIONAL: u8 = 0x80;
    pub const TRANSITIVE: u8 = 0x40;
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// What a route carries beside its prefix and next hop. Equal attributes of many routes are
/// shared by the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attributes {
    /// Where the route was born.
    pub origin: Origin,
    /// The autonomous systems it crossed.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC: lower is preferred among routes of one neighbouring AS.
    pub med: Option<u32>,
    /// LOCAL_PREF: higher is preferred; only ever from and to internal peers.
    pub local_pref: Option<u32>,
    /// Someone dropped more specific information.
    pub atomic_aggregate: bool,
    /// Who aggregated it.
    pub aggregator: Option<Aggregator>,
    /// RFC 1997.
    pub communities: Vec<Community>,
    /// Who brought it into the AS, set by route reflectors (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// The route reflectors it crossed (RFC 4456).
    pub cluster_list: Vec<Ipv4Addr>,
    /// RFC 8092.
    pub large_communities: Vec<LargeCommunity>,
    /// Optional transitive attributes we do not interpret, extended communities among them.
    pub unknown: Vec<RawAttribute>,
}

/// ORIGIN; a smaller one is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Origin {
    /// 0: inside the first AS.
    #[default]
    Igp,
    /// 1: learned by EGP.
    Egp,
    /// 2: by other means.
    Incomplete,
}

impl Origin {
    pub(super) fn from_code(code: u8) -> Option<Origin> {
        Some(match code {
            0 => Origin::Igp,
            1 => Origin::Egp,
            2 => Origin::Incomplete,
            _ => return None,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Igp => "IGP",
            Origin::Egp => "EGP",
            Origin::Incomplete => "incomplete",
        })
    }
}

/// AGGREGATOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// The AS that aggregated.
    pub asn: u32,
    /// The router that did.
    pub address: Ipv4Addr,
}

/// A community of RFC 1997; shown as `64512:100`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Community(pub u32);

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A large community (RFC 8092); shown as `64512:1:2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LargeCommunity {
    /// The AS that gave it its meaning.
    pub global: u32,
    /// First value.
    pub local1: u32,
    /// Second value.
    pub local2: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

/// An attribute kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawAttribute {
    /// Flags without the extended-length bit, which follows from the value.
    pub flags: u8,
    /// Type code.
    pub code: u8,
    /// Value, below 4096 bytes.
    pub value: Vec<u8>,
}

impl Attributes {
    /// Appends all of them in the order of their codes, NEXT_HOP among them.
    pub(super) fn encode(&self, next_hop: Ipv4Addr, four_byte_as: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let well_known = flag::TRANSITIVE;
        let transitive = flag::OPTIONAL | flag::TRANSITIVE;
        put(&mut out, well_known, code::ORIGIN, &[self.origin as u8]);
        let mut path = Vec::new();
        self.as_path.encode(four_byte_as, &mut path);
        put(&mut out, well_known, code::AS_PATH, &path);
        put(&mut out, well_known, code::NEXT_HOP, &next_hop.octets());
        if let Some(med) = self.med {
            put(&mut out, flag::OPTIONAL, code::MED, &med.to_be_bytes());
        }
        if let Some(local_pref) = self.local_pref {
            put(&mut out, well_known, code::LOCAL_PREF, &local_pref.to_be_bytes());
        }
        if self.atomic_aggregate {
            put(&mut out, well_known, code::ATOMIC_AGGREGATE, &[]);
        }
        if let Some(aggregator) = &self.aggregator {
            put(&mut out, transitive, code::AGGREGATOR, &aggregator.encode(four_byte_as));
        }
        if !self.communities.is_empty() {
            let value: Vec<u8> = self.communities.iter().flat_map(|c| c.0.to_be_bytes()).collect();
            put(&mut out, transitive, code::COMMUNITIES, &value);
        }
        if let Some(originator) = self.originator_id {
            put(&mut out, flag::OPTIONAL, code::ORIGINATOR_ID, &originator.octets());
        }
        if !self.cluster_list.is_empty() {
            let value: Vec<u8> = self.cluster_list.iter().flat_map(Ipv4Addr::octets).collect();
            put(&mut out, flag::OPTIONAL, code::CLUSTER_LIST, &value);
        }
        if !four_byte_as {
            self.encode_four_byte_companions(&mut out);
        }
        if !self.large_communities.is_empty() {
            let value: Vec<u8> = self.large_communities.iter().flat_map(LargeCommunity::encode).collect();
            put(&mut out, transitive, code::LARGE_COMMUNITIES, &value);
        }
        for raw in &self.unknown {
            put(&mut out, raw.flags, raw.code, &raw.value);
        }
        out
    }

    /// AS4_PATH and AS4_AGGREGATOR, where two bytes lose something (RFC 6793, section 4.2.2).
    fn encode_four_byte_companions(&self, out: &mut Vec<u8>) {
        let transitive = flag::OPTIONAL | flag::TRANSITIVE;
        if self.as_path.needs_four_bytes() {
            let mut path = Vec::new();
            self.as_path.encode(true, &mut path);
            put(out, transitive, code::AS4_PATH, &path);
        }
        if let Some(aggregator) = self.aggregator.filter(|a| a.asn > u32::from(u16::MAX)) {
            put(out, transitive, code::AS4_AGGREGATOR, &aggregator.encode(true));
        }
    }
}

impl Aggregator {
    fn encode(&self, four_byte_as: bool) -> Vec<u8> {
        let asn = if four_byte_as {
            self.asn.to_be_bytes().to_vec()
        } else {
            u16::try_from(self.asn).unwrap_or(super::AS_TRANS).to_be_bytes().to_vec()
        };
        [asn.as_slice(), &self.address.octets()].concat()
    }
}

impl LargeCommunity {
    fn encode(&self) -> impl Iterator<Item = u8> + use<> {
        [self.global, self.local1, self.local2].into_iter().flat_map(u32::to_be_bytes)
    }
}

/// Appends one attribute, with two length bytes only where one does not do.
fn put(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend_from_slice(&[flags & !flag::EXTENDED_LENGTH, code, length]),
        Err(_) => {
            out.extend_from_slice(&[flags | flag::EXTENDED_LENGTH, code]);
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}
