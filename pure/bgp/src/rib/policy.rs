//! Which prefixes may be learned from a peer, and how many. Never what is done with them.

use ipnet::Ipv4Net;
use std::fmt;

/// What is accepted from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportPolicy {
    /// A prefix must fit one of them; none: nothing is accepted.
    pub prefixes: Vec<PrefixRange>,
    /// Most prefixes held from the peer; those beyond are rejected.
    pub maximum_prefixes: usize,
    /// Most next hops installed for one prefix, at least 1. The policy of the peer with the best
    /// path decides.
    pub multipath: usize,
}

/// Prefixes inside `cidr` whose length is from `min_len` to `max_len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixRange {
    /// The range.
    pub cidr: Ipv4Net,
    /// Shortest prefix length, in bits.
    pub min_len: u8,
    /// Longest prefix length, in bits.
    pub max_len: u8,
}

impl PrefixRange {
    /// Whether the prefix is one of them.
    pub fn admits(&self, prefix: &Ipv4Net) -> bool {
        self.cidr.contains(prefix) && (self.min_len..=self.max_len).contains(&prefix.prefix_len())
    }
}

/// Why a prefix was not even kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Multicast, loopback or reserved: never a destination of unicast.
    Martian,
    /// No range of the policy admits it.
    Policy,
    /// The peer has sent as many as it may.
    MaximumPrefixes,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejection::Martian => "it is multicast, loopback or reserved",
            Rejection::Policy => "the import policy admits no such prefix",
            Rejection::MaximumPrefixes => "the peer has sent more prefixes than allowed",
        })
    }
}

impl ImportPolicy {
    /// Whether the prefix may be kept, whatever the number.
    pub(super) fn judge(&self, prefix: &Ipv4Net) -> Result<(), Rejection> {
        let first = prefix.network().octets()[0];
        if first == 127 || first >= 224 {
            return Err(Rejection::Martian);
        }
        let admitted = self.prefixes.iter().any(|range| range.admits(prefix));
        if admitted { Ok(()) } else { Err(Rejection::Policy) }
    }
}
