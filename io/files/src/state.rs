//! [`SourceState`] of a source of files: put together from them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_decode::{Place, SourceState, bounded};
use tidegate_model::observed::{SourceError, SourceStatus};
use tidegate_objects::{Object, ObjectRef, Snapshot};

use crate::file::FileState;

/// Puts the files together. Of two objects with the same identity the first counts, in the order of paths. `before` is
/// what was in force so far: the new state shares with it what has not changed.
pub(crate) fn merge(
    files: &BTreeMap<PathBuf, FileState>,
    unreadable: &[(PathBuf, String)],
    before: &Snapshot,
    status: SourceStatus,
) -> SourceState {
    let mut objects = before.clone();
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
                    if !before.get(&held.reference).is_some_and(|known| known.is(&held.object)) {
                        objects.insert(held.object.clone());
                    }
                }
                Entry::Occupied(first) => errors.push(duplicate(path, held, first.get())),
            }
        }
    }
    let gone = |object: &ObjectRef| !places.contains_key(object);
    for object in before.objects().map(|object: Object| object.reference()).filter(gone) {
        objects.remove(&object);
    }
    let status = SourceStatus { objects: objects.len(), errors: bounded(errors), ..status };
    SourceState { objects, places, status, warnings: bounded(warnings) }
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
