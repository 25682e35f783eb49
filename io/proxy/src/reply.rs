//! Answers of the gateway itself: a status and one sentence of plain text, or what a route says in its place.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_model::traffic::Page;
use tidegate_traffic::Refusal;
use tidegate_traffic::headers::{appended, drops};

use crate::date;
use crate::framing::{BodyLength, Malformed};
use crate::outgoing::{Ending, HeadWriter, Persistence, push_number};

/// An answer that no backend gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// A CamelCase word for the log; empty when a route wants it so.
    pub reason: &'static str,
    /// Further lines, in HTTP/1's spelling.
    pub lines: Vec<u8>,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// One sentence, and a line break after it.
    Sentence(Cow<'static, str>),
    /// These bytes, of this type.
    Bytes(Option<String>, Arc<[u8]>),
    /// Nothing at all.
    Nothing,
}

impl Reply {
    /// No endpoint could be connected to.
    pub fn unreachable() -> Reply {
        Reply::new(502, "UpstreamConnect", "No endpoint of the service could be reached.")
    }

    /// No endpoint accepted a connection in time.
    pub fn connect_timeout() -> Reply {
        Reply::new(504, "UpstreamConnectTimeout", "No endpoint of the service accepted a connection in time.")
    }

    /// The upstream closed or broke the connection before it answered.
    pub fn upstream_closed() -> Reply {
        Reply::new(502, "UpstreamClosed", "The service closed the connection before it answered.")
    }

    /// The upstream's answer is no acceptable HTTP.
    pub fn upstream_malformed() -> Reply {
        Reply::new(502, "UpstreamMalformed", "The service gave a malformed answer.")
    }

    /// The upstream did not answer in time.
    pub fn upstream_timeout() -> Reply {
        Reply::new(504, "UpstreamTimeout", "The service did not answer in time.")
    }

    /// The service speaks HTTP/2 and did not say that it takes WebSockets on it.
    pub fn no_tunnel() -> Reply {
        let message = "The service speaks HTTP/2 and does not take WebSockets on it (RFC 8441).";
        Reply::new(502, "UpstreamNoExtendedConnect", message)
    }

    /// The client asks for a WebSocket without a proper key.
    pub fn bad_handshake() -> Reply {
        Reply::new(400, "BadWebSocketKey", "The WebSocket handshake has no proper key.")
    }

    /// The client did not send its request in time.
    pub fn client_timeout() -> Reply {
        Reply::new(408, "ClientTimeout", "The request did not arrive in time.")
    }

    /// The client sends its request too slowly.
    pub fn client_too_slow() -> Reply {
        Reply::new(408, "ClientTooSlow", "The request arrives too slowly.")
    }

    /// TLS with the endpoint did not come about, for this reason.
    pub fn insecure(reason: &'static str) -> Reply {
        Reply::new(502, reason, "No secure connection to the service could be made.")
    }

    /// The request's body is larger than the listener allows.
    pub fn body_too_large() -> Reply {
        Reply::new(413, "BodyTooLarge", "The request's body is too large.")
    }

    /// The request's time was over before a response began.
    pub fn request_timeout() -> Reply {
        Reply::new(504, "RequestTimeout", "The request took longer than its route allows.")
    }

    /// An attempt's time was over before its response began.
    pub fn attempt_timeout() -> Reply {
        Reply::new(504, "BackendRequestTimeout", "The service took longer than the route allows.")
    }

    /// The gateway has too much to do.
    pub fn overloaded() -> Reply {
        let mut reply = Reply::new(503, "Overloaded", "The gateway is overloaded; try again later.");
        reply.lines.extend_from_slice(b"retry-after: 5\r\n");
        reply
    }

    /// A question that the client wants no backend to get (RFC 9110 section 7.6.2). OPTIONS learns that there is an answer;
    /// TRACE is not reflected, for what it would show may be secret.
    pub fn last_hop(method: &str) -> Reply {
        if method == "OPTIONS" {
            return Reply { reason: "MaxForwards", ..Reply::bare(200, Vec::new()) };
        }
        let message = "The gateway, which Max-Forwards makes the last to be asked, does not answer TRACE.";
        let mut reply = Reply::new(405, "MaxForwards", message);
        reply.lines.extend_from_slice(b"allow: OPTIONS\r\n");
        reply
    }

    /// What a route says; `lines` are further lines.
    pub fn of_route(status: u16, content_type: Option<String>, body: Arc<[u8]>, lines: Vec<u8>) -> Reply {
        Reply { status, reason: "", lines, content: Content::Bytes(content_type, body) }
    }

    /// An answer without content.
    pub fn bare(status: u16, lines: Vec<u8>) -> Reply {
        Reply { status, reason: "", lines, content: Content::Nothing }
    }

    fn new(status: u16, reason: &'static str, message: &'static str) -> Reply {
        Reply { status, reason, lines: Vec::new(), content: Content::Sentence(message.into()) }
    }

    fn length(&self) -> u64 {
        match &self.content {
            Content::Sentence(sentence) => sentence.len() as u64 + 1,
            Content::Bytes(_, body) => body.len() as u64,
            Content::Nothing => 0,
        }
    }

    /// The same with one more line.
    pub fn with_line(&self, name: &str, value: &str) -> Reply {
        let mut reply = self.clone();
        for part in [name, ": ", value, "\r\n"] {
            reply.lines.extend_from_slice(part.as_bytes());
        }
        reply
    }

    /// Whether a further line has this name, which is in lower case.
    pub fn says(&self, name: &str) -> bool {
        self.lines.split(|&byte| byte == b'\n').any(|line| named(line).eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Writes the head.
    pub fn write_head(&self, persistence: Persistence, out: &mut HeadWriter<'_>) {
        out.status(self.status, "");
        match &self.content {
            Content::Sentence(_) => out.line("content-type", b"text/plain"),
            Content::Bytes(Some(content_type), _) => out.line("content-type", content_type.as_bytes()),
            Content::Bytes(None, _) | Content::Nothing => {}
        }
        if !self.says("date") {
            out.line("date", &date::now());
        }
        out.text(&self.lines);
        let bodiless = matches!(self.status, 100..=199 | 204 | 304);
        let body = if bodiless { BodyLength::None } else { BodyLength::Length(self.length()) };
        out.end(&Ending { body, persistence, upgrade: None });
    }

    /// Writes the content.
    pub fn write_content(&self, out: &mut Vec<u8>) {
        match &self.content {
            Content::Sentence(sentence) => {
                out.extend_from_slice(sentence.as_bytes());
                out.push(b'\n');
            }
            Content::Bytes(_, body) => out.extend_from_slice(body),
            Content::Nothing => {}
        }
    }

    /// The same with what a policy says in its place; what that leaves open stays.
    pub fn replaced(&self, page: &Page) -> Reply {
        let mut reply = self.clone();
        reply.status = page.status.unwrap_or(reply.status);
        match &page.body {
            Some(body) => reply.content = Content::Bytes(page.content_type.clone(), body.clone()),
            None if page.content_type.is_some() => {
                let mut content = Vec::new();
                self.write_content(&mut content);
                reply.content = Content::Bytes(page.content_type.clone(), content.into());
            }
            None => {}
        }
        let name = |line: &[u8]| String::from_utf8_lossy(named(line)).into_owned();
        let lines = self.lines.split_inclusive(|&byte| byte == b'\n');
        let kept = lines.filter(|line| !drops(&page.headers, &name(line)));
        reply.lines = kept.collect::<Vec<_>>().concat();
        for (name, value) in appended(&page.headers) {
            for part in [name, ": ", value, "\r\n"] {
                reply.lines.extend_from_slice(part.as_bytes());
            }
        }
        reply
    }

    /// The same with another status and these further lines, and without content.
    pub fn redirected(&self, status: u16, lines: Vec<u8>) -> Reply {
        Reply { status, reason: self.reason, lines, content: Content::Nothing }
    }

    /// Writes the answer to a gRPC call: status 200, and what it comes to in the head, without content (the gRPC protocol's
    /// Trailers-Only, and its table of HTTP statuses). gRPC-Web has a content type of its own.
    pub fn write_grpc(&self, content_type: &[u8], persistence: Persistence, out: &mut HeadWriter<'_>) {
        out.status(200, "");
        out.line("content-type", content_type);
        out.line("date", &date::now());
        let mut code = Vec::new();
        push_number(&mut code, grpc_status(self.status));
        out.line("grpc-status", &code);
        if let Content::Sentence(sentence) = &self.content {
            out.line("grpc-message", sentence.replace('%', "%25").as_bytes());
        }
        out.end(&Ending { body: BodyLength::Length(0), persistence, upgrade: None });
    }
}

/// The name of a line.
fn named(line: &[u8]) -> &[u8] {
    line.split(|&byte| byte == b':').next().unwrap_or_default()
}

/// The status of gRPC for one of HTTP.
fn grpc_status(status: u16) -> u64 {
    match status {
        200..=299 => 2,
        400 | 431 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        408 => 1,
        413 => 8,
        429 | 502 | 503 => 14,
        504 => 4,
        _ => 2,
    }
}

impl From<Malformed> for Reply {
    fn from(malformed: Malformed) -> Reply {
        Reply::new(malformed.status, malformed.reason, malformed.message)
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        let message: Cow<'static, str> = match refusal {
            Refusal::NO_LISTENER => "No listener here serves this host.".into(),
            Refusal::NO_ROUTE => "No route serves this host.".into(),
            Refusal::NO_RULE => "No route matches this request.".into(),
            Refusal::MISDIRECTED => "This connection was made for another host.".into(),
            Refusal::NO_ENDPOINT => "The service has no ready endpoint.".into(),
            Refusal::NO_HEALTHY_ENDPOINT => "The service has no healthy endpoint.".into(),
            Refusal::NO_BACKEND_WEIGHT => "The route sends its traffic nowhere.".into(),
            Refusal::CIRCUIT_OPEN | Refusal::QUEUE_FULL => "The service has as much to do as it may.".into(),
            Refusal::NO_CONNECTIONS => "The gateway has as many connections to services as it may.".into(),
            Refusal { reason, .. } => format!("The route cannot be served as written: {reason}.").into(),
        };
        Reply {
            status: refusal.status,
            reason: refusal.reason,
            lines: Vec::new(),
            content: Content::Sentence(message),
        }
    }
}

/// What stands after a status; HTTP/2 upstreams send none.
pub fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply, grpc: bool, persistence: Persistence) -> String {
        let mut out = Vec::new();
        match grpc {
            true => reply.write_grpc(b"application/grpc", persistence, &mut HeadWriter::Http1(&mut out)),
            false => reply.write_head(persistence, &mut HeadWriter::Http1(&mut out)),
        }
        let text = String::from_utf8(out).unwrap();
        let mut date = text.split_inclusive('\n').filter(|line| line.starts_with("date: "));
        let (line, more) = (date.next().unwrap_or_default(), date.next());
        assert!(line.ends_with(" GMT\r\n") && more.is_none(), "{text}");
        text.replacen(line, "", 1)
    }

    /// An answer has a length, the sentence, and its own further lines.
    #[test]
    fn answers_are_complete() {
        let reply = Reply::from(Refusal::NO_ENDPOINT);
        let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 35\r\n";
        assert_eq!(written(&reply, false, Persistence::Silent), format!("{head}\r\n"));
        assert_eq!(written(&reply, false, Persistence::Close), format!("{head}connection: close\r\n\r\n"));
        let mut content = Vec::new();
        reply.write_content(&mut content);
        assert_eq!(content, b"The service has no ready endpoint.\n");
        assert!(written(&Reply::overloaded(), false, Persistence::Silent).contains("retry-after: 5\r\n"));
    }

    /// A gRPC call gets status 200 and a status of gRPC's own; an answer of a route without content states no length that
    /// its status forbids.
    #[test]
    fn other_answers() {
        let grpc = written(&Reply::from(Refusal::NO_RULE), true, Persistence::Silent);
        assert!(grpc.starts_with("HTTP/1.1 200 OK\r\n") && grpc.contains("grpc-status: 12\r\n"), "{grpc}");
        assert!(grpc.contains("grpc-message: No route matches this request.\r\n"), "{grpc}");
        let bare = written(&Reply::bare(204, b"a: b\r\n".to_vec()), false, Persistence::Silent);
        assert_eq!(bare, "HTTP/1.1 204 No Content\r\na: b\r\n\r\n");
    }

    /// What a filter says of the date holds.
    #[test]
    fn a_date_of_a_route() {
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let mut out = Vec::new();
        let reply = Reply::bare(204, date.into());
        reply.write_head(Persistence::Silent, &mut HeadWriter::Http1(&mut out));
        assert_eq!(String::from_utf8(out).unwrap(), format!("HTTP/1.1 204 No Content\r\n{date}\r\n"));
    }

    /// What stands in for an answer changes what it names, and the rest stays: the reason, lines as Retry-After, and the
    /// sentence where there is no other body.
    #[test]
    fn replaced_answers() {
        let headers = tidegate_model::traffic::HeaderChanges {
            set: vec![("x-page".into(), "1".into())],
            ..Default::default()
        };
        let page = Page { status: Some(500), content_type: Some("text/html".into()), body: None, headers };
        let reply = Reply::overloaded().replaced(&page);
        let head = written(&reply, false, Persistence::Silent);
        assert_eq!(
            head,
            "HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/html\r\nretry-after: 5\r\nx-page: 1\r\ncontent-length: 44\r\n\r\n"
        );
        assert_eq!(reply.reason, "Overloaded");
        let body: Arc<[u8]> = Arc::from(*b"<p>");
        let page = Page { body: Some(body), ..Page::default() };
        let reply = Reply::overloaded().replaced(&page);
        let head = written(&reply, false, Persistence::Silent);
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("content-length: 3\r\n"), "{head}");
        assert!(!head.contains("content-type"), "{head}");
    }
}
