//! The store: the objects in force of one cluster, and what is wrong with some of them.
//!
//! An object that cannot be read keeps its last good version, as a file does.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_decode::{Document, Outcome, Problem};
use tidegate_model::observed::SourceError;
use tidegate_objects::{Key, Kind, Object, ObjectRef, Snapshot};

use crate::reflector::identity;
use crate::scope::Scope;

/// Of how many objects it is known what is wrong with them; beyond it they are left out all the same, unnamed.
const NAMED_MAX: usize = 2_000;
/// How many new problems wait to be logged; the others are in the status.
const NEWS_MAX: usize = 10;

/// Everything in force.
#[derive(Default)]
pub(crate) struct Store {
    /// The objects.
    pub objects: Snapshot,
    refused: BTreeMap<ObjectRef, SourceError>,
    warned: BTreeMap<ObjectRef, Vec<SourceError>>,
    /// What is wrong since this was taken last.
    pub news: Vec<SourceError>,
    /// Grows with each object that came, changed or went.
    pub changes: u64,
}

impl Store {
    /// A scope was listed: what it covers and the list has not is gone.
    pub fn list(&mut self, scope: &Scope, documents: Vec<Document>) {
        let mut seen = BTreeSet::new();
        for document in documents {
            seen.extend(identity(&document).map(|object| object.key));
            // A list is published whatever it changes: it may be the last that was waited for.
            let _ = self.set(document);
        }
        self.drop_all(scope.kind, |key| scope.covers(scope.kind, key) && !seen.contains(key));
    }

    /// An object came or changed; whether anything is another now. One that is equal to what is known stays the same pointer,
    /// as when somebody has written a status that nothing here goes by.
    pub fn set(&mut self, document: Document) -> bool {
        let Document { outcome, warnings, .. } = document;
        match outcome {
            Outcome::Object { object, .. } => {
                let reference = object.reference();
                let was_refused = self.refused.remove(&reference).is_some();
                let warned = self.note_warnings(&reference, warnings);
                self.insert(object, &reference) || was_refused || warned
            }
            Outcome::Refused { reference: Some(reference), problem } => self.refuse(reference, problem),
            // What has no name came from no API server, and kinds are asked for one by one.
            Outcome::Refused { reference: None, .. } | Outcome::Ignored { .. } => false,
        }
    }

    fn insert(&mut self, object: Object, reference: &ObjectRef) -> bool {
        let is_other = self.objects.get(reference).as_ref() != Some(&object);
        if is_other {
            self.objects.insert(object);
            self.changes += 1;
        }
        is_other
    }

    fn refuse(&mut self, reference: ObjectRef, problem: Problem) -> bool {
        let problem = error(problem);
        if self.refused.get(&reference) == Some(&problem) {
            return false;
        }
        if self.refused.len() < NAMED_MAX || self.refused.contains_key(&reference) {
            if self.news.len() < NEWS_MAX {
                self.news.push(problem.clone());
            }
            self.refused.insert(reference, problem);
        }
        true
    }

    fn note_warnings(&mut self, reference: &ObjectRef, warnings: Vec<Problem>) -> bool {
        if warnings.is_empty() {
            return self.warned.remove(reference).is_some();
        }
        let warnings: Vec<SourceError> = warnings.into_iter().map(error).collect();
        let is_named = self.warned.len() < NAMED_MAX || self.warned.contains_key(reference);
        is_named && self.warned.insert(reference.clone(), warnings.clone()) != Some(warnings)
    }

    /// An object is gone.
    pub fn remove(&mut self, object: &ObjectRef) {
        self.objects.remove(object);
        self.changes += 1;
        self.refused.remove(object);
        self.warned.remove(object);
    }

    /// Drops what none of these scopes covers, but nothing of these kinds; whether there was anything.
    pub fn keep_only<'s>(
        &mut self,
        scopes: impl Iterator<Item = &'s Scope>,
        kept: impl Fn(&Kind) -> bool,
    ) -> bool {
        let before = self.changes;
        let mut by_kind: BTreeMap<Kind, Vec<&Scope>> = BTreeMap::new();
        for scope in scopes {
            by_kind.entry(scope.kind).or_default().push(scope);
        }
        for kind in Kind::ALL.iter().filter(|kind| !kept(kind)) {
            let scopes = by_kind.get(kind).map(Vec::as_slice).unwrap_or_default();
            if !scopes.iter().any(|scope| scope.namespace.is_empty() && scope.names.is_empty()) {
                self.drop_all(*kind, |key| !scopes.iter().any(|scope| scope.covers(*kind, key)));
            }
        }
        self.changes != before
    }

    fn drop_all(&mut self, kind: Kind, gone: impl Fn(&Key) -> bool) {
        let known = self.objects.keys(kind).cloned();
        let refused =
            self.refused.keys().filter(|object| object.kind == kind).map(|object| object.key.clone());
        let gone: Vec<Key> = known.chain(refused).filter(gone).collect();
        for key in gone {
            self.remove(&ObjectRef { kind, key });
        }
    }

    /// How many objects of a scope are in force.
    pub fn count(&self, scope: &Scope) -> usize {
        self.objects.keys(scope.kind).filter(|key| scope.covers(scope.kind, key)).count()
    }

    /// What could not be read.
    pub fn errors(&self) -> impl Iterator<Item = SourceError> + '_ {
        self.refused.values().cloned()
    }

    /// What has no effect.
    pub fn warnings(&self) -> Vec<SourceError> {
        self.warned.values().flatten().cloned().collect()
    }
}

fn error(problem: Problem) -> SourceError {
    let Problem { object, field, message, .. } = problem;
    SourceError { object, field, message, ..SourceError::default() }
}
