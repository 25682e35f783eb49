//! BackendTrafficPolicy: how traffic goes to backends. Balancing, health, retries, and what becomes
//! of responses are beside this file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Compression, HealthCheck, LoadBalancer, ResponseOverride, Retry};
use crate::Quantity;
use crate::reference::TargetRef;
use crate::schema;

/// BackendTrafficPolicy `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTrafficPolicy {
    /// Services, routes of every kind, or Gateways; with `sectionName` a port name, a rule, or a listener.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-validations" = schema::targets(&["Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "Service"])))]
    pub target_refs: Vec<TargetRef>,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// Which endpoints are chosen from.
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
    /// How much may be under way.
    #[serde(default)]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Time limits.
    #[serde(default)]
    pub timeout: Option<BackendTimeout>,
    /// Retries.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// A PROXY protocol header before every connection; absent: none.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocolOut>,
    /// Whose address connections and sessions to the backend come from; default: the gateway's.
    #[serde(default)]
    pub source_address: SourceAddress,
    /// How responses may be compressed, preferred first where a client takes several alike; absent: they go out as
    /// backends send them.
    #[serde(default)]
    pub compressor: Vec<Compression>,
    /// An older name of `compressor`, which counts where both are given.
    #[serde(default)]
    pub compression: Vec<Compression>,
    /// Answers in place of others; the first that matches counts.
    #[serde(default)]
    pub response_override: Vec<ResponseOverride>,
    /// HTTP/2.
    #[serde(default)]
    pub http2: Option<BackendHttp2>,
}

/// How much may be under way to one Service port from one gateway; beyond it requests are answered with 503. These are the
/// defaults where the block is written; without it a Service port may have four times as many connections as are free in
/// the whole process, and nothing else is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreaker {
    /// Connections open; default 1,024.
    #[schemars(range(min = 1))]
    pub max_connections: u32,
    /// Requests that wait for a connection; default 1,024.
    pub max_pending_requests: u32,
    /// Requests under way; default 1,024.
    #[schemars(range(min = 1))]
    pub max_parallel_requests: u32,
    /// Retries under way; default 1,024.
    pub max_parallel_retries: u32,
    /// Requests that one connection carries before it is closed; absent: no limit.
    #[schemars(range(min = 1))]
    pub max_requests_per_connection: Option<u32>,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        CircuitBreaker {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_parallel_requests: 1024,
            max_parallel_retries: 1024,
            max_requests_per_connection: None,
        }
    }
}

/// Time limits towards backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackendTimeout {
    /// Of connections.
    pub tcp: Option<BackendTcpTimeout>,
    /// Of HTTP.
    pub http: Option<BackendHttpTimeout>,
}

/// Time limits of connections to backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTcpTimeout {
    /// Until a connection stands.
    #[schemars(with = "Option<schema::TimeAboveZero>")]
    pub connect_timeout: Option<String>,
}

/// Time limits of HTTP to backends. `0s` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendHttpTimeout {
    /// From the whole request to the whole response; a route's own `timeouts.request` wins.
    #[schemars(with = "Option<schema::Time>")]
    pub request_timeout: Option<String>,
    /// How long a connection may have no request.
    #[schemars(with = "Option<schema::Time>")]
    pub connection_idle_timeout: Option<String>,
    /// How long a connection may live before it is drained: it gets no new request, and what is under way ends by itself.
    /// Absent or `0s`: no limit.
    #[schemars(with = "Option<schema::Time>")]
    pub max_connection_duration: Option<String>,
}

/// Whose address connections to backends come from. Ours: Envoy Gateway has no field for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceAddress {
    /// The gateway's.
    #[default]
    Gateway,
    /// The client's own (`IP_TRANSPARENT`): the network must route what backends answer to clients back through this
    /// gateway.
    Client,
}

/// A PROXY protocol header to backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProxyProtocolOut {
    /// Which version.
    pub version: ProxyProtocolVersion,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocolVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// HTTP/2 to backends (RFC 9113 section 6.5.2); no effect on a backend to which HTTP/1 is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendHttp2 {
    /// How many streams we open on one connection, at least 1; the backend's own limit holds too.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_concurrent_streams: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE in bytes, 65,535 to 2^31 - 1.
    #[schemars(with = "Option<schema::Window>")]
    pub initial_stream_window_size: Option<Quantity>,
    /// The connection's window in bytes, 65,535 to 2^31 - 1.
    #[schemars(with = "Option<schema::Window>")]
    pub initial_connection_window_size: Option<Quantity>,
}
