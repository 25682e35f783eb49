//! ClientTrafficPolicy: which one holds on which listener (GEP-713), and what it says.
//!
//! A policy for one listener holds before one for its whole ListenerSet, and that before one for the whole Gateway; it
//! holds as a whole. Among equals the oldest does. What cannot be used in it is left out and named; the rest holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::traffic::{
    ClientLimits, ClientPolicy, ClientTimeouts, HostPattern, ProxyProtocolIn, RequestIds, ServerTls,
    TlsVersion, Trust,
};
use tidegate_objects::policy::{
    self, ClientConnection, ClientTimeout, ClientTls, ClientTrafficPolicy, RequestIdAction,
    StrictTransportSecurity, XForwardedFor,
};
use tidegate_objects::{Key, Kind, Quantity, Snapshot};

use crate::duration;
use crate::gateway::OurGateway;
use crate::http2;
use crate::listener::{Listener, Protocol};
use crate::policy_target::{Policies, Target};
use crate::report::Report;
use crate::verdicts::Verdicts;

/// Bytes of a request's head; the proxy's buffer holds no more.
const HEADER_BYTES_MAX: u64 = 64 * 1024;

/// Header lines of a request; the proxy's table holds no more.
const HEADER_LINES_MAX: u64 = 256;

/// What browsers' own lists want to be promised (hstspreload.org).
const PRELOAD_AGE_MIN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Cipher suites of TLS 1.2: OpenSSL's name, and what IANA's has behind `TLS_`.
const OPENSSL_NAMES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// Gives every listener its policy, and its TLS what the policy says of it.
pub(crate) fn apply(gateways: &mut [OurGateway<'_>], snapshot: &Snapshot, verdicts: &mut Verdicts) {
    let settled = Policies {
        kind: Kind::ClientTrafficPolicy,
        all: &snapshot.client_traffic_policies,
        targets: |policy: &ClientTrafficPolicy| &policy.target_refs,
        snapshot,
        attaches_to: &[Kind::Gateway, Kind::ListenerSet],
    }
    .settle(verdicts);
    let mut policies = BTreeMap::new();
    for (key, policy) in &snapshot.client_traffic_policies {
        let mut report = Report::new(Kind::ClientTrafficPolicy, key, "spec", verdicts);
        policies.insert(key, read(&policy.spec, &mut report));
    }
    let mut used = BTreeSet::new();
    for gateway in gateways {
        let key = gateway.resource.key();
        for listener in &mut gateway.listeners {
            let places = places(listener, key);
            let found = places.iter().find_map(|place| settled.get(place)).map(|policy| policy.key());
            if let Some((key, settings)) = found.and_then(|key| policies.get_key_value(key)) {
                used.insert(*key);
                settings.apply(key, listener);
                note_strangers(key, listener, verdicts);
            }
        }
    }
    for key in policies.keys().filter(|key| !used.contains(*key)) {
        if !verdicts.is_rejected(Kind::ClientTrafficPolicy, key) {
            let message = "no Gateway of ours goes by its targets, or each listener has a policy of its own; it does nothing yet";
            verdicts.warn(Kind::ClientTrafficPolicy, key, "NoEffect", "spec.targetRefs", message.to_owned());
        }
    }
}

/// Says of settings that they mean nothing to a listener of that protocol, or without a hostname.
fn note_strangers(key: &Key, listener: &Listener<'_>, verdicts: &mut Verdicts) {
    let Some((_, client)) = &listener.client else { return };
    let (section, protocol) = (listener.section(), listener.protocol);
    let mut tell = |field: &str, message: String| {
        verdicts.warn(Kind::ClientTrafficPolicy, key, "NoEffect", field, message);
    };
    if client.timeouts.tcp_idle.is_some() && protocol == Some(Protocol::Udp) {
        let message = format!("listener {section} is UDP, whose sessions end by the gateway's own limit");
        tell("spec.timeout.tcp.idleTimeout", message);
    }
    let is_http = matches!(protocol, Some(Protocol::Http | Protocol::Https));
    if client.timeouts.connection_max.is_some() && protocol.is_some() && !is_http {
        let message = format!("listener {section} passes connections on, which nobody can be asked to end");
        tell("spec.connection.connectionLimit.maxConnectionDuration", message);
    }
    let is_named = matches!(listener.hostname, Some(HostPattern::Exact(_)));
    if client.default_host && is_http && !is_named {
        let message = format!("listener {section} has no hostname, or a wildcard: there is none to be meant");
        tell("spec.http1.http10.useDefaultHost", message);
    }
}

/// What a policy may be attached to in order to hold on a listener, the nearest first.
fn places(listener: &Listener<'_>, gateway: &Key) -> [Target; 3] {
    let (kind, key) = listener.owner;
    let section = Some(listener.spec.name.clone());
    [
        Target { kind, key: key.clone(), section },
        Target { kind, key: key.clone(), section: None },
        Target { kind: Kind::Gateway, key: gateway.clone(), section: None },
    ]
}

/// What a policy says.
#[derive(Default)]
struct Settings {
    client: Arc<ClientPolicy>,
    tls: TlsSettings,
}

/// What a policy says of TLS; what is absent stays as it is.
#[derive(Default)]
struct TlsSettings {
    min_version: Option<TlsVersion>,
    max_version: Option<TlsVersion>,
    ciphers: Vec<String>,
    alpn: Option<Vec<String>>,
    resumption: Option<bool>,
}

impl Settings {
    fn apply(&self, key: &Key, listener: &mut Listener<'_>) {
        listener.client = Some((key.clone(), Arc::clone(&self.client)));
        let https = listener.protocol == Some(Protocol::Https);
        if let Some(tls) = &mut listener.tls {
            self.tls.apply(Arc::make_mut(tls), https);
        }
    }
}

impl TlsSettings {
    fn apply(&self, tls: &mut ServerTls, https: bool) {
        tls.min_version = self.min_version.unwrap_or(tls.min_version);
        tls.max_version = self.max_version.unwrap_or(tls.max_version);
        tls.resumption = self.resumption.unwrap_or(tls.resumption);
        tls.ciphers.clone_from(&self.ciphers);
        // What a TLSRoute carries is not ours to know.
        if let Some(alpn) = self.alpn.as_ref().filter(|_| https) {
            tls.alpn.clone_from(alpn);
        }
    }
}

fn read(policy: &ClientTrafficPolicy, report: &mut Report<'_>) -> Settings {
    let mut client = ClientPolicy {
        proxy_protocol: match &policy.proxy_protocol {
            None => ProxyProtocolIn::Off,
            Some(asked) if asked.optional => ProxyProtocolIn::Optional,
            Some(_) => ProxyProtocolIn::Required,
        },
        forwarded: policy.forwarded.unwrap_or_default(),
        ..ClientPolicy::default()
    };
    let detection = policy.client_ip_detection.as_ref();
    if let Some(asked) = detection.and_then(|detection| detection.x_forwarded_for.as_ref()) {
        client.trust = trust(asked, &mut report.at("clientIPDetection.xForwardedFor"));
    }
    if let Some(asked) = &policy.headers {
        let mut report = report.at("headers");
        client.request_ids = request_ids(asked.request_id);
        let asked = asked.strict_transport_security.as_ref();
        client.transport_security =
            asked.and_then(|asked| transport_security(asked, &mut report.at("strictTransportSecurity")));
    }
    if let Some(asked) = &policy.timeout {
        client.timeouts = timeouts(asked, &mut report.at("timeout"));
    }
    if let Some(asked) = &policy.connection {
        connections(asked, &mut client, &mut report.at("connection"));
    }
    if let Some(asked) = &policy.limits {
        sizes(asked, &mut client.limits, &mut report.at("limits"));
    }
    if let Some(asked) = &policy.http2 {
        client.http2 = http2::read(
            asked.max_concurrent_streams,
            [asked.initial_stream_window_size, asked.initial_connection_window_size],
            &mut report.at("http2"),
        );
    }
    let http10 = policy.http1.as_ref().and_then(|http1| http1.http10.as_ref());
    client.default_host = http10.is_some_and(|http10| http10.use_default_host);
    let tls = policy.tls.as_ref().map(|asked| tls(asked, &mut report.at("tls"))).unwrap_or_default();
    Settings { client: Arc::new(client), tls }
}

fn request_ids(asked: Option<RequestIdAction>) -> RequestIds {
    match asked {
        None | Some(RequestIdAction::PreserveOrGenerate) => RequestIds::PreserveOrGenerate,
        Some(RequestIdAction::Preserve) => RequestIds::Preserve,
        Some(RequestIdAction::Generate) => RequestIds::Generate,
        Some(RequestIdAction::Disable) => RequestIds::Untouched,
    }
}

/// The value of the field. Browsers' own lists take nobody who promises less than they ask for.
fn transport_security(asked: &StrictTransportSecurity, report: &mut Report<'_>) -> Option<String> {
    let age = report.sound("maxAge", duration::gep2257(&asked.max_age))?;
    let mut value = format!("max-age={}", age.as_secs());
    if asked.include_sub_domains {
        value.push_str("; includeSubDomains");
    }
    if asked.preload {
        value.push_str("; preload");
    }
    if asked.preload && (age < PRELOAD_AGE_MIN || !asked.include_sub_domains) {
        let message =
            "browsers' lists take only who says includeSubDomains: true and a maxAge of 8760h or more";
        report.warn("NoEffect", "preload", message.to_owned());
    }
    Some(value)
}

fn trust(asked: &XForwardedFor, report: &mut Report<'_>) -> Trust {
    if asked.num_trusted_hops.is_some() && !asked.trusted_cidrs.is_empty() {
        let message = "numTrustedHops and trustedCIDRs are given; one of them may be, so trustedCIDRs counts";
        report.part("Invalid", "numTrustedHops", message.to_owned());
        // Without networks anyone could send a PROXY protocol header.
        return Trust { hops: 0, cidrs: asked.trusted_cidrs.clone() };
    }
    Trust { hops: asked.num_trusted_hops.unwrap_or_default(), cidrs: asked.trusted_cidrs.clone() }
}

fn timeouts(asked: &ClientTimeout, report: &mut Report<'_>) -> ClientTimeouts {
    let mut time = |below: &str, text: &Option<String>| -> Option<Duration> {
        report.sound(below, duration::gep2257(text.as_deref()?))
    };
    let mut timeouts = ClientTimeouts::default();
    if let Some(http) = &asked.http {
        timeouts.request_received = time("http.requestReceivedTimeout", &http.request_received_timeout);
        let head = &http.request_headers_received_timeout;
        timeouts.head = time("http.requestHeadersReceivedTimeout", head);
        timeouts.idle = time("http.idleTimeout", &http.idle_timeout);
        timeouts.stream_idle = time("http.streamIdleTimeout", &http.stream_idle_timeout);
    }
    if let Some(tcp) = &asked.tcp {
        timeouts.tcp_idle = time("tcp.idleTimeout", &tcp.idle_timeout);
        timeouts.handshake = time("tcp.tlsHandshakeTimeout", &tcp.tls_handshake_timeout);
    }
    timeouts
}

fn connections(asked: &ClientConnection, client: &mut ClientPolicy, report: &mut Report<'_>) {
    let limits = &mut client.limits;
    let small = 1..=u64::from(u32::MAX);
    let mut number = |below: &str, value: Option<u64>| {
        report.sound(below, within(value?, &small)).and_then(|value| u32::try_from(value).ok())
    };
    let per_client = asked.max_connections_per_client.map(u64::from);
    limits.connections_per_client = number("maxConnectionsPerClient", per_client);
    let Some(limit) = &asked.connection_limit else { return };
    limits.connections = number("connectionLimit.value", limit.value);
    let requests = limit.max_requests_per_connection.map(u64::from);
    limits.requests_per_connection = number("connectionLimit.maxRequestsPerConnection", requests);
    let longest = limit.max_connection_duration.as_deref();
    client.timeouts.connection_max = longest
        .and_then(|text| report.sound("connectionLimit.maxConnectionDuration", duration::gep2257(text)))
        .filter(|longest| !longest.is_zero());
}

fn sizes(asked: &policy::ClientLimits, limits: &mut ClientLimits, report: &mut Report<'_>) {
    let mut number =
        |below: &str, value: Option<u64>, max: u64| report.sound(below, within(value?, &(1..=max)));
    let bytes = asked.max_request_header_bytes.map(|Quantity(bytes)| bytes);
    let bytes = number("maxRequestHeaderBytes", bytes, HEADER_BYTES_MAX);
    limits.header_bytes = bytes.and_then(|bytes| u32::try_from(bytes).ok());
    let lines = asked.max_request_header_count.map(u64::from);
    let lines = number("maxRequestHeaderCount", lines, HEADER_LINES_MAX);
    limits.header_lines = lines.and_then(|lines| u32::try_from(lines).ok());
    let body = asked.max_request_body_bytes.map(|Quantity(bytes)| bytes);
    limits.body_bytes = number("maxRequestBodyBytes", body, u64::MAX);
}

/// The value, if it lies there.
pub(crate) fn within(value: u64, range: &std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    match range.contains(&value) {
        true => Ok(value),
        false => Err(format!("{value} is not within {} to {}", range.start(), range.end())),
    }
}

fn tls(asked: &ClientTls, report: &mut Report<'_>) -> TlsSettings {
    let mut settings = TlsSettings {
        min_version: version(asked.min_version, "minVersion", report),
        max_version: version(asked.max_version, "maxVersion", report),
        ..TlsSettings::default()
    };
    if let (Some(min), Some(max)) = (settings.min_version, settings.max_version)
        && min > max
    {
        let message = "minVersion is above maxVersion; both are left out".to_owned();
        report.part("Invalid", "minVersion", message);
        (settings.min_version, settings.max_version) = (None, None);
    }
    for (index, name) in asked.ciphers.iter().enumerate() {
        settings.ciphers.extend(report.sound(&format!("ciphers[{index}]"), cipher(name)));
    }
    settings.alpn = asked.alpn_protocols.as_ref().and_then(|protocols| alpn(protocols, report));
    if let Some(session) = &asked.session {
        let resumption = session.resumption.as_ref();
        settings.resumption = Some(resumption.is_some_and(|asked| asked.stateless.is_some()));
        if resumption.is_some_and(|asked| asked.stateful.is_some()) {
            let consequence = "sessions are resumed by tickets, if stateless is set";
            report.not_served("session.resumption.stateful", consequence);
        }
    }
    settings
}

fn version(asked: Option<policy::TlsVersion>, field: &str, report: &mut Report<'_>) -> Option<TlsVersion> {
    match asked? {
        policy::TlsVersion::Auto => None,
        policy::TlsVersion::V1_2 => Some(TlsVersion::V1_2),
        policy::TlsVersion::V1_3 => Some(TlsVersion::V1_3),
        policy::TlsVersion::V1_0 | policy::TlsVersion::V1_1 => {
            let message = "TLS below 1.2 is not served (RFC 8996); it is left out".to_owned();
            report.part("UnsupportedValue", field, message);
            None
        }
    }
}

/// IANA's name of a cipher suite that is written so, or as OpenSSL calls it.
fn cipher(name: &str) -> Result<String, String> {
    let known = OPENSSL_NAMES.iter().find(|(openssl, _)| *openssl == name);
    let name = known.map_or_else(|| name.to_owned(), |(_, iana)| format!("TLS_{iana}"));
    match tidegate_tls::is_cipher_suite(&name) {
        true => Ok(name),
        false => Err(format!("{name:?} is no cipher suite that is served")),
    }
}

/// The protocols that are served. None, where names are given and none is: a mistake must not turn ALPN off.
fn alpn(protocols: &[String], report: &mut Report<'_>) -> Option<Vec<String>> {
    let mut served = Vec::new();
    for (index, name) in protocols.iter().enumerate() {
        if matches!(name.as_str(), "h2" | "http/1.1") {
            served.push(name.clone());
            continue;
        }
        let message = format!("{name:?} is not served; h2 and http/1.1 are");
        report.part("UnsupportedValue", &format!("alpnProtocols[{index}]"), message);
    }
    if served.is_empty() && !protocols.is_empty() {
        let message = "none of them is served; what is offered without a policy is offered".to_owned();
        report.part("UnsupportedValue", "alpnProtocols", message);
        return None;
    }
    Some(served)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every suite that OpenSSL has a name for here is served, and IANA's own name means itself.
    #[test]
    fn ciphers() {
        for (openssl, iana) in OPENSSL_NAMES {
            let iana = format!("TLS_{iana}");
            assert_eq!(cipher(openssl).as_deref(), Ok(iana.as_str()));
            assert_eq!(cipher(&iana).as_deref(), Ok(iana.as_str()));
        }
        assert!(cipher("RC4-MD5").is_err());
    }
}
