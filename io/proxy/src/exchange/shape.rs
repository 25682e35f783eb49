//! What becomes of a message on its way: gRPC-Web in both directions, a response compressed, or another in its place. Of
//! messages to which nothing happens this costs a look at two absent settings.
//!
//! What is decided is decided in `pure/traffic` and `pure/coding`; bodies are changed in [`body`](crate::body).

use std::sync::Arc;

use tidegate_coding::grpc_web::{Answer, Spoken, is_grpc};
use tidegate_coding::{Change, Compressor};
use tidegate_model::traffic::{Backend, BackendProtocol, HeaderChanges, Page, PathMatch, Replacement};
use tidegate_traffic::compression::{self, Answered, Asked, Compressed};
use tidegate_traffic::headers::drops;

use crate::body::{Account, Changing, Flow, RelayError, Sink, Source, Trail, relay, relay_changed};
use crate::framing::BodyLength;
use crate::framing::request::RequestHead;
use crate::framing::response::{ResponseHead, is_bodiless};

use super::answer;
use super::attempt::Attempt;
use super::overload::Step;

/// gRPC-Web on the client's side of a call, gRPC on the backend's.
#[derive(Clone)]
pub struct Web {
    request_type: Vec<u8>,
    reads_text: bool,
    answer_type: Vec<u8>,
    answers_text: bool,
}

impl Web {
    /// For calls to a backend that is spoken to in HTTP/2, as one of a GRPCRoute is. Others see gRPC-Web as it came.
    pub fn of(head: &RequestHead, backend: &Backend) -> Option<Web> {
        if backend.protocol != BackendProtocol::Http2 {
            return None;
        }
        let spoken = head.grpc_web()?;
        let mut request_type = Vec::new();
        spoken.write_grpc(&mut request_type);
        let (answer_type, answers_text) = answer_type(spoken, head);
        Some(Web { request_type, reads_text: spoken.text, answer_type, answers_text })
    }

    /// The content type that the backend sees.
    pub fn request_type(&self) -> &[u8] {
        &self.request_type
    }

    /// Whether the request's body is base64.
    pub fn reads_text(&self) -> bool {
        self.reads_text
    }
}

/// The content type in which a call is answered, and whether the answer is base64.
pub fn answer_type(spoken: Spoken<'_>, head: &RequestHead) -> (Vec<u8>, bool) {
    let accept = head.lines().filter(|(name, _)| name.eq_ignore_ascii_case("accept"));
    let answered = spoken.answer(accept.map(|(_, value)| value));
    let mut content_type = Vec::new();
    answered.write(&mut content_type);
    (content_type, answered.text)
}

/// How a request's body is framed towards the backend, if it is HTTP/1: what base64 comes to is not known before its end.
pub fn request_length(head: &RequestHead, web: Option<&Web>) -> BodyLength {
    match web {
        Some(web) if web.reads_text && !head.is_bodiless() => BodyLength::Chunked,
        _ => head.body,
    }
}

/// What becomes of one response; by default nothing.
pub struct Shape<'a> {
    /// Another status.
    pub status: Option<u16>,
    /// How its body is framed, where that changes.
    pub length: Option<BodyLength>,
    /// Lines that do not pass.
    pub left_out: fn(&str) -> bool,
    /// Lines that stand in their place, in HTTP/1's spelling.
    pub lines: Vec<u8>,
    /// Changes after those of the rule and the backend.
    pub changes: Option<&'a HeaderChanges>,
    body: Body,
}

enum Body {
    Kept,
    Changed(Box<Changing>),
    /// Thrown away for another.
    Replaced(Arc<[u8]>),
}

impl Default for Shape<'_> {
    fn default() -> Self {
        let (status, length, lines, changes) = (None, None, Vec::new(), None);
        Shape { status, length, left_out: |_| false, lines, changes, body: Body::Kept }
    }
}

impl<'a> Shape<'a> {
    /// What becomes of a backend's final response.
    pub fn of(attempt: &Attempt<'a>, response: &ResponseHead) -> Shape<'a> {
        let head = attempt.exchange.head;
        if let Some(web) = attempt.web {
            return Shape::of_call(web, head, response);
        }
        let plain = || Shape { length: delimited(attempt, response, response.status), ..Shape::default() };
        let Some(responses) = attempt.responses.filter(|_| !head.is_grpc()) else { return plain() };
        match responses.override_of(response.status).map(|with| &**with) {
            Some(Replacement::Page(page)) => Shape::of_page(page, attempt, response),
            Some(Replacement::Redirect(redirect)) => {
                let mut lines = Vec::new();
                let nowhere = PathMatch::Exact(String::new());
                answer::location(attempt.exchange, &nowhere, redirect, attempt.believed, &mut lines);
                Shape {
                    status: Some(redirect.status),
                    length: Some(BodyLength::Length(0)),
                    left_out: is_about_content,
                    lines,
                    changes: None,
                    body: Body::Replaced(Arc::default()),
                }
            }
            None => Shape::compressed(attempt, response).unwrap_or_else(plain),
        }
    }

    fn of_call(web: &Web, head: &RequestHead, response: &ResponseHead) -> Shape<'a> {
        let content_type = response.lines().find(|(name, _)| is_content_type(name));
        if !content_type.is_some_and(|(_, value)| is_grpc(value)) || head.method() == "HEAD" {
            // It is no answer to a call; what is said of gRPC by HTTP's statuses holds for gRPC-Web.
            return Shape::default();
        }
        let lines = [b"content-type: ", &web.answer_type[..], b"\r\n"].concat();
        // Trailers-Only: what would be trailers stands in the head.
        let is_all = response.body == BodyLength::None;
        let length = if is_all { BodyLength::Length(0) } else { BodyLength::Chunked };
        let body = match is_all {
            true => Body::Kept,
            false => {
                let change = Change::GrpcWeb(Answer::new(web.answers_text));
                Body::Changed(Box::new(Changing::new(change, None)))
            }
        };
        Shape { length: Some(length), left_out: is_content_type, lines, body, ..Shape::default() }
    }

    fn of_page(page: &'a Page, attempt: &Attempt<'a>, response: &ResponseHead) -> Shape<'a> {
        let status = page.status.unwrap_or(response.status);
        let mut lines = Vec::new();
        if let Some(content_type) = &page.content_type {
            push_line("content-type", content_type, &mut lines);
        }
        let changes = Some(&page.headers).filter(|changes| !changes.is_empty());
        let to_head = attempt.exchange.head.method() == "HEAD";
        match &page.body {
            Some(body) => {
                let bodiless = is_bodiless(status, false);
                let length = if bodiless { BodyLength::None } else { BodyLength::Length(body.len() as u64) };
                let sent = if to_head || bodiless { Arc::default() } else { Arc::clone(body) };
                Shape {
                    status: Some(status),
                    length: Some(length),
                    left_out: is_about_content,
                    lines,
                    changes,
                    body: Body::Replaced(sent),
                }
            }
            None => Shape {
                status: Some(status),
                length: delimited(attempt, response, status),
                left_out: if page.content_type.is_some() { is_content_type } else { |_| false },
                lines,
                changes,
                body: Body::Kept,
            },
        }
    }

    /// None: it stays as it is.
    fn compressed(attempt: &Attempt<'_>, response: &ResponseHead) -> Option<Shape<'a>> {
        let worker = &attempt.exchange.caller.worker;
        let policy = &attempt.responses?.compression;
        let (head, caller) = (attempt.exchange.head, attempt.exchange.caller);
        let asked = Asked {
            method: head.method(),
            http_1_0: head.http_1_0,
            certified: caller.tls.as_ref().is_some_and(|tls| tls.certified),
            headers: head,
        };
        let bytes = match response.body {
            BodyLength::Length(length) => Some(length),
            BodyLength::None if head.method() != "HEAD" => Some(0),
            _ => None,
        };
        let answered = Answered { status: response.status, bytes, headers: response };
        let coding = match compression::decide(policy, &asked, &answered) {
            Compressed::Never => return None,
            Compressed::NotNow => None,
            Compressed::With(coding) => Some(coding),
        };
        let changing = coding.and_then(|coding| {
            let calm = worker.shared.overload.step() == Step::Calm;
            let account = calm.then(|| Account::open(coding, &worker.metrics.compression)).flatten();
            let compressor = account.is_some().then(|| Compressor::new(coding)).and_then(Result::ok);
            if compressor.is_none() {
                worker.metrics.compression_skipped.inc();
            }
            compressor.map(|compressor| Changing::new(Change::Compress(compressor), account))
        });
        let coding = coding.filter(|_| changing.is_some());
        let gone = |name: &str| attempt.response_changes.iter().any(|changes| drops(changes, name));
        let mut lines = Vec::new();
        compression::write_lines(coding, response, gone, &mut lines);
        let left_out = if coding.is_some() {
            compression::replaces_where_coded
        } else {
            compression::replaces_where_varied
        };
        let length = changing.as_ref().map(|_| BodyLength::Chunked);
        let body = changing.map_or(Body::Kept, |changing| Body::Changed(Box::new(changing)));
        Some(Shape { length, left_out, lines, body, ..Shape::default() })
    }

    /// Whether the body goes out as it came, so that its framing may, too.
    pub fn keeps_body(&self) -> bool {
        matches!(self.body, Body::Kept)
    }

    /// Sends the body; true if all of the backend's was taken.
    pub async fn pass(
        &mut self,
        source: &mut Source<'_>,
        sink: &mut Sink<'_>,
        flow: &Flow<'_>,
    ) -> Result<bool, RelayError> {
        match &mut self.body {
            Body::Kept => relay(source, sink, flow).await.map(|()| true),
            // Apart, so that other responses need not carry its state.
            Body::Changed(changing) => {
                Box::pin(relay_changed(source, sink, changing, flow)).await.map(|()| true)
            }
            Body::Replaced(body) => {
                sink.hold(body);
                sink.end(Trail::Raw(b""), flow).await?;
                // What has come is thrown away; more is not waited for.
                if let Some(step) = source.step(flow)?
                    && let Some(buffer) = source.buffer()
                {
                    buffer.consume(step.consumed);
                }
                Ok(source.is_done())
            }
        }
    }
}

/// What a response is told its length by that has none: HTTP/2 ends it with its head, which HTTP/1 cannot; and one that
/// gets a status which has a body.
fn delimited(attempt: &Attempt<'_>, response: &ResponseHead, status: u16) -> Option<BodyLength> {
    let head = attempt.exchange.head;
    if is_bodiless(status, head.method() == "HEAD") {
        return None;
    }
    let needed = response.body == BodyLength::None && attempt.exchange.client.is_http1();
    needed.then_some(BodyLength::Length(0))
}

fn push_line(name: &str, value: &str, lines: &mut Vec<u8>) {
    for part in [name, ": ", value, "\r\n"] {
        lines.extend_from_slice(part.as_bytes());
    }
}

fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-type")
}

/// Whether a line is about the content, and so falls with it (RFC 9110 section 8, RFC 9530).
fn is_about_content(name: &str) -> bool {
    const LINES: [&str; 13] = [
        "accept-ranges",
        "content-digest",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-location",
        "content-md5",
        "content-range",
        "content-type",
        "digest",
        "etag",
        "last-modified",
        "repr-digest",
    ];
    LINES.iter().any(|line| name.eq_ignore_ascii_case(line))
}
