//! Header changes of a rule, for a writer that copies lines: which lines to leave out, and which to write after them.
//!
//! The changes mean: set, then add, then remove (HTTPHeaderFilter of gateway.networking.k8s.io/v1).

use tidegate_model::traffic::HeaderChanges;

/// Whether an original line of this name (any case) is left out.
pub fn drops(changes: &HeaderChanges, name: &str) -> bool {
    changes
        .set
        .iter()
        .map(|(set, _)| set)
        .chain(&changes.remove)
        .any(|other| other.eq_ignore_ascii_case(name))
}

/// Whether changes say anything of lines of this name (any case).
pub fn names(changes: &HeaderChanges, name: &str) -> bool {
    drops(changes, name) || changes.add.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
}

/// The lines to write after the originals.
pub fn appended(changes: &HeaderChanges) -> impl Iterator<Item = (&str, &str)> {
    let last_set =
        |index: usize, name: &str| !changes.set[index + 1..].iter().any(|(later, _)| later == name);
    let set = changes.set.iter().enumerate().filter(move |(index, (name, _))| last_set(*index, name));
    set.map(|(_, line)| line)
        .chain(&changes.add)
        .filter(|(name, _)| !changes.remove.contains(name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Whether an original line of this name (any case) is left out by one of several levels of changes.
pub fn drops_any(levels: &[&HeaderChanges], name: &str) -> bool {
    levels.iter().any(|changes| drops(changes, name))
}

/// The lines to write after the originals when levels of changes follow one another: a rule's, then its backend's. A
/// later level replaces and takes away what an earlier one wrote.
pub fn appended_by<'a>(levels: &'a [&'a HeaderChanges]) -> impl Iterator<Item = (&'a str, &'a str)> {
    levels.iter().enumerate().flat_map(move |(index, changes)| {
        appended(changes).filter(move |(name, _)| !drops_any(&levels[index + 1..], name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The changes done one after the other on a list of lines.
    fn naive(changes: &HeaderChanges, mut lines: Vec<(String, String)>) -> Vec<(String, String)> {
        for (name, value) in &changes.set {
            lines.retain(|(line, _)| line != name);
            lines.push((name.clone(), value.clone()));
        }
        lines.extend(changes.add.iter().cloned());
        lines.retain(|(line, _)| !changes.remove.contains(line));
        lines
    }

    fn lines() -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec(("[a-d]", "[0-9]"), 0..5)
    }

    fn changes() -> impl Strategy<Value = HeaderChanges> {
        (lines(), lines(), proptest::collection::vec("[a-d]", 0..3))
            .prop_map(|(set, add, remove)| HeaderChanges { set, add, remove })
    }

    proptest! {
        /// Several levels at once end where they end one after the other.
        #[test]
        fn levels_follow_one_another(levels in proptest::collection::vec(changes(), 0..4), before in lines()) {
            let levels: Vec<&HeaderChanges> = levels.iter().collect();
            let mut after: Vec<_> = before.iter().filter(|(name, _)| !drops_any(&levels, &name.to_uppercase())).cloned().collect();
            after.extend(appended_by(&levels).map(|(name, value)| (name.to_owned(), value.to_owned())));
            let mut expected = levels.iter().fold(before, |lines, changes| naive(changes, lines));
            after.sort_by(|a, b| a.0.cmp(&b.0));
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(after, expected);
        }

        /// Leaving out and appending ends where set, add and remove in turn end.
        #[test]
        fn equals_the_changes_in_turn(set in lines(), add in lines(), remove in proptest::collection::vec("[a-d]", 0..3), before in lines()) {
            let changes = HeaderChanges { set, add, remove };
            let mut after: Vec<_> = before.iter().filter(|(name, _)| !drops(&changes, &name.to_uppercase())).cloned().collect();
            after.extend(appended(&changes).map(|(name, value)| (name.to_owned(), value.to_owned())));
            let mut expected = naive(&changes, before);
            // Order between names is free, order within a name is not.
            after.sort_by(|a, b| a.0.cmp(&b.0));
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(after, expected);
        }
    }
}
