//! [`SourceState`]: everything a source gives at one moment, put together from its files.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_decode::Lines;
use tidegate_model::observed::{SourceError, SourceStatus};
use tidegate_objects::{Object, ObjectRef};

use crate::file::FileState;

/// How many errors, and how many warnings, are named; a last one says how many more there are.
const NAMED_MAX: usize = 1_000;

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its file, shared by the objects in it.
    pub file: Arc<Path>,
    /// The lines of its fields.
    pub lines: Arc<Lines>,
}

/// Everything a source gives at one moment. An object that has not changed is the same pointer as in the state before.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// The objects in force, one of each identity, ordered by it.
    pub objects: Vec<Object>,
    /// Where each stands.
    pub places: BTreeMap<ObjectRef, Place>,
    /// The source itself, and what in it could not be read.
    pub status: SourceStatus,
    /// What in it has no effect: unknown fields, kinds that are left alone.
    pub warnings: Vec<SourceError>,
}

impl SourceState {
    /// `file:line` of a field of an object (or of its nearest ancestor that is written out); the object itself with an
    /// empty field.
    pub fn place(&self, object: &ObjectRef, field: &str) -> Option<String> {
        let place = self.places.get(object)?;
        Some(format!("{}:{}", place.file.display(), place.lines.of(field)))
    }

    /// Puts the files together. Of two objects with the same identity the first counts, in the order of paths.
    pub(crate) fn merge(
        files: &BTreeMap<PathBuf, FileState>,
        unreadable: &[(PathBuf, String)],
        status: SourceStatus,
    ) -> Self {
        let mut objects: BTreeMap<ObjectRef, Object> = BTreeMap::new();
        let mut places: BTreeMap<ObjectRef, Place> = BTreeMap::new();
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        for (path, message) in unreadable {
            let (file, message) = (path.display().to_string(), message.clone());
            errors.push(SourceError { file, message, ..SourceError::default() });
        }
        for (path, file) in files {
            let shared: Arc<Path> = path.as_path().into();
            errors.extend(file.errors.iter().cloned());
            warnings.extend(file.warnings.iter().cloned());
            for held in &file.objects {
                match places.entry(held.reference.clone()) {
                    Entry::Vacant(free) => {
                        free.insert(Place { file: shared.clone(), lines: held.lines.clone() });
                        objects.insert(held.reference.clone(), held.object.clone());
                    }
                    Entry::Occupied(first) => errors.push(duplicate(path, held, first.get())),
                }
            }
        }
        let status = SourceStatus { objects: objects.len(), errors: bounded(errors), ..status };
        SourceState { objects: objects.into_values().collect(), places, status, warnings: bounded(warnings) }
    }
}

fn duplicate(path: &Path, held: &crate::file::Held, first: &Place) -> SourceError {
    SourceError {
        file: path.display().to_string(),
        line: held.lines.first(),
        object: held.reference.to_string(),
        field: "metadata.name".into(),
        message: format!(
            "the same object is already in {}:{}, which counts; remove one of the two",
            first.file.display(),
            first.lines.first()
        ),
    }
}

fn bounded(mut problems: Vec<SourceError>) -> Vec<SourceError> {
    if problems.len() > NAMED_MAX {
        let more = problems.len() - NAMED_MAX;
        problems.truncate(NAMED_MAX);
        problems
            .push(SourceError { message: format!("and {more} more like these"), ..SourceError::default() });
    }
    problems
}
