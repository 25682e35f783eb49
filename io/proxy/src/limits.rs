//! Every limit and timeout of the proxy, in one place.

use std::time::Duration;

/// Limits and timeouts. The clock behind them ticks every 100 ms.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections of the process; for one more, the one that has been without a request for longest is closed, or it
    /// is closed itself. An address may have as many as are free.
    pub connections: usize,
    /// Connections of the process to endpoints; a request that needs one more is answered 503. A client address may have
    /// opened as many as are free, a backend may have four times as many.
    pub upstream_connections: usize,
    /// Pipes that each worker may lend to bulk relays, of two descriptors; further relays copy.
    pub pipes: usize,
    /// A client address that had so many connections cut in a row, or as many streams reset as that takes, gets ten new ones a
    /// second while most of what it opens has to be cut, unless it stands for others: where a listener trusts addresses or
    /// counts hops. 0: it gets as many as it likes.
    pub cuts_per_client: u32,
    /// Memory of the process: when it comes near, connections are no longer kept, then requests are refused. None: nine
    /// tenths of the cgroup's limit, or half of the machine's memory.
    pub memory_bytes_max: Option<u64>,
    /// From the start of a TLS connection, a client's or one to an endpoint, to the end of its handshake.
    pub tls_handshake: Duration,
    /// TLS handshakes of clients under way, for each worker; one more is closed at once.
    pub tls_handshakes: usize,
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// How long a client connection may wait for a request; for its first, no longer than for a head.
    pub keep_alive: Duration,
    /// To connect to an endpoint; then another is tried.
    pub upstream_connect: Duration,
    /// From the end of a request to the end of the response's head.
    pub response_head: Duration,
    /// Without a byte in either direction of a body.
    pub body_stall: Duration,
    /// The least pace of a client that is waited for, in bytes per second: while it sends a body that its backend has not
    /// begun to answer, and while it takes a response. What is slower is cut: 408, or in the middle of the response. The
    /// streams of an HTTP/2 connection share it; gRPC calls may send as slowly as they like. 0: any pace will do.
    pub body_bytes_per_sec: u64,
    /// The waiting over which that pace is taken, at least; where a listener allows longer silence, as long as that.
    pub body_pace_window: Duration,
    /// A tunnel (WebSocket) without a byte in either direction.
    pub tunnel_idle: Duration,
    /// How long an unused upstream connection is kept.
    pub upstream_idle: Duration,
    /// Unused upstream connections kept, for each worker and endpoint.
    pub upstream_idle_connections: usize,
    /// A relayed TCP connection without a byte in either direction.
    pub tcp_idle: Duration,
    /// To send the PROXY protocol header where one is expected.
    pub proxy_header: Duration,
    /// UDP sessions of the process; one more takes the place of one that waits for an answer in vain, or has its answer, first. An
    /// address may have as many as are free.
    pub udp_sessions: usize,
    /// A UDP session without a datagram in either direction.
    pub udp_idle: Duration,
    /// The same for one in which the client asked once and was answered, as with DNS.
    pub udp_answered_idle: Duration,
    /// How long an idle connection may still send a request after its socket was removed or the proxy drains.
    pub close_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 16_384,
            upstream_connections: 32_768,
            pipes: 512,
            cuts_per_client: 5,
            memory_bytes_max: None,
            tls_handshake: Duration::from_secs(10),
            tls_handshakes: 2048,
            request_head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            upstream_connect: Duration::from_secs(1),
            response_head: Duration::from_secs(60),
            body_stall: Duration::from_secs(60),
            body_bytes_per_sec: 1024,
            body_pace_window: Duration::from_secs(30),
            tunnel_idle: Duration::from_secs(3600),
            upstream_idle: Duration::from_secs(60),
            upstream_idle_connections: 256,
            tcp_idle: Duration::from_secs(3600),
            proxy_header: Duration::from_secs(5),
            udp_sessions: 16_384,
            udp_idle: Duration::from_secs(60),
            udp_answered_idle: Duration::from_secs(10),
            close_grace: Duration::from_secs(2),
        }
    }
}
