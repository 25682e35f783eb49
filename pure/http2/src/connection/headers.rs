//! Header blocks (RFC 9113 sections 4.3, 6.2, 6.10 and 8): gathered, decoded, and taken as a request, a response or
//! trailers. Every block is decoded, wanted or not, or the peer's compression would no longer fit ours.

use super::{Closing, Connection, Event, Role};
use crate::error::{Fault, Flood, Malformed};
use crate::fields::Fields;
use crate::frame::{self, Header, MAX_31, flag};
use crate::hpack::Bounds;
use crate::rules;
use crate::stream::{Half, Stream, StreamId, Wait};
use crate::window::ReceiveWindow;

/// A header block in more than one frame.
#[derive(Debug)]
pub(super) struct Block {
    pub stream: u32,
    end: bool,
    depends_on_itself: bool,
    continuations: u32,
    bytes: Vec<u8>,
}

impl Connection {
    pub(super) fn headers(
        &mut self,
        header: Header,
        payload: &[u8],
        fields: &mut Fields,
    ) -> Result<Option<Event<'static>>, Fault> {
        if header.stream == 0 {
            return Err(Fault::WrongStream);
        }
        let mut fragment = frame::unpadded(header, payload).ok_or(Fault::Padding)?;
        let mut depends_on_itself = false;
        if header.has(flag::PRIORITY) {
            let (dependency, rest) = frame::u32_of(fragment).ok_or(Fault::FrameSize)?;
            fragment = rest.get(1..).ok_or(Fault::FrameSize)?;
            depends_on_itself = dependency & MAX_31 == header.stream;
        }
        if fragment.is_empty() {
            self.spend(Flood::EmptyHeaders)?;
        }
        let end = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.block_ends(header.stream, end, depends_on_itself, fragment, fields);
        }
        let bytes = fragment.to_vec();
        self.block =
            Some(Box::new(Block { stream: header.stream, end, depends_on_itself, continuations: 0, bytes }));
        Ok(None)
    }

    pub(super) fn continuation(
        &mut self,
        header: Header,
        payload: &[u8],
        fields: &mut Fields,
    ) -> Result<Option<Event<'static>>, Fault> {
        let mut block = self.block.take().ok_or(Fault::BlockOrder)?;
        block.continuations += 1;
        let bytes = block.bytes.len() + payload.len();
        if block.continuations > self.limits.continuations_max
            || bytes > self.limits.header_block_bytes_max as usize
        {
            return Err(Flood::Continuation.into());
        }
        if payload.is_empty() {
            self.spend(Flood::EmptyHeaders)?;
        }
        block.bytes.extend_from_slice(payload);
        if header.has(flag::END_HEADERS) {
            return self.block_ends(block.stream, block.end, block.depends_on_itself, &block.bytes, fields);
        }
        self.block = Some(block);
        Ok(None)
    }

    fn block_ends(
        &mut self,
        number: u32,
        end: bool,
        depends_on_itself: bool,
        block: &[u8],
        fields: &mut Fields,
    ) -> Result<Option<Event<'static>>, Fault> {
        fields.clear();
        let bounds = Bounds {
            list_bytes_max: self.limits.header_list_bytes_max,
            lines_max: self.limits.header_lines_max,
        };
        self.decoder.decode(block, fields, bounds)?;
        let Some(id) = self.streams.find(number) else {
            return match self.role {
                Role::Server => self.new_request(number, end, depends_on_itself, fields),
                Role::Client => self.ignore_late(number).map(|()| None),
            };
        };
        let taken = match self.streams.get(id).map(|stream| stream.receiving) {
            _ if depends_on_itself => Err(Fault::SelfDependency),
            Some(Half::Head) => self.response(id, end, fields),
            Some(Half::Body) => self.trailers(id, end, fields),
            _ => Err(Fault::StreamClosed),
        };
        match taken {
            Ok(event) => Ok(Some(event)),
            Err(fault) => self.stream_error(id, fault),
        }
    }

    /// A header block on a stream that is not open, as a server.
    fn new_request(
        &mut self,
        number: u32,
        end: bool,
        depends_on_itself: bool,
        fields: &Fields,
    ) -> Result<Option<Event<'static>>, Fault> {
        if number.is_multiple_of(2) {
            return Err(Fault::StreamId);
        }
        if number <= self.past.last {
            return match self.past.was_opened(number) {
                true => self.ignore_late(number).map(|()| None),
                false => Err(Fault::StreamId),
            };
        }
        if self.closing == Closing::Final {
            // Above the last stream we named: the peer knows that it was not served (section 6.8).
            self.past.open(number);
            self.past.reset(number);
            return self.spend(Flood::Ignored).map(|()| None);
        }
        self.past.open(number);
        if depends_on_itself {
            return self.refuse(number, Fault::SelfDependency);
        }
        if self.streams.len() >= self.limits.concurrent_streams_max as usize {
            return self.refuse(number, Fault::StreamLimit);
        }
        let checked = match fields.too_large {
            true => {
                self.spend(Flood::HeaderLists)?;
                Ok(None)
            }
            false => rules::check_request(fields, self.limits.extended_connect, end).map(Some),
        };
        let facts = match checked {
            Ok(facts) => facts,
            Err(malformed) => return self.refuse(number, malformed.into()),
        };
        let mut stream = self.new_stream(number);
        stream.receiving = if end { Half::Ended } else { Half::Body };
        stream.content_left = facts.and_then(|facts| facts.content_length);
        stream.connect = fields.method() == Some(b"CONNECT");
        if stream.connect {
            stream.content_left = None;
        }
        let stream = self.streams.insert(stream);
        self.floods.useful_frame();
        Ok(Some(if facts.is_some() {
            Event::Head { stream, end }
        } else {
            Event::HeadTooLarge { stream, end }
        }))
    }

    /// Resets a stream that is never shown.
    fn refuse(&mut self, number: u32, fault: Fault) -> Result<Option<Event<'static>>, Fault> {
        self.spend(if fault == Fault::StreamLimit { Flood::Refused } else { Flood::ProvokedReset })?;
        frame::rst_stream(&mut self.output, number, fault.code());
        self.past.reset(number);
        Ok(Some(Event::Refused { number, fault }))
    }

    /// A response's head, as a client.
    fn response(&mut self, id: StreamId, end: bool, fields: &Fields) -> Result<Event<'static>, Fault> {
        if fields.too_large {
            return Err(Fault::HeaderList);
        }
        let status = rules::check_response(fields, end)?;
        let interim_max = self.limits.interim_max;
        let Some(stream) = self.streams.get_mut(id) else { return Err(Fault::StreamClosed) };
        if status < 200 {
            stream.interims = stream.interims.saturating_add(1);
            if stream.interims > interim_max {
                return Err(Malformed::Interim.into());
            }
            return Ok(Event::Interim { stream: id });
        }
        let tunnel = stream.connect && status < 300;
        let bodiless = stream.head_request || matches!(status, 204 | 304);
        stream.content_left = match (tunnel, bodiless) {
            (true, _) => None,
            (_, true) => Some(0),
            _ => fields.content_length(),
        };
        if end && stream.content_left.is_some_and(|left| left > 0) {
            return Err(Malformed::BodyLength.into());
        }
        stream.receiving = Half::Body;
        self.floods.useful_frame();
        if end {
            self.end_received(id);
        }
        Ok(Event::Head { stream: id, end })
    }

    fn trailers(&mut self, id: StreamId, end: bool, fields: &Fields) -> Result<Event<'static>, Fault> {
        if !end {
            return Err(Malformed::Trailers.into());
        }
        if fields.too_large {
            return Err(Fault::HeaderList);
        }
        rules::check_trailers(fields)?;
        if self.streams.get(id).and_then(|stream| stream.content_left).is_some_and(|left| left > 0) {
            return Err(Malformed::BodyLength.into());
        }
        self.floods.useful_frame();
        self.end_received(id);
        Ok(Event::Trailers { stream: id })
    }

    pub(super) fn new_stream(&self, number: u32) -> Stream {
        Stream {
            number,
            receiving: Half::Head,
            sending: Half::Head,
            wait: Wait::No,
            head_request: false,
            connect: false,
            interims: 0,
            receive_window: ReceiveWindow::new(self.limits.stream_window_start(self.role == Role::Server)),
            send_window: self.peer.stream_window_bytes.into(),
            content_left: None,
        }
    }
}
