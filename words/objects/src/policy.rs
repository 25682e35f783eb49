//! Our policies, `tidegate.dev/v1alpha1`, attached by `targetRefs` (GEP-713): ClientTrafficPolicy, BackendTrafficPolicy;
//! and HTTPRouteFilter, which an `ExtensionRef` names.
//!
//! Field names are Envoy Gateway's where it has the same thing; what is ours alone says so. Durations are GEP-2257 text
//! (`500ms`, `1m30s`). A policy holds as a whole, and of several the most specific does: what it leaves absent is our
//! choice, not that of a policy further out. One exception: where `zoneAware` is absent, a Service's
//! `trafficDistribution` holds. Where no number is named here, it is not this room's.

mod backend;
mod balance;
mod client;
mod filter;
mod health;
mod response;
mod retry;

pub use backend::{
    BackendHttp2, BackendHttpTimeout, BackendTcpTimeout, BackendTimeout, BackendTrafficPolicy,
    CircuitBreaker, ProxyProtocolOut, ProxyProtocolVersion, SourceAddress,
};
pub use balance::{
    ConsistentHash, ConsistentHashType, ForceLocal, HashCookie, HashHeader, LoadBalancer, LoadBalancerType,
    PreferLocal, SlowStart, ZoneAware,
};
pub use client::{
    ClientConnection, ClientHeaders, ClientHttp1, ClientHttp2, ClientHttpTimeout, ClientIpDetection,
    ClientLimits, ClientTcpTimeout, ClientTimeout, ClientTls, ClientTlsSession, ClientTrafficPolicy,
    ConnectionLimit, Empty, Http10, ProxyProtocolIn, RequestIdAction, StrictTransportSecurity, TlsResumption,
    TlsVersion, XForwardedFor,
};
pub use filter::{DirectResponse, ResponseBody, ResponseBodyType, RouteFilter};
pub use health::{
    ActiveCheck, ActiveCheckType, CheckPayload, GrpcCheck, HealthCheck, HttpCheck, PassiveCheck, PayloadType,
    TcpCheck,
};
pub use response::{
    Compression, Compressor, CustomRedirect, CustomResponse, ResponseMatch, ResponseOverride,
    StatusCodeMatch, StatusCodeMatchType, StatusCodeRange,
};
pub use retry::{BackOff, PerRetry, Retry, RetryBudget, RetryOn, RetryTrigger};
