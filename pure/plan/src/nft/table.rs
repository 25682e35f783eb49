//! The parts of an nftables table, as specified and as observed, and the tag that ties one to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use crate::nft::elements::Element;
use crate::nft::expr::Expr;

/// Everything fixed about a table: no elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableSpec {
    /// Named counters.
    pub counters: &'static [&'static str],
    /// Sets and maps.
    pub sets: Vec<SetSpec>,
    /// Chains; one that is jumped to stands before the one that jumps.
    pub chains: Vec<ChainSpec>,
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetSpec {
    /// Name.
    pub name: &'static str,
    /// Parts of the key; more than one is a concatenation.
    pub key: &'static [Field],
    /// The value of a map.
    pub data: Option<Field>,
    /// How it is stored.
    pub kind: SetKind,
}

/// How a set is stored, which decides how a range is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// Single values, in a hash.
    Hash,
    /// Ranges of a single field, in a tree: two half-open ends per range.
    Interval,
    /// Ranges of a concatenation (pipapo): each element carries first and last key. Ranges must not overlap.
    Ranges,
}

/// A type that nft(8) knows, so that a listing reads well. In network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `ipv4_addr`.
    Ipv4,
    /// `ipv6_addr`.
    Ipv6,
}

impl Field {
    /// Bytes of a value.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Ipv4 => 4,
            Self::Ipv6 => 16,
        }
    }

    /// nft(8)'s number for the type.
    pub fn nft_type(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
        }
    }
}

impl SetSpec {
    /// The type number of the key; a concatenation packs 6 bits per field.
    pub fn key_type(&self) -> u32 {
        self.key.iter().fold(0, |packed, field| (packed << 6) | field.nft_type())
    }

    /// Bytes of a key.
    pub fn key_len(&self) -> u32 {
        self.key.iter().map(|field| field.bytes()).sum()
    }

    /// `NFT_SET_*` flags.
    pub fn flags(&self) -> u32 {
        let kind = match self.kind {
            SetKind::Hash => 0,
            SetKind::Interval => 0x4,
            SetKind::Ranges => 0x4 | 0x80,
        };
        kind | if self.data.is_some() { 0x8 } else { 0 }
    }
}

/// A chain and its rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChainSpec {
    /// Name.
    pub name: &'static str,
    /// Where a base chain hooks in; none for a chain that is only jumped to. The policy is always accept.
    pub hook: Option<Hook>,
    /// The rules in order.
    pub rules: Vec<RuleSpec>,
}

/// A base chain's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hook {
    /// `filter` or `nat`.
    pub chain_type: &'static str,
    /// `NF_INET_*`: 0 prerouting, 1 local in, 2 forward, 4 postrouting.
    pub number: u32,
    /// Lower runs earlier.
    pub priority: i32,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleSpec {
    /// Its instructions.
    pub exprs: Vec<Expr>,
}

/// Our table as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedTable {
    /// `NFT_TABLE_F_*`; anything but 0 (dormant, owned) is damage.
    pub flags: u32,
    /// The tag of the table.
    pub tag: String,
    /// Tags of the named counters.
    pub counters: BTreeMap<String, String>,
    /// Sets and maps with their elements.
    pub sets: BTreeMap<String, ObservedSet>,
    /// Chains with their rules.
    pub chains: BTreeMap<String, ObservedChain>,
}

/// A set as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedSet {
    /// The tag.
    pub tag: String,
    /// `NFT_SET_*` flags.
    pub flags: u32,
    /// Type number of the key.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_len: u32,
    /// What it contains.
    pub elements: BTreeSet<Element>,
}

/// A chain as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedChain {
    /// The tag.
    pub tag: String,
    /// Type, hook number and priority of a base chain.
    pub hook: Option<(String, u32, i32)>,
    /// Whether the policy is accept.
    pub accepts: bool,
    /// Tags of the rules in order; empty for a rule without one.
    pub rules: Vec<String>,
}

/// The tag of a part: a comment that nft(8) shows, and a hash of how the part is specified.
///
/// A tag that differs only makes the table be rebuilt, in one transaction; so it need not be the same for ever.
pub fn tag(part: &impl Hash) -> String {
    let mut hasher = Fnv1a(0xcbf2_9ce4_8422_2325);
    ENCODING.hash(&mut hasher);
    part.hash(&mut hasher);
    format!("tidegate {:016x}", hasher.finish())
}

/// Raise this when `io/kernel` encodes the same specification in another way.
const ENCODING: u32 = 1;

/// FNV-1a, 64 bits: unlike the standard hasher it gives the same value after a restart.
struct Fnv1a(u64);

impl Hasher for Fnv1a {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
