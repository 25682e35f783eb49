//! One change to the kernel, and one thing found there that we leave alone.

use std::fmt;

use crate::nft::elements::Elements;
use crate::{Address, IP_FORWARD, NextHop, RouteKey, Rule, SysctlKey};

/// A change. Each either happens wholly or fails with one error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Put an address on an interface, with our tag.
    AddressAdd(Address),
    /// Take an address of ours away.
    AddressDelete(Address),
    /// Delete our table if there is one and create it with skeleton and elements, in one transaction.
    TableRebuild(Elements),
    /// Change elements of our table, in one transaction.
    TableChange {
        /// Elements to delete, by set.
        delete: Elements,
        /// Elements to add, by set.
        add: Elements,
    },
    /// Delete our table.
    TableDelete,
    /// Write a setting; the value found is recorded on disk first, if none is recorded yet.
    SysctlSet {
        /// The setting.
        key: SysctlKey,
        /// The value to write.
        value: String,
    },
    /// Write the recorded value back, also of the settings that changed along with it, and forget the record.
    SysctlRestore(SysctlKey),
    /// Forget a record without writing: the setting is gone or somebody else has changed it since.
    SysctlForget(SysctlKey),
    /// Add a rule.
    RuleAdd(Rule),
    /// Delete a rule of ours.
    RuleDelete(Rule),
    /// Add a route.
    RouteAdd(RouteKey, Vec<NextHop>),
    /// Give a route of ours other next hops, without a moment in which it is absent.
    RouteReplace(RouteKey, Vec<NextHop>),
    /// Delete a route of ours.
    RouteDelete(RouteKey),
}

impl Op {
    /// Whether this operation must not be done once `failed`, an earlier one of the same plan, has failed: it would leave
    /// the machine in a state that the order of a plan rules out.
    pub fn relies_on(&self, failed: &Op) -> bool {
        match failed {
            // What ought to drop is not in place: nothing may come that brings traffic. What takes it away may.
            Self::TableRebuild(_) | Self::TableChange { .. } => match self {
                Self::AddressAdd(_) | Self::RuleAdd(_) | Self::RouteAdd(..) | Self::RouteReplace(..) => true,
                Self::SysctlSet { key, .. } => key.path() == IP_FORWARD,
                _ => false,
            },
            // ARP may not be muted.
            Self::SysctlSet { .. } => matches!(self, Self::AddressAdd(_)),
            // The address may still stand.
            Self::AddressDelete(_) => matches!(self, Self::SysctlRestore(_) | Self::TableDelete),
            // The host may still forward.
            Self::SysctlRestore(key) => key.path() == IP_FORWARD && *self == Self::TableDelete,
            _ => false,
        }
    }

    /// Whether it changes a route.
    pub fn is_route(&self) -> bool {
        matches!(self, Self::RouteAdd(..) | Self::RouteReplace(..) | Self::RouteDelete(_))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hops = |hops: &[NextHop]| hops.iter().map(NextHop::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::AddressAdd(address) => write!(f, "address add {address}"),
            Self::AddressDelete(address) => write!(f, "address delete {address}"),
            Self::TableRebuild(elements) => {
                write!(f, "nftables rebuild table inet tidegate with {} elements", count(elements))
            }
            Self::TableChange { delete, add } => {
                write!(
                    f,
                    "nftables elements of table inet tidegate: delete {}, add {}",
                    count(delete),
                    count(add)
                )
            }
            Self::TableDelete => f.write_str("nftables delete table inet tidegate"),
            Self::SysctlSet { key, value } => write!(f, "sysctl set {key}={value}"),
            Self::SysctlRestore(key) => write!(f, "sysctl restore {key}"),
            Self::SysctlForget(key) => write!(f, "sysctl forget the record of {key}"),
            Self::RuleAdd(rule) => write!(f, "rule add {rule}"),
            Self::RuleDelete(rule) => write!(f, "rule delete {rule}"),
            Self::RouteAdd(key, next_hops) => write!(f, "route add {key} {}", hops(next_hops)),
            Self::RouteReplace(key, next_hops) => write!(f, "route replace {key} {}", hops(next_hops)),
            Self::RouteDelete(key) => write!(f, "route delete {key}"),
        }
    }
}

fn count(elements: &Elements) -> usize {
    elements.values().map(|of_set| of_set.len()).sum()
}

/// Something that stands in the way and is not ours to change; the user should hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The address stands there already, put there by somebody else (`protocol` is 0 for `ip address add`).
    AddressTaken {
        /// The address.
        address: Address,
        /// The protocol number it carries.
        protocol: u8,
    },
    /// Somebody else's route has the same table, destination and metric.
    RouteTaken(RouteKey),
    /// A rule outside our range of priorities was asked for; it is not applied.
    RuleOutOfRange(Rule),
    /// There is no such setting, most often because its interface is gone.
    SysctlAbsent(SysctlKey),
    /// The setting was changed after we had set it; it is not set back.
    SysctlChanged(SysctlKey),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressTaken { address, .. } => {
                write!(
                    f,
                    "address {address} was put there by someone else; it is used as it is and never removed"
                )
            }
            Self::RouteTaken(key) => write!(f, "route {key} belongs to someone else; ours is not installed"),
            Self::RuleOutOfRange(rule) => write!(f, "rule {rule} is outside priorities 8400 to 8499"),
            Self::SysctlAbsent(key) => write!(f, "there is no setting {key}"),
            Self::SysctlChanged(key) => write!(f, "{key} was changed by someone else; it is left as it is"),
        }
    }
}
