//! What the kernel holds of ours, what stands in our way, and how an operation changes it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::nft::diff::rebuilt;
use crate::nft::elements::Element;
use crate::nft::table::ObservedTable;
use crate::{Address, NextHop, OURS, Op, Recorded, RouteKey, Rule, SysctlKey};

/// The kernel as far as it concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every address of the host and the protocol number it carries (0: none).
    pub addresses: BTreeMap<Address, u8>,
    /// Routes with our protocol number.
    pub routes: BTreeMap<RouteKey, Vec<NextHop>>,
    /// Keys of everybody else's routes, the local table excepted.
    pub foreign_routes: BTreeSet<RouteKey>,
    /// Rules in our range of priorities with our protocol number.
    pub rules: BTreeSet<Rule>,
    /// Values of the settings that were asked for or are recorded; absent if there is no such setting.
    pub sysctls: BTreeMap<SysctlKey, String>,
    /// What settings were before us, from the record on disk.
    pub recorded: BTreeMap<SysctlKey, Recorded>,
    /// Our table.
    pub table: Option<ObservedTable>,
}

/// An operation that the kernel would refuse in this state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("impossible: {0}")]
pub struct Impossible(String);

impl Observed {
    /// Changes this picture as a successful `op` changes the kernel, so that it need not be read again.
    /// After an error the picture is worth nothing: the kernel has to be read again.
    pub fn apply(&mut self, op: &Op) -> Result<(), Impossible> {
        let done = match op {
            Op::AddressAdd(address) => insert_new(&mut self.addresses, address, OURS),
            Op::AddressDelete(address) => {
                self.addresses.get(address) == Some(&OURS) && self.addresses.remove(address).is_some()
            }
            Op::TableRebuild(elements) => {
                self.table = Some(rebuilt(elements.clone()));
                true
            }
            Op::TableChange { .. } => self.change_elements(op),
            Op::TableDelete => self.table.take().is_some(),
            Op::SysctlSet { key, value } => self.set_sysctl(key, value),
            Op::SysctlRestore(key) => self.restore_sysctl(key),
            Op::SysctlForget(key) => self.recorded.remove(key).is_some(),
            Op::RuleAdd(rule) => self.rules.insert(rule.clone()),
            Op::RuleDelete(rule) => self.rules.remove(rule),
            Op::RouteAdd(key, hops) => {
                !self.foreign_routes.contains(key) && insert_new(&mut self.routes, key, hops.clone())
            }
            Op::RouteReplace(key, hops) => self.routes.get_mut(key).is_some_and(|seen| {
                seen.clone_from(hops);
                true
            }),
            Op::RouteDelete(key) => self.routes.remove(key).is_some(),
        };
        if done { Ok(()) } else { Err(Impossible(op.to_string())) }
    }

    fn change_elements(&mut self, op: &Op) -> bool {
        let (Op::TableChange { delete, add }, Some(table)) = (op, self.table.as_mut()) else {
            return false;
        };
        let sets = &mut table.sets;
        for (name, elements) in delete {
            let Some(set) = sets.get_mut(*name) else { return false };
            if !elements.iter().all(|element| set.elements.remove(element)) {
                return false;
            }
        }
        add.iter().all(|(name, elements)| match sets.get_mut(*name) {
            Some(set) => elements.iter().all(|element| insert_apart(&mut set.elements, element)),
            None => false,
        })
    }

    fn set_sysctl(&mut self, key: &SysctlKey, value: &str) -> bool {
        let Some(now) = self.sysctls.get_mut(key) else { return false };
        let original = std::mem::replace(now, value.to_owned());
        match self.recorded.entry(key.clone()) {
            Entry::Occupied(mut seen) => value.clone_into(&mut seen.get_mut().ours),
            Entry::Vacant(free) => {
                free.insert(Recorded { original, ours: value.to_owned(), beside: BTreeMap::new() });
            }
        }
        true
    }

    fn restore_sysctl(&mut self, key: &SysctlKey) -> bool {
        match (self.recorded.remove(key), self.sysctls.get_mut(key)) {
            (Some(record), Some(now)) => {
                *now = record.original;
                true
            }
            _ => false,
        }
    }
}

fn insert_new<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, value: V) -> bool {
    match map.entry(key.clone()) {
        Entry::Occupied(_) => false,
        Entry::Vacant(free) => {
            free.insert(value);
            true
        }
    }
}

/// Adds a range, or a single value, unless it overlaps one that is there; the kernel refuses that too. Looks at
/// neighbours only, which finds every overlap of single fields and those of a concatenation that begin alike.
fn insert_apart(elements: &mut BTreeSet<Element>, new: &Element) -> bool {
    let overlaps = |other: &Element| {
        let fields = (0..new.first.len()).step_by(4);
        fields.map(|at| at..at + 4).all(|field| {
            let ends = (new.last.get(field.clone()), other.last.get(field.clone()));
            let starts = (other.first.get(field.clone()), new.first.get(field));
            ends.0 >= starts.0 && ends.1 >= starts.1
        })
    };
    let before = elements.range(..new).next_back().is_some_and(overlaps);
    let after = elements.range(new..).next().is_some_and(overlaps);
    !before && !after && elements.insert(new.clone())
}
