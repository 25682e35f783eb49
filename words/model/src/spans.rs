//! One exchange as a trace tells it: what the gateway did with a request, and each of its attempts at an endpoint.
//!
//! The proxy fills it in for sampled requests only; who sends it away turns it into spans. Texts that a client chooses
//! are cut to a bound by whoever fills them in, so that a queue of these has one.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

/// A request that is sampled, over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedExchange {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The gateway's span.
    pub span_id: [u8; 8],
    /// The caller's span; none: the trace begins here.
    pub parent_id: Option<[u8; 8]>,
    /// `tracestate` as it came.
    pub trace_state: String,
    /// When it was over.
    pub ended: SystemTime,
    /// From the request's head to the end of the response.
    pub duration: Duration,
    /// The method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `host[:port]` as asked for.
    pub host: String,
    /// The path, normalised, without its query.
    pub path: String,
    /// The path that the rule matches; empty: none did.
    pub pattern: String,
    /// `HTTP/1.1`.
    pub protocol: &'static str,
    /// What the client got.
    pub status: u16,
    /// Why, where the gateway itself answered, or what broke afterwards; else empty.
    pub reason: &'static str,
    /// Who is believed to have asked.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// As sent.
    pub user_agent: String,
    /// What names the request.
    pub request_id: String,
    /// `namespace/gateway/listener`.
    pub listener: String,
    /// `namespace/name`; empty: none matched.
    pub route: String,
    /// `namespace/service:port`; empty: none was chosen.
    pub backend: String,
    /// In their order; all but the first are repeats.
    pub attempts: Vec<TracedAttempt>,
}

/// One attempt at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedAttempt {
    /// Its span, which the endpoint is told as its parent.
    pub span_id: [u8; 8],
    /// From the start of the exchange.
    pub after: Duration,
    /// How long it took.
    pub duration: Duration,
    /// Where it went.
    pub endpoint: SocketAddr,
    /// What was asked for there, without the query.
    pub url: String,
    /// `HTTP/1.1`; empty: it could not be connected to.
    pub protocol: &'static str,
    /// What it answered; 0: nothing.
    pub status: u16,
    /// What went wrong; else empty.
    pub reason: &'static str,
}
