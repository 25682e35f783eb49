//! How the endpoints of a backend are chosen, watched and spared (BackendTrafficPolicy).

use std::time::Duration;

use serde::Serialize;

use super::{Http2Settings, Retry};

/// A backend's settings; the default is what holds without a policy. A limit that is absent is the proxy's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BackendPolicy {
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// An endpoint that is new gets its full share only after this time.
    pub slow_start: Option<Duration>,
    /// Whether endpoints of the gateway's own zone are preferred.
    pub zone_aware: Option<ZoneAware>,
    /// Endpoints are asked whether they work.
    pub health_check: Option<HealthCheck>,
    /// Endpoints that fail are left out for a while.
    pub ejection: Option<Ejection>,
    /// With fewer healthy endpoints than this of a hundred, health is ignored; none: 50.
    pub panic_percent: Option<u32>,
    /// What a backend may carry at once.
    pub breaker: Breaker,
    /// To open a connection.
    pub connect_timeout: Option<Duration>,
    /// An unused connection is kept so long.
    pub idle_timeout: Option<Duration>,
    /// A connection gets no new request after so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_max: Option<Duration>,
    /// HTTP/2 settings.
    #[serde(skip_serializing_if = "Http2Settings::is_usual")]
    pub http2: Http2Settings,
    /// From request to the end of the response, where the route says nothing; zero: without limit.
    pub request_timeout: Option<Duration>,
    /// What is repeated, where the route says nothing.
    pub retry: Option<Retry>,
    /// Connections to it begin with a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocolOut>,
    /// Connections and sessions to it come from the client's own address; a connection then serves one client.
    pub client_source: bool,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Balancing {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// Any, by weight.
    Random,
    /// Of two taken at random, the one with fewer requests under way.
    LeastRequest,
    /// Of two taken at random, the one with the lower product of its recent latency and requests under way.
    PeakEwma,
    /// The same for the same key, and few keys move when endpoints change (Maglev).
    ConsistentHash {
        /// What is hashed.
        key: HashKey,
        /// Slots of the table, a prime.
        table_size: u32,
    },
}

/// What a consistent hash is taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HashKey {
    /// The client's address.
    SourceIp,
    /// Path and query, as the client sent them.
    Target,
    /// The values of these headers, lower case; a request without any goes in turn.
    Headers(Vec<String>),
    /// A cookie; where a time to live is given it is set when absent.
    Cookie {
        /// Its name.
        name: String,
        /// How long it lives; none: never set; zero: until the browser closes.
        ttl: Option<Duration>,
        /// Its further attributes, as `SameSite=Lax`.
        attributes: Vec<(String, String)>,
    },
}

/// When endpoints of the gateway's own zone are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneAware {
    /// Only with at least so many endpoints in all.
    pub endpoints_min: u32,
    /// Only the own zone's, as long as it has so many; none: in proportion, so that no zone is overloaded.
    pub force_min: Option<u32>,
}

/// How endpoints are asked whether they work. Each gateway asks for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// The question.
    pub probe: Probe,
    /// Between two questions.
    pub interval: Duration,
    /// For an answer.
    pub timeout: Duration,
    /// So many failures in a row make an endpoint unhealthy.
    pub unhealthy_after: u32,
    /// So many successes in a row make it healthy again.
    pub healthy_after: u32,
}

/// The question of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Probe {
    /// A connection, and a text sent and an answer expected if they are not empty.
    Tcp {
        /// What is sent.
        send: Vec<u8>,
        /// What the answer must contain.
        expect: Vec<u8>,
    },
    /// A request.
    Http {
        /// The method.
        method: String,
        /// `Host`; none: the server name of TLS, else the endpoint's address.
        host: Option<String>,
        /// The path.
        path: String,
        /// Statuses that count as healthy.
        statuses: Vec<(u16, u16)>,
    },
    /// Whether a node has pods of a Service with `externalTrafficPolicy: Local`: `GET /healthz` in the clear, at the Service's
    /// `healthCheckNodePort` of the endpoint's address, answered with 200 (Kubernetes, "Virtual IPs and Service Proxies").
    Node {
        /// `healthCheckNodePort`.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service asked about; empty: the server as a whole.
        service: String,
    },
}

/// When an endpoint is left out because requests to it fail (outlier detection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ejection {
    /// So many 5xx in a row; 0: not counted.
    pub consecutive_5xx: u32,
    /// So many 502, 503, 504 or connection failures in a row; 0: not counted.
    pub consecutive_gateway_errors: u32,
    /// So many connections in a row that failed; 0: not counted apart.
    pub consecutive_local_failures: u32,
    /// The first time for so long; the nth time n times as long.
    pub base_time: Duration,
    /// Between two looks at who may come back.
    pub interval: Duration,
    /// Never more of a hundred than this.
    pub max_percent: u32,
}

/// What a backend may carry at once, in the whole process; absent: the proxy's own limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Breaker {
    /// Connections.
    pub connections: Option<u32>,
    /// Requests that wait for a place; more are answered 503.
    pub pending_requests: Option<u32>,
    /// Requests under way.
    pub requests: Option<u32>,
    /// Repeats under way.
    pub retries: Option<u32>,
    /// Requests on one connection; then it is closed.
    pub requests_per_connection: Option<u32>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ProxyProtocolOut {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}
