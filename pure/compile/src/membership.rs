//! Endpoints that come and go: cells are filled anew, and nothing else is touched.
//!
//! Use this when two Snapshots differ in EndpointSlices and in what DNS says of names outside only
//! ([`Snapshot::same_intent`](tidegate_objects::Snapshot::same_intent)); a changed Service is intent.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_model::Model;
use tidegate_model::traffic::{BackendId, BackendKind};
use tidegate_objects::core::EndpointSlice;
use tidegate_objects::dns::{Answers, DnsName};
use tidegate_objects::snapshot::{DiffItem, Objects};
use tidegate_objects::{Key, Snapshot};

use crate::endpoints::{Reached, union};
use crate::outside::{self, served_port};

/// Which slices belong to which Service, kept from Snapshot to Snapshot so that a change costs what it touches.
#[derive(Debug, Default)]
pub struct Membership {
    slices: BTreeMap<Key, BTreeSet<Key>>,
    known: Objects<EndpointSlice>,
    answers: Answers,
}

/// Fills every endpoint cell of the Model anew; says how many changed. Costs a look at every slice.
pub fn membership(snapshot: &Snapshot, model: &Model) -> usize {
    let membership = Membership::new(snapshot);
    let services = model.traffic.endpoints.keys().filter(|id| id.kind == BackendKind::Service);
    let services: BTreeSet<&Key> = services.map(|id| &id.service).collect();
    services.into_iter().map(|service| membership.fill(service, snapshot, model)).sum()
}

/// The Services whose slices differ between two Snapshots.
pub fn changed_services(old: &Snapshot, new: &Snapshot) -> BTreeSet<Key> {
    changed(&old.endpoint_slices, &new.endpoint_slices).1
}

impl Membership {
    /// Knows this Snapshot's slices.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut membership = Membership::default();
        membership.know(snapshot);
        membership
    }

    /// Knows this Snapshot's slices from now on, of whichever Model. Costs the slices that differ.
    pub fn know(&mut self, snapshot: &Snapshot) {
        self.learn(snapshot);
    }

    /// Brings the Model's endpoint cells to this Snapshot; says how many changed. The Model must have been filled from
    /// the Snapshot that was known before. Costs the slices that differ, where the two Snapshots share the others, and those
    /// of the Services that changed.
    pub fn apply(&mut self, snapshot: &Snapshot, model: &Model) -> usize {
        let names = changed_names(&self.answers, &snapshot.answers);
        let mut services = self.learn(snapshot);
        services.extend(model.traffic.outside.of(&names).cloned());
        services.iter().map(|service| self.fill(service, snapshot, model)).sum()
    }

    /// Whether a Service that is carried by its own addresses has lost its last endpoint, or has one again: then those are
    /// withdrawn or announced, which is for compile to say. `services` are those whose slices changed.
    pub fn falls_silent_or_wakes(services: &BTreeSet<Key>, model: &Model) -> bool {
        let carried = &model.traffic.carried;
        let of_both = services.iter().filter_map(|key| Some((key, *carried.get(key)?)));
        of_both.into_iter().any(|(key, audible)| audible != is_audible(key, model))
    }

    /// Whether other addresses of a name outside are refused than those that verdicts speak of, which is for compile to say.
    pub fn is_refused_otherwise(snapshot: &Snapshot, model: &Model) -> bool {
        let outside = &model.traffic.outside;
        let refused = |leads| outside::addresses(outside, leads, &snapshot.answers).1;
        outside.services.values().any(|leads| refused(leads) != leads.refused)
    }

    /// Takes over the slices and answers; says whose slices changed.
    fn learn(&mut self, snapshot: &Snapshot) -> BTreeSet<Key> {
        self.answers = snapshot.answers.clone();
        let (slices, services) = changed(&self.known, &snapshot.endpoint_slices);
        for key in slices {
            if let Some(service) = self.known.get(&key).and_then(|slice| service_of(&key, &slice.spec)) {
                self.forget(&service, &key);
            }
            let slice = snapshot.endpoint_slices.get(&key);
            if let Some(service) = slice.and_then(|slice| service_of(&key, &slice.spec)) {
                self.slices.entry(service).or_default().insert(key);
            }
        }
        self.known = snapshot.endpoint_slices.clone();
        services
    }

    fn forget(&mut self, service: &Key, slice: &Key) {
        if let Some(slices) = self.slices.get_mut(service) {
            slices.remove(slice);
            if slices.is_empty() {
                self.slices.remove(service);
            }
        }
    }

    fn fill(&self, service: &Key, snapshot: &Snapshot, model: &Model) -> usize {
        let Some(resource) = snapshot.services.get(service) else { return 0 };
        let slices = || self.slices.get(service).into_iter().flatten().filter_map(|key| self.known.get(key));
        let mut filled = 0;
        for (id, cell) in model.traffic.endpoints.range(BackendId::all_of(service)) {
            if let Some(port) = served_port(&resource.spec, id.port, id.transport) {
                let port = &*port;
                let endpoints = if outside::of(&resource.spec) {
                    outside::endpoints(&model.traffic.outside, service, port, &snapshot.answers)
                } else {
                    let reached = Reached { service: resource, port, mode: id.mode, nodes: &snapshot.nodes };
                    reached.endpoints(slices().map(|slice| &slice.spec))
                };
                if cell.store(endpoints) {
                    let wholes = model.traffic.unions.within(id);
                    filled += 1 + wholes.iter().filter(|whole| fill_union(whole, model)).count();
                }
            }
        }
        filled
    }
}

/// Fills the cell of a backend that is several as one from theirs; whether it differs.
fn fill_union(whole: &BackendId, model: &Model) -> bool {
    let cells = &model.traffic.endpoints;
    match (cells.get(whole), model.traffic.unions.parts(whole)) {
        (Some(cell), Some(parts)) => cell.store(union(parts.iter().filter_map(|part| cells.get(part)))),
        _ => false,
    }
}

/// The names whose addresses differ.
fn changed_names(old: &Answers, new: &Answers) -> BTreeSet<DnsName> {
    let changed = old.diff(new).map(|change| match change {
        DiffItem::Add(name, _) | DiffItem::Remove(name, _) | DiffItem::Update { new: (name, _), .. } => name,
    });
    changed.cloned().collect()
}

/// Whether some endpoint of a Service could answer.
fn is_audible(service: &Key, model: &Model) -> bool {
    let mut cells = model.traffic.endpoints.range(BackendId::all_of(service));
    cells.any(|(_, cell)| !cell.load().usable.is_empty())
}

/// The slices that differ, and the Services they belong to before or after.
fn changed(old: &Objects<EndpointSlice>, new: &Objects<EndpointSlice>) -> (Vec<Key>, BTreeSet<Key>) {
    let (mut slices, mut services) = (Vec::new(), BTreeSet::new());
    for change in old.diff(new) {
        let (key, both) = match change {
            DiffItem::Add(key, slice) | DiffItem::Remove(key, slice) => (key, [Some(slice), None]),
            DiffItem::Update { old: (key, before), new: (_, now) } => (key, [Some(before), Some(now)]),
        };
        let each = both.into_iter().flatten();
        services.extend(each.filter_map(|slice| service_of(key, &slice.spec)));
        slices.push(key.clone());
    }
    (slices, services)
}

fn service_of(key: &Key, slice: &EndpointSlice) -> Option<Key> {
    Some(key.sibling(&key.namespace, slice.service.as_ref()?))
}
