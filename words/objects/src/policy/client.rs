//! ClientTrafficPolicy: how a Gateway, or one listener of it, deals with clients.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;
use crate::reference::TargetRef;
use crate::schema;

/// ClientTrafficPolicy `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientTrafficPolicy {
    /// Gateways and ListenerSets; with `sectionName` one listener. One listener's policy wins over the whole's.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-validations" = schema::targets(&["Gateway", "ListenerSet"])))]
    pub target_refs: Vec<TargetRef>,
    /// Connections begin with a PROXY protocol header, version 1 or 2; absent: they do not. Everyone may send one,
    /// unless `clientIPDetection.xForwardedFor.trustedCIDRs` says who.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocolIn>,
    /// Whose word on the client's address is believed; absent: nobody's.
    #[serde(rename = "clientIPDetection", default)]
    pub client_ip_detection: Option<ClientIpDetection>,
    /// Ours: whether RFC 7239 `Forwarded` is written beside `X-Forwarded-*`; absent: no.
    #[serde(default)]
    pub forwarded: Option<bool>,
    /// Headers we write.
    #[serde(default)]
    pub headers: Option<ClientHeaders>,
    /// Time limits.
    #[serde(default)]
    pub timeout: Option<ClientTimeout>,
    /// Connections.
    #[serde(default)]
    pub connection: Option<ClientConnection>,
    /// HTTP/1.
    #[serde(default)]
    pub http1: Option<ClientHttp1>,
    /// HTTP/2.
    #[serde(default)]
    pub http2: Option<ClientHttp2>,
    /// TLS, where it ends here.
    #[serde(default)]
    pub tls: Option<ClientTls>,
    /// Ours: sizes of requests.
    #[serde(default)]
    pub limits: Option<ClientLimits>,
}

/// PROXY protocol from whoever stands before us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProxyProtocolIn {
    /// Whether connections without the header are served too, as from the address they come from.
    pub optional: bool,
}

/// Whose word on the client's address is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpDetection {
    /// `X-Forwarded-For`.
    pub x_forwarded_for: Option<XForwardedFor>,
}

/// Which entries of `X-Forwarded-For` are believed, counted from the right; one of the two is given. Of both,
/// `trustedCIDRs` counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("!has(self.numTrustedHops) || !has(self.trustedCIDRs) || size(self.trustedCIDRs) == 0", "numTrustedHops and trustedCIDRs do not go together"),
])))]
pub struct XForwardedFor {
    /// How many proxies of ours stand before us.
    pub num_trusted_hops: Option<u32>,
    /// Networks of the proxies before us; the client is the rightmost address outside of them. With `proxyProtocol`
    /// only they may send its header; empty: everyone.
    #[serde(rename = "trustedCIDRs")]
    #[schemars(with = "Vec<schema::Prefix>")]
    pub trusted_cidrs: Vec<IpNet>,
}

/// Headers we write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientHeaders {
    /// What becomes of `X-Request-Id`; absent: `PreserveOrGenerate`.
    #[serde(rename = "requestID")]
    pub request_id: Option<RequestIdAction>,
    /// Ours: `Strict-Transport-Security` in answers to clients that come by TLS, the gateway's own too, in place of the
    /// backend's; a route's filter for it counts before this. Absent: backends say it, or nobody.
    #[serde(rename = "strictTransportSecurity")]
    pub strict_transport_security: Option<StrictTransportSecurity>,
}

/// What browsers are told about coming by TLS only (RFC 6797 section 6.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrictTransportSecurity {
    /// How long they are to remember it, in whole seconds; `0s`: they are to forget it.
    #[schemars(with = "schema::Time")]
    pub max_age: String,
    /// Whether it holds for all names below, too; default: no.
    #[serde(default)]
    pub include_sub_domains: bool,
    /// Whether lists built into browsers may name the host; they want `includeSubDomains` and a year. Default: no.
    #[serde(default)]
    pub preload: bool,
}

/// What becomes of `X-Request-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestIdAction {
    /// The client's is kept if it is well-formed; else one is made.
    PreserveOrGenerate,
    /// The client's is kept if it is well-formed; none is made.
    Preserve,
    /// One is made always.
    Generate,
    /// It is not touched, and none is made.
    Disable,
}

/// Time limits towards clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientTimeout {
    /// Of HTTP.
    pub http: Option<ClientHttpTimeout>,
    /// Of connections.
    pub tcp: Option<ClientTcpTimeout>,
}

/// Time limits of HTTP. `0s` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientHttpTimeout {
    /// From a request's first byte to its last.
    #[schemars(with = "Option<schema::Time>")]
    pub request_received_timeout: Option<String>,
    /// From a request's first byte to the end of its headers; HTTP/2: of any header block, after which the connection ends.
    /// Absent: the gateway's own limit, 10 s.
    #[schemars(with = "Option<schema::Time>")]
    pub request_headers_received_timeout: Option<String>,
    /// How long a connection may have no request.
    #[schemars(with = "Option<schema::Time>")]
    pub idle_timeout: Option<String>,
    /// How long a request may go without a byte in either direction.
    #[schemars(with = "Option<schema::Time>")]
    pub stream_idle_timeout: Option<String>,
}

/// Time limits of connections. `0s` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTcpTimeout {
    /// How long a proxied TCP or TLS connection may go without a byte; no effect on UDP.
    #[schemars(with = "Option<schema::Time>")]
    pub idle_timeout: Option<String>,
    /// How long a TLS handshake may take; absent: the gateway's own limit, 10 s.
    #[serde(rename = "tlsHandshakeTimeout")]
    #[schemars(with = "Option<schema::Time>")]
    pub tls_handshake_timeout: Option<String>,
}

/// Connections of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    /// Limits on all of them.
    pub connection_limit: Option<ConnectionLimit>,
    /// Ours: how many one client address may have open on a listener of one gateway, at least 1; absent: no limit.
    #[schemars(range(min = 1))]
    pub max_connections_per_client: Option<u32>,
}

/// Limits on connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionLimit {
    /// How many a listener of one gateway may have open, at least 1; absent: no limit.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub value: Option<u64>,
    /// How long one may live before it is drained: an HTTP/1 connection ends with its next response or as soon as it has no
    /// request, an HTTP/2 one takes no more streams; what is under way ends by itself. HTTP only; absent or `0s`: no limit.
    #[schemars(with = "Option<schema::Time>")]
    pub max_connection_duration: Option<String>,
    /// How many requests one may carry before it is drained; absent: no limit.
    #[schemars(range(min = 1))]
    pub max_requests_per_connection: Option<u32>,
}

/// HTTP/1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientHttp1 {
    /// HTTP/1.0, which is served with or without this.
    pub http10: Option<Http10>,
}

/// HTTP/1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Http10 {
    /// Whether a request of HTTP/1.0 without Host is taken as for the listener's hostname, which must be no wildcard; of
    /// several listeners that share a socket the first that says so counts. Default: it reaches listeners without a
    /// hostname only.
    pub use_default_host: bool,
}

/// HTTP/2 (RFC 9113 section 6.5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientHttp2 {
    /// SETTINGS_MAX_CONCURRENT_STREAMS, 1 to 2^31 - 1.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_concurrent_streams: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE in bytes, 65,535 to 2^31 - 1.
    #[schemars(with = "Option<schema::Window>")]
    pub initial_stream_window_size: Option<Quantity>,
    /// The connection's window in bytes, 65,535 to 2^31 - 1.
    #[schemars(with = "Option<schema::Window>")]
    pub initial_connection_window_size: Option<Quantity>,
}

/// TLS towards clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("!has(self.minVersion) || !has(self.maxVersion) || self.minVersion == 'Auto' || self.maxVersion == 'Auto' || double(self.minVersion) <= double(self.maxVersion)", "minVersion must not be above maxVersion"),
])))]
pub struct ClientTls {
    /// The oldest version spoken; absent: 1.2.
    pub min_version: Option<TlsVersion>,
    /// The newest version spoken; absent: the newest there is.
    pub max_version: Option<TlsVersion>,
    /// Cipher suites by OpenSSL's names or IANA's, preferred first; empty: our choice.
    pub ciphers: Vec<String>,
    /// Protocols offered (`h2`, `http/1.1`), preferred first; empty: ALPN is off; absent, or none of
    /// them known: both.
    #[serde(rename = "alpnProtocols")]
    pub alpn_protocols: Option<Vec<String>>,
    /// Sessions; absent: they are resumed by tickets.
    pub session: Option<ClientTlsSession>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// Our choice.
    Auto,
    /// TLS 1.0 (RFC 2246).
    #[serde(rename = "1.0")]
    V1_0,
    /// TLS 1.1 (RFC 4346).
    #[serde(rename = "1.1")]
    V1_1,
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}

/// TLS sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientTlsSession {
    /// How sessions are resumed; absent (`session: {}`): not at all.
    pub resumption: Option<TlsResumption>,
}

/// How TLS sessions are resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TlsResumption {
    /// By tickets that the client keeps (RFC 5077, RFC 8446 section 2.2).
    pub stateless: Option<Empty>,
    /// By sessions that we keep; not served.
    pub stateful: Option<Empty>,
}

/// A setting that has no fields: it is there or it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// Ours: sizes of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientLimits {
    /// Request line and headers, in bytes; beyond it 431.
    #[schemars(with = "Option<schema::HeadBytes>")]
    pub max_request_header_bytes: Option<Quantity>,
    /// How many headers; beyond it 431.
    #[schemars(range(min = 1, max = 256))]
    pub max_request_header_count: Option<u32>,
    /// The body, in bytes; beyond it 413.
    #[schemars(with = "Option<schema::BytesAboveZero>")]
    pub max_request_body_bytes: Option<Quantity>,
}
