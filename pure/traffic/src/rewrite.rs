//! Path and host as the backend gets them (HTTPURLRewriteFilter of gateway.networking.k8s.io/v1).
//!
//! The query is never touched, and nothing here decides where a request goes: rewriting comes after routing.

use tidegate_model::traffic::filter::Piece;
use tidegate_model::traffic::{Expansion, PathMatch, PathRewrite, Rewrite};

use crate::path::normalise;

/// What becomes of host and path after the filters of a rule and of the backend that was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten<'a> {
    /// The new `Host`; none: as asked for.
    pub host: Option<&'a str>,
    /// The change of the path; none: as asked for.
    pub path: Option<&'a PathRewrite>,
}

impl<'a> Rewritten<'a> {
    /// Rule first, then backend: what the backend's filter names, it names alone.
    pub fn of(rule: Option<&'a Rewrite>, backend: Option<&'a Rewrite>) -> Rewritten<'a> {
        let (rule, backend) = (Rewritten::one(rule), Rewritten::one(backend));
        Rewritten { host: backend.host.or(rule.host), path: backend.path.or(rule.path) }
    }

    fn one(rewrite: Option<&'a Rewrite>) -> Rewritten<'a> {
        rewrite.map_or_else(Rewritten::default, |rewrite| Rewritten {
            host: rewrite.host.as_deref(),
            path: rewrite.path.as_ref(),
        })
    }
}

/// Writes the new path, without query. `path` is the normalised path that `matched` matched.
///
/// A prefix can only be replaced where a prefix matched; compile refuses anything else, and here the path stays.
pub fn write_path(change: Option<&PathRewrite>, matched: &PathMatch, path: &str, out: &mut Vec<u8>) {
    let (start, rest) = match (change, matched) {
        (Some(PathRewrite::Expand(expansion)), _) => return expand(expansion, path, out),
        (None, _) => ("", path),
        (Some(PathRewrite::Full(full)), _) => (full.as_str(), ""),
        (Some(PathRewrite::Prefix(new)), PathMatch::Prefix(prefix)) => match after_prefix(path, prefix) {
            Some(rest) => (new.trim_end_matches('/'), rest),
            None => ("", path),
        },
        (Some(PathRewrite::Prefix(_)), PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Second(_)) => {
            ("", path)
        }
    };
    // Start and rest may both be empty: a path is never.
    let first = if start.is_empty() { rest } else { start };
    if !first.starts_with('/') {
        out.push(b'/');
    }
    out.extend_from_slice(start.as_bytes());
    out.extend_from_slice(rest.as_bytes());
}

/// Writes what a template makes of a path. What groups have matched may begin or end inside a segment, so the whole is put
/// into its normal form again; what has none, because it climbs above the root for one, becomes the root.
fn expand(expansion: &Expansion, path: &str, out: &mut Vec<u8>) {
    let groups = expansion.regex.captures(path);
    let mut new = String::with_capacity(path.len());
    for piece in &expansion.pieces {
        new.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Group(number) => {
                groups.as_ref().and_then(|groups| groups.get(*number)).map_or("", |group| group.as_str())
            }
        });
    }
    if !new.starts_with('/') {
        new.insert(0, '/');
    }
    out.extend_from_slice(normalise(&new).as_deref().unwrap_or("/").as_bytes());
}

/// What follows a prefix of whole segments: nothing, or something that starts with `/`.
fn after_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(change: Option<PathRewrite>, matched: &PathMatch, path: &str) -> String {
        let mut out = Vec::new();
        write_path(change.as_ref(), matched, path, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn prefix(new: &str, matched: &str, path: &str) -> String {
        written(Some(PathRewrite::Prefix(new.to_owned())), &PathMatch::Prefix(matched.to_owned()), path)
    }

    /// The table of HTTPPathModifier holds, however the slashes at the ends are written.
    #[test]
    fn table_of_the_gateway_api() {
        for (path, matched, new, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "", "/xyz", "/xyz/foo/bar"),
            ("/", "", "/xyz", "/xyz/"),
            ("/", "", "", "/"),
            ("/foo/bar", "", "", "/foo/bar"),
        ] {
            assert_eq!(prefix(new, matched, path), expected, "{path} {matched} {new}");
        }
    }

    /// A full replacement ignores what matched, and is never empty or relative.
    #[test]
    fn full_paths() {
        let regex = PathMatch::Regex("/a.*".to_owned());
        for (full, expected) in [("/one", "/one"), ("", "/"), ("/", "/"), ("one", "/one"), ("/a/", "/a/")] {
            assert_eq!(written(Some(PathRewrite::Full(full.to_owned())), &regex, "/abc"), expected);
        }
    }

    /// Groups stand for what they matched, and nothing that they could be put together to climbs above the root.
    #[test]
    fn expansions() {
        for (pattern, pieces, path, expected) in [
            ("/old(/|$)(.*)", "/$2", "/old/a/b", "/a/b"),
            ("/old(/|$)(.*)", "/$2", "/old", "/"),
            ("/old(/|$)(.*)", "/new/$2", "/old/a", "/new/a"),
            ("/(a)?x(.*)", "/$1/$2", "/xy", "/y"),
            ("/a(.*)", "/$1", "/a../b", "/"),
            ("/a(.*)", "/b/$1", "/a../c", "/c"),
            ("/(.*)", "$1", "/a//b", "/a/b"),
            ("/.*", "/fixed", "/anything", "/fixed"),
        ] {
            let pieces = pieces.split_inclusive(['1', '2']).flat_map(|part| match part.split_once('$') {
                Some((text, number)) => {
                    vec![Piece::Text(text.into()), Piece::Group(number.parse().unwrap())]
                }
                None => vec![Piece::Text(part.into())],
            });
            let expansion = Expansion {
                pattern: pattern.into(),
                regex: regex::Regex::new(&format!("^(?:{pattern})$")).unwrap(),
                pieces: pieces.collect(),
            };
            let regex = PathMatch::Regex(pattern.into());
            let change = PathRewrite::Expand(std::sync::Arc::new(expansion));
            assert_eq!(written(Some(change), &regex, path), expected, "{pattern} {path}");
        }
    }

    /// Without a change, or where no prefix matched, the path stays.
    #[test]
    fn paths_that_stay() {
        let exact = PathMatch::Exact("/foo".to_owned());
        assert_eq!(written(None, &exact, "/foo"), "/foo");
        assert_eq!(written(Some(PathRewrite::Prefix("/x".to_owned())), &exact, "/foo"), "/foo");
        assert_eq!(prefix("/x", "/foo", "/foobar"), "/foobar");
        assert_eq!(prefix("/x", "/foo", "/other"), "/other");
    }

    /// The backend's filter wins where both name something; each may name what the other leaves.
    #[test]
    fn rule_then_backend() {
        let full = |path: &str| Some(PathRewrite::Full(path.to_owned()));
        let rule = Rewrite { host: Some("a.example".to_owned()), path: full("/a") };
        let backend = Rewrite { host: None, path: full("/b") };
        let both = Rewritten::of(Some(&rule), Some(&backend));
        assert_eq!((both.host, both.path), (Some("a.example"), backend.path.as_ref()));
        assert_eq!(Rewritten::of(None, None), Rewritten::default());
        assert_eq!(Rewritten::of(Some(&rule), None).path, rule.path.as_ref());
    }

    proptest! {
        /// What is written is an absolute path, and the segments after the prefix are those that were there.
        #[test]
        fn prefixes_are_whole_segments(matched in "(/[ab]{1,2}){0,2}", new in "(/[cd]{1,2}){0,2}", rest in "(/[a-d]{1,2}){0,3}/?") {
            let path = format!("{matched}{rest}");
            prop_assume!(!path.is_empty());
            let out = prefix(&new, &matched, &path);
            prop_assert!(out.starts_with('/'));
            let expected = format!("{new}{rest}");
            prop_assert_eq!(out, if expected.is_empty() { "/".to_owned() } else { expected });
        }
    }
}
