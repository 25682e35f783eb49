//! From what should be and what is to the operations between them, in an order that is safe at every step.
//!
//! The order: addresses go; the table changes; settings are written; addresses come; rules; routes; settings are put
//! back. So the table drops before an address stands or the host forwards, ARP is muted before an address stands, and
//! an address is gone before its protection is. When the table goes, it goes last, after forwarding has been put back.
//! An operation that fails keeps back those that rely on it ([`Op::relies_on`]), so the promise holds then too.

use std::collections::BTreeMap;

use crate::nft::diff;
use crate::route::same_next_hops;
use crate::{Desired, Note, OURS, Observed, Op, RULE_PRIORITIES};

/// What to do, in order, and what to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Operations; empty when nothing differs.
    pub ops: Vec<Op>,
    /// What stands in the way and is left alone.
    pub notes: Vec<Note>,
}

/// The operations that turn `observed` into `desired`, without touching what is not ours.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let table = diff::diff(desired.filter.as_ref(), observed.table.as_ref());
    let table_goes = table == Some(Op::TableDelete);
    plan.addresses_that_go(desired, observed);
    if !table_goes {
        plan.ops.extend(table.clone());
    }
    plan.settings(desired, observed);
    plan.addresses_that_come(desired, observed);
    plan.rules(desired, observed);
    plan.routes(desired, observed);
    plan.settings_to_put_back(desired, observed);
    if table_goes {
        plan.ops.extend(table);
    }
    plan
}

/// The operations that remove every trace of ours and nothing else.
pub fn cleanup_plan(observed: &Observed) -> Plan {
    plan(&Desired::default(), observed)
}

impl Plan {
    fn addresses_that_go(&mut self, desired: &Desired, observed: &Observed) {
        let gone = observed
            .addresses
            .iter()
            .filter(|(address, protocol)| **protocol == OURS && !desired.addresses.contains(*address));
        self.ops.extend(gone.map(|(address, _)| Op::AddressDelete(address.clone())));
    }

    fn addresses_that_come(&mut self, desired: &Desired, observed: &Observed) {
        for address in &desired.addresses {
            match observed.addresses.get(address) {
                None => self.ops.push(Op::AddressAdd(address.clone())),
                Some(&OURS) => {}
                Some(&protocol) => {
                    self.notes.push(Note::AddressTaken { address: address.clone(), protocol });
                }
            }
        }
    }

    fn settings(&mut self, desired: &Desired, observed: &Observed) {
        for (key, value) in &desired.sysctls {
            let outdated = observed.recorded.get(key).is_some_and(|record| record.ours != *value);
            match observed.sysctls.get(key) {
                None => {
                    self.notes.push(Note::SysctlAbsent(key.clone()));
                    if observed.recorded.contains_key(key) {
                        self.ops.push(Op::SysctlForget(key.clone()));
                    }
                }
                Some(now) if now == value && !outdated => {}
                Some(_) => self.ops.push(Op::SysctlSet { key: key.clone(), value: value.clone() }),
            }
        }
    }

    fn settings_to_put_back(&mut self, desired: &Desired, observed: &Observed) {
        for (key, record) in &observed.recorded {
            if desired.sysctls.contains_key(key) {
                continue;
            }
            let op = match observed.sysctls.get(key) {
                Some(now) if *now == record.ours => Op::SysctlRestore(key.clone()),
                Some(now) => {
                    if *now != record.original {
                        self.notes.push(Note::SysctlChanged(key.clone()));
                    }
                    Op::SysctlForget(key.clone())
                }
                None => Op::SysctlForget(key.clone()),
            };
            self.ops.push(op);
        }
    }

    fn rules(&mut self, desired: &Desired, observed: &Observed) {
        for rule in desired.rules.difference(&observed.rules) {
            if RULE_PRIORITIES.contains(&rule.priority) {
                self.ops.push(Op::RuleAdd(rule.clone()));
            } else {
                self.notes.push(Note::RuleOutOfRange(rule.clone()));
            }
        }
        self.ops.extend(observed.rules.difference(&desired.rules).map(|rule| Op::RuleDelete(rule.clone())));
    }

    /// A replacement names no protocol to the kernel, so it is never used where a stranger has the same key.
    fn routes(&mut self, desired: &Desired, observed: &Observed) {
        for (key, next_hops) in &desired.routes {
            let taken = observed.foreign_routes.contains(key);
            match observed.routes.get(key) {
                Some(seen) if same_next_hops(next_hops, seen) => {}
                _ if taken => self.notes.push(Note::RouteTaken(key.clone())),
                _ if next_hops.is_empty() => {}
                Some(_) => self.ops.push(Op::RouteReplace(key.clone(), next_hops.clone())),
                None => self.ops.push(Op::RouteAdd(key.clone(), next_hops.clone())),
            }
        }
        if desired.routes_settled {
            let wanted: &BTreeMap<_, _> = &desired.routes;
            let gone = observed.routes.keys().filter(|key| !wanted.contains_key(*key));
            self.ops.extend(gone.map(|key| Op::RouteDelete(key.clone())));
        }
    }
}

#[cfg(test)]
mod tests;
