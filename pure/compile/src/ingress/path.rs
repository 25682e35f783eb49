//! How the path of an Ingress is compared.

use tidegate_model::traffic::PathMatch;
use tidegate_objects::ingress::PathType;
use tidegate_traffic::path::normalise;

use crate::rule::regex;

/// Letters that say more than themselves in an expression; a dot is in many plain paths.
const EXPRESSIVE: [char; 13] = ['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '^', '$', '\\'];

/// Whether a text is meant as an expression, as far as its letters tell.
pub(super) fn is_expressive(text: &str) -> bool {
    text.contains(EXPRESSIVE)
}

/// Reads a path; `expressions`: the Ingress asks for expressions. Those begin where the path does, end where they will, and
/// know no difference between large and small letters (`use-regex`); Exact and Prefix paths that hold none stay what they are.
pub(super) fn read(text: &str, path_type: PathType, expressions: bool) -> Result<PathMatch, String> {
    let text = if text.is_empty() { "/" } else { text };
    if !text.starts_with('/') {
        return Err(format!("{text:?} does not begin with a slash"));
    }
    let all = text == "/" && path_type != PathType::Exact;
    if expressions && !all && (path_type == PathType::ImplementationSpecific || is_expressive(text)) {
        // Alone first: what is no expression must not become one by what is put around it.
        regex(text)?;
        let pattern = format!("(?i:{text}).*");
        return regex(&pattern).map(|()| PathMatch::Regex(pattern));
    }
    if text.contains('?') {
        return Err(format!("{text:?} has a query; an Ingress cannot match that"));
    }
    let normal = normalise(text).map_err(|error| format!("{text:?} cannot match: {error}"))?;
    Ok(match path_type {
        PathType::Exact => PathMatch::Exact(normal.into_owned()),
        PathType::Prefix | PathType::ImplementationSpecific => {
            PathMatch::Prefix(normal.trim_end_matches('/').to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types mean what Kubernetes says, whether expressions are asked for or not, unless a path holds one.
    #[test]
    fn types() {
        use PathType::{Exact, ImplementationSpecific as Own, Prefix};
        let exact = |text: &str| PathMatch::Exact(text.into());
        let prefix = |text: &str| PathMatch::Prefix(text.into());
        let regex = |text: &str| PathMatch::Regex(text.into());
        for (text, path_type, expressions, expected) in [
            ("", Own, false, prefix("")),
            ("/", Prefix, false, prefix("")),
            ("/", Exact, false, exact("/")),
            ("/foo", Exact, false, exact("/foo")),
            ("/foo/", Exact, false, exact("/foo/")),
            ("/foo/", Prefix, false, prefix("/foo")),
            ("/foo(/|$)(.*)", Own, true, regex("(?i:/foo(/|$)(.*)).*")),
            ("/foo(/|$)(.*)", Prefix, true, regex("(?i:/foo(/|$)(.*)).*")),
            ("/foo", Own, true, regex("(?i:/foo).*")),
            ("/foo", Prefix, true, prefix("/foo")),
            ("/foo", Exact, true, exact("/foo")),
            ("/", Own, true, prefix("")),
        ] {
            assert_eq!(read(text, path_type, expressions), Ok(expected), "{text} {path_type:?}");
        }
        for (text, expressions) in [
            ("foo", false),
            ("/a?b", false),
            ("/%2f", false),
            ("/(", true),
            ("/a)|(b", true),
            ("/(?!a)", true),
            ("/(a)\\1", true),
        ] {
            assert!(read(text, Own, expressions).is_err(), "{text}");
        }
    }
}
