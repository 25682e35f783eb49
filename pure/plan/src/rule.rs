//! A policy routing rule in our range of priorities.

use std::fmt;
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// Rules of ours have these priorities, and carry our protocol number too.
pub const RULE_PRIORITIES: RangeInclusive<u32> = 8400..=8499;

/// `ip rule`: packets that match look into `table`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Place among all rules, within [`RULE_PRIORITIES`].
    pub priority: u32,
    /// An IPv6 rule; IPv4 otherwise.
    pub ipv6: bool,
    /// Source prefix.
    pub from: Option<IpNet>,
    /// Destination prefix.
    pub to: Option<IpNet>,
    /// Packet mark and the mask under which it is compared.
    pub mark: Option<(u32, u32)>,
    /// The routing table to look into.
    pub table: u32,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.priority)?;
        match self.from {
            Some(net) => write!(f, " from {net}")?,
            None => f.write_str(if self.ipv6 { " from all (IPv6)" } else { " from all" })?,
        }
        if let Some(net) = self.to {
            write!(f, " to {net}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}
