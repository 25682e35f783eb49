//! One request on a session to an endpoint: the upstream's side of an attempt.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::rc::Rc;

use tidegate_http2::Fields;

use super::head::BlockWriter;
use super::message::{Receiver, Sender};
use super::session::Session;
use super::stream::Stream;
use super::websocket::{self, Accept};
use crate::buffer::Buffers;
use crate::framing::fields::Fields as Lines;
use crate::framing::response::ResponseHead;
use crate::framing::{BodyLength, HEADER_LINES_MAX, Malformed};
use crate::outgoing::HeadWriter;
use crate::upstream::NoResponse;

/// A request and its response; dropped before its end, it is cancelled.
pub struct Call {
    session: Rc<Session>,
    /// None: not sent, or it could not be.
    stream: OnceCell<Stream>,
    /// What was heard of the session when it was sent.
    heard: Cell<u64>,
    /// The place that was reserved for it was used.
    asked: Cell<bool>,
    /// It asks for a tunnel; and the answer to an HTTP/1 client's key.
    tunnel: Cell<bool>,
    accept: Cell<Option<Accept>>,
    /// The response's head that came last, and whether it is all.
    arrived: Cell<Option<(Box<Fields>, bool)>>,
}

impl Call {
    /// Nothing is sent yet.
    pub fn new(session: Rc<Session>) -> Call {
        session.reserve();
        let (heard, asked, tunnel, accept) = Default::default();
        Call { session, stream: OnceCell::new(), heard, asked, tunnel, accept, arrived: Cell::default() }
    }

    /// The connection.
    pub fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// Waits until it is known whether a tunnel may be asked for, which the peer's settings say (RFC 8441 section 3).
    pub async fn takes_tunnels(&self) -> bool {
        self.session.takes_tunnels().await
    }

    /// Sends the head of a request.
    pub fn request(&self, buffers: &Rc<Buffers>, write: impl FnOnce(&mut HeadWriter<'_>)) -> Sender<'_> {
        let mut lines = buffers.text();
        let mut writer = HeadWriter::Http2(BlockWriter::new(&mut lines));
        write(&mut writer);
        let HeadWriter::Http2(writer) = writer else {
            return Sender::request(None, &self.session.worker.buffers);
        };
        let facts = writer.facts();
        let method: &[u8] = match (facts.tunnel, facts.to_head) {
            (true, _) => b"CONNECT",
            (_, true) => b"HEAD",
            _ => b"",
        };
        self.tunnel.set(facts.tunnel);
        self.accept.set(facts.key.as_ref().map(websocket::accept));
        self.asked.set(true);
        self.heard.set(self.session.heard());
        self.session.unreserve();
        if let Ok(stream) = self.session.open(method, facts.is_all, |out| out.verbatim(&lines)) {
            let _ = self.stream.set(stream);
        }
        let sender = Sender::request(self.stream.get(), &self.session.worker.buffers);
        if facts.tunnel { sender.held_open() } else { sender }
    }

    /// Whether the head has a stream, on which it is sent.
    pub fn has_opened(&self) -> bool {
        self.stream.get().is_some()
    }

    /// It was waited for in vain. Where nothing else came on the connection either, the endpoint may be gone without a word: it
    /// gets no further requests on it; those it has go on.
    pub fn waited_in_vain(&self) {
        if self.session.heard() == self.heard.get() {
            self.session.begin_shutdown();
        }
    }

    /// Waits for the head of a response, interim or final.
    pub async fn await_head(&self) -> Result<(), NoResponse> {
        let stream = self.stream.get().ok_or(NoResponse::Refused)?;
        match poll_fn(|context| stream.poll_head(context)).await {
            Ok(head) => {
                self.arrived.set(Some(head));
                Ok(())
            }
            Err(gone) if gone.retry_is_safe() => Err(NoResponse::Refused),
            Err(super::stream::Gone::Closed) => Err(NoResponse::Silent),
            Err(_) => Err(NoResponse::Cut),
        }
    }

    /// Reads the head that came.
    pub fn with_head<T>(&self, to_head: bool, read: impl FnOnce(&ResponseHead) -> T) -> Result<T, Malformed> {
        let Some((fields, is_all)) = self.arrived.take() else { return Err(Malformed::SYNTAX) };
        let accept = self.accept.get();
        let tunnel = self.tunnel.get().then_some(accept.as_ref());
        let worker = &self.session.worker;
        let head = read_head(&fields, is_all, to_head, tunnel, worker.buffers.fields());
        worker.http2.keep_fields(fields);
        let head = head?;
        let result = read(&head);
        worker.buffers.give_back(head.into_fields());
        Ok(result)
    }

    /// The body behind the head of a final response.
    pub fn body(&self) -> Option<Receiver<'_>> {
        self.stream.get().map(Receiver::new)
    }
}

/// What was not sent takes no place.
impl Drop for Call {
    fn drop(&mut self) {
        if !self.asked.get() {
            self.session.unreserve();
        }
    }
}

/// The head as every version of HTTP has it, its lines in an empty list.
fn read_head(
    fields: &Fields,
    is_all: bool,
    to_head: bool,
    tunnel: Option<Option<&Accept>>,
    mut lines: Lines,
) -> Result<ResponseHead, Malformed> {
    let status = fields.status().ok_or(Malformed::SYNTAX)?;
    let opened = tunnel.filter(|_| matches!(status, 200..=299) && !is_all);
    // What HTTP/1 says of it besides.
    let protocol = opened.map(|_| (&b"upgrade"[..], websocket::PROTOCOL));
    let accept = opened.flatten().map(|accept| (&b"sec-websocket-accept"[..], &accept[..]));
    let own = fields.lines().map(|line| (line.name, line.value));
    for (name, value) in own.chain(protocol).chain(accept) {
        if lines.len() == HEADER_LINES_MAX {
            return Err(Malformed::HEAD_TOO_LARGE);
        }
        lines.push(name, value);
    }
    if opened.is_some() {
        return Ok(ResponseHead::switching(lines));
    }
    let body = match (is_all, fields.content_length()) {
        (true, _) => BodyLength::None,
        (false, Some(length)) => BodyLength::Length(length),
        (false, None) => BodyLength::Chunked,
    };
    Ok(ResponseHead::from_http2(status, lines, body, to_head))
}
