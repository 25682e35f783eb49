//! DATA (RFC 9113 section 6.1): windows, padding and `content-length`, checked when a frame begins, so that no byte of
//! a bad frame is shown. Never keeps a byte.

use super::receive::{Reading, Step};
use super::{Connection, Event};
use crate::error::{Fault, Flood, Malformed};
use crate::frame::{Header, flag};
use crate::stream::{Half, StreamId};

/// A frame below this says too little to pay for other frames.
const USEFUL_BYTES_MIN: u32 = 32;

/// A frame below this holds no message of gRPC (5 bytes before each) or WebSocket (6 before each of a client's).
const TINY_BYTES: u32 = 5;

/// What is left of a DATA frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    stream: StreamId,
    left: u32,
    padding: u32,
    end: bool,
}

impl Connection {
    /// Gives back `bytes` of `Event::Data` once they are used, so that the peer may send as many more. Owed for every
    /// byte, also of streams that have ended.
    pub fn release(&mut self, stream: StreamId, bytes: usize) {
        if self.error.is_none() {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.release_connection(bytes);
            self.release_stream(stream, bytes);
        }
    }

    /// A DATA frame begins; `payload` holds the length of the padding, if there is any.
    pub(super) fn data_begins(
        &mut self,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<Event<'static>>, Fault> {
        if header.stream == 0 {
            return Err(Fault::WrongStream);
        }
        let (padding, field) = match (header.has(flag::PADDED), payload.first()) {
            (false, _) => (0, 0),
            (true, Some(&padding)) => (u32::from(padding), 1),
            (true, None) => return Err(Fault::Padding),
        };
        let bytes = header.length.checked_sub(padding + field).ok_or(Fault::Padding)?;
        if !self.receive_window.take(header.length) {
            return Err(Fault::WindowExceeded);
        }
        let end = header.has(flag::END_STREAM);
        let Some(id) = self.streams.find(header.stream) else {
            self.discard(header.length, field);
            return self.ignore_late(header.stream).map(|()| None);
        };
        if let Err(fault) = self.admit_data(id, header.length, bytes, end) {
            self.discard(header.length, field);
            return self.stream_error(id, fault);
        }
        if bytes == 0 && !end {
            self.spend(Flood::EmptyData)?;
        } else if bytes < TINY_BYTES && !end {
            self.spend(Flood::TinyData)?;
        } else if bytes >= USEFUL_BYTES_MIN || end {
            self.floods.useful_frame();
        }
        if padding + field > 0 {
            self.release_connection(padding + field);
            self.release_stream(id, padding + field);
        }
        if bytes > 0 {
            self.reading = Reading::Data(Data { stream: id, left: bytes, padding, end });
            return Ok(None);
        }
        self.reading = Reading::Skip(padding);
        if end {
            self.end_received(id);
        }
        Ok(end.then_some(Event::Data { stream: id, data: &[], end }))
    }

    /// Counts a frame against its stream.
    fn admit_data(&mut self, id: StreamId, length: u32, bytes: u32, end: bool) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        match stream.receiving {
            Half::Head => return Err(Malformed::DataFirst.into()),
            Half::Ended => return Err(Fault::StreamClosed),
            Half::Body => {}
        }
        if !stream.receive_window.take(length) {
            return Err(Fault::WindowExceeded);
        }
        if let Some(left) = &mut stream.content_left {
            *left = left.checked_sub(bytes.into()).ok_or(Malformed::BodyLength)?;
            if end && *left > 0 {
                return Err(Malformed::BodyLength.into());
            }
        }
        Ok(())
    }

    /// Passes over a whole frame, of which `read` bytes are read.
    fn discard(&mut self, length: u32, read: u32) {
        self.release_connection(length);
        self.reading = Reading::Skip(length - read);
    }

    /// Hands out what has come of a frame's content.
    #[inline]
    pub(super) fn data<'a>(&mut self, mut data: Data, input: &mut &'a [u8]) -> Step<'a> {
        let bytes = input.len().min(data.left as usize);
        if bytes == 0 {
            return Step::Starved;
        }
        let (chunk, rest) = input.split_at(bytes);
        *input = rest;
        data.left -= bytes as u32;
        self.reading = if data.left > 0 { Reading::Data(data) } else { Reading::Skip(data.padding) };
        if !self.is_open(data.stream) {
            // Reset by the shell within the frame.
            self.release_connection(bytes as u32);
            return Step::Next;
        }
        let end = data.end && data.left == 0;
        if end {
            self.end_received(data.stream);
        }
        Step::Event(Event::Data { stream: data.stream, data: chunk, end })
    }
}
