//! One verdict per object that states an intent, and the sentences collected on the way.

use std::collections::BTreeMap;

use tidegate_model::verdict::Severity;
use tidegate_model::{Outcome, Verdict};
use tidegate_objects::{Key, Kind, ObjectRef, Snapshot};

/// Verdicts in the making: all accepted until something is said about them.
pub(crate) struct Verdicts(BTreeMap<ObjectRef, Verdict>);

impl Verdicts {
    pub fn new(snapshot: &Snapshot) -> Self {
        let objects = snapshot.intents().map(|(kind, metadata)| object(kind, &metadata.key));
        Verdicts(objects.map(|object| (object.clone(), Verdict::accepted(object))).collect())
    }

    /// The object takes no part.
    pub fn whole(
        &mut self,
        kind: Kind,
        key: &Key,
        reason: &'static str,
        field: impl Into<String>,
        message: String,
    ) {
        self.note(Severity::Whole, kind, key, reason, field.into(), message);
    }

    /// What the field names takes no part.
    pub fn part(
        &mut self,
        kind: Kind,
        key: &Key,
        reason: &'static str,
        field: impl Into<String>,
        message: String,
    ) {
        self.note(Severity::Part, kind, key, reason, field.into(), message);
    }

    /// A user should know.
    pub fn warn(
        &mut self,
        kind: Kind,
        key: &Key,
        reason: &'static str,
        field: impl Into<String>,
        message: String,
    ) {
        self.note(Severity::Warning, kind, key, reason, field.into(), message);
    }

    /// A field whose feature this version does not have.
    pub fn not_served(&mut self, kind: Kind, key: &Key, field: impl Into<String>, consequence: &str) {
        let field = field.into();
        let name = field.rsplit('.').next().unwrap_or_default();
        let message = format!("{name} is not served by this version; {consequence}");
        self.part(kind, key, "UnsupportedValue", field, message);
    }

    fn note(
        &mut self,
        severity: Severity,
        kind: Kind,
        key: &Key,
        reason: &'static str,
        field: String,
        message: String,
    ) {
        let Some(verdict) = self.0.get_mut(&object(kind, key)) else { return };
        let said =
            verdict.problems.iter().any(|problem| problem.field == field && problem.message == message);
        if !said {
            verdict.note(severity, reason, field, message);
        }
    }

    /// Whether something cost the object everything already.
    pub fn is_rejected(&self, kind: Kind, key: &Key) -> bool {
        self.0.get(&object(kind, key)).is_some_and(|verdict| verdict.outcome == Outcome::Rejected)
    }

    pub fn finish(self) -> BTreeMap<ObjectRef, Verdict> {
        self.0
    }
}

pub(crate) fn object(kind: Kind, key: &Key) -> ObjectRef {
    ObjectRef { kind, key: key.clone() }
}
