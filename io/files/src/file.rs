//! One file: the objects that are in force from it, and what is wrong in it.
//!
//! A file that cannot be read keeps its last good objects, and so does each document by itself.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tidegate_decode::{Document, Lines, Outcome, Problem, decode};
use tidegate_model::observed::SourceError;
use tidegate_objects::{Object, ObjectRef};

use crate::walk::Stamp;

/// An object in force, and where it stands in its file.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub reference: ObjectRef,
    pub object: Object,
    pub lines: Arc<Lines>,
}

/// A file as last read.
#[derive(Clone, Debug)]
pub(crate) struct FileState {
    pub stamp: Stamp,
    pub objects: Vec<Held>,
    pub errors: Vec<SourceError>,
    pub warnings: Vec<SourceError>,
}

/// Finds an object in force, so that one that did not change stays the same pointer wherever it moved.
pub(crate) type Known<'a> = &'a dyn Fn(&ObjectRef) -> Option<Object>;

/// Reads a file; `before` is its state so far.
pub(crate) fn read(
    source: &str,
    path: &Path,
    stamp: Stamp,
    before: Option<&FileState>,
    known: Known<'_>,
) -> FileState {
    let documents = text(path, stamp).and_then(|text| decode(source, &text));
    match documents {
        Ok(documents) => settle(path, stamp, documents, before, known),
        Err(problem) => FileState {
            stamp,
            objects: before.map(|before| before.objects.clone()).unwrap_or_default(),
            errors: vec![error(path, problem)],
            warnings: Vec::new(),
        },
    }
}

fn text(path: &Path, stamp: Stamp) -> Result<String, Problem> {
    let whole = |message| Problem { line: 0, object: String::new(), field: String::new(), message };
    // Looked at before it is read: a huge file must not fill the memory first.
    if stamp.bytes() > tidegate_decode::BYTES_MAX as u64 {
        let most = tidegate_decode::BYTES_MAX;
        return Err(whole(format!("the file has {} bytes; at most {most} are read", stamp.bytes())));
    }
    let bytes = bytes(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        Problem { line, ..whole("not UTF-8 text; save the file as UTF-8".into()) }
    })
}

/// A regular file's bytes, one more than may be at most. A pipe would wait for its writer, and a device never end.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(tidegate_decode::BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn settle(
    path: &Path,
    stamp: Stamp,
    documents: Vec<Document>,
    before: Option<&FileState>,
    known: Known<'_>,
) -> FileState {
    let mut state = FileState { stamp, objects: Vec::new(), errors: Vec::new(), warnings: Vec::new() };
    let mut spoiled = Vec::new();
    for document in documents {
        state.warnings.extend(document.warnings.into_iter().map(|problem| error(path, problem)));
        match document.outcome {
            Outcome::Object { object, lines } => {
                let reference = object.reference();
                let object = known(&reference).filter(|old| *old == object).unwrap_or(object);
                state.objects.push(Held { reference, object, lines: Arc::new(lines) });
            }
            Outcome::Refused { reference, problem } => {
                state.errors.push(error(path, problem));
                spoiled.extend(reference);
            }
            Outcome::Ignored { problem, .. } => state.warnings.push(error(path, problem)),
        }
    }
    keep_last_good(&mut state, spoiled, before);
    state
}

/// Keeps the last good version of every spoiled object that the file does not also hold in a good one.
fn keep_last_good(state: &mut FileState, spoiled: Vec<ObjectRef>, before: Option<&FileState>) {
    let mut present: HashSet<ObjectRef> = state.objects.iter().map(|held| held.reference.clone()).collect();
    let spoiled: HashSet<ObjectRef> = spoiled.into_iter().collect();
    for held in before.into_iter().flat_map(|before| &before.objects) {
        if spoiled.contains(&held.reference) && present.insert(held.reference.clone()) {
            state.objects.push(held.clone());
        }
    }
}

pub(crate) fn error(path: &Path, problem: Problem) -> SourceError {
    SourceError {
        file: path.display().to_string(),
        line: problem.line,
        object: problem.object,
        field: problem.field,
        message: problem.message,
    }
}
