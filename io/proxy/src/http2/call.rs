//! One request on a session to an endpoint: the upstream's side of an attempt.

use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::rc::Rc;

use httparse::Header;
use tidegate_http2::Fields;

use super::head::BlockWriter;
use super::message::{Receiver, Sender};
use super::session::Session;
use super::stream::Stream;
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
    /// The response's head that came last, and whether it is all.
    arrived: RefCell<Option<(Fields, bool)>>,
}

impl Call {
    /// Nothing is sent yet.
    pub fn new(session: Rc<Session>) -> Call {
        Call { session, stream: OnceCell::new(), arrived: RefCell::default() }
    }

    /// The connection.
    pub fn session(&self) -> &Rc<Session> {
        &self.session
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
        let method: &[u8] = if facts.to_head { b"HEAD" } else { b"" };
        if let Ok(stream) = self.session.open(method, facts.is_all, |out| out.verbatim(&lines)) {
            let _ = self.stream.set(stream);
        }
        Sender::request(self.stream.get(), &self.session.worker.buffers)
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
        let result = read_head(&fields, is_all, to_head, read);
        self.session.worker.http2.keep_fields(fields);
        result
    }

    /// The body behind the head of a final response.
    pub fn body(&self) -> Option<Receiver<'_>> {
        self.stream.get().map(Receiver::new)
    }
}

fn read_head<T>(
    fields: &Fields,
    is_all: bool,
    to_head: bool,
    read: impl FnOnce(&ResponseHead<'_, '_>) -> T,
) -> Result<T, Malformed> {
    let status = fields.status().ok_or(Malformed::SYNTAX)?;
    let mut room = [const { MaybeUninit::uninit() }; HEADER_LINES_MAX];
    let mut count = 0;
    for line in fields.lines() {
        let name = std::str::from_utf8(line.name).map_err(|_| Malformed::HEADER)?;
        room.get_mut(count).ok_or(Malformed::HEAD_TOO_LARGE)?.write(Header { name, value: line.value });
        count += 1;
    }
    // SAFETY: the first `count` places were written to, one after the other, by the loop above; a header owns nothing.
    let headers = unsafe { std::slice::from_raw_parts(room.as_ptr().cast::<Header<'_>>(), count) };
    let body = match (is_all, fields.content_length()) {
        (true, _) => BodyLength::None,
        (false, Some(length)) => BodyLength::Length(length),
        (false, None) => BodyLength::Chunked,
    };
    Ok(read(&ResponseHead::from_http2(status, headers, body, to_head)))
}
