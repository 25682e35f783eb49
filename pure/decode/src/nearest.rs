//! Which known word a mistyped one was meant to be.

/// The word of `known` nearest to `found`, if it is near enough to be what was meant: at most two letters away and
/// fewer than half of the word, upper and lower case counting as the same.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if found.len() > 64 {
        return None;
    }
    let found = found.to_lowercase();
    known
        .into_iter()
        .map(|word| (distance(&found, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= 2 && distance * 2 < word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be put in, left out or exchanged (neighbours that changed places count as one) to make `b`
/// out of `a`.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let exchanged = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = exchanged.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Near words are found, far ones are not, and short words must be nearer.
    #[test]
    fn near_and_far() {
        let known = ["hostnames", "parentRefs", "rules", "port"];
        for (found, meant) in [
            ("hostname", Some("hostnames")),
            ("parentrefs", Some("parentRefs")),
            ("parnetRefs", Some("parentRefs")),
            ("ruels", Some("rules")),
            ("pots", None),
            ("backends", None),
            ("", None),
        ] {
            assert_eq!(nearest(found, known), meant, "{found}");
        }
    }
}
