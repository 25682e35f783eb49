//! A traced exchange as spans: one of kind SERVER for the request, below it one of kind CLIENT for each attempt.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions for HTTP spans; what they have no word for begins
//! with `tidegate.`. Queries are left out everywhere: they may hold secrets.

use std::time::{Duration, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use tidegate_model::spans::{TracedAttempt, TracedExchange};

/// The trace flag of W3C Trace Context.
const SAMPLED: u32 = 0x01;
/// Bits of a span's flags: whether its parent is another process's is known, and whether it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Methods that are values of their own; others are `_OTHER`, so that nobody can make new ones.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Adds the spans of an exchange.
pub fn add(exchange: &TracedExchange, spans: &mut Vec<Span>) {
    spans.push(server(exchange));
    for (resends, attempt) in exchange.attempts.iter().enumerate() {
        spans.push(client(exchange, attempt, resends));
    }
}

fn server(exchange: &TracedExchange) -> Span {
    let (start, end) = times(exchange, Duration::ZERO, exchange.duration);
    let (name, mut attributes) = method(&exchange.method, &exchange.pattern);
    let (host, port) = authority(&exchange.host, exchange.scheme);
    let broke = exchange.status < 400 && !exchange.reason.is_empty();
    let error =
        if exchange.status >= 500 || broke { why(exchange.status, exchange.reason) } else { String::new() };
    attributes.extend(
        [
            text("url.scheme", exchange.scheme),
            text("url.path", &exchange.path),
            text("http.route", &exchange.pattern),
            text("server.address", host),
            number("server.port", port),
            number("http.response.status_code", exchange.status),
            text("error.type", &error),
            text("client.address", &exchange.client.to_string()),
            text("network.peer.address", &exchange.peer.ip().to_string()),
            number("network.peer.port", exchange.peer.port()),
            text("network.protocol.version", version(exchange.protocol)),
            text("user_agent.original", &exchange.user_agent),
            text("tidegate.listener", &exchange.listener),
            text("tidegate.route", &exchange.route),
            text("tidegate.backend", &exchange.backend),
            text("tidegate.reason", exchange.reason),
            text("tidegate.request_id", &exchange.request_id),
        ]
        .into_iter()
        .flatten(),
    );
    Span {
        trace_id: exchange.trace_id.to_vec(),
        span_id: exchange.span_id.to_vec(),
        trace_state: exchange.trace_state.clone(),
        parent_span_id: exchange.parent_id.map(Vec::from).unwrap_or_default(),
        flags: SAMPLED | HAS_IS_REMOTE | if exchange.parent_id.is_some() { IS_REMOTE } else { 0 },
        name,
        kind: SpanKind::Server.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes,
        status: Some(status(!error.is_empty(), exchange.reason)),
        ..Span::default()
    }
}

fn client(exchange: &TracedExchange, attempt: &TracedAttempt, resends: usize) -> Span {
    let (start, end) = times(exchange, attempt.after, attempt.duration);
    let (name, mut attributes) = method(&exchange.method, "");
    let failed = attempt.status == 0 || attempt.status >= 400 || !attempt.reason.is_empty();
    let error = if failed { why(attempt.status, attempt.reason) } else { String::new() };
    let address = attempt.endpoint.ip().to_canonical().to_string();
    attributes.extend(
        [
            text("url.full", &attempt.url),
            text("server.address", &address),
            number("server.port", attempt.endpoint.port()),
            number("http.response.status_code", attempt.status),
            text("error.type", &error),
            number("http.request.resend_count", resends as u64),
            text("network.peer.address", &address),
            number("network.peer.port", attempt.endpoint.port()),
            text("network.protocol.version", version(attempt.protocol)),
            text("tidegate.route", &exchange.route),
            text("tidegate.backend", &exchange.backend),
            text("tidegate.endpoint", &attempt.endpoint.to_string()),
        ]
        .into_iter()
        .flatten(),
    );
    Span {
        trace_id: exchange.trace_id.to_vec(),
        span_id: attempt.span_id.to_vec(),
        trace_state: exchange.trace_state.clone(),
        parent_span_id: exchange.span_id.to_vec(),
        flags: SAMPLED | HAS_IS_REMOTE,
        name,
        kind: SpanKind::Client.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes,
        status: Some(status(failed, attempt.reason)),
        ..Span::default()
    }
}

/// The name of a span, and what it says of the method.
fn method(method: &str, pattern: &str) -> (String, Vec<KeyValue>) {
    let known = METHODS.contains(&method);
    let (word, value) = if known { (method, method) } else { ("HTTP", "_OTHER") };
    let name = if pattern.is_empty() { word.to_owned() } else { format!("{word} {pattern}") };
    let original = text("http.request.method_original", if known { "" } else { method });
    (name, text("http.request.method", value).into_iter().chain(original).collect())
}

/// Host and port that were asked for; the port of the scheme where none is named.
fn authority<'a>(host: &'a str, scheme: &str) -> (&'a str, u16) {
    let split = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let named = split.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = named.unwrap_or((host, if scheme == "https" { 443 } else { 80 }));
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// What makes it an error, of few values: the gateway's word for it, else the status.
fn why(status: u16, reason: &str) -> String {
    if reason.is_empty() { status.to_string() } else { reason.to_owned() }
}

fn status(is_error: bool, reason: &str) -> Status {
    let code = if is_error { StatusCode::Error } else { StatusCode::Unset };
    Status { code: code.into(), message: if is_error { reason.to_owned() } else { String::new() } }
}

/// `1.1` of `HTTP/1.1`.
fn version(protocol: &str) -> &str {
    protocol.strip_prefix("HTTP/").unwrap_or_default()
}

/// Nanoseconds since 1970 of a part of the exchange.
fn times(exchange: &TracedExchange, after: Duration, duration: Duration) -> (u64, u64) {
    let ended = exchange.ended.duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = ended.saturating_sub(exchange.duration) + after;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    (nanos(start), nanos(start + duration))
}

/// An attribute; none where there is nothing to say.
pub fn text(key: &str, value: &str) -> Option<KeyValue> {
    (!value.is_empty()).then(|| attribute(key, Value::StringValue(value.to_owned())))
}

fn number(key: &str, value: impl Into<u64>) -> Option<KeyValue> {
    let value = value.into();
    (value > 0).then(|| attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX))))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host is named without its port, and its port is that of the scheme where it names none.
    #[test]
    fn authorities() {
        for (host, scheme, expected) in [
            ("a.example", "http", ("a.example", 80)),
            ("a.example", "https", ("a.example", 443)),
            ("a.example:8080", "http", ("a.example", 8080)),
            ("[::1]:81", "http", ("::1", 81)),
            ("[::1]", "http", ("::1", 80)),
        ] {
            assert_eq!(authority(host, scheme), expected, "{host}");
        }
    }

    /// A method that is none of the known ones does not become a name that nobody expects.
    #[test]
    fn methods() {
        assert_eq!(method("GET", "/a").0, "GET /a");
        let (name, attributes) = method("BREW", "");
        assert_eq!((name.as_str(), attributes.len()), ("HTTP", 2));
    }
}
