//! The table: policies, known pods, and what follows for the kernel and for people.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use tidegate_model::Egress;
use tidegate_model::egress::{EgressDecision, EgressPolicy, Identity};
use tidegate_objects::core::Pod;
use tidegate_objects::{Key, Resource};

use crate::class::{ClassId, Classes};
use crate::destination::{Decided, Destination, for_kernel};
use crate::select::selects;

/// Policies, and the pods known so far. Holds as many pods as it is told of; each costs its addresses and its name.
#[derive(Debug, Default)]
pub struct Table {
    pod_ranges: Vec<Ipv4Net>,
    policies: Vec<EgressPolicy>,
    pods: BTreeMap<Key, Known>,
    owners: BTreeMap<Ipv4Addr, BTreeSet<Key>>,
    classes: Classes,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    addresses: Vec<Ipv4Addr>,
    standing: Standing,
}

/// What is known about a pod's egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// No policy selects it.
    Unselected,
    /// These do.
    Class(ClassId),
    /// Too many classes: it stays unknown, so that nothing leaves with a wrong address.
    TooMany,
}

/// Everything the kernel must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTables {
    /// Pods that are known, selected or not. An address that two pods claim, and that would leave in two ways, is not
    /// known.
    pub pods: BTreeSet<Ipv4Addr>,
    /// The class of each selected pod.
    pub pod_class: BTreeMap<Ipv4Addr, ClassId>,
    /// Per class, disjoint destinations in ascending order; a destination in none of them is left untouched.
    pub destinations: BTreeMap<ClassId, Vec<Destination>>,
}

impl Table {
    /// A table of these policies that knows no pod yet.
    pub fn new(egress: &Egress) -> Self {
        Table { pod_ranges: egress.pod_ranges.clone(), policies: egress.policies.clone(), ..Table::default() }
    }

    /// Tells of a pod, new or changed; says whether the kernel's tables change. A pod that shares its node's address,
    /// has finished, or has no IPv4 address is forgotten instead.
    pub fn set_pod(&mut self, pod: &Resource<Pod>, namespace_labels: &BTreeMap<String, String>) -> bool {
        let addresses = addresses(&pod.spec);
        if addresses.is_empty() {
            return self.remove_pod(pod.key());
        }
        let selected: Vec<usize> = (0..self.policies.len())
            .filter(|index| {
                selects(&self.policies[*index], pod.key(), &pod.metadata.labels, namespace_labels)
            })
            .collect();
        let standing = match selected.is_empty() {
            true => Standing::Unselected,
            false => self.classes.join(&self.policies, selected).map_or(Standing::TooMany, Standing::Class),
        };
        let known = Known { addresses, standing };
        let changes = self.pods.get(pod.key()) != Some(&known);
        // The class was joined first, so that one whose only pod is set again keeps its number.
        self.remove_pod(pod.key());
        for address in &known.addresses {
            self.owners.entry(*address).or_default().insert(pod.key().clone());
        }
        self.pods.insert(pod.key().clone(), known);
        changes
    }

    /// Forgets a pod; says whether it was known.
    pub fn remove_pod(&mut self, pod: &Key) -> bool {
        let Some(known) = self.pods.remove(pod) else { return false };
        for address in &known.addresses {
            if let Some(owners) = self.owners.get_mut(address) {
                owners.remove(pod);
                if owners.is_empty() {
                    self.owners.remove(address);
                }
            }
        }
        if let Standing::Class(id) = known.standing {
            self.classes.leave(id);
        }
        true
    }

    /// Everything the kernel must know now.
    pub fn kernel(&self) -> KernelTables {
        let mut tables = KernelTables::default();
        for address in self.owners.keys() {
            match self.standing(*address) {
                Some(Standing::Unselected) => {
                    tables.pods.insert(*address);
                }
                Some(Standing::Class(id)) => {
                    tables.pods.insert(*address);
                    tables.pod_class.insert(*address, id);
                }
                Some(Standing::TooMany) | None => {}
            }
        }
        let destinations = |class: &crate::class::Class| for_kernel(&self.policies, &class.intervals);
        tables.destinations = self.classes.iter().map(|(id, class)| (id, destinations(class))).collect();
        tables
    }

    /// What a packet from `source` to `destination` meets.
    pub fn decide(&self, source: Ipv4Addr, destination: Ipv4Addr) -> EgressDecision {
        let pod = self.owners.get(&source).and_then(|owners| owners.first()).cloned();
        let untouched = EgressDecision { pod, policy: None, source: None, dropped: None };
        match self.standing(source) {
            Some(Standing::Unselected) => untouched,
            Some(Standing::Class(id)) => self.decide_class(untouched, id, destination),
            Some(Standing::TooMany) => EgressDecision {
                dropped: Some("more combinations of policies than can be told apart".into()),
                ..untouched
            },
            None => EgressDecision { dropped: self.unknown(source), ..untouched },
        }
    }

    /// The first address of a known pod.
    pub fn address_of(&self, pod: &Key) -> Option<Ipv4Addr> {
        self.pods.get(pod)?.addresses.first().copied()
    }

    /// Policies in order of precedence, each with the number of pods it selects.
    pub fn pods_per_policy(&self) -> Vec<(&EgressPolicy, usize)> {
        let mut counts = vec![0; self.policies.len()];
        for known in self.pods.values() {
            if let Standing::Class(id) = known.standing {
                for policy in self.classes.get(id).into_iter().flat_map(|class| &class.policies) {
                    counts[*policy] += 1;
                }
            }
        }
        self.policies.iter().zip(counts).collect()
    }

    fn decide_class(&self, untouched: EgressDecision, id: ClassId, destination: Ipv4Addr) -> EgressDecision {
        let intervals: &[Decided] = self.classes.get(id).map_or(&[], |class| &class.intervals);
        let at = intervals.partition_point(|interval| interval.last < destination.to_bits());
        let decided = intervals.get(at).filter(|interval| interval.first <= destination.to_bits());
        let Some(policy) = decided.and_then(|interval| self.policies.get(interval.policy)) else {
            return untouched;
        };
        let (source, dropped) = match &policy.identity {
            Identity::Address(address) => (Some(IpAddr::V4(*address)), None),
            Identity::Unavailable(reason) => (None, Some(reason.clone())),
        };
        EgressDecision { policy: Some(policy.name.clone()), source, dropped, ..untouched }
    }

    /// What is known of an address; none: no pod has it, or pods have it that would leave in different ways.
    fn standing(&self, address: Ipv4Addr) -> Option<Standing> {
        let mut standings =
            self.owners.get(&address)?.iter().filter_map(|pod| Some(self.pods.get(pod)?.standing));
        let first = standings.next()?;
        standings.all(|other| other == first).then_some(first)
    }

    /// Why a source that is no known pod is dropped; none: it is not a pod's, and passes.
    fn unknown(&self, source: Ipv4Addr) -> Option<String> {
        if self.policies.is_empty() || !self.pod_ranges.iter().any(|range| range.contains(&source)) {
            return None;
        }
        Some(match self.owners.get(&source) {
            Some(pods) => {
                let names: Vec<String> = pods.iter().map(Key::to_string).collect();
                format!(
                    "{source} belongs to several pods that would leave in different ways: {}",
                    names.join(", ")
                )
            }
            None => format!("{source} is inside a pod range, but belongs to no pod that is known yet"),
        })
    }
}

fn addresses(pod: &Pod) -> Vec<Ipv4Addr> {
    if pod.host_network || pod.finished {
        return Vec::new();
    }
    let v4 = pod.addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    v4.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
