//! CustomResourceDefinitions of our own kinds: what an API server accepts as an object of ours, and what `kubectl explain`
//! says of it. Made from the types of `words/objects`, so that a field cannot be forgotten in one of the two.
//!
//! ```text
//! type ──schemars──► JSON Schema ──structural──► what an API server takes ─┐
//! table: plural, short names, columns ─────────────────────────────────────┴─► definition ──yaml──► deploy/crds/*.yaml
//! ```
//!
//! Owns the table of kinds and the form of the schema. What a field may hold is said beside the field. A test fails when the
//! files in `deploy/crds` are not what this makes (`UPDATE_GOLDEN=1` writes them).

mod definition;
mod structural;
mod table;
mod yaml;

#[cfg(test)]
mod tests;

pub use definition::definition;
pub use table::{Column, DEFINED, Defined};
pub use yaml::yaml;
