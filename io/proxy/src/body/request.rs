//! A request's body: sent as it comes, and held as far as it may be sent again.

use std::cell::Cell;
use std::rc::Rc;

use tidegate_coding::grpc_web::TextDecoder;

use super::{BodyState, Flow, RelayError, Sink, Source, is_empty};
use crate::buffer::{Buffers, Text};
use crate::exchange::copy::Copy;
use crate::framing::Malformed;
use crate::framing::chunked::{Emit, Step};

/// A request's body, and what of it is held: what arrived along with the head, and more where a repeat or a copy may
/// need it.
pub struct RequestBody<'b> {
    source: Source<'b>,
    /// What was taken, in the form that `emit` says.
    held: Text,
    emit: Option<Emit>,
    /// What is held at most, beyond what came along with the head.
    keep_bytes: usize,
    /// The largest body allowed.
    bytes_max: u64,
    /// Bytes of content so far.
    content: u64,
    copies: Vec<Rc<Copy>>,
    /// The client's content is base64, and what it means goes on (gRPC-Web in text mode).
    text: Option<TextDecoder>,
    tally: &'b Tally,
}

/// What is counted of a request's body, to be read while it moves.
#[derive(Default)]
pub struct Tally {
    /// Whether bytes were taken from the client that are not held; then the request cannot be sent again.
    pub streamed: Cell<bool>,
    /// Bytes sent to the upstream in this attempt, the head included.
    pub sent: Cell<u64>,
    /// Bytes of the body received.
    pub received: Cell<u64>,
}

impl<'b> RequestBody<'b> {
    /// Nothing is taken yet.
    pub fn new(source: Source<'b>, tally: &'b Tally, buffers: &Rc<Buffers>) -> RequestBody<'b> {
        RequestBody {
            source,
            held: buffers.text(),
            emit: None,
            keep_bytes: 0,
            bytes_max: u64::MAX,
            content: 0,
            copies: Vec::new(),
            text: None,
            tally,
        }
    }

    /// Takes the client's content for base64; to be said before anything is taken.
    pub fn read_text(&mut self) {
        self.text = Some(TextDecoder::default());
    }

    /// Refuses bodies of more bytes.
    pub fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Holds so much of it for repeats.
    pub fn keep(&mut self, bytes: usize) {
        self.keep_bytes = bytes;
    }

    /// Whoever gets a copy; to be said before anything is taken.
    pub fn copy_to(&mut self, copy: Rc<Copy>) {
        self.copies.push(copy);
    }

    /// Prepares for an attempt: `raw` if the upstream takes HTTP/1 framing as it is. False if what is held has another
    /// form.
    pub fn begin(&mut self, raw: bool, flow: &Flow<'_>) -> Result<bool, RelayError> {
        // Who counts or copies content needs to see it.
        let looks = !self.copies.is_empty() || self.bytes_max != u64::MAX || self.text.is_some();
        let passes = raw && self.source.is_http1() && !looks;
        let emit = if passes { Emit::Chunks } else { Emit::Content };
        self.tally.sent.set(0);
        match self.emit {
            Some(before) => return Ok(before == emit),
            None => self.emit = Some(emit),
        }
        self.source.set_emit(emit);
        if let Some(step) = self.step(flow)? {
            self.count(step.kept)?;
            if let Some(buffer) = self.source.buffer() {
                let bytes = &buffer.filled()[..step.kept];
                self.held.extend_from_slice(bytes);
                self.copies.iter().for_each(|copy| copy.give(bytes));
                buffer.consume(step.consumed);
            }
        }
        Ok(true)
    }

    /// What the client sends after an upgrade.
    pub fn tunnel(&mut self) -> Source<'_> {
        match &mut self.source {
            Source::Http1 { wire, buffer, .. } => {
                Source::Http1 { wire, state: BodyState::UntilClose, buffer }
            }
            Source::Copy { copy, .. } => Source::Copy { copy: copy.clone(), buffer: None, done: false },
            Source::Http2(receiver) => Source::Http2(receiver.rest()),
        }
    }

    /// Whether the pieces are content, so that the sink must frame them.
    pub fn is_content(&self) -> bool {
        self.emit == Some(Emit::Content)
    }

    /// The next piece of content, if it is there.
    fn step(&mut self, flow: &Flow<'_>) -> Result<Option<Step>, RelayError> {
        let Some(mut step) = self.source.step(flow)? else { return Ok(None) };
        if let (Some(text), Some(buffer)) = (&mut self.text, self.source.buffer()) {
            let piece = &mut buffer.filled_mut()[..step.kept];
            step.kept = text.decode(piece).map_err(|_| RelayError::Malformed(Malformed::TEXT))?;
        }
        if self.source.is_done() {
            self.check_end()?;
        }
        Ok(Some(step))
    }

    fn check_end(&self) -> Result<(), RelayError> {
        match self.text.as_ref().is_none_or(TextDecoder::is_complete) {
            true => Ok(()),
            false => Err(RelayError::Malformed(Malformed::TEXT)),
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), RelayError> {
        self.content += bytes as u64;
        if self.content > self.bytes_max { Err(RelayError::TooLarge) } else { Ok(()) }
    }

    /// Sends it all, behind what waits in the sink.
    pub async fn pump(&mut self, sink: &mut Sink<'_>, flow: &Flow<'_>) -> Result<(), RelayError> {
        sink.hold(&self.held);
        if !self.source.is_done() {
            sink.flush(flow).await?;
        }
        while !self.source.is_done() {
            if !self.source.fill(Some(sink), flow).await? {
                return Err(RelayError::From);
            }
            let Some(step) = self.step(flow)? else { continue };
            self.count(step.kept)?;
            let last = self.source.is_done() && is_empty(&self.source.trail());
            let Some(buffer) = self.source.buffer() else { continue };
            let bytes = &buffer.filled()[..step.kept];
            self.copies.iter().for_each(|copy| copy.give(bytes));
            if self.tally.streamed.get() || self.held.len() + bytes.len() > self.keep_bytes {
                self.tally.streamed.set(true);
            } else {
                self.held.extend_from_slice(bytes);
            }
            sink.piece(buffer, step, last, flow).await?;
        }
        self.check_end()?;
        self.copies.drain(..).for_each(|copy| copy.finish());
        sink.end(self.source.trail(), flow).await
    }
}

/// Whoever still waits for the rest of a copy waits in vain.
impl Drop for RequestBody<'_> {
    fn drop(&mut self) {
        self.copies.iter().for_each(|copy| copy.fail());
    }
}
