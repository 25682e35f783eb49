//! What the caller wants the kernel to hold. Plain fields, filled by whoever knows; an empty one wants nothing of ours.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Address, Filter, NextHop, RouteKey, Rule, SysctlKey};

/// The whole of our kernel state, as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Addresses that must stand, tagged with [`crate::OURS`].
    pub addresses: BTreeSet<Address>,
    /// Routes with their next hops; never an empty list of next hops.
    pub routes: BTreeMap<RouteKey, Vec<NextHop>>,
    /// False until the sources of routes have spoken after a start (BGP: End-of-RIB or its time limit). While false,
    /// routes of ours that are not in `routes` are kept, so that a restart withdraws nothing it will add again.
    pub routes_settled: bool,
    /// Policy routing rules; only priorities in [`crate::RULE_PRIORITIES`] are applied.
    pub rules: BTreeSet<Rule>,
    /// Settings under `/proc/sys/net`. One that is no longer listed is set back to what it was before us.
    pub sysctls: BTreeMap<SysctlKey, String>,
    /// Contents of the nftables table; none means that there shall be no table.
    pub filter: Option<Filter>,
}

impl Default for Desired {
    /// Nothing of ours, routes settled.
    fn default() -> Self {
        Self {
            addresses: BTreeSet::new(),
            routes: BTreeMap::new(),
            routes_settled: true,
            rules: BTreeSet::new(),
            sysctls: BTreeMap::new(),
            filter: None,
        }
    }
}
