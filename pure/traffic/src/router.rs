//! The router of one socket: listener by host, then route and rule by Gateway API's order of precedence.
//!
//! The listener with the most specific host name decides alone. Within it, routes with a more specific host name go
//! first; a request that none of their rules matches may still match a route with a less specific one. Within a host:
//! exact path, expression, longest prefix; method; more headers; more query parameters; older route; earlier rule
//! (HTTPRouteMatch and HTTPRouteSpec.hostnames of gateway.networking.k8s.io/v1).

use std::sync::Arc;

use tidegate_model::traffic::{
    Action, ClientPolicy, Entrance, HostPattern, HttpRoute, HttpRule, Listener as Model, Redirect,
    RequestMatch, Respond, RouteKind, WeightedBackend,
};

use crate::candidate::{Candidate, Place};
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
    model: Arc<Model>,
    hosts: HostTable<PathIndex>,
    /// Names under its wildcard have one label before it.
    one_label: bool,
}

/// What the router found.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'r> {
    /// A rule matches.
    Matched(Matched<'r>),
    /// No listener serves the host.
    NoListener,
    /// The TLS connection was made to another listener than the one that serves the host.
    Misdirected(&'r Arc<Model>),
    /// The listener has no route for the host.
    NoRoute(&'r Arc<Model>),
    /// Routes of the listener serve the host, but no rule matches.
    NoRule(&'r Arc<Model>),
}

/// A rule that matches, and the way to it.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'r> {
    /// The listener.
    pub listener: &'r Arc<Model>,
    /// Which of the entrance's listeners that is.
    pub index: usize,
    /// The route.
    pub route: &'r Arc<HttpRoute>,
    /// The rule.
    pub rule: &'r Arc<HttpRule>,
    /// Which of its matches.
    pub matched: &'r RequestMatch,
}

impl<'r> Decision<'r> {
    /// The listener that decided.
    pub fn listener(&self) -> Option<&'r Arc<Model>> {
        match *self {
            Decision::Matched(matched) => Some(matched.listener),
            Decision::NoRoute(listener) | Decision::NoRule(listener) | Decision::Misdirected(listener) => {
                Some(listener)
            }
            Decision::NoListener => None,
        }
    }

    /// What is done with the request.
    pub fn outcome(&self) -> Outcome<'r> {
        match *self {
            Decision::Matched(matched) => match &matched.rule.action {
                Action::Forward(backends) => Outcome::Forward(matched, backends),
                Action::Redirect(redirect) => Outcome::Redirect(matched, redirect),
                Action::Respond(respond) => Outcome::Respond(matched, respond),
                Action::Refuse { status, reason } => Outcome::Refuse(Refusal { status: *status, reason }),
            },
            Decision::NoListener => Outcome::Refuse(Refusal::NO_LISTENER),
            Decision::Misdirected(_) => Outcome::Refuse(Refusal::MISDIRECTED),
            Decision::NoRoute(_) => Outcome::Refuse(Refusal::NO_ROUTE),
            Decision::NoRule(_) => Outcome::Refuse(Refusal::NO_RULE),
        }
    }
}

/// What is done with a request.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'r> {
    /// It goes to one of these backends.
    Forward(Matched<'r>, &'r [WeightedBackend]),
    /// The client is sent elsewhere.
    Redirect(Matched<'r>, &'r Redirect),
    /// It is answered as the rule says.
    Respond(Matched<'r>, &'r Respond),
    /// It is answered with an error.
    Refuse(Refusal),
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
        let Some(index) = self.listener_of(host) else { return Decision::NoListener };
        let listener = &self.listeners[index];
        if request.server_name.is_some_and(|name| self.is_misdirected(index, name)) {
            return Decision::Misdirected(&listener.model);
        }
        listener.route(index, host, request)
    }

    /// The listener that answers a TLS handshake with this server name (any case); for a client that sends none, or one
    /// that nobody serves, the one for every host. Nothing: the handshake is refused, unless there is a default.
    pub fn listener_for(&self, server_name: &str) -> Option<&Arc<Model>> {
        self.index_for(server_name).map(|index| &self.listeners[index].model)
    }

    fn index_for(&self, server_name: &str) -> Option<usize> {
        let mut buffer = [0; HOST_BYTES_MAX];
        self.listener_of(canonical(server_name, &mut buffer))
    }

    /// The listener with the most specific name that covers the host.
    fn listener_of(&self, host: &str) -> Option<usize> {
        let mut covering = self.hosts.covering(host).copied();
        covering
            .find(|index| !self.listeners[*index].one_label || self.listeners[*index].is_label_above(host))
    }

    /// Whether a request to this listener came by a handshake with another: then what that one asked of the client,
    /// its certificate for one, says nothing here. Who sent no server name may reach every listener that asks nothing.
    fn is_misdirected(&self, index: usize, server_name: &str) -> bool {
        let asks = |index: usize| {
            self.listeners[index].model.tls.as_ref().is_some_and(|tls| tls.client_validation.is_some())
        };
        match self.index_for(server_name) {
            Some(shaken) if shaken == index => false,
            _ => !server_name.is_empty() || asks(index),
        }
    }
}

impl Listener {
    fn new(model: &Arc<Model>) -> Listener {
        let mut hosts: HostTable<PathIndex> = HostTable::default();
        for (route_index, route) in model.http_routes().iter().enumerate() {
            let every_host = route.hostnames.is_empty().then_some(None);
            for hostname in route.hostnames.iter().map(Some).chain(every_host) {
                insert_rules(hosts.entry(hostname, PathIndex::default), &model.client, route_index, route);
            }
        }
        hosts.values_mut().for_each(PathIndex::sort);
        let of_ingress = |route: &Arc<HttpRoute>| route.kind == RouteKind::Ingress;
        let one_label = matches!(model.hostname, Some(HostPattern::Under(_)))
            && !model.http_routes().is_empty()
            && model.http_routes().iter().all(of_ingress);
        Listener { model: model.clone(), hosts, one_label }
    }

    /// Whether the host is one label and the parent of the wildcard.
    fn is_label_above(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        matches!(&self.model.hostname, Some(HostPattern::Under(name)) if parent == Some(name))
    }

    fn route<'r>(&'r self, index: usize, host: &str, request: &RequestView<'_>) -> Decision<'r> {
        let mut served = false;
        for paths in self.hosts.covering(host) {
            if let Some(candidate) = paths.find(request) {
                return Decision::Matched(self.matched(index, candidate));
            }
            served = true;
        }
        if served { Decision::NoRule(&self.model) } else { Decision::NoRoute(&self.model) }
    }

    fn matched<'r>(&'r self, index: usize, candidate: &'r Candidate) -> Matched<'r> {
        let Candidate { route, rule, place, .. } = candidate;
        let matched = &rule.matches[place.entry as usize];
        Matched { listener: &self.model, index, route, rule, matched }
    }
}

fn insert_rules(
    index: &mut PathIndex,
    client: &Arc<ClientPolicy>,
    route_index: usize,
    route: &Arc<HttpRoute>,
) {
    for (rule_index, rule) in route.rules.iter().enumerate() {
        for (entry, matched) in rule.matches.iter().enumerate() {
            // Objects are far fewer than 2^32.
            let place = Place { route: route_index as u32, rule: rule_index as u32, entry: entry as u32 };
            index.insert(Candidate::new(place, client, route, rule, matched), matched);
        }
    }
}
