//! Settings of a BackendTrafficPolicy that mean nothing to a kind of route that it holds for.

use tidegate_objects::policy::{BackendTrafficPolicy, CircuitBreaker, ConsistentHashType};
use tidegate_objects::{Key, Kind};

use crate::report::Report;

/// Says of each that it has no effect there; it may have for routes of other kinds.
pub(super) fn note(policy: &BackendTrafficPolicy, kind: Kind, route: &Key, report: &mut Report<'_>) {
    let (fields, carries) = match kind {
        Kind::UDPRoute => (of_datagrams(policy), "datagrams"),
        Kind::TCPRoute | Kind::TLSRoute => (of_connections(policy), "connections, not requests"),
        _ => return,
    };
    for field in fields {
        let message = format!("it has no effect on {kind} {route}, which carries {carries}");
        report.warn("NoEffect", field, message);
    }
}

fn of_datagrams(policy: &BackendTrafficPolicy) -> Vec<&'static str> {
    let fields = [
        ("loadBalancer.consistentHash", hashes_request(policy)),
        ("healthCheck.active", policy.health_check.as_ref().is_some_and(|check| check.active.is_some())),
        ("circuitBreaker", policy.circuit_breaker.is_some()),
        ("timeout", policy.timeout.is_some()),
        ("http2", policy.http2.is_some()),
        ("retry", policy.retry.is_some()),
        ("proxyProtocol", policy.proxy_protocol.is_some()),
        ("compression", !policy.compression.is_empty()),
        ("compressor", !policy.compressor.is_empty()),
        ("responseOverride", !policy.response_override.is_empty()),
    ];
    given(&fields)
}

fn of_connections(policy: &BackendTrafficPolicy) -> Vec<&'static str> {
    let usual = CircuitBreaker::default();
    let limits = policy.circuit_breaker.as_ref().unwrap_or(&usual);
    let fields = [
        ("loadBalancer.consistentHash", hashes_request(policy)),
        // A limit that was left out reads as its default.
        ("circuitBreaker.maxParallelRequests", limits.max_parallel_requests != usual.max_parallel_requests),
        ("circuitBreaker.maxRequestsPerConnection", limits.max_requests_per_connection.is_some()),
        ("http2", policy.http2.is_some()),
        ("timeout.http", policy.timeout.as_ref().is_some_and(|timeout| timeout.http.is_some())),
        ("retry", policy.retry.is_some()),
        ("compression", !policy.compression.is_empty()),
        ("compressor", !policy.compressor.is_empty()),
        ("responseOverride", !policy.response_override.is_empty()),
    ];
    given(&fields)
}

fn given(fields: &[(&'static str, bool)]) -> Vec<&'static str> {
    fields.iter().filter(|(_, given)| *given).map(|(field, _)| *field).collect()
}

/// Whether endpoints are chosen by what only a request has: a header or a cookie.
fn hashes_request(policy: &BackendTrafficPolicy) -> bool {
    let hash = policy.load_balancer.as_ref().and_then(|balancer| balancer.consistent_hash.as_ref());
    hash.is_some_and(|hash| hash.hash_type != ConsistentHashType::SourceIp)
}
