//! The peer's bytes to whole frames, however they are cut. Never judges what a frame says beyond its length and place.

use super::data::Data;
use super::{Connection, Event, KEPT_BYTES_MAX, Role};
use crate::error::{ConnectionError, Fault, Flood, ResetBy};
use crate::fields::Fields;
use crate::frame::{FRAME_BYTES_MAX, HEADER_BYTES, Header, PREFACE, flag, kind};
use std::time::Duration;

/// What the next bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    /// What is missing of the client's preface.
    Preface,
    /// A frame, from its header on.
    Frame,
    /// The content of a DATA frame.
    Data(Data),
    /// So many bytes of no meaning.
    Skip(u32),
}

/// What one step led to.
pub(super) enum Step<'a> {
    /// All input is used up.
    Starved,
    Next,
    Event(Event<'a>),
}

impl<'a> From<Option<Event<'a>>> for Step<'a> {
    fn from(event: Option<Event<'a>>) -> Step<'a> {
        event.map_or(Step::Next, Step::Event)
    }
}

impl Connection {
    /// Takes input up to the next event. `None`: all of it is used up, the beginning of a frame is kept here. `fields`
    /// is overwritten by each header block; the shell may swap it out when a head or trailers came. `now`: any clock that does
    /// not go back. After an error every call says it again; the output then ends with GOAWAY.
    pub fn receive<'a>(
        &mut self,
        input: &mut &'a [u8],
        fields: &mut Fields,
        now: Duration,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.floods.set_now(now);
        loop {
            if let Some(event) = self.left_out() {
                return Ok(Some(event));
            }
            match self.step(input, fields) {
                Ok(Step::Starved) => return Ok(None),
                Ok(Step::Next) => {}
                Ok(Step::Event(event)) => return Ok(Some(event)),
                Err(fault) => return Err(self.fail(fault)),
            }
        }
    }

    /// The next stream of ours above the last one that the peer's GOAWAY names.
    #[inline]
    fn left_out(&mut self) -> Option<Event<'static>> {
        let peer_last = self.peer_last.filter(|_| self.role == Role::Client)?;
        let stream = self.streams.last().filter(|id| id.number > peer_last)?;
        self.past.reset(stream.number);
        self.remove(stream);
        Some(Event::Reset { stream, by: ResetBy::GoAway })
    }

    #[inline]
    fn step<'a>(&mut self, input: &mut &'a [u8], fields: &mut Fields) -> Result<Step<'a>, Fault> {
        match self.reading {
            Reading::Frame => self.frame(input, fields),
            Reading::Data(data) => Ok(self.data(data, input)),
            Reading::Skip(left) => {
                let bytes = input.len().min(left as usize);
                *input = &input[bytes..];
                let left = left - bytes as u32;
                self.reading = if left == 0 { Reading::Frame } else { Reading::Skip(left) };
                Ok(if left == 0 { Step::Next } else { Step::Starved })
            }
            Reading::Preface => self.preface(input),
        }
    }

    fn preface<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, Fault> {
        let whole = self.gather(input, PREFACE.len());
        if !PREFACE.starts_with(&self.partial) {
            return Err(Fault::Preface);
        }
        if !whole {
            return Ok(Step::Starved);
        }
        self.partial.clear();
        self.reading = Reading::Frame;
        Ok(Step::Next)
    }

    fn frame<'a>(&mut self, input: &mut &'a [u8], fields: &mut Fields) -> Result<Step<'a>, Fault> {
        if self.partial.is_empty()
            && let Some(bytes) = input.first_chunk::<HEADER_BYTES>()
        {
            let header = Header::parse(bytes);
            self.check_header(header)?;
            if let Some((frame, rest)) = input.split_at_checked(bytes_needed(header)) {
                *input = rest;
                return self.dispatch(header, &frame[HEADER_BYTES..], fields).map(Step::from);
            }
        }
        if !self.gather(input, HEADER_BYTES) {
            return Ok(Step::Starved);
        }
        let Some(bytes) = self.partial.first_chunk::<HEADER_BYTES>() else { return Ok(Step::Starved) };
        let header = Header::parse(bytes);
        self.check_header(header)?;
        if !self.gather(input, bytes_needed(header)) {
            return Ok(Step::Starved);
        }
        let mut frame = std::mem::take(&mut self.partial);
        let event = self.dispatch(header, &frame[HEADER_BYTES..], fields)?;
        if frame.capacity() <= KEPT_BYTES_MAX {
            frame.clear();
            self.partial = frame;
        }
        Ok(event.into())
    }

    /// Moves input to the kept beginning of a frame until that has `bytes`; whether it has.
    fn gather(&mut self, input: &mut &[u8], bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.partial.len());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.partial.extend_from_slice(taken);
        *input = rest;
        self.partial.len() >= bytes
    }

    /// What a header alone can have wrong; asked again while its frame is incomplete.
    fn check_header(&self, header: Header) -> Result<(), Fault> {
        if !self.peer_settings_seen && (header.kind != kind::SETTINGS || header.has(flag::ACK)) {
            return Err(Fault::Preface);
        }
        if header.length > FRAME_BYTES_MAX {
            return Err(Fault::FrameSize);
        }
        match &self.block {
            Some(block) if header.kind != kind::CONTINUATION || header.stream != block.stream => {
                Err(Fault::BlockOrder)
            }
            None if header.kind == kind::CONTINUATION => Err(Fault::BlockOrder),
            _ => Ok(()),
        }
    }

    fn dispatch(
        &mut self,
        header: Header,
        payload: &[u8],
        fields: &mut Fields,
    ) -> Result<Option<Event<'static>>, Fault> {
        match header.kind {
            kind::DATA => self.data_begins(header, payload),
            kind::HEADERS => self.headers(header, payload, fields),
            kind::CONTINUATION => self.continuation(header, payload, fields),
            kind::PRIORITY => self.priority(header, payload),
            kind::RST_STREAM => self.rst_stream(header, payload),
            kind::SETTINGS => self.settings(header, payload),
            kind::PUSH_PROMISE => Err(Fault::Push),
            kind::PING => self.pinged(header, payload),
            kind::GOAWAY => self.peer_goes(header, payload),
            kind::WINDOW_UPDATE => self.window_update(header, payload),
            _ => {
                self.reading = Reading::Skip(header.length);
                self.spend(Flood::Ignored).map(|()| None)
            }
        }
    }
}

/// How much of a frame must be there before it is looked at: all of it, but of DATA only the length of its padding, and
/// of unknown frames nothing.
fn bytes_needed(header: Header) -> usize {
    HEADER_BYTES
        + match header.kind {
            kind::DATA => usize::from(header.has(flag::PADDED) && header.length > 0),
            kind::HEADERS..=kind::CONTINUATION => header.length as usize,
            _ => 0,
        }
}
