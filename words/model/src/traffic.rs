//! What enters: sockets, listeners, routes, backends and their endpoints.
//!
//! ```text
//!  Entrance ─► Listener ─► HttpRoute ─► HttpRule ─► WeightedBackend ─► Backend ─► EndpointCell
//!   socket       └───────► TlsRoute, StreamRoute ───────┘
//! ```

pub mod backend;
pub mod backend_policy;
pub mod client;
pub mod filter;
pub mod guard;
pub mod home;
pub mod host;
pub mod listener;
pub mod outside;
mod reach;
pub mod response;
pub mod route;
pub mod tls;
pub mod union;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tidegate_objects::Key;

pub use backend::{
    Backend, BackendId, BackendKind, BackendProtocol, Endpoint, EndpointCell, EndpointMode, Endpoints, Target,
};
pub use backend_policy::{
    BackendPolicy, Balancing, Breaker, Ejection, HashKey, HealthCheck, Probe, ProxyProtocolOut, ZoneAware,
};
pub use client::{
    ClientLimits, ClientPolicy, ClientTimeouts, Http2Settings, ProxyProtocolIn, RequestIds, Trust,
};
pub use filter::{
    CookieAttributes, Cors, Expansion, Filters, HeaderChanges, Mirror, OriginPattern, PathRewrite, Redirect,
    Respond, Retry, Rewrite, SessionCarrier, SessionPersistence, Timeouts,
};
pub use guard::Guard;
pub use home::Home;
pub use host::HostPattern;
pub use listener::{Entrance, Listener, ListenerName, Serves, Transport};
pub use outside::{Destination, Leads, Outside, Shunned};
pub use response::{Coding, Compression, Page, Replacement, ResponseOverride, ResponsePolicy};
pub use route::{
    Action, HttpRoute, HttpRule, PathMatch, RequestMatch, RouteKind, StreamRoute, TlsRoute, ValueMatch,
    WeightedBackend,
};
pub use tls::{
    AlternativeName, BackendTls, Certificate, ClientValidation, PrivateKey, Roots, ServerTls, TlsVersion,
};

pub use union::Unions;

/// Everything that is listened for, and where it goes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Traffic {
    /// One for each socket; transport, address and port are unique together.
    pub entrances: Vec<Arc<Entrance>>,
    /// Where this gateway is, if its GatewayNode says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    /// The endpoints of every backend that a route uses.
    pub endpoints: BTreeMap<BackendId, Arc<EndpointCell>>,
    /// Of these, the ones that are several as one.
    #[serde(skip_serializing_if = "Unions::is_empty")]
    pub unions: Unions,
    /// The Services of type LoadBalancer that have sockets here; true: some endpoint could answer. Where that is no longer
    /// so, their addresses are announced or withdrawn, which is for compile to say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub carried: BTreeMap<Key, bool>,
    /// The Services of type ExternalName that routes use.
    #[serde(skip_serializing_if = "Outside::is_empty")]
    pub outside: Outside,
}
