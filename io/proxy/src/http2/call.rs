//! One request on a session to an endpoint: the upstream's side of an attempt.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::rc::Rc;

use httparse::Header;
use tidegate_http2::Fields;

use super::head::BlockWriter;
use super::message::{Receiver, Sender};
use super::session::Session;
use super::stream::Stream;
use super::websocket::{self, Accept};
use crate::buffer::Buffers;
use crate::framing::response::ResponseHead;
use crate::framing::{BodyLength, HEADER_LINES_MAX, Malformed};
use crate::outgoing::HeadWriter;
use crate::upstream::NoResponse;

/// A request and its response; dropped before its end, it is cancelled.
pub struct Call {
    session: Rc<Session>,
    /// None: not sent, or it could not be.
    stream: OnceCell<Stream>,
    /// The place that was reserved for it was used.
    asked: Cell<bool>,
    /// It asks for a tunnel; and the answer to an HTTP/1 client's key.
    tunnel: Cell<bool>,
    accept: Cell<Option<Accept>>,
    /// The response's head that came last, and whether it is all.
    arrived: RefCell<Option<(Fields, bool)>>,
}

impl Call {
    /// Nothing is sent yet.
    pub fn new(session: Rc<Session>) -> Call {
        session.reserve();
        let (asked, tunnel, accept) = Default::default();
        Call { session, stream: OnceCell::new(), asked, tunnel, accept, arrived: RefCell::default() }
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
        self.session.unreserve();
        if let Ok(stream) = self.session.open(method, facts.is_all, |out| out.verbatim(&lines)) {
            let _ = self.stream.set(stream);
        }
        let sender = Sender::request(self.stream.get(), &self.session.worker.buffers);
        if facts.tunnel { sender.held_open() } else { sender }
    }

    /// Waits for the head of a response, interim or final.
    pub async fn await_head(&self) -> Result<(), NoResponse> {
        let stream = self.stream.get().ok_or(NoResponse::Refused)?;
        match poll_fn(|context| stream.poll_head(context)).await {
            Ok(head) => {
                *self.arrived.borrow_mut() = Some(head);
                Ok(())
            }
            Err(gone) if gone.retry_is_safe() => Err(NoResponse::Refused),
            Err(super::stream::Gone::Closed) => Err(NoResponse::Silent),
            Err(_) => Err(NoResponse::Cut),
        }
    }

    /// Reads the head that came.
    pub fn with_head<T>(
        &self,
        to_head: bool,
        read: impl FnOnce(&ResponseHead<'_, '_>) -> T,
    ) -> Result<T, Malformed> {
        let Some((fields, is_all)) = self.arrived.take() else { return Err(Malformed::SYNTAX) };
        let accept = self.accept.get();
        let tunnel = self.tunnel.get().then_some(accept.as_ref());
        let result = read_head(&fields, is_all, to_head, tunnel, read);
        self.session.worker.http2.keep_fields(fields);
        result
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

fn read_head<T>(
    fields: &Fields,
    is_all: bool,
    to_head: bool,
    tunnel: Option<Option<&Accept>>,
    read: impl FnOnce(&ResponseHead<'_, '_>) -> T,
) -> Result<T, Malformed> {
    let status = fields.status().ok_or(Malformed::SYNTAX)?;
    let opened = tunnel.filter(|_| matches!(status, 200..=299) && !is_all);
    // What HTTP/1 says of it besides.
    let protocol = opened.map(|_| Header { name: "upgrade", value: websocket::PROTOCOL });
    let accept = opened.flatten().map(|accept| Header { name: "sec-websocket-accept", value: accept });
    let mut room = [const { MaybeUninit::uninit() }; HEADER_LINES_MAX];
    let mut count = 0;
    let lines = fields.lines().map(|line| {
        let name = std::str::from_utf8(line.name).map_err(|_| Malformed::HEADER)?;
        Ok(Header { name, value: line.value })
    });
    for line in lines.chain(protocol.into_iter().chain(accept).map(Ok)) {
        room.get_mut(count).ok_or(Malformed::HEAD_TOO_LARGE)?.write(line?);
        count += 1;
    }
    // SAFETY: the first `count` places were written to, one after the other, by the loop above; a header owns nothing.
    let headers = unsafe { std::slice::from_raw_parts(room.as_ptr().cast::<Header<'_>>(), count) };
    if opened.is_some() {
        return Ok(read(&ResponseHead::switching(headers)));
    }
    let body = match (is_all, fields.content_length()) {
        (true, _) => BodyLength::None,
        (false, Some(length)) => BodyLength::Length(length),
        (false, None) => BodyLength::Chunked,
    };
    Ok(read(&ResponseHead::from_http2(status, headers, body, to_head)))
}
