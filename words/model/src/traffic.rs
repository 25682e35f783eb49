//! What enters: sockets, listeners, HTTP routes, backends and their endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use tidegate_objects::Key;

/// Everything that is listened for, and where it goes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Traffic {
    /// One for each socket; addresses and ports are unique.
    pub entrances: Vec<Arc<Entrance>>,
    /// Every backend that a route uses.
    pub backends: BTreeMap<BackendId, Arc<Backend>>,
}

/// A listening socket and the listeners that share it by host name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entrance {
    /// Where it listens. An unspecified address means every local one. An address that is not local yet is bound all
    /// the same (`IP_FREEBIND`).
    pub address: SocketAddr,
    /// The listeners behind it; more specific host names win, whatever their order.
    pub listeners: Vec<Arc<HttpListener>>,
}

/// A listener of a Gateway, and the routes attached to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpListener {
    /// Whose it is.
    pub name: ListenerName,
    /// The hosts it serves; none: all.
    pub hostname: Option<HostPattern>,
    /// Routes in order of precedence (older first, then by name).
    pub routes: Vec<Arc<HttpRoute>>,
}

/// Gateway and listener: `shop/edge/http`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerName {
    /// The Gateway.
    pub gateway: Key,
    /// The listener's name in it.
    pub section: Arc<str>,
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.gateway, self.section)
    }
}

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

/// An HTTPRoute as attached to one listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpRoute {
    /// Whose it is.
    pub name: Key,
    /// Hosts of the route that the listener serves too; none: every host of the listener.
    pub hostnames: Vec<HostPattern>,
    /// Its rules, in the order written.
    pub rules: Vec<Arc<HttpRule>>,
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
    /// Changes to the request's headers.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub request_headers: HeaderChanges,
    /// Changes to the response's headers.
    #[serde(skip_serializing_if = "HeaderChanges::is_empty")]
    pub response_headers: HeaderChanges,
    /// What is done with the request.
    pub action: Action,
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
}

/// A match on a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ValueMatch {
    /// The whole value.
    Exact(String),
    /// A regular expression over the whole value; known to compile.
    Regex(String),
}

/// Header changes, applied in the order set, add, remove. Names are lower case and known to be valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderChanges {
    /// Replaced.
    pub set: Vec<(String, String)>,
    /// Added.
    pub add: Vec<(String, String)>,
    /// Taken away.
    pub remove: Vec<String>,
}

impl HeaderChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Action {
    /// It goes to one of these, by weight.
    Forward(Vec<WeightedBackend>),
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
    /// Where that share goes.
    pub target: Target,
}

/// Where a share of the traffic goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// To a backend.
    Backend(Arc<Backend>),
    /// Nowhere: the reference cannot be followed, and Gateway API asks for 500.
    Broken(&'static str),
}

/// Backends are equal when they are the same cell: one that looks alike would not see the endpoints that come and go.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Target::Backend(a), Target::Backend(b)) => Arc::ptr_eq(a, b),
            (Target::Broken(a), Target::Broken(b)) => a == b,
            _ => false,
        }
    }
}

/// Service and port: `shop/web:80`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    /// The Service.
    pub service: Key,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// A Service port that routes use, and its endpoints of the moment.
#[derive(Debug, Serialize)]
pub struct Backend {
    /// Service and port.
    pub id: BackendId,
    /// Where it runs now.
    pub endpoints: EndpointCell,
}

/// The endpoints of one backend, swapped whole; a reader never waits.
pub struct EndpointCell(ArcSwap<Endpoints>);

impl EndpointCell {
    /// A cell that holds these endpoints.
    pub fn new(endpoints: Endpoints) -> Self {
        EndpointCell(ArcSwap::from_pointee(endpoints))
    }

    /// The endpoints now.
    pub fn load(&self) -> arc_swap::Guard<Arc<Endpoints>> {
        self.0.load()
    }

    /// Replaces them, if they differ.
    pub fn store(&self, endpoints: Endpoints) -> bool {
        let differs = **self.0.load() != endpoints;
        if differs {
            self.0.store(Arc::new(endpoints));
        }
        differs
    }
}

impl fmt::Debug for EndpointCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

/// The endpoints of a backend that may get new requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endpoints {
    /// Sorted by address, without duplicates. Ready ones; where none is ready, those that serve while they terminate.
    pub usable: Vec<SocketAddr>,
}

macro_rules! serialize_as_text {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}
serialize_as_text!(ListenerName, HostPattern, BackendId);

impl Serialize for EndpointCell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.load().usable.serialize(serializer)
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Target::Backend(backend) => serializer.collect_str(&backend.id),
            Target::Broken(reason) => serializer.collect_str(&format_args!("broken: {reason}")),
        }
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
