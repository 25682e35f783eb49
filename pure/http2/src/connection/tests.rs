//! Drives a connection by raw frames, and says what it showed and what it sent.

mod floods;
mod flow;
mod messages;
mod pair;
mod states;

use super::*;
use crate::fields::Fields;
use crate::frame::{HEADER_BYTES, Header, PREFACE, flag, kind};
use std::time::Duration;

/// An event, with nothing borrowed and streams by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Head(u32, bool),
    Interim(u32),
    TooLarge(u32, bool),
    Data(u32, Vec<u8>, bool),
    Trailers(u32),
    Reset(u32, ResetBy),
    Refused(u32, Fault),
    GoAway(u32, ErrorCode),
    Settings,
    SettingsAcked,
    Pong,
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Seen {
        match event {
            Event::Head { stream, end } => Seen::Head(stream.number, end),
            Event::Interim { stream } => Seen::Interim(stream.number),
            Event::HeadTooLarge { stream, end } => Seen::TooLarge(stream.number, end),
            Event::Data { stream, data, end } => Seen::Data(stream.number, data.to_vec(), end),
            Event::Trailers { stream } => Seen::Trailers(stream.number),
            Event::Reset { stream, by } => Seen::Reset(stream.number, by),
            Event::Refused { number, fault } => Seen::Refused(number, fault),
            Event::GoAway { last, code } => Seen::GoAway(last, code),
            Event::Settings => Seen::Settings,
            Event::SettingsAcked => Seen::SettingsAcked,
            Event::Pong { .. } => Seen::Pong,
        }
    }
}

/// A frame on the wire: kind, flags, stream, payload.
type Frame = (u8, u8, u32, Vec<u8>);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header { length: payload.len() as u32, kind, flags, stream }.bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let header = Header::parse(header);
        let (payload, rest) = rest.split_at(header.length as usize);
        frames.push((header.kind, header.flags, header.stream, payload.to_vec()));
        bytes = rest;
    }
    frames
}

/// A header block of literals, never indexed.
fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    block
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;
const OPEN: u8 = flag::END_HEADERS;

/// A request without a body.
fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, stream, &block(&GET))
}

/// The head of a request with a body.
fn post(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, OPEN, stream, &block(&POST))
}

fn data(stream: u32, bytes: &[u8], end: bool) -> Vec<u8> {
    frame(kind::DATA, u8::from(end), stream, bytes)
}

fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(kind::SETTINGS, 0, 0, &payload.collect::<Vec<u8>>())
}

/// A connection under test.
struct Bench {
    connection: Connection,
    fields: Fields,
    now: Duration,
}

impl Bench {
    fn of(connection: Connection) -> Bench {
        Bench { connection, fields: Fields::new(), now: Duration::from_secs(1) }
    }

    /// A server with which a client has exchanged settings.
    fn server() -> Bench {
        Bench::server_with(Limits::default())
    }

    fn server_with(limits: Limits) -> Bench {
        let mut bench = Bench::of(Connection::server(Arc::new(limits)));
        let hello = [&PREFACE[..], &settings(&[]), &frame(kind::SETTINGS, flag::ACK, 0, &[])].concat();
        assert_eq!(bench.feed(&hello), Ok(vec![Seen::Settings, Seen::SettingsAcked]));
        bench.sent();
        bench
    }

    /// A client with which a server has exchanged settings.
    fn client() -> Bench {
        let mut bench = Bench::of(Connection::client(Arc::new(Limits::default())));
        let hello = [settings(&[]), frame(kind::SETTINGS, flag::ACK, 0, &[])].concat();
        assert_eq!(bench.feed(&hello), Ok(vec![Seen::Settings, Seen::SettingsAcked]));
        bench.connection.advance_output(usize::MAX);
        bench
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Seen>, Fault> {
        let mut seen = Vec::new();
        loop {
            match self.connection.receive(&mut bytes, &mut self.fields, self.now) {
                Ok(Some(event)) => seen.push(event.into()),
                Ok(None) => return Ok(seen),
                Err(error) => return Err(error.fault),
            }
        }
    }

    /// What was sent since the last look.
    fn sent(&mut self) -> Vec<Frame> {
        let frames = frames(self.connection.output());
        self.connection.advance_output(usize::MAX);
        frames
    }

    fn id(&self, number: u32) -> StreamId {
        self.connection.streams.find(number).unwrap()
    }

    /// Opens a stream as a client, without a body if `end`.
    fn open(&mut self, method: &str, end: bool) -> StreamId {
        let request = RequestLine {
            method: method.as_bytes(),
            scheme: Some(b"http"),
            authority: Some(b"a"),
            path: Some(b"/"),
            protocol: None,
        };
        let id = self.connection.open(request, end, |_| {}).unwrap();
        self.sent();
        id
    }
}

fn reset_frame(stream: u32, code: ErrorCode) -> Frame {
    (kind::RST_STREAM, 0, stream, code.0.to_be_bytes().to_vec())
}

fn goaway_frame(last: u32, code: ErrorCode) -> Frame {
    (kind::GOAWAY, 0, 0, [last.to_be_bytes(), code.0.to_be_bytes()].concat())
}

/// A connection without streams is small, and holds no memory once it is idle.
#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 1024, "{}", size_of::<Connection>());
    let mut bench = Bench::server();
    assert_eq!(bench.feed(&get(1)), Ok(vec![Seen::Head(1, true)]));
    bench.connection.respond(bench.id(1), 200, true, |_| {}).unwrap();
    bench.sent();
    bench.connection.shrink();
    assert_eq!(bench.connection.output.capacity() + bench.connection.partial.capacity(), 0);
    assert_eq!(bench.connection.take_output_buffer(), None);
    bench.connection.lend_output_buffer(Vec::with_capacity(4096));
    assert_eq!(bench.connection.take_output_buffer().map(|buffer| buffer.capacity()), Some(4096));
}

/// Both sides begin as section 3.4 says, with what differs from the defaults.
#[test]
fn both_sides_announce_themselves() {
    let limits = Arc::new(Limits { extended_connect: true, ..Limits::default() });
    let mut server = Bench::of(Connection::server(limits.clone()));
    let pairs = |frame: &Frame| -> Vec<(u8, u32)> {
        let (settings, _) = frame.3.as_chunks::<6>();
        settings.iter().map(|&[_, id, a, b, c, d]| (id, u32::from_be_bytes([a, b, c, d]))).collect()
    };
    let sent = server.sent();
    assert_eq!(pairs(&sent[0]), [(3, 100), (4, 256 << 10), (6, 32 << 10), (8, 1)]);
    assert_eq!(sent[1], (kind::WINDOW_UPDATE, 0, 0, ((1u32 << 20) - 65_535).to_be_bytes().to_vec()));
    let client = Connection::client(limits);
    let sent = frames(client.output().strip_prefix(PREFACE).unwrap());
    assert_eq!(pairs(&sent[0]), [(2, 0), (4, 256 << 10), (6, 32 << 10)]);
}
