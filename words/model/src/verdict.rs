//! What became of an object: accepted, partially, rejected; and why, by field.

use serde::Serialize;
use tidegate_objects::ObjectRef;

/// What became of an object that states an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The object.
    pub object: ObjectRef,
    /// Whether it takes part.
    pub outcome: Outcome,
    /// What is wrong with it, or what a user should know; empty when all is well.
    pub problems: Vec<Problem>,
}

/// Whether an object takes part. Ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Outcome {
    /// All of it.
    Accepted,
    /// Some of it; the problems name what was left out.
    Partially,
    /// None of it.
    Rejected,
}

/// One thing that is wrong, or that a user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How much of the object it costs.
    pub severity: Severity,
    /// A CamelCase reason, of the object's own project where that has one.
    pub reason: &'static str,
    /// The field, as `spec.listeners[0].port`; empty for the object as a whole.
    pub field: String,
    /// What was found and what would be right, as a sentence.
    pub message: String,
}

/// What a problem costs its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// Nothing: the object takes part wholly.
    Warning,
    /// The part it names.
    Part,
    /// All of it.
    Whole,
}

impl Verdict {
    /// An accepted object; problems are added with [`Verdict::note`].
    pub fn accepted(object: ObjectRef) -> Self {
        Verdict { object, outcome: Outcome::Accepted, problems: Vec::new() }
    }

    /// Adds a problem, and makes the outcome as bad as it says.
    pub fn note(
        &mut self,
        severity: Severity,
        reason: &'static str,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        let outcome = match severity {
            Severity::Warning => Outcome::Accepted,
            Severity::Part => Outcome::Partially,
            Severity::Whole => Outcome::Rejected,
        };
        self.outcome = self.outcome.max(outcome);
        self.problems.push(Problem { severity, reason, field: field.into(), message: message.into() });
    }

    /// The worst problem, which decides the reason that is shown first.
    pub fn worst(&self) -> Option<&Problem> {
        self.problems.iter().rev().max_by_key(|problem| problem.severity)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Outcome::Accepted => "Accepted",
            Outcome::Partially => "Partially",
            Outcome::Rejected => "Rejected",
        })
    }
}
