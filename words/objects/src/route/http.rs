//! HTTPRoute: hosts, rules, matches, time limits and retries. Filters are in [`filter`](super::filter).

use serde::{Deserialize, Serialize};

use super::{BackendObjectRef, DefaultScope, HttpRouteFilter, ParentRef, SessionPersistence};

/// HTTPRoute `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Gateways and listeners it attaches to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Whether it attaches to default Gateways.
    #[serde(default)]
    pub use_default_gateways: Option<DefaultScope>,
    /// The hosts it serves; empty: every host of the listener.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Its rules; absent: one rule that matches everything and has no backend.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// A rule: when it matches, filters apply and a backend is chosen by weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Any of these must match; empty: everything matches.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// What is done to the request or the response.
    #[serde(default)]
    pub filters: Vec<HttpRouteFilter>,
    /// Where it goes.
    #[serde(default)]
    pub backend_refs: Vec<HttpBackendRef>,
    /// Time limits.
    #[serde(default)]
    pub timeouts: Option<HttpRouteTimeouts>,
    /// Retries (experimental channel).
    #[serde(default)]
    pub retry: Option<HttpRouteRetry>,
    /// Stickiness (experimental channel).
    #[serde(default)]
    pub session_persistence: Option<SessionPersistence>,
}

/// Time limits of a rule. Each is a GEP-2257 duration such as `500ms` or `1m30s`; `0s` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteTimeouts {
    /// From the whole request to the whole response, retries included.
    pub request: Option<String>,
    /// One try at a backend; not longer than `request`.
    pub backend_request: Option<String>,
}

/// When and how often a request is tried again (Gateway API `HTTPRouteRetry`, GEP-1731).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpRouteRetry {
    /// Status codes of a backend that are tried again, 400 to 599. Connection errors always are.
    pub codes: Vec<u16>,
    /// How many more times, at least 1; absent: our choice.
    pub attempts: Option<u32>,
    /// The least time between two tries, a GEP-2257 duration; absent: our choice.
    pub backoff: Option<String>,
}

/// A match; all its parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteMatch {
    /// The path; absent: prefix `/`.
    pub path: Option<HttpPathMatch>,
    /// Each must match; a name given twice counts once, the first.
    pub headers: Vec<HttpNameMatch>,
    /// Each must match.
    pub query_params: Vec<HttpNameMatch>,
    /// The method, upper case.
    pub method: Option<String>,
}

/// A match on the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpPathMatch {
    /// How; absent: prefix.
    #[serde(rename = "type", default)]
    pub match_type: PathMatchType,
    /// With what; absent: `/`.
    #[serde(default = "slash")]
    pub value: String,
}

fn slash() -> String {
    "/".into()
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatchType {
    /// The whole path.
    Exact,
    /// Whole segments from the start.
    #[default]
    PathPrefix,
    /// A regular expression over the whole path.
    RegularExpression,
}

/// A match on a header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpNameMatch {
    /// How; absent: exactly.
    #[serde(rename = "type", default)]
    pub match_type: ValueMatchType,
    /// Name of the header (case-insensitive) or of the parameter (case-sensitive).
    pub name: String,
    /// With what.
    pub value: String,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueMatchType {
    /// The whole value.
    #[default]
    Exact,
    /// A regular expression over the whole value.
    RegularExpression,
}

/// A backend and its share of the traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpBackendRef {
    /// API group; empty or absent: core.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind; absent: Service.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name.
    pub name: String,
    /// Namespace; absent: the route's.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Port of the Service; required for a Service.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its share, relative to the rule's other backends; 0 to 1,000,000, default 1.
    #[serde(default = "super::backend::one")]
    pub weight: u32,
    /// Filters for requests that go to this backend.
    #[serde(default)]
    pub filters: Vec<HttpRouteFilter>,
}

impl HttpBackendRef {
    /// The reference alone, without weight and filters.
    pub fn object(&self) -> BackendObjectRef {
        BackendObjectRef {
            group: self.group.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }
}
