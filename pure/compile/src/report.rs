//! Sentences about one object, or one field of it: where they are about is said once.

use tidegate_objects::{Key, Kind};

use crate::verdicts::Verdicts;

/// A field of an object, and the verdicts that sentences about what is below it go to.
pub(crate) struct Report<'v> {
    kind: Kind,
    key: &'v Key,
    at: String,
    verdicts: &'v mut Verdicts,
}

impl<'v> Report<'v> {
    pub fn new(kind: Kind, key: &'v Key, at: &str, verdicts: &'v mut Verdicts) -> Self {
        Report { kind, key, at: at.to_owned(), verdicts }
    }

    /// A field further down.
    pub fn at(&mut self, below: &str) -> Report<'_> {
        Report { kind: self.kind, key: self.key, at: self.field(below), verdicts: self.verdicts }
    }

    fn field(&self, below: &str) -> String {
        let dot = if below.is_empty() || self.at.is_empty() { "" } else { "." };
        format!("{}{dot}{below}", self.at)
    }

    /// What is below takes no part.
    pub fn part(&mut self, reason: &'static str, below: &str, message: String) {
        let field = self.field(below);
        self.verdicts.part(self.kind, self.key, reason, field, message);
    }

    /// A user should know.
    pub fn warn(&mut self, reason: &'static str, below: &str, message: String) {
        let field = self.field(below);
        self.verdicts.warn(self.kind, self.key, reason, field, message);
    }

    /// The object takes no part.
    pub fn whole(&mut self, reason: &'static str, below: &str, message: String) {
        let field = self.field(below);
        self.verdicts.whole(self.kind, self.key, reason, field, message);
    }

    /// A feature that this version does not have.
    pub fn not_served(&mut self, below: &str, consequence: &str) {
        let field = self.field(below);
        self.verdicts.not_served(self.kind, self.key, field, consequence);
    }

    /// The value; or none and a sentence, if it cannot be used.
    pub fn sound<T>(&mut self, below: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|why| self.part("Invalid", below, format!("{why}; it is left out"))).ok()
    }
}
