//! The two ends of a message's body: what a stream brings, piece by piece, and what it takes.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::head::Facts;
use super::stream::Stream;
use crate::body::{Flow, RelayError, Trail};
use crate::buffer::{Buffer, Buffers, Text};
use crate::framing::chunked;
use crate::framing::chunked::Step;
use crate::framing::fields::Fields;

/// Where a body comes from.
pub struct Receiver<'s> {
    stream: &'s Stream,
    buffer: Option<Buffer>,
    /// What is in the buffer was told to be taken.
    stepped: bool,
    trailers: OnceCell<Fields>,
}

impl<'s> Receiver<'s> {
    /// The body of a stream.
    pub fn new(stream: &'s Stream) -> Receiver<'s> {
        Receiver { stream, buffer: None, stepped: false, trailers: OnceCell::new() }
    }

    /// The rest of it, as what comes after a head that opened a tunnel.
    pub fn rest(&mut self) -> Receiver<'s> {
        let mut rest = Receiver::new(self.stream);
        rest.buffer = self.buffer.take();
        rest
    }

    /// Whether all of it was taken.
    pub fn is_done(&self) -> bool {
        self.stream.is_received() && (self.stepped || self.buffer.as_ref().is_none_or(Buffer::is_empty))
    }

    /// The buffer with the next piece.
    pub fn buffer(&mut self) -> &mut Option<Buffer> {
        &mut self.buffer
    }

    /// The next piece, if it is there.
    pub fn step(&mut self) -> Option<Step> {
        if self.buffer.as_ref().is_none_or(Buffer::is_empty) {
            self.buffer = self.stream.take();
        }
        let count = self.buffer.as_ref()?.filled().len();
        self.stepped = true;
        Some(Step { consumed: count, kept: count })
    }

    /// Waits for the next piece, or for the end.
    pub async fn fill(&mut self, flow: &Flow<'_>) -> Result<bool, RelayError> {
        self.stepped = false;
        self.buffer = None;
        flow.await_sender();
        self.buffer =
            poll_fn(|context| self.stream.poll_take(context)).await.map_err(|_| RelayError::From)?;
        let came = self.buffer.as_ref().map_or(0, |buffer| buffer.filled().len());
        flow.came(came, self.stream.session().sharers())?;
        Ok(true)
    }

    /// What follows the last piece.
    pub fn trail(&self) -> Trail<'_> {
        Trail::Fields(self.trailers.get_or_init(|| {
            let worker = &self.stream.session().worker;
            let mut passed = worker.buffers.fields();
            if let Some(trailers) = self.stream.take_trailers() {
                for line in trailers.lines().filter(|line| chunked::may_pass(line.name)) {
                    passed.push(line.name, line.value);
                }
                worker.http2.keep_fields(trailers);
            }
            passed
        }))
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        if let Some(trailers) = self.trailers.take() {
            self.stream.session().worker.buffers.give_back(trailers);
        }
    }
}

/// Where a message goes. The head waits, to be the end of the message too if nothing follows.
pub struct Sender<'s> {
    /// None: the request could not be sent, and its response says why.
    stream: Option<&'s Stream>,
    head: Option<(Text, Facts)>,
    waiting: Option<Text>,
    is_interim: bool,
    /// The message's end is not the stream's: a tunnel begins.
    held_open: bool,
    buffers: &'s Rc<Buffers>,
}

impl<'s> Sender<'s> {
    /// A response, whose head is `lines`.
    pub fn response(stream: &'s Stream, lines: Text, facts: Facts) -> Sender<'s> {
        let buffers = &stream.session().worker.buffers;
        let is_interim = facts.status < 200;
        let head = Some((lines, facts));
        Sender { stream: Some(stream), head, waiting: None, is_interim, held_open: false, buffers }
    }

    /// What follows the head of a request.
    pub fn request(stream: Option<&'s Stream>, buffers: &'s Rc<Buffers>) -> Sender<'s> {
        Sender { stream, head: None, waiting: None, is_interim: false, held_open: false, buffers }
    }

    /// The same for a request that asks for a tunnel: its end leaves the stream open.
    pub fn held_open(self) -> Sender<'s> {
        Sender { held_open: true, ..self }
    }

    /// Sends the head, if it waits; `end`: nothing follows.
    fn lead(&mut self, end: bool, flow: &Flow<'_>) -> Result<&'s Stream, RelayError> {
        let stream = self.stream.ok_or(RelayError::To)?;
        if let Some((lines, facts)) = self.head.take() {
            let end = (end && !self.is_interim) || facts.is_all;
            stream.respond(facts.status, end, |out| out.verbatim(&lines)).map_err(|_| RelayError::To)?;
            flow.given.set(flow.given.get() + lines.len() as u64);
            flow.watch.set(flow.stall);
        }
        Ok(stream)
    }

    /// Sends the head and a body that is all the buffer holds, if there is room for all of it; true if it was sent.
    pub fn whole(&mut self, buffer: &mut Buffer, given: &Cell<u64>) -> Result<bool, RelayError> {
        let stream = self.stream.ok_or(RelayError::To)?;
        let bytes = buffer.filled();
        if !bytes.is_empty() && stream.room() < bytes.len() {
            return Ok(false);
        }
        let Some((lines, facts)) = self.head.take() else { return Ok(false) };
        let end = bytes.is_empty() || facts.is_all;
        stream.respond(facts.status, end, |out| out.verbatim(&lines)).map_err(|_| RelayError::To)?;
        let mut count = 0;
        if !end {
            let noop = &Context::from_waker(Waker::noop());
            count = match stream.poll_send(noop, bytes, true) {
                Poll::Ready(sent) => sent.map_err(|_| RelayError::To)?,
                Poll::Pending => 0,
            };
            buffer.consume(count);
        }
        given.set(given.get() + (lines.len() + count) as u64);
        Ok(buffer.is_empty())
    }

    /// Waits until a part of a body would be taken, and says how large it may be: within both windows and the output.
    pub async fn room(&self, flow: &Flow<'_>) -> Result<usize, RelayError> {
        let stream = self.stream.ok_or(RelayError::To)?;
        if stream.is_sent() {
            // What still comes has no place; to send it says so.
            return Ok(usize::MAX);
        }
        flow.await_receiver();
        poll_fn(|context| stream.poll_room(context)).await.map_err(|_| RelayError::To)
    }

    /// Sends bytes, and the end with them.
    async fn send(&mut self, mut bytes: &[u8], end: bool, flow: &Flow<'_>) -> Result<(), RelayError> {
        let stream = self.lead(end && bytes.is_empty(), flow)?;
        if stream.is_sent() {
            return if bytes.is_empty() { Ok(()) } else { Err(RelayError::To) };
        }
        loop {
            bytes = &bytes[send_part(stream, bytes, end, flow).await?..];
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends a piece at the front of a buffer and takes it off there; `last`: nothing follows.
    pub async fn piece(
        &mut self,
        buffer: &mut Buffer,
        mut step: Step,
        last: bool,
        flow: &Flow<'_>,
    ) -> Result<(), RelayError> {
        self.send_waiting(flow).await?;
        while step.kept > 0 {
            let stream = self.lead(false, flow)?;
            if stream.room() < step.kept {
                // A part waits for the peer, perhaps for long.
                buffer.settle();
            }
            let sent = send_part(stream, &buffer.filled()[..step.kept], last, flow).await?;
            buffer.consume(sent);
            step = Step { consumed: step.consumed - sent, kept: step.kept - sent };
        }
        buffer.consume(step.consumed);
        Ok(())
    }

    /// Keeps bytes until something follows them.
    pub fn hold(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.waiting.get_or_insert_with(|| self.buffers.text()).extend_from_slice(bytes);
        }
    }

    async fn send_waiting(&mut self, flow: &Flow<'_>) -> Result<(), RelayError> {
        match self.waiting.take() {
            Some(bytes) => self.send(&bytes, false, flow).await,
            None => Ok(()),
        }
    }

    /// Sends what waits.
    pub async fn flush(&mut self, flow: &Flow<'_>) -> Result<(), RelayError> {
        self.lead(false, flow)?;
        self.send_waiting(flow).await
    }

    /// The message is over; an interim response is only its head.
    pub async fn end(&mut self, trail: Trail<'_>, flow: &Flow<'_>) -> Result<(), RelayError> {
        if self.is_interim {
            return self.lead(false, flow).map(|_| ());
        }
        if std::mem::take(&mut self.held_open) {
            return self.flush(flow).await;
        }
        match trail {
            Trail::Fields(trailers) if !trailers.is_empty() => {
                self.flush(flow).await?;
                let stream = self.lead(false, flow)?;
                if stream.is_sent() {
                    return Ok(());
                }
                let sent = stream.send_trailers(|out| {
                    for (name, value) in trailers.lines() {
                        out.field(name.as_bytes(), value);
                    }
                });
                sent.map_err(|_| RelayError::To)
            }
            _ => {
                let waiting = self.waiting.take();
                let bytes = waiting.as_ref().map_or(&[][..], |bytes| bytes.as_slice());
                self.send(bytes, true, flow).await
            }
        }
    }

    /// No more comes, though the other side may go on.
    pub fn close(&mut self) -> Result<(), RelayError> {
        let stream = self.stream.ok_or(RelayError::To)?;
        if stream.is_sent() {
            return Ok(());
        }
        let noop = &Context::from_waker(Waker::noop());
        match stream.poll_send(noop, b"", true) {
            Poll::Ready(Err(_)) => Err(RelayError::To),
            _ => Ok(()),
        }
    }
}

/// Sends as much as there is room for, at least a byte if there are any, and says how much.
async fn send_part(stream: &Stream, bytes: &[u8], end: bool, flow: &Flow<'_>) -> Result<usize, RelayError> {
    if stream.is_sent() && !bytes.is_empty() {
        return Err(RelayError::To);
    }
    flow.await_receiver();
    let sent = poll_fn(|context| stream.poll_send(context, bytes, end)).await;
    let count = sent.map_err(|_| RelayError::To)?;
    flow.went(count, stream.session().sharers())?;
    Ok(count)
}
