//! One match of one rule, compiled, with its rank among those that share its path.

use std::cmp::Reverse;

use regex::Regex;
use tidegate_model::traffic::{RequestMatch, ValueMatch};

use crate::request::RequestView;

/// Where a match stands: route in the listener, rule in the route, match in the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub route: usize,
    pub rule: usize,
    pub entry: usize,
}

/// A match without its path, which the index has already settled.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub place: Place,
    method: Option<String>,
    headers: Vec<(String, ValueTest)>,
    query: Vec<(String, ValueTest)>,
}

impl Candidate {
    pub fn new(place: Place, matched: &RequestMatch) -> Candidate {
        let compile = |tests: &[(String, ValueMatch)]| {
            tests.iter().map(|(name, value)| (name.clone(), ValueTest::new(value))).collect()
        };
        Candidate {
            place,
            method: matched.method.clone(),
            headers: compile(&matched.headers),
            query: compile(&matched.query),
        }
    }

    /// Gateway API's order for matches whose paths tie: with a method first, then more headers, more query
    /// parameters, the older route, the earlier rule.
    pub fn rank(&self) -> impl Ord + use<> {
        (self.method.is_none(), Reverse(self.headers.len()), Reverse(self.query.len()), self.place)
    }

    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.method.as_deref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|(name, test)| {
                request.with_header(name, |value| test.holds(value.iter().copied())).unwrap_or(false)
            })
            && self
                .query
                .iter()
                .all(|(name, test)| request.query_value(name).is_some_and(|value| test.holds(value)))
    }
}

/// A value match, compiled.
#[derive(Debug)]
enum ValueTest {
    Exact(String),
    /// Nothing when the pattern does not compile, which `pure/compile` rules out: then no value matches.
    Regex(Option<Regex>),
}

impl ValueTest {
    fn new(value: &ValueMatch) -> ValueTest {
        match value {
            ValueMatch::Exact(value) => ValueTest::Exact(value.clone()),
            ValueMatch::Regex(pattern) => ValueTest::Regex(whole(pattern)),
        }
    }

    fn holds(&self, value: impl Iterator<Item = u8>) -> bool {
        match self {
            ValueTest::Exact(expected) => value.eq(expected.bytes()),
            ValueTest::Regex(Some(regex)) => {
                let bytes: Vec<u8> = value.collect();
                std::str::from_utf8(&bytes).is_ok_and(|text| regex.is_match(text))
            }
            ValueTest::Regex(None) => false,
        }
    }
}

/// The expression, made to match whole values only.
pub(crate) fn whole(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).ok()
}
