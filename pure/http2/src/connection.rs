//! One HTTP/2 connection, either role: what it holds, how it begins and ends, and its output. Frames come in through
//! `receive` (its files: `headers`, `data`, `control`), and go out through `send`.

mod control;
mod data;
mod headers;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use crate::error::{ConnectionError, ErrorCode, Fault, Flood, ResetBy};
use crate::flood::Floods;
use crate::frame::{self, MAX_31};
use crate::hpack::Decoder;
use crate::limits::Limits;
use crate::settings::{self, INITIAL_WINDOW, PeerSettings};
use crate::stream::{Half, Past, StreamId, Streams, Wait};
use crate::window::ReceiveWindow;
use receive::Reading;
pub use send::RequestLine;
use std::collections::VecDeque;
use std::sync::Arc;

/// Which side of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Clients ask us.
    Server,
    /// We ask an origin.
    Client,
}

/// What the peer did. Heads and trailers stand in the `Fields` lent to `receive`, until the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request (as a server, a new stream) or the final response (as a client). `end`: no body follows.
    Head {
        /// The stream.
        stream: StreamId,
        /// Whether the peer has ended its side.
        end: bool,
    },
    /// As a client: an interim response, 1xx but never 101.
    Interim {
        /// The stream.
        stream: StreamId,
    },
    /// As a server: a new stream whose header list is beyond the limit; the fields are incomplete and unchecked. Answer
    /// 431 and reset.
    HeadTooLarge {
        /// The stream.
        stream: StreamId,
        /// Whether the peer has ended its side.
        end: bool,
    },
    /// Body bytes, in order, agreeing with `content-length`. Empty only if `end`. Each byte is to be given back by
    /// `release`, exactly once, whatever becomes of the stream.
    Data {
        /// The stream.
        stream: StreamId,
        /// A part of the input.
        data: &'a [u8],
        /// Whether these are the last.
        end: bool,
    },
    /// Trailers; the peer has ended its side.
    Trailers {
        /// The stream.
        stream: StreamId,
    },
    /// The stream is gone: neither side sends on it any more.
    Reset {
        /// The stream.
        stream: StreamId,
        /// By whom and why.
        by: ResetBy,
    },
    /// As a server: a stream that was reset before it was shown: malformed, or beyond the limit. For the log.
    Refused {
        /// The identifier on the wire.
        number: u32,
        /// Why.
        fault: Fault,
    },
    /// The peer will not serve streams above `last`; those we have there follow as `Reset` by `ResetBy::GoAway`.
    GoAway {
        /// The last stream it may have served.
        last: u32,
        /// Why it goes.
        code: ErrorCode,
    },
    /// The peer's settings changed: see `peer_settings`.
    Settings,
    /// The peer has taken our settings.
    SettingsAcked,
    /// The answer to `ping`.
    Pong {
        /// What was sent.
        payload: [u8; 8],
    },
}

/// How far we are with saying goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closing {
    No,
    /// GOAWAY with the highest identifier: streams on their way are still taken.
    Announced,
    /// GOAWAY with the last stream: later ones are ignored.
    Final,
}

/// What `begin_shutdown` sends in its PING; the answer shows that the peer has read the GOAWAY before it.
const SHUTDOWN_PING: [u8; 8] = *b"goodbye\n";
/// DATA is not cut into frames smaller than this for want of room in the output.
const ROOM_BYTES_MIN: usize = 4096;
/// Memory kept in a buffer that is empty.
const KEPT_BYTES_MAX: usize = 1024;

/// The machine. It holds no buffers while nothing is under way; see `shrink`.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    limits: Arc<Limits>,
    peer: PeerSettings,
    peer_settings_seen: bool,
    settings_acked: bool,
    decoder: Decoder,
    /// The encoder has to tell that it uses no table, before its next field.
    empty_table_due: bool,
    streams: Streams,
    past: Past,
    floods: Floods,
    reading: Reading,
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    /// A header block whose end has not come.
    block: Option<Box<headers::Block>>,
    output: Vec<u8>,
    /// Bytes of the output that were written.
    written: usize,
    /// Streams that may go on once the connection's window and the output have room.
    waiting: VecDeque<StreamId>,
    send_window: i64,
    receive_window: ReceiveWindow,
    closing: Closing,
    /// The last stream that our final GOAWAY named: it must not grow.
    final_last: u32,
    /// The peer's GOAWAY: its last stream.
    peer_last: Option<u32>,
    error: Option<ConnectionError>,
}

impl Connection {
    /// A server's side; its SETTINGS stand in the output.
    pub fn server(limits: Arc<Limits>) -> Connection {
        Connection::new(Role::Server, limits)
    }

    /// Whether a header block, or a frame of anything but DATA, has begun and not ended: nothing else can come on the
    /// connection before its end (RFC 9113 section 4.3).
    pub fn is_amid_head(&self) -> bool {
        self.block.is_some() || (matches!(self.reading, Reading::Frame) && !self.partial.is_empty())
    }

    /// A client's side; the preface and SETTINGS stand in the output. Streams may be opened at once.
    pub fn client(limits: Arc<Limits>) -> Connection {
        Connection::new(Role::Client, limits)
    }

    fn new(role: Role, limits: Arc<Limits>) -> Connection {
        let mut output = Vec::with_capacity(128);
        if role == Role::Client {
            output.extend_from_slice(frame::PREFACE);
        }
        settings::announce(&mut output, &limits, role == Role::Server);
        let window = limits.connection_window();
        if window > INITIAL_WINDOW {
            frame::window_update(&mut output, 0, window - INITIAL_WINDOW);
        }
        Connection {
            role,
            peer: PeerSettings::default(),
            peer_settings_seen: false,
            settings_acked: false,
            decoder: Decoder::new(),
            empty_table_due: false,
            streams: Streams::default(),
            past: Past::default(),
            floods: Floods::default(),
            reading: if role == Role::Server { Reading::Preface } else { Reading::Frame },
            partial: Vec::new(),
            block: None,
            output,
            written: 0,
            waiting: VecDeque::new(),
            send_window: INITIAL_WINDOW.into(),
            receive_window: ReceiveWindow::new(window),
            closing: Closing::No,
            final_last: 0,
            peer_last: None,
            error: None,
            limits,
        }
    }

    /// Which side we are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the peer announced.
    pub fn peer_settings(&self) -> &PeerSettings {
        &self.peer
    }

    /// Whether the peer's SETTINGS have come: what it did not announce until then is not known.
    pub fn has_peer_settings(&self) -> bool {
        self.peer_settings_seen
    }

    /// Whether the peer's SETTINGS have come and ours are acknowledged: until then the shell runs its handshake timeout.
    pub fn is_settled(&self) -> bool {
        self.peer_settings_seen && self.settings_acked
    }

    /// Streams that are open, in whichever half.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// The open streams, oldest first.
    pub fn streams(&self) -> impl Iterator<Item = StreamId> {
        self.streams.iter().map(|(id, _)| id)
    }

    /// Whether the stream is open in either half.
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.streams.get(stream).is_some()
    }

    /// Streams that cannot go on before the peer opens a window: what a zero-window stall looks like. The shell's
    /// send timeout ends them.
    pub fn blocked_streams(&self) -> usize {
        self.streams.iter().filter(|&(id, _)| self.is_blocked(id)).count()
    }

    /// Whether this stream waits for a window of the peer; waiting for the output to drain does not count.
    pub fn is_blocked(&self, stream: StreamId) -> bool {
        self.streams.get(stream).is_some_and(|stream| match stream.wait {
            Wait::No => false,
            Wait::Queued => self.send_window <= 0,
            Wait::Window => true,
        })
    }

    /// Streams that the peer reset, or made us reset, until now.
    pub fn resets(&self) -> u32 {
        self.floods.resets()
    }

    /// Why the connection is over, if it is.
    pub fn error(&self) -> Option<ConnectionError> {
        self.error
    }

    /// What is to be written to the peer.
    #[inline]
    pub fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// Notes that `bytes` of the output were written. Streams may go on: ask `next_writable`.
    pub fn advance_output(&mut self, bytes: usize) {
        self.written = self.output.len().min(self.written + bytes);
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        } else if self.written >= self.limits.output_bytes_max {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Whether `receive` should be called: `false` while the peer does not read what its own frames caused. DATA alone
    /// never makes it false, so that two sides that both send cannot wait for each other.
    #[inline]
    pub fn wants_input(&self) -> bool {
        self.error.is_none() && self.output().len() < self.limits.output_bytes_max.saturating_mul(2)
    }

    /// Takes the output's memory while there is nothing in it, for a pool of buffers.
    pub fn take_output_buffer(&mut self) -> Option<Vec<u8>> {
        (self.output.is_empty() && self.output.capacity() > 0).then(|| std::mem::take(&mut self.output))
    }

    /// Lends memory for the output; ignored while the output has some.
    pub fn lend_output_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.output.capacity() == 0 {
            buffer.clear();
            self.output = buffer;
        }
    }

    /// Lets go of all memory that an idle connection does not need; the peer's compression table stays, as it must.
    pub fn shrink(&mut self) {
        self.streams.shrink();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        for buffer in [&mut self.output, &mut self.partial] {
            if buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
    }

    /// Sends a PING; its answer comes as `Event::Pong`.
    pub fn ping(&mut self, payload: [u8; 8]) {
        frame::ping(&mut self.output, 0, payload);
    }

    /// Begins to end the connection without losing a request: the peer is told to open no more streams, those under way
    /// are still taken; once it answered, the last stream is named. See `is_drained`.
    pub fn begin_shutdown(&mut self) {
        if self.closing != Closing::No || self.error.is_some() {
            return;
        }
        self.closing = Closing::Announced;
        match self.role {
            Role::Server => {
                frame::goaway(&mut self.output, MAX_31, ErrorCode::NO_ERROR);
                frame::ping(&mut self.output, 0, SHUTDOWN_PING);
            }
            Role::Client => self.finish_shutdown(),
        }
    }

    /// Names the last stream at once: for peers that do not answer in time. Streams open now go on.
    pub fn finish_shutdown(&mut self) {
        self.go_away(ErrorCode::NO_ERROR);
    }

    /// GOAWAY with a code of the caller's; later streams are ignored. Does not touch those that are open.
    pub fn go_away(&mut self, code: ErrorCode) {
        if self.error.is_none() && self.closing != Closing::Final {
            self.final_last = self.last_taken();
            self.closing = Closing::Final;
            frame::goaway(&mut self.output, self.final_last, code);
        }
    }

    /// Whether the connection is on its way to its end: an error, our own goodbye, or as a client the origin's GOAWAY. (A
    /// client's GOAWAY speaks of streams that we would open, so a server has nothing to end.)
    pub fn is_closing(&self) -> bool {
        self.error.is_some() || self.closing != Closing::No || self.is_dismissed()
    }

    fn is_dismissed(&self) -> bool {
        self.role == Role::Client && self.peer_last.is_some()
    }

    /// Whether nothing is left to do: goodbye was said for good, no stream is open, all is written. Shut the socket down for
    /// writing, and read on for a moment before closing it, or the peer may never see the GOAWAY.
    pub fn is_drained(&self) -> bool {
        let ended = self.error.is_some() || self.closing == Closing::Final || self.is_dismissed();
        ended && self.streams.len() == 0 && self.output().is_empty()
    }

    /// The last stream of the peer's that we took: a client's peer opens none.
    fn last_taken(&self) -> u32 {
        if self.role == Role::Server { self.past.last } else { 0 }
    }

    /// Ends the connection for what the peer did.
    fn fail(&mut self, fault: Fault) -> ConnectionError {
        let error = ConnectionError { fault };
        self.error = Some(error);
        let last = if self.closing == Closing::Final { self.final_last } else { self.last_taken() };
        frame::goaway(&mut self.output, last, fault.code());
        self.streams = Streams::default();
        self.waiting = VecDeque::new();
        self.block = None;
        self.partial = Vec::new();
        error
    }

    fn spend(&mut self, flood: Flood) -> Result<(), Fault> {
        Ok(self.floods.spend(flood, &self.limits)?)
    }

    /// Takes a stream out of the map and of the queue.
    fn remove(&mut self, id: StreamId) {
        if self.streams.remove(id).is_some_and(|stream| stream.wait == Wait::Queued) {
            self.waiting.retain(|&waiting| waiting != id);
        }
    }

    /// Takes a stream out that ended as it should, if both halves did.
    fn remove_if_over(&mut self, id: StreamId) {
        if self.streams.get(id).is_some_and(|stream| stream.is_over()) {
            self.floods.completed();
            self.remove(id);
        }
    }

    fn end_received(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.receiving = Half::Ended;
        }
        self.remove_if_over(id);
    }

    fn end_sent(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.sending = Half::Ended;
        }
        self.remove_if_over(id);
    }

    /// Resets an open stream because of what the peer sent on it (RFC 9113 section 5.4.2).
    fn stream_error(&mut self, id: StreamId, fault: Fault) -> Result<Option<Event<'static>>, Fault> {
        self.spend(Flood::ProvokedReset)?;
        frame::rst_stream(&mut self.output, id.number, fault.code());
        self.past.reset(id.number);
        self.remove(id);
        Ok(Some(Event::Reset { stream: id, by: ResetBy::Us(fault) }))
    }

    /// Whether a frame for a stream that is not open can be ignored: only if we reset that stream.
    fn ignore_late(&mut self, number: u32) -> Result<(), Fault> {
        if number > self.past.last || number.is_multiple_of(2) {
            return Err(Fault::IdleStream);
        }
        if !self.past.was_reset(number) {
            return Err(Fault::StreamClosed);
        }
        self.spend(Flood::Ignored)
    }

    /// Gives bytes back to the connection's window.
    fn release_connection(&mut self, bytes: u32) {
        let size = self.limits.connection_window();
        if let Some(update) = self.receive_window.release(bytes, size) {
            frame::window_update(&mut self.output, 0, update);
        }
    }

    fn release_stream(&mut self, id: StreamId, bytes: u32) {
        let size = self.limits.stream_window();
        if let Some(stream) = self.streams.get_mut(id)
            && stream.receiving != Half::Ended
            && let Some(update) = stream.receive_window.release(bytes, size)
        {
            frame::window_update(&mut self.output, id.number, update);
        }
    }
}
