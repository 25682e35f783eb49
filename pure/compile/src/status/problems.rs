//! What the verdicts say of an object, looked up by field and reason.

use std::collections::BTreeMap;

use tidegate_model::Verdict;
use tidegate_model::verdict::{Problem, Severity};
use tidegate_objects::{Key, Kind, ObjectRef};

use super::condition::Why;

/// The problems of one object that cost it something; warnings are left out.
pub(super) struct Problems<'a>(Vec<&'a Problem>);

impl<'a> Problems<'a> {
    pub fn of(verdicts: &'a BTreeMap<ObjectRef, Verdict>, kind: Kind, key: &Key) -> Problems<'a> {
        let verdict = verdicts.get(&ObjectRef { kind, key: key.clone() });
        let problems = verdict.iter().flat_map(|verdict| &verdict.problems);
        Problems(problems.filter(|problem| problem.severity != Severity::Warning).collect())
    }

    /// Those of a field, and of what is below it.
    pub fn at(&self, field: &str) -> Problems<'a> {
        let below = |problem: &&&Problem| is_below(&problem.field, field);
        Problems(self.0.iter().filter(below).copied().collect())
    }

    /// Those of a field and of what is below it, and those that are not below another one, which encloses it.
    pub fn at_or_not_below(&self, field: &str, enclosing: &str) -> Problems<'a> {
        let wanted =
            |problem: &&&Problem| is_below(&problem.field, field) || !is_below(&problem.field, enclosing);
        Problems(self.0.iter().filter(wanted).copied().collect())
    }

    /// Those that cost the whole object.
    pub fn whole(&self) -> Problems<'a> {
        let whole = |problem: &&&Problem| problem.severity == Severity::Whole;
        Problems(self.0.iter().filter(whole).copied().collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a Problem> + '_ {
        self.0.iter().copied()
    }

    /// The first with one of these reasons.
    pub fn with(&self, reasons: &[&str]) -> Option<Why> {
        self.iter().find(|problem| reasons.contains(&problem.reason)).map(why)
    }

    /// The first of all.
    pub fn first(&self) -> Option<Why> {
        self.iter().next().map(why)
    }
}

/// A problem as a condition tells it: the field first, since a condition has none.
pub(super) fn why(problem: &Problem) -> Why {
    let message = match problem.field.is_empty() {
        true => problem.message.clone(),
        false => format!("{}: {}", problem.field, problem.message),
    };
    Why { reason: problem.reason, message }
}

fn is_below(field: &str, above: &str) -> bool {
    field.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field is below itself and what encloses it, not below one whose name begins alike.
    #[test]
    fn fields() {
        for (field, above, expected) in [
            ("spec.listeners[1].port", "spec.listeners[1]", true),
            ("spec.listeners[1]", "spec.listeners[1]", true),
            ("spec.listeners[10].port", "spec.listeners[1]", false),
            ("spec.listeners[1].port", "spec.listeners", true),
            ("spec.parentRefsX", "spec.parentRefs", false),
        ] {
            assert_eq!(is_below(field, above), expected, "{field} below {above}");
        }
    }
}
