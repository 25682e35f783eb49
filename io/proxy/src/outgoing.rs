//! Heads as the proxy writes them: to the upstream, and to the client.

use std::io::Write;

use tidegate_model::traffic::HeaderChanges;
use tidegate_traffic::client::{Origin, alias, is_claim};
use tidegate_traffic::headers::{appended, drops};

use crate::framing::BodyLength;
use crate::framing::lines::{is_hop_by_hop, is_named};
use crate::framing::request::RequestHead;
use crate::framing::response::ResponseHead;

/// The name of the request's identity, kept from the client if it is well-formed.
pub const REQUEST_ID: &str = "x-request-id";

/// What the gateway adds to a request.
pub struct RequestContext<'a> {
    /// Who sent it.
    pub origin: Origin<'a>,
    /// What names it in logs.
    pub request_id: &'a str,
    /// `Host` when the request names none.
    pub host_fallback: &'a str,
}

/// The head that goes upstream.
pub fn request(head: &RequestHead, changes: &HeaderChanges, context: &RequestContext<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 256);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{} {}", head.method(), head.path());
    if let Some(query) = head.query() {
        let _ = write!(out, "?{query}");
    }
    let new_host = changes.set.iter().find(|(name, _)| name == "host").map(|(_, value)| value.as_str());
    let host = if head.authority().is_empty() { context.host_fallback } else { head.authority() };
    let _ = write!(out, " HTTP/1.1\r\nhost: {}\r\n", new_host.unwrap_or(host));
    for (name, value) in head.lines() {
        let ends_here = is_hop_by_hop(name)
            || name.eq_ignore_ascii_case("host")
            || is_claim(name)
            || alias(REQUEST_ID, name)
            || (head.http_1_0 && name.eq_ignore_ascii_case("expect"))
            || (head.names_headers && is_named_in(head, name));
        if !ends_here && !drops(changes, name) {
            line(&mut out, name, value);
        }
    }
    for (name, value) in appended(changes).filter(|(name, _)| !is_hop_by_hop(name) && *name != "host") {
        line(&mut out, name, value.as_bytes());
    }
    context.origin.write(&mut out);
    line(&mut out, REQUEST_ID, context.request_id.as_bytes());
    framing(&mut out, head.body);
    if let Some(protocol) = head.upgrade() {
        out.extend_from_slice(b"connection: upgrade\r\n");
        line(&mut out, "upgrade", protocol);
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn is_named_in(head: &RequestHead, name: &str) -> bool {
    let connection = head.lines().filter(|(line, _)| line.eq_ignore_ascii_case("connection"));
    is_named(connection.map(|(_, value)| value), name)
}

/// What the client is told about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1 goes on without a word.
    Silent,
    /// `Connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
    /// `Connection: close`.
    Close,
    /// `Connection: upgrade`; the response's own `Upgrade` follows.
    Upgrade,
}

impl Persistence {
    /// The word for a connection that goes on or not.
    pub fn of(keep: bool, http_1_0: bool) -> Persistence {
        match (keep, http_1_0) {
            (false, _) => Persistence::Close,
            (true, false) => Persistence::Silent,
            (true, true) => Persistence::KeepAlive,
        }
    }

    /// The header line, if there is one.
    pub fn line(self) -> &'static str {
        match self {
            Persistence::Silent => "",
            Persistence::KeepAlive => "connection: keep-alive\r\n",
            Persistence::Close => "connection: close\r\n",
            Persistence::Upgrade => "connection: upgrade\r\n",
        }
    }
}

/// The head that goes to the client. `body` is how the body is framed there.
pub fn response(
    head: &ResponseHead<'_, '_>,
    changes: &HeaderChanges,
    body: BodyLength,
    persistence: Persistence,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "HTTP/1.1 {} {}\r\n", head.status, head.phrase);
    // A response without body may state the length that another one would have (RFC 9110 section 8.6).
    let hints = body == BodyLength::None && !matches!(head.status, 100..=199 | 204);
    let mut hinted = false;
    for header in head.headers {
        let (name, value) = (header.name, header.value);
        let hint = hints && !hinted && name.eq_ignore_ascii_case("content-length");
        hinted |= hint;
        let protocol = persistence == Persistence::Upgrade && name.eq_ignore_ascii_case("upgrade");
        let stays =
            is_hop_by_hop(name) || (head.names_headers && stays_there(head, name)) || drops(changes, name);
        if hint || protocol || !stays {
            line(&mut out, name, value);
        }
    }
    for (name, value) in appended(changes).filter(|(name, _)| !is_hop_by_hop(name)) {
        line(&mut out, name, value.as_bytes());
    }
    framing(&mut out, body);
    out.extend_from_slice(persistence.line().as_bytes());
    out.extend_from_slice(b"\r\n");
    out
}

fn stays_there(head: &ResponseHead<'_, '_>, name: &str) -> bool {
    let connection = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
    is_named(connection.map(|header| header.value), name)
}

fn framing(out: &mut Vec<u8>, body: BodyLength) {
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        // Writing to a Vec cannot fail.
        BodyLength::Length(length) => _ = write!(out, "content-length: {length}\r\n"),
        BodyLength::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
