//! GRPCRoute: hosts, rules, matches. Its filters are a part of HTTPRoute's.

use serde::{Deserialize, Serialize};

use super::{
    BackendObjectRef, DefaultScope, HeaderModifier, HttpNameMatch, HttpRouteFilter, ParentRef, RequestMirror,
    SessionPersistence, ValueMatchType,
};
use crate::reference::LocalRef;

/// GRPCRoute `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRoute {
    /// The Gateways and listeners it attaches to.
    pub parent_refs: Vec<ParentRef>,
    /// Whether it attaches to default Gateways (experimental channel).
    pub use_default_gateways: Option<DefaultScope>,
    /// The hosts it serves; empty: every host of the listener.
    pub hostnames: Vec<String>,
    /// Its rules.
    pub rules: Vec<GrpcRouteRule>,
}

/// A rule: when it matches, filters apply and a backend is chosen by weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRouteRule {
    /// Its name.
    pub name: Option<String>,
    /// Any of these must match; empty: everything matches.
    pub matches: Vec<GrpcRouteMatch>,
    /// What is done to the request or the response.
    pub filters: Vec<GrpcRouteFilter>,
    /// Where it goes.
    pub backend_refs: Vec<GrpcBackendRef>,
    /// Stickiness (experimental channel).
    pub session_persistence: Option<SessionPersistence>,
}

/// A match; all its parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrpcRouteMatch {
    /// Service and method; absent: all.
    pub method: Option<GrpcMethodMatch>,
    /// Each must match; a name given twice counts once, the first.
    pub headers: Vec<HttpNameMatch>,
}

/// A match on `/service/method`; at least one of the two is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrpcMethodMatch {
    /// How both are compared; absent: exactly.
    #[serde(rename = "type")]
    pub match_type: ValueMatchType,
    /// The service with its package, case-sensitive; absent: any.
    pub service: Option<String>,
    /// The method, case-sensitive; absent: any.
    pub method: Option<String>,
}

/// A filter: `type` says which of the others is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcRouteFilter {
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
    /// `ExtensionRef`.
    #[serde(default)]
    pub extension_ref: Option<LocalRef>,
}

/// The same filter as an HTTPRoute has it.
impl From<GrpcRouteFilter> for HttpRouteFilter {
    fn from(filter: GrpcRouteFilter) -> Self {
        HttpRouteFilter {
            filter_type: filter.filter_type,
            request_header_modifier: filter.request_header_modifier,
            response_header_modifier: filter.response_header_modifier,
            request_mirror: filter.request_mirror,
            request_redirect: None,
            url_rewrite: None,
            cors: None,
            external_auth: None,
            extension_ref: filter.extension_ref,
        }
    }
}

/// A backend and its share of the traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrpcBackendRef {
    /// API group; empty or absent: core.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind; absent: Service.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name.
    pub name: String,
    /// Namespace; absent: the route's. Another one needs a ReferenceGrant there.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Port of the Service, 1 to 65535; required for a Service.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its share, relative to the rule's other backends; 0 to 1,000,000, default 1.
    #[serde(default = "super::backend::one")]
    pub weight: u32,
    /// Filters for requests that go to this backend.
    #[serde(default)]
    pub filters: Vec<GrpcRouteFilter>,
}

impl GrpcBackendRef {
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
