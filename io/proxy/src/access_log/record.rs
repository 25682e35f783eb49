//! What a line of the access log may say: the fields by name, and one request's values for them.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

/// A field of a line, in the order of [`ACCESS_LOG_FIELDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Time,
    Client,
    Peer,
    Listener,
    Host,
    Method,
    Path,
    Protocol,
    Status,
    Reason,
    Route,
    Backend,
    Endpoint,
    BytesIn,
    BytesOut,
    DurationUs,
    UpstreamUs,
    RequestId,
    TraceId,
    Tls,
    UserAgent,
}

use Field::*;

/// Every field.
pub const FIELDS: [Field; 21] = [
    Time, Client, Peer, Listener, Host, Method, Path, Protocol, Status, Reason, Route, Backend, Endpoint,
    BytesIn, BytesOut, DurationUs, UpstreamUs, RequestId, TraceId, Tls, UserAgent,
];

/// The names of the fields of a line, in their order.
pub const ACCESS_LOG_FIELDS: [&str; 21] = [
    "time",
    "client",
    "peer",
    "listener",
    "host",
    "method",
    "path",
    "protocol",
    "status",
    "reason",
    "route",
    "backend",
    "endpoint",
    "bytes_in",
    "bytes_out",
    "duration_us",
    "upstream_us",
    "request_id",
    "trace_id",
    "tls",
    "user_agent",
];

impl Field {
    /// The field of this name.
    pub fn named(name: &str) -> Option<Field> {
        ACCESS_LOG_FIELDS.iter().position(|known| *known == name).map(|index| FIELDS[index])
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        ACCESS_LOG_FIELDS[self as usize]
    }

    /// Whether its values are whole numbers.
    pub fn is_number(self) -> bool {
        matches!(self, Status | BytesIn | BytesOut | DurationUs | UpstreamUs)
    }
}

/// One request, or one relayed connection, over. What is not known stays empty.
#[derive(Clone, Copy, Default)]
pub struct Record<'a> {
    pub client: Option<IpAddr>,
    pub peer: Option<SocketAddr>,
    pub listener: &'a str,
    pub host: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    /// Shown by the formats that have a request line.
    pub query: Option<&'a str>,
    pub protocol: &'a str,
    pub status: u16,
    pub reason: &'a str,
    pub route: Option<&'a dyn Display>,
    pub backend: Option<&'a dyn Display>,
    pub endpoint: Option<SocketAddr>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_us: u64,
    pub upstream_us: u64,
    pub request_id: &'a str,
    pub trace_id: Option<[u8; 16]>,
    pub tls: &'a str,
    pub user_agent: &'a [u8],
    /// Shown by `combined`.
    pub referer: &'a [u8],
}
