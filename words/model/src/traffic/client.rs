//! How a listener treats those who connect to it: whom it believes, what it allows, how long it waits.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

/// A listener's settings towards clients (ClientTrafficPolicy); the default is what holds without a policy. A limit
/// that is absent is the proxy's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientPolicy {
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: ProxyProtocolIn,
    /// Who may say where a request comes from.
    pub trust: Trust,
    /// Whether RFC 7239 `Forwarded` is written to backends too.
    pub forwarded: bool,
    /// What becomes of `X-Request-Id`.
    #[serde(skip_serializing_if = "RequestIds::is_usual")]
    pub request_ids: RequestIds,
    /// What `Strict-Transport-Security` says (RFC 6797 section 6.1) in every answer to who came by TLS; none: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_security: Option<String>,
    /// Whether a request of HTTP/1.0 without Host is for the listener's hostname.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_host: bool,
    /// Time limits.
    pub timeouts: ClientTimeouts,
    /// Limits.
    pub limits: ClientLimits,
    /// HTTP/2 settings.
    pub http2: Http2Settings,
    /// The only clients that are let in (`loadBalancerSourceRanges` of a Service); none: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<IpNet>,
}

impl ClientPolicy {
    /// Whether a client with this address is let in.
    pub fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.sources.is_empty() || self.sources.iter().any(|net| net.contains(&client))
    }
}

/// What becomes of `X-Request-Id` on the way to a backend; the log has what the backend gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum RequestIds {
    /// The client's is kept if it is well-formed; else one is made.
    #[default]
    PreserveOrGenerate,
    /// The client's is kept if it is well-formed; none is made.
    Preserve,
    /// One is made always.
    Generate,
    /// The client's lines go on as they are.
    Untouched,
}

impl RequestIds {
    fn is_usual(&self) -> bool {
        *self == RequestIds::default()
    }
}

/// Whether connections begin with a PROXY protocol header, version 1 or 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ProxyProtocolIn {
    /// They do not.
    #[default]
    Off,
    /// They may.
    Optional,
    /// They must; others are closed.
    Required,
}

/// Who may say where a request comes from; by default nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// So many proxies stand before this one, each of which appends to `X-Forwarded-For`.
    pub hops: u32,
    /// Addresses whose word is taken: the client is the last that is none of them. Also those who may send a PROXY
    /// protocol header; empty: all, if it is on.
    pub cidrs: Vec<IpNet>,
}

/// Time limits towards clients; zero means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientTimeouts {
    /// From the first byte of a request to its last.
    pub request_received: Option<Duration>,
    /// From the first byte of a request, or of a header block of HTTP/2, to the end of its head.
    pub head: Option<Duration>,
    /// From the start of a TLS connection to the end of its handshake.
    pub handshake: Option<Duration>,
    /// A connection without a request.
    pub idle: Option<Duration>,
    /// A request or tunnel without a byte in either direction.
    pub stream_idle: Option<Duration>,
    /// A TCP connection without a byte in either direction.
    pub tcp_idle: Option<Duration>,
    /// A connection of HTTP takes no new request after so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_max: Option<Duration>,
}

/// Limits towards clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientLimits {
    /// Connections of the socket, in the whole process; listeners that share one share the limit.
    pub connections: Option<u32>,
    /// Connections of one client address, in the whole process.
    pub connections_per_client: Option<u32>,
    /// Requests of one connection; then it is closed.
    pub requests_per_connection: Option<u32>,
    /// Bytes of a request's head, at most 64 KiB.
    pub header_bytes: Option<u32>,
    /// Header lines of a request, at most 256.
    pub header_lines: Option<u32>,
    /// Bytes of a request's body; more is 413.
    pub body_bytes: Option<u64>,
}

/// HTTP/2 settings of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Http2Settings {
    /// Streams at once, of one connection.
    pub streams: Option<u32>,
    /// Bytes that the peer may send ahead on one stream.
    pub stream_window_bytes: Option<u32>,
    /// Bytes that the peer may send ahead on the connection.
    pub connection_window_bytes: Option<u32>,
}

impl Http2Settings {
    pub(super) fn is_usual(&self) -> bool {
        *self == Http2Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without ranges everybody is let in, with ranges only who is inside, whichever way an IPv4 address is written.
    #[test]
    fn sources() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let open = ClientPolicy::default();
        assert!(open.admits(address("192.0.2.1")) && open.admits(address("2001:db8::1")));
        let sources = ["192.0.2.0/24", "2001:db8::/64"].map(|text| text.parse().expect("a prefix")).to_vec();
        let closed = ClientPolicy { sources, ..ClientPolicy::default() };
        for (client, admitted) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.3.1", false),
            ("2001:db8::1", true),
            ("2001:db8:1::1", false),
        ] {
            assert_eq!(closed.admits(address(client)), admitted, "{client}");
        }
    }
}
