//! How the table that stands differs from the one that should, and what changing it amounts to.

use std::collections::BTreeSet;

use crate::Op;
use crate::nft::elements::{Element, Elements, Filter};
use crate::nft::skeleton::skeleton;
use crate::nft::table::{ChainSpec, ObservedChain, ObservedSet, ObservedTable, SetSpec, TableSpec, tag};

/// At most one operation: nothing, other elements, the whole table anew, or no table.
pub(crate) fn diff(desired: Option<&Filter>, observed: Option<&ObservedTable>) -> Option<Op> {
    match (desired, observed) {
        (None, None) => None,
        (None, Some(_)) => Some(Op::TableDelete),
        (Some(filter), Some(table)) if is_skeleton(&skeleton(), table) => change(filter.elements(), table),
        (Some(filter), _) => Some(Op::TableRebuild(filter.elements())),
    }
}

fn change(mut wanted: Elements, table: &ObservedTable) -> Option<Op> {
    let mut delete = Elements::new();
    let none = BTreeSet::new();
    for (name, add) in &mut wanted {
        let have = table.sets.get(*name).map_or(&none, |set| &set.elements);
        let gone: BTreeSet<Element> = have.difference(add).cloned().collect();
        if !gone.is_empty() {
            delete.insert(name, gone);
        }
        add.retain(|element| !have.contains(element));
    }
    wanted.retain(|_, add| !add.is_empty());
    let same = wanted.is_empty() && delete.is_empty();
    (!same).then_some(Op::TableChange { delete, add: wanted })
}

fn is_skeleton(spec: &TableSpec, table: &ObservedTable) -> bool {
    table.flags == 0
        && table.tag == tag(spec)
        && table.counters.len() == spec.counters.len()
        && spec.counters.iter().all(|name| table.counters.get(*name) == Some(&tag(name)))
        && table.sets.len() == spec.sets.len()
        && spec.sets.iter().all(|set| table.sets.get(set.name).is_some_and(|seen| is_set(set, seen)))
        && table.chains.len() == spec.chains.len()
        && spec
            .chains
            .iter()
            .all(|chain| table.chains.get(chain.name).is_some_and(|seen| is_chain(chain, seen)))
}

fn is_set(spec: &SetSpec, seen: &ObservedSet) -> bool {
    seen.tag == tag(spec)
        && seen.flags == spec.flags()
        && seen.key_type == spec.key_type()
        && seen.key_len == spec.key_len()
}

fn is_chain(spec: &ChainSpec, seen: &ObservedChain) -> bool {
    let hook = spec.hook.as_ref().map(|hook| (hook.chain_type.to_owned(), hook.number, hook.priority));
    seen.tag == tag(spec)
        && seen.hook == hook
        && seen.accepts
        && seen.rules.len() == spec.rules.len()
        && spec.rules.iter().zip(&seen.rules).all(|(rule, seen)| tag(rule) == *seen)
}

/// The table that a rebuild leaves behind.
pub(crate) fn rebuilt(mut elements: Elements) -> ObservedTable {
    let spec = skeleton();
    ObservedTable {
        flags: 0,
        tag: tag(&spec),
        counters: spec.counters.iter().map(|name| ((*name).to_owned(), tag(name))).collect(),
        sets: spec
            .sets
            .iter()
            .map(|set| {
                let seen = ObservedSet {
                    tag: tag(set),
                    flags: set.flags(),
                    key_type: set.key_type(),
                    key_len: set.key_len(),
                    elements: elements.remove(set.name).unwrap_or_default(),
                };
                (set.name.to_owned(), seen)
            })
            .collect(),
        chains: spec
            .chains
            .iter()
            .map(|chain| {
                let seen = ObservedChain {
                    tag: tag(chain),
                    hook: chain.hook.as_ref().map(|h| (h.chain_type.to_owned(), h.number, h.priority)),
                    accepts: true,
                    rules: chain.rules.iter().map(tag).collect(),
                };
                (chain.name.to_owned(), seen)
            })
            .collect(),
    }
}
