//! Routes: what matches, and where it goes. What happens on the way is in [`filter`](super::filter).

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tidegate_objects::Key;

use super::listener::as_they_are;
use super::{
    Filters, Guard, HostPattern, Redirect, Respond, ResponsePolicy, Retry, SessionPersistence, Target,
    Timeouts,
};
use crate::Seldom;

/// An HTTPRoute or GRPCRoute as attached to one listener, or what an Ingress says of one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpRoute {
    /// Whose it is.
    pub name: Key,
    /// Which kind of object it comes from.
    #[serde(skip_serializing_if = "RouteKind::is_http")]
    pub kind: RouteKind,
    /// Hosts of the route that the listener serves too; none: every host of the listener.
    pub hostnames: Vec<HostPattern>,
    /// Its rules, in the order written.
    pub rules: Vec<Arc<HttpRule>>,
}

/// The kind of object a route comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum RouteKind {
    /// HTTPRoute.
    #[default]
    Http,
    /// GRPCRoute.
    Grpc,
    /// Ingress; a wildcard host of it stands for one label (Kubernetes' Ingress documentation, "Hostname wildcards").
    Ingress,
}

/// `shop/web`; of an Ingress `ingress/shop/web`, as it may be called like an HTTPRoute.
impl fmt::Display for HttpRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Http | RouteKind::Grpc => write!(f, "{}", self.name),
            RouteKind::Ingress => write!(f, "ingress/{}", self.name),
        }
    }
}

impl RouteKind {
    fn is_http(&self) -> bool {
        *self == RouteKind::Http
    }
}

/// A rule of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpRule {
    /// Its place in the route, from 0.
    pub index: usize,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Any of these; never empty.
    pub matches: Vec<RequestMatch>,
    /// What happens to request and response on the way.
    #[serde(flatten)]
    pub filters: Seldom<Filters>,
    /// Who may come, and with how much.
    #[serde(skip_serializing_if = "Seldom::is_usual")]
    pub guard: Seldom<Guard>,
    /// How long things may take.
    #[serde(skip_serializing_if = "Seldom::is_usual")]
    pub timeouts: Seldom<Timeouts>,
    /// Whether and how a failed attempt is repeated; none: only what is always safe to repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Arc<Retry>>,
    /// Whether a client stays with its endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<SessionPersistence>>,
    /// What becomes of the gateway's own answers before a backend was chosen.
    #[serde(skip_serializing_if = "as_they_are")]
    pub responses: Arc<ResponsePolicy>,
    /// What is done with the request.
    pub action: Action,
}

impl HttpRule {
    /// A rule without filters or settings.
    pub fn plain(index: usize, matches: Vec<RequestMatch>, action: Action) -> HttpRule {
        HttpRule {
            index,
            name: None,
            matches,
            filters: Seldom::default(),
            guard: Seldom::default(),
            timeouts: Seldom::default(),
            retry: None,
            session: None,
            responses: Arc::default(),
            action,
        }
    }
}

/// A match; all its parts must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestMatch {
    /// The path.
    pub path: PathMatch,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Headers by lower-case name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, ValueMatch)>,
    /// Query parameters by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, ValueMatch)>,
}

/// A match on the path, query excluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole segments from the start; without a trailing slash, so `/` is the empty string.
    Prefix(String),
    /// A regular expression over the whole path; known to compile.
    Regex(String),
    /// Two segments of which the second is this: a method of gRPC, whatever its service.
    Second(String),
}

/// A match on a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ValueMatch {
    /// The whole value.
    Exact(String),
    /// A regular expression over the whole value; known to compile.
    Regex(String),
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Action {
    /// It goes to one of these, by weight.
    Forward(Vec<WeightedBackend>),
    /// The client is sent elsewhere.
    Redirect(Arc<Redirect>),
    /// It is answered here, as the route says.
    Respond(Arc<Respond>),
    /// It is answered here, because the rule cannot be served as written.
    Refuse {
        /// The status to answer with.
        status: u16,
        /// Why, for the access log and `explain`.
        reason: &'static str,
    },
}

/// A backend and its share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightedBackend {
    /// Its share of the sum of all weights; 0 gets nothing.
    pub weight: u32,
    /// What happens to requests of this share only, after the filters of the rule.
    #[serde(skip_serializing_if = "Seldom::is_usual")]
    pub filters: Seldom<Filters>,
    /// Where that share goes.
    pub target: Target,
    /// What becomes of its responses.
    #[serde(skip_serializing_if = "as_they_are")]
    pub responses: Arc<ResponsePolicy>,
}

impl WeightedBackend {
    /// A share without filters of its own.
    pub fn plain(weight: u32, target: Target) -> WeightedBackend {
        WeightedBackend { weight, filters: Seldom::default(), target, responses: Arc::default() }
    }
}

/// A TLSRoute as attached to one listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TlsRoute {
    /// Server names of the route that the listener serves too; none: every name of the listener.
    pub hostnames: Vec<HostPattern>,
    /// Where connections go.
    pub route: Arc<StreamRoute>,
}

/// Where the connections of a TCPRoute or TLSRoute, or the sessions of a UDPRoute, go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamRoute {
    /// Whose it is.
    pub name: Key,
    /// To one of these, by weight; without filters.
    pub backends: Vec<WeightedBackend>,
}
