//! Backends that are several as one: a ServiceImport, made of the Services that sources export.

use std::collections::BTreeMap;

use serde::Serialize;

use super::BackendId;

/// Which backends are made of which others. No part is made of others itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Unions {
    parts: BTreeMap<BackendId, Vec<BackendId>>,
    #[serde(skip)]
    within: BTreeMap<BackendId, Vec<BackendId>>,
}

impl Unions {
    /// Says what a backend is made of; what was said of it first stays.
    pub fn insert(&mut self, whole: BackendId, parts: Vec<BackendId>) {
        if self.parts.contains_key(&whole) {
            return;
        }
        for part in &parts {
            self.within.entry(part.clone()).or_default().push(whole.clone());
        }
        self.parts.insert(whole, parts);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What a backend is made of; none if it is one itself.
    pub fn parts(&self, whole: &BackendId) -> Option<&[BackendId]> {
        self.parts.get(whole).map(Vec::as_slice)
    }

    /// The backends that this one is a part of.
    pub fn within(&self, part: &BackendId) -> &[BackendId] {
        self.within.get(part).map_or(&[], Vec::as_slice)
    }
}
