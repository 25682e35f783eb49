//! What we send on streams: heads, DATA within both windows and the output's room, trailers, resets. Never waits: what
//! does not fit is told, and `next_writable` says when to try again.

use super::{Connection, ROOM_BYTES_MIN, Role};
use crate::error::{ErrorCode, OpenError, SendError};
use crate::frame::{self, HEADER_BYTES, Header, MAX_31, flag, kind};
use crate::hpack::FieldWriter;
use crate::stream::{Half, StreamId, Wait};

/// The largest DATA frame we write, if the peer takes it.
const DATA_BYTES_MAX: usize = 64 << 10;

/// A request's pseudo-headers (RFC 9113 section 8.3.1). Plain CONNECT has neither scheme nor path.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestLine<'a> {
    /// `:method`
    pub method: &'a [u8],
    /// `:scheme`
    pub scheme: Option<&'a [u8]>,
    /// `:authority`
    pub authority: Option<&'a [u8]>,
    /// `:path`, never empty
    pub path: Option<&'a [u8]>,
    /// `:protocol` of an extended CONNECT, if `PeerSettings::extended_connect`
    pub protocol: Option<&'a [u8]>,
}

impl Connection {
    /// As a client: how many streams may be opened now.
    pub fn open_room(&self) -> usize {
        if self.is_closing() || self.past.last >= MAX_31 - 1 {
            return 0;
        }
        // Streams whose readers are slow hold half of the window: others are better off elsewhere.
        if self.receive_window.held() > self.limits.connection_window() / 2 {
            return 0;
        }
        let peer = if self.peer_settings_seen { self.peer.concurrent_streams_max } else { u32::MAX };
        let most = peer.min(self.limits.concurrent_streams_max) as usize;
        most.saturating_sub(self.streams.len())
    }

    /// As a client: opens a stream and sends the request's head. `end`: no body follows.
    pub fn open(
        &mut self,
        request: RequestLine<'_>,
        end: bool,
        fill: impl FnOnce(&mut FieldWriter<'_>),
    ) -> Result<StreamId, OpenError> {
        self.open_with(request.method, end, |writer| {
            writer.request(&request);
            fill(writer);
        })
    }

    /// The same, with a head that `fill` writes whole: `FieldWriter::request` with this method, then its lines.
    pub fn open_with(
        &mut self,
        method: &[u8],
        end: bool,
        fill: impl FnOnce(&mut FieldWriter<'_>),
    ) -> Result<StreamId, OpenError> {
        if self.role != Role::Client || self.is_closing() {
            return Err(OpenError::Ending);
        }
        let number = if self.past.last == 0 { 1 } else { self.past.last + 2 };
        if number > MAX_31 {
            return Err(OpenError::Ending);
        }
        if self.open_room() == 0 {
            return Err(OpenError::Full);
        }
        let mut stream = self.new_stream(number);
        stream.head_request = method == b"HEAD";
        stream.connect = method == b"CONNECT";
        stream.sending = if end { Half::Ended } else { Half::Body };
        self.past.open(number);
        let id = self.streams.insert(stream);
        self.header_block(number, end, fill);
        Ok(id)
    }

    /// As a server: sends a response's head; 1xx before the final one, never 101, never with `end`.
    pub fn respond(
        &mut self,
        id: StreamId,
        status: u16,
        end: bool,
        fill: impl FnOnce(&mut FieldWriter<'_>),
    ) -> Result<(), SendError> {
        let stream = self.streams.get_mut(id).ok_or(SendError::Gone)?;
        let interim = status < 200;
        if stream.sending != Half::Head || self.role != Role::Server || (interim && end) || status == 101 {
            return Err(SendError::Order);
        }
        if !interim {
            stream.sending = Half::Body;
        }
        self.header_block(id.number, end, |writer| {
            writer.status(status);
            fill(writer);
        });
        if end {
            self.end_sent(id);
        }
        Ok(())
    }

    /// Sends as much of `bytes` as the windows and the output have room for, and says how much. `end` counts if all was taken.
    /// What was not is to be offered again when `next_writable` names the stream.
    pub fn send_data(&mut self, id: StreamId, bytes: &[u8], end: bool) -> Result<usize, SendError> {
        let room = self.output_room();
        let stream = self.streams.get_mut(id).ok_or(SendError::Gone)?;
        if stream.sending != Half::Body {
            return Err(SendError::Order);
        }
        let window = usize::try_from(stream.send_window.min(self.send_window)).unwrap_or(0);
        let taken = bytes.len().min(window).min(room);
        let whole = taken == bytes.len();
        stream.send_window -= taken as i64;
        self.send_window -= taken as i64;
        if !whole {
            self.wait_for_room(id);
        }
        let end = end && whole;
        self.data_frames(id.number, &bytes[..taken], end);
        if whole {
            self.floods.data_sent();
        }
        if end {
            self.end_sent(id);
        }
        Ok(taken)
    }

    /// How much `send_data` would take now: for a shell that reads no more than it can pass on.
    pub fn data_room(&self, id: StreamId) -> usize {
        let window = self.streams.get(id).map_or(0, |stream| stream.send_window.min(self.send_window));
        usize::try_from(window).unwrap_or(0).min(self.output_room())
    }

    /// The same, and if it is nothing, `next_writable` names the stream once it is more.
    pub fn await_room(&mut self, id: StreamId) -> Result<usize, SendError> {
        let room = self.data_room(id);
        let stream = self.streams.get(id).ok_or(SendError::Gone)?;
        if stream.sending != Half::Body {
            return Err(SendError::Order);
        }
        if room == 0 {
            self.wait_for_room(id);
        }
        Ok(room)
    }

    fn wait_for_room(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.wait != Wait::Queued) else {
            return;
        };
        stream.wait = if stream.send_window <= 0 { Wait::Window } else { Wait::Queued };
        if stream.wait == Wait::Queued {
            self.waiting.push_back(id);
        }
    }

    /// Sends trailers and ends our side. All data must have been taken before.
    pub fn send_trailers(
        &mut self,
        id: StreamId,
        fill: impl FnOnce(&mut FieldWriter<'_>),
    ) -> Result<(), SendError> {
        let stream = self.streams.get(id).ok_or(SendError::Gone)?;
        if stream.sending != Half::Body {
            return Err(SendError::Order);
        }
        self.header_block(id.number, true, fill);
        self.end_sent(id);
        Ok(())
    }

    /// Ends a stream in both directions; nothing happens if it is gone. A server that answered before the request had come in
    /// full says NO_ERROR (RFC 9113 section 8.1). Frames on their way are ignored; no event follows.
    pub fn reset(&mut self, id: StreamId, code: ErrorCode) {
        if self.is_open(id) {
            frame::rst_stream(&mut self.output, id.number, code);
            self.past.reset(id.number);
            self.remove(id);
        }
    }

    /// The next stream whose `send_data` took less than it was given, and that can now go on: each is named once. Ask until
    /// there is none, after `receive` and after `advance_output`.
    pub fn next_writable(&mut self) -> Option<StreamId> {
        while self.send_window > 0 && self.output_room() > 0 {
            let id = self.waiting.pop_front()?;
            let Some(stream) = self.streams.get_mut(id) else { continue };
            stream.wait = Wait::No;
            if stream.sending != Half::Body {
                continue;
            }
            if stream.send_window > 0 {
                return Some(id);
            }
            stream.wait = Wait::Window;
        }
        None
    }

    /// Bytes of DATA that may still be added to the output; none if too few to be worth a frame.
    fn output_room(&self) -> usize {
        let room = self.limits.output_bytes_max.saturating_sub(self.output().len());
        if room < ROOM_BYTES_MIN.min(self.limits.output_bytes_max) { 0 } else { room }
    }

    fn data_frames(&mut self, number: u32, mut bytes: &[u8], end: bool) {
        let most = DATA_BYTES_MAX.min(self.peer.frame_bytes_max as usize);
        while bytes.len() > most {
            let (frame, rest) = bytes.split_at(most);
            frame::header(&mut self.output, most as u32, kind::DATA, 0, number);
            self.output.extend_from_slice(frame);
            bytes = rest;
        }
        if !bytes.is_empty() || end {
            self.output.reserve(HEADER_BYTES + bytes.len());
            let flags = if end { flag::END_STREAM } else { 0 };
            frame::header(&mut self.output, bytes.len() as u32, kind::DATA, flags, number);
            self.output.extend_from_slice(bytes);
        }
    }

    /// Writes a header block, straight into its frame.
    #[inline]
    fn header_block(&mut self, number: u32, end: bool, fill: impl FnOnce(&mut FieldWriter<'_>)) {
        let at = self.output.len();
        self.output.extend_from_slice(&[0; HEADER_BYTES]);
        let mut writer = FieldWriter::new(&mut self.output);
        if std::mem::take(&mut self.empty_table_due) {
            writer.empty_table();
        }
        fill(&mut writer);
        let length = self.output.len() - at - HEADER_BYTES;
        let most = self.peer.frame_bytes_max as usize;
        let end_stream = if end { flag::END_STREAM } else { 0 };
        let whole = if length <= most { flag::END_HEADERS } else { 0 };
        let first = length.min(most) as u32;
        let header = Header { length: first, kind: kind::HEADERS, flags: end_stream | whole, stream: number };
        self.output[at..at + HEADER_BYTES].copy_from_slice(&header.bytes());
        if length > most {
            self.continue_block(number, at + HEADER_BYTES + most, most);
        }
    }

    /// Parts what stands from `at` on into CONTINUATION frames.
    fn continue_block(&mut self, number: u32, at: usize, most: usize) {
        let rest = self.output.split_off(at);
        let mut pieces = rest.chunks(most).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
            frame::header(&mut self.output, piece.len() as u32, kind::CONTINUATION, flags, number);
            self.output.extend_from_slice(piece);
        }
    }
}
