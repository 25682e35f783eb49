//! Random entrances and requests: the router equals a list of all matches, sorted as the Gateway API text says.

use std::cmp::Reverse;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidegate_model::traffic::*;

use super::{entrance, listener, path_match, route};
use crate::client::Origin;
use crate::request::RequestView;
use crate::router::{Decision, Router};

const HOSTS: [&str; 6] = ["a.x", "b.a.x", "c.b.a.x", "x", "b.x", "y"];
const PATTERNS: [&str; 7] = ["a.x", "b.a.x", "*.x", "*.a.x", "*.b.a.x", "x", "b.x"];

#[derive(Clone, Debug)]
struct Request {
    host: &'static str,
    method: &'static str,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
}

/// A decision as names and numbers: listener, and if a rule matches: route, rule, match.
type Found = Option<(String, Option<(String, usize, RequestMatch)>)>;

/// Listener first; then, of its matches that hold, the first in the order of the text.
fn oracle(entrance: &Entrance, request: &Request) -> Found {
    let covers =
        |pattern: &Option<HostPattern>| pattern.as_ref().is_none_or(|pattern| pattern.matches(request.host));
    let specificity = |pattern: &Option<HostPattern>| pattern.as_ref().map(HostPattern::specificity);
    let serving = entrance.listeners.iter().filter(|listener| covers(&listener.hostname));
    // Of listeners with the same host name the first counts.
    let listener = serving.rev().max_by_key(|listener| specificity(&listener.hostname))?;
    let mut holding = Vec::new();
    for (route_index, route) in listener.http_routes().iter().enumerate() {
        let names = route.hostnames.iter().cloned().map(Some);
        let names = names.chain(route.hostnames.is_empty().then_some(None));
        let Some(host) = names.filter(covers).map(|name| specificity(&name)).max() else { continue };
        for (rule_index, rule) in route.rules.iter().enumerate() {
            for (entry, matched) in
                rule.matches.iter().enumerate().filter(|(_, matched)| holds(matched, request))
            {
                let key = (Reverse(host), order(matched), route_index, rule_index, entry);
                holding.push((key, (route.name.name.to_string(), rule_index, matched.clone())));
            }
        }
    }
    let first = holding.into_iter().min_by(|a, b| a.0.cmp(&b.0));
    Some((listener.name.section.to_string(), first.map(|(_, place)| place)))
}

fn order(matched: &RequestMatch) -> impl Ord + use<> {
    let path = match &matched.path {
        PathMatch::Exact(_) => (0, 0),
        PathMatch::Regex(pattern) => (1, usize::MAX - pattern.len()),
        PathMatch::Prefix(prefix) if prefix.is_empty() => (4, 0),
        PathMatch::Prefix(prefix) => (2, usize::MAX - prefix.len()),
        PathMatch::Second(_) => (3, 0),
    };
    (path, matched.method.is_none(), Reverse(matched.headers.len()), Reverse(matched.query.len()))
}

fn holds(matched: &RequestMatch, request: &Request) -> bool {
    let path = match &matched.path {
        PathMatch::Exact(path) => *path == request.path,
        PathMatch::Prefix(prefix) => request
            .path
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        PathMatch::Second(name) => {
            matches!(request.path.split('/').collect::<Vec<_>>()[..], ["", _, second] if second == name)
        }
        PathMatch::Regex(pattern) => {
            regex::Regex::new(&format!("^({pattern})$")).unwrap().is_match(&request.path)
        }
    };
    let value = |pairs: &[(String, String)], name: &str, test: &ValueMatch| {
        let found = pairs.iter().find(|(key, _)| key == name);
        found.is_some_and(|(_, value)| match test {
            ValueMatch::Exact(expected) => expected == value,
            ValueMatch::Regex(pattern) => {
                regex::Regex::new(&format!("^({pattern})$")).unwrap().is_match(value)
            }
        })
    };
    let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
    let query: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    path && matched.method.as_deref().is_none_or(|method| method == request.method)
        && matched.headers.iter().all(|(name, test)| value(&request.headers, name, test))
        && matched.query.iter().all(|(name, test)| value(&query, name, test))
}

fn ask(router: &Router, request: &Request) -> Found {
    let view = RequestView {
        host: request.host,
        method: request.method,
        path: &request.path,
        query: Some(&request.query),
        server_name: None,
        origin: Origin::UNKNOWN,
        headers: &request.headers,
    };
    match router.route(&view) {
        Decision::NoListener => None,
        Decision::Misdirected(_) => unreachable!("no request here came by TLS"),
        Decision::NoRoute(listener) | Decision::NoRule(listener) => {
            Some((listener.name.section.to_string(), None))
        }
        Decision::Matched(found) => Some((
            found.listener.name.section.to_string(),
            Some((found.route.name.name.to_string(), found.rule.index, found.matched.clone())),
        )),
    }
}

fn some_value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof!["[12]".prop_map(ValueMatch::Exact), Just(ValueMatch::Regex("[2-9]|x".into()))]
}

fn some_match() -> impl Strategy<Value = RequestMatch> {
    let path = prop_oneof![
        2 => "(/[ab]){1,3}/?".prop_map(PathMatch::Exact),
        4 => "(/[ab]){0,3}".prop_map(PathMatch::Prefix),
        1 => prop_oneof![Just("/a/.*"), Just("/b|/a/a")].prop_map(|pattern| PathMatch::Regex(pattern.into())),
        1 => "[ab]".prop_map(PathMatch::Second),
    ];
    let method = option::weighted(0.2, prop_oneof![Just("GET".to_owned()), Just("POST".to_owned())]);
    let pairs = || proptest::collection::btree_map("[hk]", some_value(), 0..3);
    (path, method, pairs(), pairs()).prop_map(|(path, method, headers, query)| RequestMatch {
        method,
        headers: headers.into_iter().collect(),
        query: query.into_iter().collect(),
        ..path_match(path)
    })
}

fn some_hosts() -> impl Strategy<Value = Vec<&'static str>> {
    vec(proptest::sample::select(PATTERNS.as_slice()), 0..3)
}

fn some_listener() -> impl Strategy<Value = (Option<&'static str>, Vec<HttpRoute>)> {
    let rules = vec(vec(some_match(), 1..3), 1..4).prop_map(|rules| {
        let rules = rules.into_iter().enumerate();
        rules
            .map(|(index, matches)| HttpRule::plain(index, matches, Action::Forward(vec![])))
            .collect::<Vec<_>>()
    });
    let routes = vec((some_hosts(), rules), 0..5).prop_map(|routes| {
        let routes = routes.into_iter().enumerate();
        routes.map(|(index, (hosts, rules))| route(&format!("r{index}"), &hosts, rules)).collect()
    });
    (option::of(proptest::sample::select(PATTERNS.as_slice())), routes)
}

fn some_entrance() -> impl Strategy<Value = Entrance> {
    vec(some_listener(), 1..4).prop_map(|listeners| {
        let listeners = listeners.into_iter().enumerate();
        let listeners = listeners
            .map(|(index, (host, routes))| listener(&format!("l{index}"), host, routes))
            .collect::<Vec<Arc<_>>>();
        entrance(listeners)
    })
}

fn some_request() -> impl Strategy<Value = Request> {
    (
        proptest::sample::select(HOSTS.as_slice()),
        prop_oneof![Just("GET"), Just("POST")],
        "(/[ab]{1,2}){1,4}/?",
        "([hk]=[1-3]&){0,3}",
        proptest::collection::btree_map("[hk]", "[1-3]", 0..3),
    )
        .prop_map(|(host, method, path, query, headers)| Request {
            host,
            method,
            path,
            query,
            headers: headers.into_iter().collect(),
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever the routes and the request, the router finds what the text of Gateway API says.
    #[test]
    fn router_equals_the_text(entrance in some_entrance(), requests in vec(some_request(), 20)) {
        let router = Router::new(&entrance);
        for request in &requests {
            prop_assert_eq!(ask(&router, request), oracle(&entrance, request), "{:?}", request);
        }
    }
}
