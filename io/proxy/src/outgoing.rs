//! Heads as the proxy writes them: which lines go to the upstream and to the client, in what order.
//!
//! What goes out is decided here once; how it is spelled is the [`HeadWriter`]'s business, one variant for each version
//! of HTTP.

use std::ops::Range;

use tidegate_model::traffic::{HeaderChanges, PathMatch};
use tidegate_traffic::headers::{appended_by, drops, drops_any, names};
use tidegate_traffic::rewrite::{Rewritten, write_path};

use crate::framing::BodyLength;
use crate::framing::fields::Fields;
use crate::framing::lines::{Kind, is_hop_by_hop, is_named};
use crate::framing::request::{MAX_FORWARDS, RequestHead};
use crate::framing::response::ResponseHead;
use crate::http2::{BlockWriter, Facts};

/// The name of the request's identity, kept from the client if it is well-formed.
pub const REQUEST_ID: &str = "x-request-id";

/// By which browsers are told to come by TLS only (RFC 6797 section 6.1).
pub const TRANSPORT_SECURITY: &str = "strict-transport-security";

/// When an answer came to be.
const DATE: &str = "date";

/// A head on its way out.
pub enum HeadWriter<'w> {
    /// Text, at the end of the bytes.
    Http1(&'w mut Vec<u8>),
    /// A header block of HTTP/2.
    Http2(BlockWriter<'w>),
}

/// How a message ends its head.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// How its body is framed.
    pub body: BodyLength,
    /// What is said about the connection; HTTP/1 only.
    pub persistence: Persistence,
    /// The protocol to upgrade to; HTTP/1 only.
    pub upgrade: Option<&'a [u8]>,
}

impl HeadWriter<'_> {
    /// What HTTP/2 needs to know of the head.
    pub fn facts(&self) -> Facts {
        match self {
            HeadWriter::Http1(_) => Facts::default(),
            HeadWriter::Http2(block) => block.facts(),
        }
    }

    /// Method and target; `scheme`, the `:authority` and `:protocol` are HTTP/2's, HTTP/1 writes `host`.
    pub fn request(
        &mut self,
        method: &str,
        scheme: &str,
        authority: &str,
        target: &[u8],
        protocol: Option<&[u8]>,
    ) {
        match self {
            HeadWriter::Http1(out) => {
                let parts: [&[u8]; 6] =
                    [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nhost: ", authority.as_bytes(), b"\r\n"];
                parts.iter().for_each(|part| out.extend_from_slice(part));
            }
            HeadWriter::Http2(block) => block.request(method, scheme, authority, target, protocol),
        }
    }

    /// The status of a response; HTTP/2 has no phrase.
    pub fn status(&mut self, status: u16, phrase: &str) {
        match self {
            HeadWriter::Http1(out) => {
                out.extend_from_slice(b"HTTP/1.1 ");
                push_number(out, status.into());
                out.push(b' ');
                out.extend_from_slice(
                    if phrase.is_empty() { crate::reply::phrase(status) } else { phrase }.as_bytes(),
                );
                out.extend_from_slice(b"\r\n");
            }
            HeadWriter::Http2(block) => block.status(status),
        }
    }

    /// One line; HTTP/2 needs the name in lower case.
    pub fn line(&mut self, name: &str, value: &[u8]) {
        match self {
            HeadWriter::Http1(out) => {
                for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
            HeadWriter::Http2(block) => block.line(name, value),
        }
    }

    /// Lines of a list, one after the other.
    pub fn run(&mut self, fields: &Fields, range: Range<usize>) {
        match self {
            HeadWriter::Http1(out) => out.extend_from_slice(fields.run(range)),
            HeadWriter::Http2(block) => block.run(fields, range),
        }
    }

    /// Lines in HTTP/1's spelling, names in lower case.
    pub fn text(&mut self, lines: &[u8]) {
        match self {
            HeadWriter::Http1(out) => out.extend_from_slice(lines),
            HeadWriter::Http2(block) => block.text(lines),
        }
    }

    /// Whatever the message says about its own body and connection; the head is over.
    pub fn end(&mut self, ending: &Ending<'_>) {
        match self {
            HeadWriter::Http1(out) => {
                match ending.body {
                    BodyLength::None | BodyLength::UntilClose => {}
                    BodyLength::Length(length) => {
                        out.extend_from_slice(b"content-length: ");
                        push_number(out, length);
                        out.extend_from_slice(b"\r\n");
                    }
                    BodyLength::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
                }
                out.extend_from_slice(ending.persistence.line().as_bytes());
                if let Some(protocol) = ending.upgrade {
                    self.line("upgrade", protocol);
                }
                self.text(b"\r\n");
            }
            HeadWriter::Http2(block) => block.end(ending),
        }
    }
}

/// Writes a number in decimal.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(decimal(number, &mut [0; 20]));
}

/// A number in decimal, at the end of `digits`.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    &digits[at..]
}

/// What becomes of a request on its way to one backend.
#[derive(Clone, Copy)]
pub struct RequestPlan<'a> {
    /// Header changes, the rule's first, then the backend's.
    pub changes: [&'a HeaderChanges; 2],
    /// The new host and path.
    pub rewritten: Rewritten<'a>,
    /// What the path matched.
    pub matched: &'a PathMatch,
    /// `http` or `https`, as spoken to the backend.
    pub scheme: &'static str,
    /// What the gateway says about the request, in HTTP/1's spelling: where it comes from, its id, its trace.
    pub told: &'a [u8],
    /// What becomes of the client's own trace lines.
    pub trace: TraceLines,
    /// `Host` when the request names none.
    pub host_fallback: &'a str,
    /// The content type in place of the client's, where gRPC-Web becomes gRPC.
    pub content_type: Option<&'a [u8]>,
}

/// What becomes of the client's trace lines, where `told` may say something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceLines {
    /// They go on.
    Kept,
    /// `tracestate` goes on.
    ParentReplaced,
    /// Neither does.
    Replaced,
}

impl TraceLines {
    /// Whether one of them goes on, by its name.
    fn keeps(self, name: &str) -> bool {
        match self {
            TraceLines::Kept => true,
            TraceLines::ParentReplaced => name.len() == "tracestate".len(),
            TraceLines::Replaced => false,
        }
    }
}

/// Writes the head that goes upstream; `body` is how the body is framed there. `room` is for the target and comes back
/// as it was.
pub fn request(
    head: &RequestHead,
    plan: &RequestPlan<'_>,
    body: BodyLength,
    room: &mut Vec<u8>,
    out: &mut HeadWriter<'_>,
) {
    let start = room.len();
    match plan.rewritten.path {
        None => room.extend_from_slice(head.path().as_bytes()),
        change => write_path(change, plan.matched, head.path(), room),
    }
    if let Some(query) = head.query() {
        room.push(b'?');
        room.extend_from_slice(query.as_bytes());
    }
    let set_host = |changes: &'_ HeaderChanges| changes.set.iter().position(|(name, _)| name == "host");
    let new_host = plan
        .changes
        .into_iter()
        .rev()
        .find_map(|changes| set_host(changes).map(|at| changes.set[at].1.as_str()));
    let own_host = if head.authority().is_empty() { plan.host_fallback } else { head.authority() };
    out.request(
        head.method(),
        plan.scheme,
        plan.rewritten.host.or(new_host).unwrap_or(own_host),
        &room[start..],
        head.websocket(),
    );
    room.truncate(start);
    let untouched = plan.changes.iter().all(|changes| changes.set.is_empty() && changes.remove.is_empty());
    let retyped = plan.content_type.is_some();
    let forwards = head.max_forwards();
    let rewritten = |name: &str| {
        (retyped && name.eq_ignore_ascii_case("content-type"))
            || (forwards.is_some() && name.eq_ignore_ascii_case(MAX_FORWARDS))
    };
    let verbatim = untouched && !head.names_headers && !retyped && forwards.is_none();
    let passes = |index: usize| verbatim && head.fields().kind(index) == Some(Kind::Plain);
    let stays = |name: &str| {
        (!untouched && drops_any(&plan.changes, name)) || (head.names_headers && is_named_in(head, name))
    };
    let looks = |index: usize| match head.fields().entry(index) {
        Some((Kind::Plain, name, _)) => !rewritten(name) && !stays(name),
        Some((Kind::Trace, name, _)) => plan.trace.keeps(name) && !stays(name),
        Some((Kind::Expect, name, _)) => !(head.http_1_0 || head.names_headers && is_named_in(head, name)),
        _ => false,
    };
    let fields = head.fields();
    let mut index = 0;
    while index < fields.len() {
        let first = index;
        while fields.is_tidy(index) && (passes(index) || looks(index)) {
            index += 1;
        }
        out.run(fields, first..index);
        // What is left here does not pass, or not as it was written.
        if let Some((_, name, value)) = fields.entry(index)
            && !fields.is_tidy(index)
            && looks(index)
        {
            out.line(name, value);
        }
        index += 1;
    }
    if untouched {
        out.text(plan.told);
    } else {
        told_but_for(plan.told, &plan.changes, out);
    }
    changed(&plan.changes, |name| !is_hop_by_hop(name) && name != "host", out);
    if let Some(content_type) = plan.content_type {
        out.line("content-type", content_type);
    }
    if let Some(forwards) = forwards {
        let mut left = Vec::new();
        push_number(&mut left, forwards.saturating_sub(1));
        out.line(MAX_FORWARDS, &left);
    }
    let upgrade = head.upgrade();
    let persistence = if upgrade.is_some() { Persistence::Upgrade } else { Persistence::Silent };
    out.end(&Ending { body, persistence, upgrade });
}

/// Writes lines of the gateway's own but those that changes replace or take away: who writes a filter for one of them means it.
fn told_but_for(told: &[u8], changes: &[&HeaderChanges], out: &mut HeadWriter<'_>) {
    for line in told.split_inclusive(|&byte| byte == b'\n') {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if !std::str::from_utf8(name).is_ok_and(|name| drops_any(changes, name)) {
            out.text(line);
        }
    }
}

/// Writes the lines that changes add; what one adds a later one may take away.
fn changed(changes: &[&HeaderChanges], may: impl Fn(&str) -> bool, out: &mut HeadWriter<'_>) {
    for (name, value) in appended_by(changes).filter(|(name, _)| may(name)) {
        out.line(name, value.as_bytes());
    }
}

fn is_named_in(head: &RequestHead, name: &str) -> bool {
    let connection = head.lines().filter(|(line, _)| line.eq_ignore_ascii_case("connection"));
    is_named(connection.map(|(_, value)| value), name)
}

/// What a peer is told about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1 goes on without a word.
    Silent,
    /// `Connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
    /// `Connection: close`.
    Close,
    /// `Connection: upgrade`; `Upgrade` stands beside it.
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

/// What becomes of a response on its way to the client.
#[derive(Clone, Copy)]
pub struct ResponsePlan<'a> {
    /// The status, if not the response's own.
    pub status: Option<u16>,
    /// Header changes: the rule's first, then the backend's, then those of an answer in the response's place.
    pub changes: [&'a HeaderChanges; 3],
    /// Names that are left out beside them.
    pub left_out: [fn(&str) -> bool; 2],
    /// Further lines, in HTTP/1's spelling.
    pub added: [&'a [u8]; 2],
    /// How the body is framed there.
    pub body: BodyLength,
    /// What is said about the connection.
    pub persistence: Persistence,
}

/// Writes the head that goes to the client.
pub fn response(head: &ResponseHead, plan: &ResponsePlan<'_>, out: &mut HeadWriter<'_>) {
    let status = plan.status.unwrap_or(head.status);
    out.status(status, if status == head.status { head.phrase() } else { "" });
    // A response without body may state the length that another one would have (RFC 9110 section 8.6).
    let hints = plan.body == BodyLength::None && !matches!(status, 100..=199 | 204);
    let untouched = plan.changes.iter().all(|changes| changes.set.is_empty() && changes.remove.is_empty());
    let (mut hinted, mut dated) = (false, false);
    // Lines that follow one another and stay as they are leave in one piece.
    let fields = head.fields();
    let mut run = 0..0;
    for index in 0..fields.len() {
        let Some((kind, name, value)) = fields.entry(index) else { break };
        let hint = hints && !hinted && kind == Kind::Length;
        hinted |= hint;
        dated |= name.len() == DATE.len() && name.eq_ignore_ascii_case(DATE);
        let protocol = plan.persistence == Persistence::Upgrade && kind == Kind::Upgrade;
        let stays = kind.ends_here()
            || (head.names_headers && stays_there(head, name))
            || (!untouched && plan.changes.iter().any(|changes| drops(changes, name)))
            || plan.left_out.iter().any(|left_out| left_out(name));
        let passes = hint || protocol || !stays;
        if passes && fields.is_tidy(index) {
            if run.end != index {
                out.run(fields, std::mem::replace(&mut run, index..index));
            }
            run.end = index + 1;
        } else if passes {
            out.run(fields, std::mem::replace(&mut run, 0..0));
            out.line(name, value);
        }
    }
    out.run(fields, run);
    // Who passes on an answer without a date says when it came (RFC 9110 section 6.6.1), unless a filter means otherwise.
    if !dated && status >= 200 && !plan.changes.iter().any(|changes| names(changes, DATE)) {
        out.line(DATE, &crate::date::now());
    }
    changed(&plan.changes, |name| !is_hop_by_hop(name), out);
    plan.added.iter().for_each(|lines| out.text(lines));
    out.end(&Ending { body: plan.body, persistence: plan.persistence, upgrade: None });
}

fn stays_there(head: &ResponseHead, name: &str) -> bool {
    let connection = head.lines().filter(|(line, _)| line.eq_ignore_ascii_case("connection"));
    is_named(connection.map(|(_, value)| value), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(head: &str, changes: [&HeaderChanges; 2]) -> String {
        written_with(head, changes, b"x-told: 1\r\n")
    }

    fn written_with(head: &str, changes: [&HeaderChanges; 2], told: &[u8]) -> String {
        let head = RequestHead::parse(head.as_bytes()).unwrap();
        let plan = RequestPlan {
            changes,
            rewritten: Rewritten::default(),
            matched: &PathMatch::Prefix(String::new()),
            scheme: "http",
            told,
            trace: TraceLines::Kept,
            host_fallback: "10.0.0.1:80",
            content_type: None,
        };
        let (mut room, mut out) = (b"kept".to_vec(), Vec::new());
        request(&head, &plan, head.body, &mut room, &mut HeadWriter::Http1(&mut out));
        assert_eq!(room, b"kept");
        String::from_utf8(out).unwrap()
    }

    fn set(name: &str, value: &str) -> HeaderChanges {
        HeaderChanges { set: vec![(name.into(), value.into())], ..HeaderChanges::default() }
    }

    /// Lines that pass are copied as they are but for white space around values, in their order; what belongs to the
    /// connection ends here.
    #[test]
    fn lines_that_pass() {
        let none = HeaderChanges::default();
        let head = "POST /a/../b?q HTTP/1.1\r\nHost: A\r\nX-1:  v \r\nTE: x\r\nX-Forwarded-For: 1\r\nx_request_id: 2\r\nX-2: w\r\n\
                    Content-Length: 3\r\nConnection: x-3\r\nX-3: gone\r\nX-4: y\r\n\r\n";
        assert_eq!(
            written(head, [&none, &none]),
            "POST /b?q HTTP/1.1\r\nhost: A\r\nX-1: v\r\nX-2: w\r\nX-4: y\r\nx-told: 1\r\ncontent-length: 3\r\n\r\n"
        );
    }

    /// The backend's changes come after the rule's and have the last word, also on the host.
    #[test]
    fn rule_then_backend() {
        let mut backend = set("host", "b");
        backend.remove.push("x-1".into());
        let rule = HeaderChanges {
            add: vec![("x-1".into(), "r".into()), ("x-2".into(), "r".into())],
            ..set("host", "a")
        };
        assert_eq!(
            written("GET / HTTP/1.1\r\nHost: h\r\nX-1: c\r\nX-2: c\r\n\r\n", [&rule, &backend]),
            "GET / HTTP/1.1\r\nhost: b\r\nX-2: c\r\nx-told: 1\r\nx-2: r\r\n\r\n"
        );
    }
    /// What a filter says of a line that the gateway writes is what the backend gets, once; an added one comes after it.
    #[test]
    fn filters_have_the_last_word() {
        let none = HeaderChanges::default();
        let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let first = "GET / HTTP/1.1\r\nhost: h\r\n";
        let removed = HeaderChanges { remove: vec!["x-told".into()], ..HeaderChanges::default() };
        let added = HeaderChanges { add: vec![("x-told".into(), "2".into())], ..HeaderChanges::default() };
        for (changes, lines) in [
            (&set("x-told", "2"), "x-also: 1\r\nx-told: 2\r\n"),
            (&removed, "x-also: 1\r\n"),
            (&added, "x-told: 1\r\nx-also: 1\r\nx-told: 2\r\n"),
            (&set("x-other", "2"), "x-told: 1\r\nx-also: 1\r\nx-other: 2\r\n"),
        ] {
            let told = b"x-told: 1\r\nx-also: 1\r\n";
            for levels in [[changes, &none], [&none, changes]] {
                assert_eq!(written_with(head, levels, told), format!("{first}{lines}\r\n"));
            }
        }
    }

    /// What `Connection` names ends here, whatever else it would be (RFC 9110 section 7.6.1).
    #[test]
    fn named_lines_end_here() {
        let none = HeaderChanges::default();
        let head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: Expect, traceparent\r\nExpect: 100-continue\r\n\
                    Traceparent: 1\r\nTracestate: 2\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(
            written_with(head, [&none, &none], b""),
            "POST / HTTP/1.1\r\nhost: h\r\nTracestate: 2\r\ncontent-length: 1\r\n\r\n"
        );
    }

    /// An answer without a date is given one, once, unless a filter says what becomes of it; an interim one is not (RFC 9110
    /// section 6.6.1).
    #[test]
    fn answers_are_dated() {
        let none = HeaderChanges::default();
        let removed = HeaderChanges { remove: vec![DATE.into()], ..HeaderChanges::default() };
        for (head, changes, dates) in [
            ("HTTP/1.1 200 OK\r\n\r\n", &none, 1),
            ("HTTP/1.1 200 OK\r\nDATE: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", &none, 1),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", &none, 0),
            ("HTTP/1.1 200 OK\r\n\r\n", &set(DATE, "then"), 1),
            ("HTTP/1.1 200 OK\r\nDate: now\r\n\r\n", &removed, 0),
            ("HTTP/1.1 200 OK\r\n\r\n", &removed, 0),
        ] {
            let head = ResponseHead::parse(head.as_bytes(), true).unwrap();
            let plan = ResponsePlan {
                changes: [&none, changes, &none],
                status: None,
                left_out: [|_| false; 2],
                added: [b""; 2],
                body: head.body,
                persistence: Persistence::Silent,
            };
            let mut out = Vec::new();
            response(&head, &plan, &mut HeadWriter::Http1(&mut out));
            let text = String::from_utf8(out).unwrap().to_lowercase();
            assert_eq!(text.matches("date: ").count(), dates, "{text}");
        }
    }

    /// Names that a server takes for framing do not pass to the client.
    #[test]
    fn aliases_of_framing_end_here() {
        let text = b"HTTP/1.1 200 OK\r\nContent_Length: 9\r\nTransfer_Encoding: x\r\nX-1: v\r\nDate: now\r\nContent-Length: 3\r\n\r\n";
        let head = ResponseHead::parse(text, false).unwrap();
        let none = HeaderChanges::default();
        let plan = ResponsePlan {
            changes: [&none; 3],
            status: None,
            left_out: [|_| false; 2],
            added: [b""; 2],
            body: head.body,
            persistence: Persistence::Silent,
        };
        let mut out = Vec::new();
        response(&head, &plan, &mut HeadWriter::Http1(&mut out));
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nX-1: v\r\nDate: now\r\ncontent-length: 3\r\n\r\n");
    }
}
