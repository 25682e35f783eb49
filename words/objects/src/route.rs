//! Gateway API v1.6, standard and experimental channel: every field of HTTPRoute, GRPCRoute, TLSRoute, TCPRoute and
//! UDPRoute.
//!
//! Data as written: ranges that a type cannot hold, and what references lead to, are found in `pure/compile`.

mod backend;
mod filter;
mod grpc;
mod http;
mod l4;
mod parent;
mod session;

pub use backend::{BackendObjectRef, BackendRef};
pub use filter::{
    Cors, Fraction, HeaderModifier, HeaderValue, HttpRouteFilter, PathModifier, PathModifierType,
    RequestMirror, RequestRedirect, UrlRewrite,
};
pub use grpc::{GrpcBackendRef, GrpcMethodMatch, GrpcRoute, GrpcRouteFilter, GrpcRouteMatch, GrpcRouteRule};
pub use http::{
    HttpBackendRef, HttpNameMatch, HttpPathMatch, HttpRoute, HttpRouteMatch, HttpRouteRetry, HttpRouteRule,
    HttpRouteTimeouts, PathMatchType, ValueMatchType,
};
pub use l4::{L4RouteRule, TcpRoute, TlsRoute, UdpRoute};
pub use parent::{DefaultScope, ParentRef};
pub use session::{CookieConfig, CookieLifetime, SessionPersistence, SessionType};
