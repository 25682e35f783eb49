//! Bodies on their way: from one socket to the other through one buffer, framing checked, nothing gathered.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;


use crate::buffer::{Buffer, Buffers, Size};
use crate::framing::chunked::{ChunkScanner, Emit, Step};
use crate::framing::{BodyLength, Malformed};
use crate::wire::Wire;
use crate::timer::Watch;

/// Where a body stands.
#[derive(Debug)]
pub enum BodyState {
    Done,
    Length(u64),
    Chunked(ChunkScanner),
    UntilClose,
}

impl BodyState {
    /// The start of a body.
    pub fn new(length: BodyLength, emit: Emit) -> BodyState {
        match length {
            BodyLength::None | BodyLength::Length(0) => BodyState::Done,
            BodyLength::Length(left) => BodyState::Length(left),
            BodyLength::Chunked => BodyState::Chunked(ChunkScanner::new(emit)),
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
                if scanner.is_done() && end <= step.consumed {
                    bytes[step.kept..end].copy_from_slice(scanner.tail());
                    step.kept = end;
                    *self = BodyState::Done;
                }
                Ok(step)
            }
        }
    }

    /// What is to be passed on after the last bytes.
    fn tail(&self) -> &[u8] {
        match self {
            BodyState::Chunked(scanner) if scanner.is_done() => scanner.tail(),
            _ => &[],
        }
    }
}

/// Why a body did not arrive.
#[derive(Debug)]
pub enum RelayError {
    /// The sender closed or broke the connection.
    From,
    /// The sender's framing is wrong.
    Malformed(Malformed),
    /// The receiver closed or broke the connection.
    To,
}

/// One direction between two sockets.
pub struct Pipe<'a> {
    pub from: &'a Wire,
    pub to: &'a Wire,
    pub watch: &'a Watch,
    pub stall: Duration,
    pub buffers: &'a Rc<Buffers>,
    /// Bytes taken from the sender.
    pub taken: &'a Cell<u64>,
    /// Bytes given to the receiver.
    pub given: &'a Cell<u64>,
}

impl Pipe<'_> {
    /// Passes on `first` (a head), then the body; bytes after the body stay in `buffer`.
    pub async fn relay(
        &self,
        state: &mut BodyState,
        buffer: &mut Option<Buffer>,
        mut first: Vec<u8>,
    ) -> Result<(), RelayError> {
        loop {
            if let Some(filled) = buffer.as_mut().filter(|buffer| !buffer.is_empty()) {
                let step = state.scan(filled.filled_mut()).map_err(RelayError::Malformed)?;
                self.taken.set(self.taken.get() + step.consumed as u64);
                if first.is_empty() {
                    self.write(&filled.filled()[..step.kept]).await?;
                } else {
                    first.extend_from_slice(&filled.filled()[..step.kept]);
                }
                filled.consume(step.consumed);
            }
            if !first.is_empty() {
                first.extend_from_slice(state.tail());
                self.write(&std::mem::take(&mut first)).await?;
                if state.is_done() {
                    return Ok(());
                }
            }
            if state.is_done() {
                return self.write(state.tail()).await;
            }
            if buffer.as_ref().is_some_and(Buffer::is_empty) {
                *buffer = None;
            }
            if !self.fill(buffer).await? {
                return if matches!(state, BodyState::UntilClose) { Ok(()) } else { Err(RelayError::From) };
            }
        }
    }

    async fn write(&self, bytes: &[u8]) -> Result<(), RelayError> {
        self.to.write_all(bytes, self.watch, self.stall).await.map_err(|_| RelayError::To)?;
        self.given.set(self.given.get() + bytes.len() as u64);
        Ok(())
    }

    /// Reads more into the buffer, which is taken only once there is something; false at the end.
    async fn fill(&self, buffer: &mut Option<Buffer>) -> Result<bool, RelayError> {
        self.from.readable().await.map_err(|_| RelayError::From)?;
        let filling = buffer.get_or_insert_with(|| self.buffers.take(Size::Large));
        filling.grow();
        let count = self.from.read(filling).await.map_err(|_| RelayError::From)?;
        self.watch.set(self.stall);
        Ok(count > 0)
    }
}

/// A request's body and the bytes that start it: head and what of the body came along with it.
pub struct RequestBody {
    state: BodyState,
    first: Vec<u8>,
    /// Whether bytes were taken from the client that `first` does not hold; then the request cannot be sent again.
    pub streamed: Cell<bool>,
    /// Bytes sent to the upstream.
    pub sent: Cell<u64>,
    /// Bytes of the body received.
    pub received: Cell<u64>,
}

impl RequestBody {
    /// Takes what has arrived of the body already.
    pub fn new(
        length: BodyLength,
        mut first: Vec<u8>,
        inbox: &mut Option<Buffer>,
    ) -> Result<RequestBody, Malformed> {
        let mut state = BodyState::new(length, Emit::Chunks);
        let mut received = 0;
        if let Some(buffer) = inbox.as_mut().filter(|buffer| !buffer.is_empty() && !state.is_done()) {
            let step = state.scan(buffer.filled_mut())?;
            first.extend_from_slice(&buffer.filled()[..step.kept]);
            first.extend_from_slice(state.tail());
            buffer.consume(step.consumed);
            received = step.consumed as u64;
            if state.is_done() {
                state = BodyState::Done;
            }
        }
        let (streamed, sent) = (Cell::new(false), Cell::new(0));
        Ok(RequestBody { state, first, streamed, sent, received: Cell::new(received) })
    }

    /// Sends it all.
    pub async fn pump(
        &mut self,
        inbox: &mut Option<Buffer>,
        from: &Wire,
        to: &Wire,
        watch: &Watch,
        stall: Duration,
        buffers: &Rc<Buffers>,
    ) -> Result<(), RelayError> {
        let pipe = Pipe { from, to, watch, stall, buffers, taken: &self.received, given: &self.sent };
        self.sent.set(0);
        pipe.write_first(&self.first).await?;
        if self.state.is_done() {
            return Ok(());
        }
        // From here on bytes are taken that exist nowhere else.
        from.readable().await.map_err(|_| RelayError::From)?;
        self.streamed.set(true);
        pipe.relay(&mut self.state, inbox, Vec::new()).await
    }
}

impl Pipe<'_> {
    /// Sends the start, counting what left even if the rest did not.
    async fn write_first(&self, first: &[u8]) -> Result<(), RelayError> {
        let mut rest = first;
        while !rest.is_empty() {
            match self.to.try_write(rest) {
                Ok(count) => {
                    rest = &rest[count..];
                    self.given.set(self.given.get() + count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::future::poll_fn(|context| self.to.poll_writable(context))
                        .await
                        .map_err(|_| RelayError::To)?;
                }
                Err(_) => return Err(RelayError::To),
            }
        }
        Ok(())
    }
}
