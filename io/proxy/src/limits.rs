//! Every limit and timeout of the proxy, in one place.

use std::time::Duration;

/// Limits and timeouts. The clock behind them ticks every 100 ms.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections of the process; one more is closed at once.
    pub connections: usize,
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// How long a client connection may wait for a request.
    pub keep_alive: Duration,
    /// To connect to an endpoint; then another is tried.
    pub upstream_connect: Duration,
    /// From the end of a request to the end of the response's head.
    pub response_head: Duration,
    /// Without a byte in either direction of a body.
    pub body_stall: Duration,
    /// A tunnel (WebSocket) without a byte in either direction.
    pub tunnel_idle: Duration,
    /// How long an unused upstream connection is kept.
    pub upstream_idle: Duration,
    /// Unused upstream connections kept, for each worker and endpoint.
    pub upstream_idle_connections: usize,
    /// How long an idle connection may still send a request after its socket was removed or the proxy drains.
    pub close_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 16_384,
            request_head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            upstream_connect: Duration::from_secs(1),
            response_head: Duration::from_secs(60),
            body_stall: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            upstream_idle: Duration::from_secs(60),
            upstream_idle_connections: 256,
            close_grace: Duration::from_secs(2),
        }
    }
}
