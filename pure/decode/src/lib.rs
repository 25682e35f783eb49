//! Text to objects: fields checked, unknown ones named, each with its line.
//!
//! ```text
//! text ──yaml──► values, each with its Lines ──identity, metadata──► who it is ──read──► Object, or a Problem
//! ```
//!
//! Owns syntax and types: what a field may hold. Never judges meaning: whether a port clashes or a reference leads
//! anywhere is found in `pure/compile`. Never reads files: `io/files` does.

mod core;
mod identity;
mod kept;
mod lines;
mod metadata;
mod nearest;
mod object;
mod path;
mod problem;
mod quick;
mod read;
mod secret;
mod settings;
mod source;
mod weight;
mod yaml;

#[cfg(test)]
mod tests;

pub use kept::{kept_line, of_kept_line};
pub use lines::Lines;
pub use nearest::nearest;
pub use problem::Problem;
pub use quick::{SliceEvent, SlicePage, slice_event, slice_page};
pub use settings::settings;
pub use source::{EMPTIED_MIN, Place, SourceState, bounded};
pub use yaml::{BYTES_MAX, DOCUMENTS_MAX};

use serde_json::Value;
use tidegate_objects::{Kind, Object, ObjectRef, Role};

/// One object of a text, decoded or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its first line, from 1.
    pub line: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// What in it has no effect: fields that nothing knows.
    pub warnings: Vec<Problem>,
}

/// What became of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// An object, and where its fields stand.
    Object {
        /// The object.
        object: Object,
        /// The lines of its fields; of kinds that state no intent only the first.
        lines: Lines,
    },
    /// A kind of object that Tidegate reads, but with a mistake; or no object at all.
    Refused {
        /// The object that it was meant to be, as far as it can be told.
        reference: Option<ObjectRef>,
        /// The first mistake.
        problem: Problem,
    },
    /// An object of a kind that this version of Tidegate does not read.
    Ignored {
        /// Its kind.
        kind: String,
        /// Where it stands, and why it is left alone.
        problem: Problem,
    },
}

/// Decodes a text of YAML documents or JSON; a list (`kind: List`, `kind: HTTPRouteList`) gives its items.
///
/// `source` becomes the source of every object's key.
///
/// # Errors
/// The text as a whole cannot be read: it is not YAML, or beyond [`BYTES_MAX`], [`DOCUMENTS_MAX`] or what nesting and
/// aliases may cost. A mistake inside one document is that document's [`Outcome::Refused`].
pub fn decode(source: &str, text: &str) -> Result<Vec<Document>, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(yaml::read(text)?.into_iter().map(|raw| object::decode(source, raw)).collect())
}

/// Decodes an object that an API server gave when it was asked for this kind in this version. Items of its lists do not say
/// what they are. There are no lines.
///
/// What Tidegate never reads is dropped first, so that nothing of it is kept: who manages which field, what `kubectl` wrote
/// down, and all annotations of what comes by the hundred thousand. Fields of Kubernetes' own kinds that nothing knows give no
/// warning: a newer server has them, and nobody wrote them.
pub fn value(source: &str, kind: Kind, version: &str, value: Value) -> Document {
    let group = kind.group();
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let value = slimmed(kind, yaml::without_nulls(value));
    let list = Some((api_version, kind.name().to_owned()));
    let raw = yaml::Raw { lines: Lines::default(), value: Ok(value), list };
    let mut document = object::decode(source, raw);
    if group.is_empty() || !kind.states_intent() {
        document.warnings.clear();
    }
    document
}

fn slimmed(kind: Kind, mut value: Value) -> Value {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if kind.role() == Role::Membership {
            metadata.remove("annotations");
        } else if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(secret::LAST_APPLIED);
        }
    }
    value
}
