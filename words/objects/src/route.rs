//! Gateway API v1.6: HTTPRoute, every field of it.
//!
//! A field whose feature is not built yet is held as raw JSON, so that it is known and can be named in the verdict.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// HTTPRoute `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The Gateways and listeners it attaches to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Whether it attaches to default Gateways.
    #[serde(default)]
    pub use_default_gateways: Option<Value>,
    /// The hosts it serves; empty: every host of the listener.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Its rules; absent: one rule that matches everything and has no backend.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// A Gateway or listener that a route attaches to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// API group; absent: Gateway API's.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind; absent: Gateway.
    #[serde(default)]
    pub kind: Option<String>,
    /// Namespace; absent: the route's.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// One listener by name; absent: all.
    #[serde(default)]
    pub section_name: Option<String>,
    /// Listeners on this port only.
    #[serde(default)]
    pub port: Option<u16>,
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
    pub timeouts: Option<Value>,
    /// Retries.
    #[serde(default)]
    pub retry: Option<Value>,
    /// Stickiness.
    #[serde(default)]
    pub session_persistence: Option<Value>,
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

/// A filter: `type` says which of the others is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteFilter {
    /// Which filter.
    #[serde(rename = "type")]
    pub filter_type: String,
    /// `RequestHeaderModifier`.
    #[serde(default)]
    pub request_header_modifier: Option<HeaderModifier>,
    /// `ResponseHeaderModifier`.
    #[serde(default)]
    pub response_header_modifier: Option<HeaderModifier>,
    /// `RequestMirror`.
    #[serde(default)]
    pub request_mirror: Option<Value>,
    /// `RequestRedirect`.
    #[serde(default)]
    pub request_redirect: Option<Value>,
    /// `URLRewrite`.
    #[serde(rename = "urlRewrite", default)]
    pub url_rewrite: Option<Value>,
    /// `CORS`.
    #[serde(default)]
    pub cors: Option<Value>,
    /// `ExternalAuth`.
    #[serde(default)]
    pub external_auth: Option<Value>,
    /// `ExtensionRef`.
    #[serde(default)]
    pub extension_ref: Option<Value>,
}

/// Headers to set, add and remove, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// Replaces what is there.
    pub set: Vec<HeaderValue>,
    /// Adds to what is there.
    pub add: Vec<HeaderValue>,
    /// Takes away.
    pub remove: Vec<String>,
}

/// A header and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderValue {
    /// Name, case-insensitive.
    pub name: String,
    /// Value.
    pub value: String,
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
    #[serde(default = "one")]
    pub weight: u32,
    /// Filters for requests that go to this backend.
    #[serde(default)]
    pub filters: Vec<HttpRouteFilter>,
}

fn one() -> u32 {
    1
}
