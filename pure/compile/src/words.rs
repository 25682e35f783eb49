//! Small words that sentences share: names that nearly fit, lists, and whether a raw field asks for anything.

use serde_json::Value;

/// How many candidates are compared at most, so that many wrong names in a large cluster stay cheap.
const CANDIDATES_MAX: usize = 500;

/// ` (is "web" meant?)`, if one of the candidates is nearly what was written; else nothing.
pub(crate) fn meant<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let allowed = if written.chars().count() < 5 { 1 } else { 2 };
    let distances = candidates.into_iter().take(CANDIDATES_MAX).map(|name| (distance(written, name), name));
    match distances.filter(|(distance, _)| (1..=allowed).contains(distance)).min() {
        Some((_, name)) => format!(" (is {name:?} meant?)"),
        None => String::new(),
    }
}

/// `a, b, c`, or `none`.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

/// Whether a raw field asks for something: present, and not false, empty or zero.
pub(crate) fn asks(field: &Option<Value>) -> bool {
    match field {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(Value::Bool(true) | Value::Number(_)) => true,
    }
}

/// How many letters must be put in, left out or replaced (neighbours that changed places count as one); names that
/// differ in length by more than two are far apart.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (row[j] + usize::from(x != y)).min(next[j] + 1).min(row[j + 1] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slip of a letter or two is recognised; a different word is not, nor the very name itself.
    #[test]
    fn names_that_nearly_fit() {
        let names = ["web", "api-server", "database"];
        for (written, expected) in [
            ("web2", " (is \"web\" meant?)"),
            ("we", " (is \"web\" meant?)"),
            ("wbe", " (is \"web\" meant?)"),
            ("api-sevrer", " (is \"api-server\" meant?)"),
            ("web", ""),
            ("shop", ""),
            ("", ""),
        ] {
            assert_eq!(meant(written, names), expected, "{written}");
        }
    }
}
