//! One match of one rule, compiled, with its rank among those that share its path.

use std::cmp::Reverse;
use std::sync::Arc;

use regex::Regex;
use tidegate_model::traffic::{ClientPolicy, HttpRoute, HttpRule, RequestMatch, ValueMatch};

use crate::client::{Believed, is_claim};
use crate::request::RequestView;

/// Where a match stands: route in the listener, rule in the route, match in the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub route: u32,
    pub rule: u32,
    pub entry: u32,
}

/// A match without its path, which the index has already settled. It holds its rule, so that the way to it is one step: with
/// many routes each step is a miss of the cache.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub rule: Arc<HttpRule>,
    pub route: Arc<HttpRoute>,
    /// Most matches ask for nothing but their path.
    tests: Option<Box<Tests>>,
    pub place: Place,
}

#[derive(Debug)]
struct Tests {
    method: Option<String>,
    headers: Vec<(String, ValueTest)>,
    /// Of `headers`, those that say where a request comes from: they are read as the backend will read them.
    claims: Vec<(String, ValueTest)>,
    /// Whom the listener believes.
    client: Arc<ClientPolicy>,
    query: Vec<(String, ValueTest)>,
}

impl Candidate {
    /// A match of a rule of a route.
    pub fn new(
        place: Place,
        client: &Arc<ClientPolicy>,
        route: &Arc<HttpRoute>,
        rule: &Arc<HttpRule>,
        matched: &RequestMatch,
    ) -> Candidate {
        let compile = |tests: &[(String, ValueMatch)]| -> Vec<_> {
            tests.iter().map(|(name, value)| (name.clone(), ValueTest::new(value))).collect()
        };
        let asks = matched.method.is_some() || !matched.headers.is_empty() || !matched.query.is_empty();
        let tests = asks.then(|| {
            let (claims, headers) =
                compile(&matched.headers).into_iter().partition(|(name, _)| is_claim(name.as_bytes()));
            Box::new(Tests {
                method: matched.method.clone(),
                headers,
                claims,
                client: client.clone(),
                query: compile(&matched.query),
            })
        });
        Candidate { rule: rule.clone(), route: route.clone(), tests, place }
    }

    /// Gateway API's order for matches whose paths tie: with a method first, then more headers, more query
    /// parameters, the older route, the earlier rule.
    pub fn rank(&self) -> impl Ord + use<> {
        let (method, headers, query) = self.tests.as_ref().map_or((false, 0, 0), |tests| {
            (tests.method.is_some(), tests.headers.len() + tests.claims.len(), tests.query.len())
        });
        (!method, Reverse(headers), Reverse(query), self.place)
    }

    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        let Some(tests) = &self.tests else { return true };
        tests.method.as_deref().is_none_or(|method| method == request.method)
            && tests.headers.iter().all(|(name, test)| {
                request.with_header(name, |value| test.holds(value.iter().copied())).unwrap_or(false)
            })
            && (tests.claims.is_empty() || tests.believe(request))
            && tests
                .query
                .iter()
                .all(|(name, test)| request.query_value(name).is_some_and(|value| test.holds(value)))
    }
}

impl Tests {
    /// Whether what is believed of the request's origin is what the match asks for.
    #[cold]
    fn believe(&self, request: &RequestView<'_>) -> bool {
        let believed = Believed::of(request.origin, &self.client.trust, request.headers);
        self.claims.iter().all(|(name, test)| {
            believed.value(name, self.client.forwarded).is_some_and(|value| test.holds(value.into_iter()))
        })
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
