//! From sources to the Model: what is compiled whole, what is applied as a delta, and what is known of pods.
//!
//! Owns the latest of each and nothing that waits; `run` tells it what is new and hands on what it made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tidegate_compile::{Membership, changed_services, compile};
use tidegate_decode::SourceState;
use tidegate_egress::Table;
use tidegate_model::{Machine, Model, Standing, Verdict};
use tidegate_objects::core::{Namespace, Pod};
use tidegate_objects::dns::Answers;
use tidegate_objects::snapshot::{DiffItem, Objects, same};
use tidegate_objects::{ObjectRef, Resource, Snapshot};

/// What was asked for, and what it means.
#[derive(Default)]
pub struct Intent {
    sources: Vec<Arc<SourceState>>,
    /// What DNS says of names outside, as it was heard last.
    heard: Answers,
    /// All objects of all sources.
    pub snapshot: Snapshot,
    machine: Machine,
    membership: Membership,
    /// What it means.
    pub model: Model,
    /// What became of each object.
    pub verdicts: Arc<BTreeMap<ObjectRef, Verdict>>,
    /// How objects stand to one another.
    pub standing: Arc<Standing>,
    /// Something about this gateway as a whole that a user should know.
    pub notice: Option<String>,
    compiled: bool,
}

/// What an update changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The Model: every shell must follow.
    pub model: bool,
    /// Endpoints, in the cells of the Model that stands.
    pub endpoints: bool,
    /// What the kernel must know of pods.
    pub pods: bool,
}

/// Counts of what was carried out. Changes that came together count as one.
#[derive(Clone, Default)]
pub struct Metrics(Family<[(&'static str, &'static str); 1], Counter>);

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let help =
            "Changes of what was asked for that were carried out; those that came together count as one";
        registry.register("tidegate_intent_changes", help, self.0.clone());
    }

    /// Counts an update.
    pub fn count(&self, changed: Changed) {
        let scope = match changed {
            Changed { model: true, .. } => "all",
            Changed { endpoints: true, .. } | Changed { pods: true, .. } => "members",
            _ => return,
        };
        self.0.get_or_create(&[("scope", scope)]).inc();
    }
}

impl Intent {
    /// Hears what DNS says of names outside; it counts from the next [`update`](Intent::update) on.
    pub fn hear(&mut self, answers: Answers) {
        self.heard = answers;
    }

    /// Whether sources, machine or what DNS says differ from what was decided last.
    pub fn is_news(&self, sources: &[Arc<SourceState>], machine: &Machine) -> bool {
        let same = |(a, b): (&Arc<SourceState>, &Arc<SourceState>)| Arc::ptr_eq(a, b);
        let known = self.sources.len() == sources.len() && self.sources.iter().zip(sources).all(same);
        let heard = self.heard.ptr_eq(&self.snapshot.answers);
        !(self.compiled && known && heard && self.machine == *machine)
    }

    /// Takes over what the sources and the machine say now, and tells `table` of pods.
    pub fn update(&mut self, sources: &[Arc<SourceState>], machine: &Machine, table: &mut Table) -> Changed {
        let snapshot = self.joined(sources);
        let known = std::mem::take(&mut self.snapshot);
        let mut same_meaning = self.compiled && self.machine == *machine && known.same_intent(&snapshot);
        let mut endpoints = false;
        if same_meaning {
            let services = changed_services(&known, &snapshot);
            endpoints = self.membership.apply(&snapshot, &self.model) > 0;
            same_meaning = !Membership::falls_silent_or_wakes(&services, &self.model);
            // Other addresses hold at once, and are judged by the rules of the Model that stands; what is to be said of those
            // that are refused is for compile.
            if !known.answers.ptr_eq(&snapshot.answers) {
                same_meaning &= !Membership::is_refused_otherwise(&snapshot, &self.model);
            }
        }
        let changed = if same_meaning {
            let pods = update_pods(&known.pods, &snapshot, table);
            Changed { model: false, endpoints, pods }
        } else {
            let compiled = compile(&snapshot, machine, &self.model);
            let egress = self.model.egress != compiled.model.egress || !self.compiled;
            self.model = compiled.model;
            self.verdicts = Arc::new(compiled.verdicts);
            self.standing = Arc::new(compiled.standing);
            self.notice = compiled.notice;
            self.membership.know(&snapshot);
            self.compiled = true;
            // Policies or namespaces decide over every pod anew.
            let anew = egress || !same(&known.namespaces, &snapshot.namespaces);
            let nothing = Objects::new();
            if anew {
                *table = Table::new(&self.model.egress);
            }
            let pods = update_pods(if anew { &nothing } else { &known.pods }, &snapshot, table);
            Changed { model: true, endpoints: true, pods: pods || anew }
        };
        self.sources = sources.to_vec();
        self.machine = machine.clone();
        self.snapshot = snapshot;
        changed
    }

    /// All objects of all sources: what was known, changed as the sources have. Costs what differs.
    fn joined(&self, sources: &[Arc<SourceState>]) -> Snapshot {
        let nothing = Snapshot::default();
        let mut snapshot = self.snapshot.clone();
        snapshot.answers = self.heard.clone();
        for at in 0..sources.len().max(self.sources.len()) {
            let before = self.sources.get(at).map_or(&nothing, |source| &source.objects);
            let now = sources.get(at).map_or(&nothing, |source| &source.objects);
            snapshot.follow(before, now);
        }
        snapshot
    }
}

/// Tells the table of pods that came, changed or went.
fn update_pods(known: &Objects<Pod>, snapshot: &Snapshot, table: &mut Table) -> bool {
    let mut changed = false;
    for change in known.diff(&snapshot.pods) {
        changed |= match change {
            DiffItem::Remove(key, _) => table.remove_pod(key),
            DiffItem::Add(_, pod) | DiffItem::Update { new: (_, pod), .. } => {
                table.set_pod(pod, namespace_labels(pod, &snapshot.namespaces))
            }
        };
    }
    changed
}

/// Labels of a pod's namespace; a namespace that no source describes has none but its name.
fn namespace_labels<'a>(
    pod: &Resource<Pod>,
    namespaces: &'a Objects<Namespace>,
) -> &'a BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let key = pod.key().sibling("", &pod.key().namespace);
    namespaces.get(&key).map_or(&NONE, |namespace| &namespace.metadata.labels)
}

#[cfg(test)]
mod tests;
