//! Who an object is: source, kind, namespace and name, and the metadata Tidegate uses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::Kind;

/// Source, namespace and name; with a [`Kind`] it identifies an object. The namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Name of the source, as the bootstrap file gives it.
    pub source: Arc<str>,
    /// Namespace, or empty.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// A key from its three parts.
    pub fn new(source: &str, namespace: &str, name: &str) -> Self {
        Key { source: source.into(), namespace: namespace.into(), name: name.into() }
    }

    /// Another object of the same source.
    pub fn sibling(&self, namespace: &str, name: &str) -> Self {
        Key { source: self.source.clone(), namespace: namespace.into(), name: name.into() }
    }
}

/// `namespace/name`, or `name` alone for what is cluster-scoped. The source is left out: people rarely have two.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}", self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The identity of an object: (source, kind, namespace, name).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its source, namespace and name.
    pub key: Key,
}

/// `HTTPRoute shop/web`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// The part of ObjectMeta that has a meaning for Tidegate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Source, namespace and name.
    pub key: Key,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `creationTimestamp` in seconds since the epoch; `i64::MAX` when absent (a file on disk), so that what the API
    /// server has dated counts as older.
    pub created_secs: i64,
    /// `metadata.generation`, 0 when absent.
    pub generation: i64,
}

impl Metadata {
    /// The order in which Gateway API settles conflicts: older first, then alphabetical by namespace and name.
    pub fn precedence(&self) -> (i64, &Key) {
        (self.created_secs, &self.key)
    }
}

/// An object: who it is, and what it asks for. `Eq` where its content has it, so that equal pointers need no look inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<T> {
    /// Who it is.
    pub metadata: Metadata,
    /// What it asks for; for kinds without a spec, what it states.
    pub spec: T,
}

impl<T> Resource<T> {
    /// Source, namespace and name.
    pub fn key(&self) -> &Key {
        &self.metadata.key
    }
}

impl serde::Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl serde::Serialize for ObjectRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
