//! How a [`Snapshot`] holds the objects of one kind, and how two snapshots are compared.

use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::kind::Snapshot;
use crate::{Key, Resource};

/// The objects of one kind, by identity. Objects are shared between snapshots: an unchanged one is the same pointer.
pub type Objects<T> = BTreeMap<Key, Arc<Resource<T>>>;

/// Whether both hold the very same objects, compared by pointer first and by value where pointers differ.
pub fn same<T: PartialEq>(a: &Objects<T>, b: &Objects<T>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && (Arc::ptr_eq(a, b) || a == b))
}
