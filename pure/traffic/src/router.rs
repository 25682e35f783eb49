//! The router of one socket: listener by host, then route and rule by Gateway API's order of precedence.
//!
//! The listener with the most specific host name decides alone. Within it, routes with a more specific host name go
//! first; a request that none of their rules matches may still match a route with a less specific one. Within a host:
//! exact path, expression, longest prefix; method; more headers; more query parameters; older route; earlier rule
//! (HTTPRouteMatch and HTTPRouteSpec.hostnames of gateway.networking.k8s.io/v1).

use std::sync::Arc;

use tidegate_model::traffic::{
    Action, Entrance, HttpListener, HttpRoute, HttpRule, RequestMatch, WeightedBackend,
};

use crate::candidate::Place;
use crate::host::{Authority, HOST_BYTES_MAX, canonical};
use crate::host_table::HostTable;
use crate::path_index::PathIndex;
use crate::refusal::Refusal;
use crate::request::RequestView;

/// An entrance, compiled. Build it off the hot path and share it.
#[derive(Debug)]
pub struct Router {
    listeners: Vec<Listener>,
    hosts: HostTable<usize>,
}

#[derive(Debug)]
struct Listener {
    model: Arc<HttpListener>,
    hosts: HostTable<PathIndex>,
}

/// What the router found.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'r> {
    /// A rule matches.
    Matched(Matched<'r>),
    /// No listener serves the host.
    NoListener,
    /// The listener has no route for the host.
    NoRoute(&'r Arc<HttpListener>),
    /// Routes of the listener serve the host, but no rule matches.
    NoRule(&'r Arc<HttpListener>),
}

/// A rule that matches, and the way to it.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'r> {
    /// The listener.
    pub listener: &'r Arc<HttpListener>,
    /// The route.
    pub route: &'r Arc<HttpRoute>,
    /// The rule.
    pub rule: &'r Arc<HttpRule>,
    /// Which of its matches.
    pub matched: &'r RequestMatch,
}

impl<'r> Decision<'r> {
    /// The listener that decided.
    pub fn listener(&self) -> Option<&'r Arc<HttpListener>> {
        match *self {
            Decision::Matched(matched) => Some(matched.listener),
            Decision::NoRoute(listener) | Decision::NoRule(listener) => Some(listener),
            Decision::NoListener => None,
        }
    }

    /// The rule and its backends, or why the request is answered here.
    pub fn forward(&self) -> Result<(Matched<'r>, &'r [WeightedBackend]), Refusal> {
        match *self {
            Decision::Matched(matched) => match &matched.rule.action {
                Action::Forward(backends) => Ok((matched, backends)),
                Action::Refuse { status, reason } => Err(Refusal { status: *status, reason }),
            },
            Decision::NoListener => Err(Refusal::NO_LISTENER),
            Decision::NoRoute(_) => Err(Refusal::NO_ROUTE),
            Decision::NoRule(_) => Err(Refusal::NO_RULE),
        }
    }
}

impl Router {
    /// Compiles an entrance.
    pub fn new(entrance: &Entrance) -> Router {
        let mut hosts = HostTable::default();
        for (index, listener) in entrance.listeners.iter().enumerate() {
            hosts.entry(listener.hostname.as_ref(), || index);
        }
        Router { listeners: entrance.listeners.iter().map(Listener::new).collect(), hosts }
    }

    /// Which rule serves the request. A host that is no valid `host[:port]` is looked up as no host at all.
    pub fn route(&self, request: &RequestView<'_>) -> Decision<'_> {
        let mut buffer = [0; HOST_BYTES_MAX];
        let host = Authority::parse(request.host).map_or("", |authority| authority.host);
        let host = canonical(host, &mut buffer);
        let Some(&index) = self.hosts.covering(host).next() else { return Decision::NoListener };
        self.listeners[index].route(host, request)
    }
}

impl Listener {
    fn new(model: &Arc<HttpListener>) -> Listener {
        let mut hosts: HostTable<PathIndex> = HostTable::default();
        for (route_index, route) in model.routes.iter().enumerate() {
            let every_host = route.hostnames.is_empty().then_some(None);
            for hostname in route.hostnames.iter().map(Some).chain(every_host) {
                insert_rules(hosts.entry(hostname, PathIndex::default), route_index, route);
            }
        }
        hosts.values_mut().for_each(PathIndex::sort);
        Listener { model: model.clone(), hosts }
    }

    fn route(&self, host: &str, request: &RequestView<'_>) -> Decision<'_> {
        let mut served = false;
        for index in self.hosts.covering(host) {
            if let Some(place) = index.find(request) {
                return Decision::Matched(self.matched(place));
            }
            served = true;
        }
        if served { Decision::NoRule(&self.model) } else { Decision::NoRoute(&self.model) }
    }

    fn matched(&self, place: Place) -> Matched<'_> {
        let route = &self.model.routes[place.route];
        let rule = &route.rules[place.rule];
        Matched { listener: &self.model, route, rule, matched: &rule.matches[place.entry] }
    }
}

fn insert_rules(index: &mut PathIndex, route_index: usize, route: &HttpRoute) {
    for (rule_index, rule) in route.rules.iter().enumerate() {
        for (entry, matched) in rule.matches.iter().enumerate() {
            index.insert(Place { route: route_index, rule: rule_index, entry }, matched);
        }
    }
}
