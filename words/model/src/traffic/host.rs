//! Host names and wildcards.

use std::fmt;

use serde::Serialize;

/// A host name, or all names under one. Lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This name.
    Exact(String),
    /// Every name that ends in `.` and this, one label or more before it (`*.example.com`).
    Under(String),
}

impl HostPattern {
    /// Whether `host` (lower case, no port, no trailing dot) is among the names.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => name == host,
            HostPattern::Under(parent) => {
                host.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }

    /// How specific it is: exact before wildcard, then the longer name.
    pub fn specificity(&self) -> (bool, usize) {
        match self {
            HostPattern::Exact(name) => (true, name.len()),
            HostPattern::Under(parent) => (false, parent.len()),
        }
    }

    /// The names that both have in common.
    pub fn intersect(&self, other: &HostPattern) -> Option<HostPattern> {
        match (self, other) {
            (HostPattern::Exact(name), any) | (any, HostPattern::Exact(name)) => {
                any.matches(name).then(|| HostPattern::Exact(name.clone()))
            }
            (HostPattern::Under(a), HostPattern::Under(b)) => {
                let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
                let inside = long == short
                    || long.strip_suffix(short.as_str()).is_some_and(|rest| rest.ends_with('.'));
                inside.then(|| HostPattern::Under(long.clone()))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Under(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl Serialize for HostPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        match text.strip_prefix("*.") {
            Some(parent) => HostPattern::Under(parent.into()),
            None => HostPattern::Exact(text.into()),
        }
    }

    /// A wildcard covers one label or more, never the parent itself, and never half a label.
    #[test]
    fn wildcards_cover_whole_labels() {
        for (host, matches) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("badexample.com", false),
        ] {
            assert_eq!(pattern("*.example.com").matches(host), matches, "{host}");
        }
    }

    /// Two patterns have in common what the narrower one covers.
    #[test]
    fn intersections() {
        for (a, b, common) in [
            ("a.example.com", "*.example.com", Some("a.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "*.badexample.com", None),
            ("example.com", "*.example.com", None),
        ] {
            assert_eq!(pattern(a).intersect(&pattern(b)), common.map(pattern), "{a} {b}");
            assert_eq!(pattern(b).intersect(&pattern(a)), common.map(pattern), "{b} {a}");
        }
    }
}
