//! Bodies on their way, whatever brings them and whatever takes them: pieces from a [`Source`] go into a [`Sink`] through
//! one buffer, framing checked, nothing gathered.
//!
//! Between two HTTP/1 connections chunks pass as they are. Everywhere else a piece is content, and trailers follow it.

mod account;
mod change;
mod request;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

pub use account::Account;
pub use change::{Changing, relay_changed};
pub use request::{RequestBody, Tally};

use crate::buffer::{Buffer, Buffers, Size, Text};
use crate::exchange::copy::Copy;
use crate::framing::chunked::{ChunkScanner, Emit, Step};
use crate::framing::fields::Fields;
use crate::framing::{BodyLength, Malformed};
use crate::http2::{Receiver, Sender};
use crate::pace::Pace;
use crate::timer::Watch;
use crate::turns::Turns;
use crate::wire::Wire;
use crate::worker::Worker;

/// Where an HTTP/1 body stands.
#[derive(Debug)]
pub enum BodyState {
    /// All of it has passed.
    Done,
    /// So many bytes are to come.
    Length(u64),
    /// Chunks.
    Chunked(Box<ChunkScanner>),
    /// Until the connection closes.
    UntilClose,
}

impl BodyState {
    /// The start of a body.
    pub fn new(length: BodyLength, emit: Emit) -> BodyState {
        match length {
            BodyLength::None | BodyLength::Length(0) => BodyState::Done,
            BodyLength::Length(left) => BodyState::Length(left),
            BodyLength::Chunked => BodyState::Chunked(Box::new(ChunkScanner::new(emit))),
            BodyLength::UntilClose => BodyState::UntilClose,
        }
    }

    /// Whether all of it has passed.
    pub fn is_done(&self) -> bool {
        match self {
            BodyState::Done => true,
            BodyState::Length(left) => *left == 0,
            BodyState::Chunked(scanner) => scanner.is_done(),
            BodyState::UntilClose => false,
        }
    }

    /// Takes what belongs to the body off the front of `bytes`; the front is then what to pass on.
    pub fn scan(&mut self, bytes: &mut [u8]) -> Result<Step, Malformed> {
        let all = |count: usize| Step { consumed: count, kept: count };
        match self {
            BodyState::Done => Ok(all(0)),
            BodyState::UntilClose => Ok(all(bytes.len())),
            BodyState::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                Ok(all(count))
            }
            BodyState::Chunked(scanner) => {
                let mut step = scanner.scan(bytes)?;
                // The tail came in with these bytes more often than not: then it leaves with them.
                let end = step.kept + scanner.tail().len();
                if scanner.is_done() && scanner.emit() == Emit::Chunks && end <= step.consumed {
                    bytes[step.kept..end].copy_from_slice(scanner.tail());
                    step.kept = end;
                    *self = BodyState::Done;
                }
                Ok(step)
            }
        }
    }
}

/// Why a body did not arrive.
#[derive(Debug)]
pub enum RelayError {
    /// The sender closed or broke the connection, or gave the message up.
    From,
    /// The sender's framing is wrong.
    Malformed(Malformed),
    /// The receiver closed or broke the connection, or wants no more.
    To,
    /// It is larger than its listener allows.
    TooLarge,
    /// The client sends or takes it too slowly.
    TooSlow,
    /// It could not be changed on its way, for lack of memory.
    Unchanged,
}

/// What the two ends of a body share.
#[derive(Clone, Copy)]
pub struct Flow<'f> {
    pub watch: &'f Watch,
    /// Without a byte for so long it is given up.
    pub stall: Duration,
    pub buffers: &'f Rc<Buffers>,
    pub turns: &'f Turns,
    /// Bytes taken from the sender.
    pub taken: &'f Cell<u64>,
    /// Bytes given to the receiver.
    pub given: &'f Cell<u64>,
    /// The pace of the sender, if it is looked at.
    pub sender: Option<&'f Pace>,
    /// The pace of the receiver, if it is looked at.
    pub receiver: Option<&'f Pace>,
}

impl<'f> Flow<'f> {
    /// At any pace, as long as something moves.
    pub fn at_any_pace(
        watch: &'f Watch,
        stall: Duration,
        worker: &'f Worker,
        taken: &'f Cell<u64>,
        given: &'f Cell<u64>,
    ) -> Flow<'f> {
        let (buffers, turns) = (&worker.buffers, &worker.turns);
        Flow { watch, stall, buffers, turns, taken, given, sender: None, receiver: None }
    }

    /// With another patience, and at any pace.
    pub fn with_stall(self, stall: Duration) -> Flow<'f> {
        Flow { stall, sender: None, receiver: None, ..self }
    }

    /// The sender is waited for.
    pub fn await_sender(&self) {
        if let Some(pace) = self.sender {
            pace.wait(self.watch.clock().now());
        }
    }

    /// The receiver is waited for.
    pub fn await_receiver(&self) {
        if let Some(pace) = self.receiver {
            pace.wait(self.watch.clock().now());
        }
    }

    /// So many bytes came; that puts the deadline off. `sharers`: the streams of the connection.
    pub fn came(&self, bytes: usize, sharers: usize) -> Result<(), RelayError> {
        self.watch.set(self.stall);
        self.keeps_pace(self.sender, bytes, sharers)
    }

    /// So many bytes were taken by the receiver; that puts the deadline off. `sharers`: the streams of the connection.
    pub fn went(&self, bytes: usize, sharers: usize) -> Result<(), RelayError> {
        Flow::add(self.given, bytes);
        self.watch.set(self.stall);
        self.keeps_pace(self.receiver, bytes, sharers)
    }

    fn keeps_pace(&self, pace: Option<&Pace>, bytes: usize, sharers: usize) -> Result<(), RelayError> {
        match pace {
            Some(pace) if pace.moved(self.watch.clock().now(), bytes, sharers) => Err(RelayError::TooSlow),
            _ => Ok(()),
        }
    }

    fn add(count: &Cell<u64>, bytes: usize) {
        count.set(count.get() + bytes as u64);
    }
}

/// What follows the last piece of a body.
pub enum Trail<'t> {
    /// HTTP/1 framing, to be passed on as it is; often nothing.
    Raw(&'t [u8]),
    /// Trailers; often none.
    Fields(&'t Fields),
}

/// Where a body comes from.
pub enum Source<'s> {
    /// An HTTP/1 connection; bytes after the body stay in the buffer.
    Http1 { wire: &'s Wire, state: BodyState, buffer: &'s mut Option<Buffer> },
    /// A copy of another body.
    Copy { copy: Rc<Copy>, buffer: Option<Buffer>, done: bool },
    /// A stream of HTTP/2.
    Http2(Receiver<'s>),
}

impl Source<'_> {
    /// Whether all of it was taken.
    pub fn is_done(&self) -> bool {
        match self {
            Source::Http1 { state, .. } => state.is_done(),
            Source::Copy { done, buffer, .. } => *done && buffer.is_none(),
            Source::Http2(receiver) => receiver.is_done(),
        }
    }

    /// Whether it is HTTP/1 framing that could be passed on as it is.
    pub fn is_http1(&self) -> bool {
        matches!(self, Source::Http1 { .. })
    }

    /// What becomes of chunks; to be said before anything is taken.
    pub fn set_emit(&mut self, emit: Emit) {
        if let Source::Http1 { state: BodyState::Chunked(scanner), .. } = self
            && scanner.emit() != emit
        {
            **scanner = ChunkScanner::new(emit);
        }
    }

    /// The buffer with the next piece at its front.
    pub fn buffer(&mut self) -> &mut Option<Buffer> {
        match self {
            Source::Http1 { buffer, .. } => buffer,
            Source::Copy { buffer, .. } => buffer,
            Source::Http2(receiver) => receiver.buffer(),
        }
    }

    /// The next piece, from what is in the buffer; none if there is nothing.
    pub fn step(&mut self, flow: &Flow<'_>) -> Result<Option<Step>, RelayError> {
        let step = match self {
            Source::Http1 { state, buffer, .. } => match buffer.as_mut() {
                Some(filled) if !filled.is_empty() && !state.is_done() => {
                    state.scan(filled.filled_mut()).map_err(RelayError::Malformed)?
                }
                _ => return Ok(None),
            },
            Source::Copy { buffer, .. } => match buffer {
                Some(filled) => Step { consumed: filled.filled().len(), kept: filled.filled().len() },
                None => return Ok(None),
            },
            Source::Http2(receiver) => match receiver.step() {
                Some(step) => step,
                None => return Ok(None),
            },
        };
        Flow::add(flow.taken, step.consumed);
        Ok(Some(step))
    }

    /// Waits for more, and takes it into the buffer, which is held only while there is something in it; false at the end.
    /// What an HTTP/1 connection has is taken no sooner than the sink has room for it, so that who takes nothing costs no
    /// memory (none: thrown away); of other sources it has been taken already, within their windows.
    pub async fn fill(&mut self, sink: Option<&Sink<'_>>, flow: &Flow<'_>) -> Result<bool, RelayError> {
        match self {
            Source::Http1 { wire, buffer, .. } => {
                if buffer.as_ref().is_some_and(Buffer::is_empty) {
                    **buffer = None;
                }
                flow.await_sender();
                wire.readable().await.map_err(|_| RelayError::From)?;
                // Never so little that a window of one byte costs a read of one byte.
                let room = match sink {
                    Some(sink) => sink.room(flow).await?.max(Size::Tiny.bytes()),
                    None => usize::MAX,
                };
                let size = match room {
                    room if room <= Size::Tiny.bytes() => Size::Tiny,
                    room if room <= Size::Small.bytes() => Size::Small,
                    _ => Size::Large,
                };
                let filling = buffer.get_or_insert_with(|| flow.buffers.take(size));
                if size == Size::Large || filling.space().is_empty() {
                    filling.grow();
                }
                let count = wire.read_most(filling, room).await.map_err(|_| RelayError::From)?;
                flow.came(count, 1)?;
                Ok(count > 0)
            }
            Source::Copy { copy, buffer, done } => {
                *buffer = poll_fn(|context| copy.poll_take(context)).await.map_err(|_| RelayError::From)?;
                *done |= buffer.is_none();
                Ok(true)
            }
            Source::Http2(receiver) => receiver.fill(flow).await,
        }
    }

    /// Whether the end of the connection is the end of the body.
    fn ends_with_connection(&self) -> bool {
        matches!(self, Source::Http1 { state: BodyState::UntilClose, .. })
    }

    /// What follows the last piece.
    pub fn trail(&self) -> Trail<'_> {
        match self {
            Source::Http1 { state: BodyState::Chunked(scanner), .. } => match scanner.emit() {
                Emit::Chunks => Trail::Raw(scanner.tail()),
                Emit::Content => Trail::Fields(scanner.trailers()),
            },
            Source::Http2(receiver) => receiver.trail(),
            _ => Trail::Raw(b""),
        }
    }
}

/// How an HTTP/1 body is framed by who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing is added: there is no body, its length is known, it has its framing already, or it ends with the
    /// connection.
    AsIs,
    /// Each piece becomes a chunk.
    Chunks,
}

impl Framing {
    /// For a body that is to be framed so, from pieces that are content (or not: from HTTP/1 to HTTP/1).
    pub fn of(body: BodyLength, content: bool) -> Framing {
        if content && body == BodyLength::Chunked { Framing::Chunks } else { Framing::AsIs }
    }
}

/// Where a message goes: its head was written, its body follows.
pub enum Sink<'s> {
    /// An HTTP/1 connection. The head waits in `first`, to leave in one piece with what follows at once.
    Http1 { wire: &'s Wire, first: Text, framing: Framing },
    /// A stream of HTTP/2.
    Http2(Sender<'s>),
}

impl Sink<'_> {
    /// Gives a piece at the front of a buffer and takes it off there; `last` says that neither bytes nor trailers follow.
    pub async fn piece(
        &mut self,
        buffer: &mut Buffer,
        step: Step,
        last: bool,
        flow: &Flow<'_>,
    ) -> Result<(), RelayError> {
        match self {
            Sink::Http1 { wire, first, framing } => {
                let chunk = *framing == Framing::Chunks && step.kept > 0;
                if chunk {
                    push_chunk_size(first, step.kept);
                }
                let whole = step.kept == step.consumed && step.consumed == buffer.filled().len();
                if (whole || !chunk) && buffer.prepend(first) {
                    if chunk {
                        buffer.append_crlf();
                    }
                    let (before, behind) = (first.len(), if chunk { 2 } else { 0 });
                    first.clear();
                    write(wire, &buffer.filled()[..before + step.kept + behind], flow).await?;
                    buffer.consume(before + step.consumed + behind);
                    return Ok(());
                }
                first.extend_from_slice(&buffer.filled()[..step.kept]);
                if chunk {
                    first.extend_from_slice(b"\r\n");
                }
                buffer.consume(step.consumed);
                self.flush(flow).await
            }
            Sink::Http2(sender) => sender.piece(buffer, step, last, flow).await,
        }
    }

    /// Gives a message whose body is all that a buffer holds, and is not framed anew, as far as it is taken at once; true if
    /// that was all. What is left stays in the buffer, to be given by [`piece`](Self::piece) and [`end`](Self::end).
    pub fn whole(&mut self, buffer: &mut Buffer, given: &Cell<u64>) -> Result<bool, RelayError> {
        match self {
            Sink::Http1 { wire, first, .. } => {
                if !buffer.prepend(first) {
                    return Ok(false);
                }
                first.clear();
                let count = match wire.try_write(buffer.filled()) {
                    Ok(count) => count,
                    Err(error) if is_for_later(&error) => 0,
                    Err(_) => return Err(RelayError::To),
                };
                Flow::add(given, count);
                buffer.consume(count);
                Ok(buffer.is_empty())
            }
            Sink::Http2(sender) => sender.whole(buffer, given),
        }
    }

    /// Gives bytes that are no part of a buffer; they leave with the next piece, at the end, or by [`flush`](Self::flush).
    pub fn hold(&mut self, bytes: &[u8]) {
        match self {
            Sink::Http1 { first, framing, .. } if !bytes.is_empty() => {
                if *framing == Framing::Chunks {
                    push_chunk_size(first, bytes.len());
                    first.extend_from_slice(bytes);
                    first.extend_from_slice(b"\r\n");
                } else {
                    first.extend_from_slice(bytes);
                }
            }
            Sink::Http1 { .. } => {}
            Sink::Http2(sender) => sender.hold(bytes),
        }
    }

    /// Waits until a piece would be taken, and says how large it may be.
    pub async fn room(&self, flow: &Flow<'_>) -> Result<usize, RelayError> {
        match self {
            Sink::Http1 { .. } => Ok(usize::MAX),
            Sink::Http2(sender) => sender.room(flow).await,
        }
    }

    /// Sends what waits.
    pub async fn flush(&mut self, flow: &Flow<'_>) -> Result<(), RelayError> {
        match self {
            Sink::Http1 { wire, first, .. } => {
                if !first.is_empty() {
                    write(wire, first, flow).await?;
                    first.clear();
                }
                Ok(())
            }
            Sink::Http2(sender) => sender.flush(flow).await,
        }
    }

    /// The message is over.
    pub async fn end(&mut self, trail: Trail<'_>, flow: &Flow<'_>) -> Result<(), RelayError> {
        match self {
            Sink::Http2(sender) => return sender.end(trail, flow).await,
            Sink::Http1 { first, framing, .. } => match (trail, framing) {
                (Trail::Raw(bytes), Framing::AsIs) => first.extend_from_slice(bytes),
                (Trail::Fields(_), Framing::AsIs) => {}
                (Trail::Raw(_), Framing::Chunks) => first.extend_from_slice(b"0\r\n\r\n"),
                (Trail::Fields(trailers), Framing::Chunks) => {
                    first.extend_from_slice(b"0\r\n");
                    first.extend_from_slice(trailers.run(0..trailers.len()));
                    first.extend_from_slice(b"\r\n");
                }
            },
        }
        self.flush(flow).await
    }

    /// No more comes, though the connection goes on the other way (tunnels).
    pub fn close(&mut self) -> Result<(), RelayError> {
        match self {
            Sink::Http1 { wire, .. } => wire.shutdown_write().map_err(|_| RelayError::To),
            Sink::Http2(sender) => sender.close(),
        }
    }
}

/// Whether a write may be tried again.
fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn push_chunk_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| DIGITS[size >> (digit * 4) & 15]));
    out.extend_from_slice(b"\r\n");
}

/// Writes everything; every byte of progress puts the deadline off, and is counted even if the rest fails.
async fn write(wire: &Wire, mut bytes: &[u8], flow: &Flow<'_>) -> Result<(), RelayError> {
    while !bytes.is_empty() {
        match wire.try_write(bytes) {
            Ok(count) => {
                bytes = &bytes[count..];
                flow.went(count, 1)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                flow.await_receiver();
                poll_fn(|context| wire.poll_writable(context)).await.map_err(|_| RelayError::To)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(RelayError::To),
        }
    }
    Ok(())
}

/// Pieces of a body before others get their turn: a large body from a fast sender to a fast receiver never waits.
const PIECES_MAX: u32 = 4;

/// Passes on all of a body, after what waits in the sink.
pub async fn relay(source: &mut Source<'_>, sink: &mut Sink<'_>, flow: &Flow<'_>) -> Result<(), RelayError> {
    let mut pieces = 0;
    loop {
        pieces += 1;
        if pieces == PIECES_MAX {
            pieces = 0;
            flow.turns.next().await;
        }
        if let Some(step) = source.step(flow)? {
            let last = source.is_done() && is_empty(&source.trail());
            if let Some(buffer) = source.buffer() {
                sink.piece(buffer, step, last, flow).await?;
            }
        } else {
            sink.flush(flow).await?;
        }
        if source.is_done() {
            return sink.end(source.trail(), flow).await;
        }
        if !source.fill(Some(sink), flow).await? {
            if source.ends_with_connection() {
                return sink.end(Trail::Raw(b""), flow).await;
            }
            return Err(RelayError::From);
        }
    }
}

fn is_empty(trail: &Trail<'_>) -> bool {
    match trail {
        Trail::Raw(bytes) => bytes.is_empty(),
        Trail::Fields(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk's size is written in as many digits as it needs.
    #[test]
    fn chunk_sizes() {
        for size in [0, 1, 9, 15, 16, 255, 256, 65_536, 1_048_575] {
            let mut out = Vec::new();
            push_chunk_size(&mut out, size);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{size:x}\r\n"));
        }
    }
}
