//! [`SourceState`]: what a source gives at one moment, whatever kind of source it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidegate_model::observed::{SourceError, SourceStatus};
use tidegate_objects::{ObjectRef, Snapshot};

use crate::Lines;

/// How many errors, and how many warnings, are named; a last one says how many more there are.
const NAMED_MAX: usize = 1_000;

/// A kind that goes from so many objects to none, all at once, is believed at a second look only: a disk that is not
/// mounted looks like that, and a store that somebody restored empty. Whatever kind of source it is.
pub const EMPTIED_MIN: usize = 10;

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its file, shared by the objects in it.
    pub file: Arc<Path>,
    /// The lines of its fields.
    pub lines: Arc<Lines>,
}

/// Everything a source gives at one moment. It shares with the state before what has not changed.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// The objects in force.
    pub objects: Snapshot,
    /// Where each stands, for a source of files.
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
}

/// The first thousand of them, and how many more there are.
pub fn bounded(mut problems: Vec<SourceError>) -> Vec<SourceError> {
    if problems.len() > NAMED_MAX {
        let more = problems.len() - NAMED_MAX;
        problems.truncate(NAMED_MAX);
        problems
            .push(SourceError { message: format!("and {more} more like these"), ..SourceError::default() });
    }
    problems
}
