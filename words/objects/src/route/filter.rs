//! What a rule does to requests and responses, as Gateway API v1.6 spells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BackendObjectRef;
use crate::reference::LocalRef;
use crate::schema;

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
    pub request_mirror: Option<RequestMirror>,
    /// `RequestRedirect`.
    #[serde(default)]
    pub request_redirect: Option<RequestRedirect>,
    /// `URLRewrite`.
    #[serde(rename = "urlRewrite", default)]
    pub url_rewrite: Option<UrlRewrite>,
    /// `CORS`.
    #[serde(default)]
    pub cors: Option<Cors>,
    /// `ExternalAuth` (experimental channel), as written: it is not read further yet.
    #[serde(default)]
    pub external_auth: Option<Value>,
    /// `ExtensionRef`: a filter of ours, see [`RouteFilter`](crate::policy::RouteFilter).
    #[serde(default)]
    pub extension_ref: Option<LocalRef>,
}

/// Headers to set, add and remove, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderValue {
    /// Name, case-insensitive.
    #[schemars(with = "schema::Token")]
    pub name: String,
    /// Value.
    pub value: String,
}

/// Sends a copy of requests elsewhere; its answers are thrown away. Without `percent` and `fraction` every request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    /// Where copies go.
    pub backend_ref: BackendObjectRef,
    /// Of a hundred requests, 0 to 100; not together with `fraction`.
    #[serde(default)]
    pub percent: Option<u8>,
    /// The share of requests; not together with `percent`.
    #[serde(default)]
    pub fraction: Option<Fraction>,
}

/// A share: numerator of denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fraction {
    /// At least 0, at most the denominator.
    pub numerator: u32,
    /// At least 1; absent: 100.
    #[serde(default = "hundred")]
    pub denominator: u32,
}

fn hundred() -> u32 {
    100
}

/// Answers with a redirect. What is absent is taken from the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirect {
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Option<String>,
    /// A host name without wildcard or port.
    #[serde(default)]
    pub hostname: Option<String>,
    /// How the path changes.
    #[serde(default)]
    pub path: Option<PathModifier>,
    /// The port, 1 to 65535; absent: the scheme's own if a scheme is given, else the listener's.
    #[serde(default)]
    pub port: Option<u16>,
    /// 301, 302 (the default), 303, 307 or 308.
    #[serde(default = "found")]
    pub status_code: u16,
}

fn found() -> u16 {
    302
}

/// Changes host or path of the request that goes to the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UrlRewrite {
    /// The Host sent, without wildcard or port.
    pub hostname: Option<String>,
    /// How the path changes.
    pub path: Option<PathModifier>,
}

/// A change of a path: `type` says which of the two values is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("self.type != 'ReplaceFullPath' || has(self.replaceFullPath)", "type ReplaceFullPath needs replaceFullPath"),
    ("self.type != 'ReplacePrefixMatch' || has(self.replacePrefixMatch)", "type ReplacePrefixMatch needs replacePrefixMatch"),
])))]
pub struct PathModifier {
    /// What is replaced.
    #[serde(rename = "type")]
    pub modifier_type: PathModifierType,
    /// Stands for the whole path.
    #[serde(default)]
    pub replace_full_path: Option<String>,
    /// Stands for the prefix that matched; the rule's match must be a prefix.
    #[serde(default)]
    pub replace_prefix_match: Option<String>,
}

/// What of a path is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(clippy::enum_variant_names)]
pub enum PathModifierType {
    /// All of it.
    ReplaceFullPath,
    /// The prefix that the rule matched.
    ReplacePrefixMatch,
}

/// Cross-origin requests as the Fetch standard defines them: preflights are answered, responses are marked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// Origins `scheme://host[:port]` that may ask, the host perhaps beginning with `*.`; or `*` alone.
    pub allow_origins: Vec<String>,
    /// Whether credentials may be sent.
    pub allow_credentials: bool,
    /// Methods, or `*`.
    pub allow_methods: Vec<String>,
    /// Request headers, or `*`.
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read, or `*`.
    pub expose_headers: Vec<String>,
    /// How long a client may keep the answer to a preflight, in seconds, at least 1; default 5.
    pub max_age: u32,
}

impl Default for Cors {
    fn default() -> Self {
        let [allow_origins, allow_methods, allow_headers, expose_headers] = [const { Vec::new() }; 4];
        Cors {
            allow_origins,
            allow_credentials: false,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age: 5,
        }
    }
}
