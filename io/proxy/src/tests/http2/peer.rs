//! One side of an HTTP/2 connection, either role: the machine of `tidegate-http2` on a blocking socket.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_http2::{
    Connection, ConnectionError, ErrorCode, Event, Fields, Limits, RequestLine, ResetBy, StreamId,
};

use crate::tests::harness::PATIENCE;

/// What came on one stream.
#[derive(Debug, Default, Clone)]
pub struct Message {
    /// Of a request.
    pub method: String,
    pub path: String,
    pub authority: String,
    pub protocol: String,
    /// Of a response, interim ones in their order, then the final one.
    pub statuses: Vec<u16>,
    pub lines: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    pub ended: bool,
    pub reset: Option<ResetBy>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.statuses.last().copied().unwrap_or_default()
    }

    pub fn line(&self, name: &str) -> Option<&str> {
        self.lines.iter().find(|(line, _)| line == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn take_head(&mut self, fields: &Fields) {
        let text = |part: Option<&[u8]>| String::from_utf8_lossy(part.unwrap_or_default()).into_owned();
        self.method = text(fields.method());
        self.path = text(fields.path());
        self.authority = text(fields.authority());
        self.protocol = text(fields.protocol());
        self.statuses.extend(fields.status());
        self.lines = lines(fields);
    }
}

fn lines(fields: &Fields) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.lines().map(|line| (text(line.name), text(line.value))).collect()
}

/// What is still to be sent on a stream.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    end: bool,
    trailers: Vec<(String, String)>,
}

pub struct Peer {
    pub machine: Connection,
    stream: TcpStream,
    fields: Fields,
    started: Instant,
    outgoing: HashMap<StreamId, Outgoing>,
    pub messages: HashMap<StreamId, Message>,
    pub goaway: Option<(u32, ErrorCode)>,
    pub closed: bool,
    pub error: Option<ConnectionError>,
    /// Bodies are not taken: the window is never opened again.
    pub hoards: bool,
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Peer {
        Peer::with_limits(address, Limits { concurrent_streams_max: 2000, ..Limits::default() })
    }

    pub fn with_limits(address: SocketAddr, limits: Limits) -> Peer {
        Peer::new(TcpStream::connect(address).unwrap(), Connection::client(Arc::new(limits)))
    }

    fn new(stream: TcpStream, machine: Connection) -> Peer {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        Peer {
            machine,
            stream,
            fields: Fields::new(),
            started: Instant::now(),
            outgoing: HashMap::new(),
            messages: HashMap::new(),
            goaway: None,
            closed: false,
            error: None,
            hoards: false,
        }
    }

    /// Opens a stream; the body is sent as windows allow.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> StreamId {
        let id = self.open(method, path, more, body.is_none());
        if let Some(bytes) = body {
            self.send(id, bytes, true);
        }
        id
    }

    /// Opens a stream, and leaves it open unless `end`.
    pub fn open(&mut self, method: &str, path: &str, more: &[(&str, &str)], end: bool) -> StreamId {
        let pseudo =
            |wanted| more.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_bytes());
        let protocol = pseudo(":protocol");
        let request = RequestLine {
            method: method.as_bytes(),
            scheme: pseudo(":scheme").or(Some(b"http")),
            authority: Some(b"shop.example"),
            path: Some(path.as_bytes()),
            protocol,
        };
        let fill = |out: &mut tidegate_http2::FieldWriter<'_>| {
            for (name, value) in more.iter().filter(|(name, _)| !name.starts_with(':')) {
                out.field(name.as_bytes(), value.as_bytes());
            }
        };
        let id = self.machine.open(request, end, fill).unwrap();
        self.messages.insert(id, Message::default());
        id
    }

    pub fn send(&mut self, id: StreamId, bytes: impl Into<Vec<u8>>, end: bool) {
        let outgoing = self.outgoing.entry(id).or_default();
        outgoing.bytes.extend(bytes.into());
        outgoing.end = end;
        self.push(id);
    }

    pub fn send_trailers(&mut self, id: StreamId, trailers: &[(&str, &str)]) {
        let outgoing = self.outgoing.entry(id).or_default();
        outgoing.trailers =
            trailers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        outgoing.end = true;
        self.push(id);
    }

    pub fn respond(&mut self, id: StreamId, status: u16, more: &[(&str, &str)], end: bool) {
        let fill = |out: &mut tidegate_http2::FieldWriter<'_>| {
            more.iter().for_each(|(name, value)| out.field(name.as_bytes(), value.as_bytes()));
        };
        let _ = self.machine.respond(id, status, end, fill);
    }

    fn push(&mut self, id: StreamId) {
        let Some(outgoing) = self.outgoing.get_mut(&id) else { return };
        let end = outgoing.end && outgoing.trailers.is_empty();
        let Ok(taken) = self.machine.send_data(id, &outgoing.bytes, end) else { return };
        outgoing.bytes.drain(..taken);
        if outgoing.bytes.is_empty() && !outgoing.trailers.is_empty() {
            let trailers = std::mem::take(&mut outgoing.trailers);
            let _ = self.machine.send_trailers(id, |out| {
                trailers.iter().for_each(|(name, value)| out.field(name.as_bytes(), value.as_bytes()));
            });
        }
    }

    /// Sends raw bytes between frames.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.flush();
        self.stream.write_all(bytes).is_ok()
    }

    fn flush(&mut self) {
        while !self.machine.output().is_empty() {
            match self.stream.write(self.machine.output()) {
                Ok(count) => self.machine.advance_output(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
            self.wake();
        }
    }

    fn wake(&mut self) {
        while let Some(id) = self.machine.next_writable() {
            self.push(id);
        }
    }

    /// Writes what is due and reads once.
    pub fn turn(&mut self) {
        self.flush();
        let mut room = vec![0; 65536];
        let count = match self.stream.read(&mut room) {
            Ok(0) => {
                self.closed = true;
                return;
            }
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            Err(_) => {
                self.closed = true;
                return;
            }
        };
        let mut input = &room[..count];
        loop {
            match self.machine.receive(&mut input, &mut self.fields, self.started.elapsed()) {
                Ok(Some(event)) => {
                    if let Some((id, bytes)) = hear(&mut self.messages, &self.fields, &mut self.goaway, event)
                        && !self.hoards
                    {
                        self.machine.release(id, bytes);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        self.wake();
        self.flush();
    }

    /// What came on each stream, in short.
    fn progress(&self) -> Vec<(StreamId, u16, usize, bool)> {
        let short =
            |(id, message): (&StreamId, &Message)| (*id, message.status(), message.body.len(), message.ended);
        self.messages.iter().map(short).collect()
    }

    /// Turns until something holds.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Peer) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain: {what}; {:?} {:?}",
                self.goaway,
                self.progress()
            );
            assert!(!self.closed, "closed while waiting: {what}; {:?}", self.goaway);
            self.turn();
        }
    }

    /// The whole response.
    pub fn response(&mut self, id: StreamId) -> Message {
        self.until("a response", |peer| {
            peer.messages.get(&id).is_some_and(|message| message.ended || message.reset.is_some())
        });
        self.messages.remove(&id).unwrap()
    }

    /// Turns until the other side has closed.
    pub fn until_closed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.closed {
            assert!(Instant::now() < deadline, "not closed");
            self.turn();
        }
    }
}

/// Notes an event; what of a body came is to be released.
fn hear(
    messages: &mut HashMap<StreamId, Message>,
    fields: &Fields,
    goaway: &mut Option<(u32, ErrorCode)>,
    event: Event<'_>,
) -> Option<(StreamId, usize)> {
    match event {
        Event::Head { stream, end } => {
            let message = messages.entry(stream).or_default();
            message.take_head(fields);
            message.ended = end;
        }
        Event::Interim { stream } => messages.entry(stream).or_default().statuses.extend(fields.status()),
        Event::Data { stream, data, end } => {
            let message = messages.entry(stream).or_default();
            message.body.extend_from_slice(data);
            message.ended |= end;
            return Some((stream, data.len()));
        }
        Event::Trailers { stream } => {
            let message = messages.entry(stream).or_default();
            message.trailers = lines(fields);
            message.ended = true;
        }
        Event::Reset { stream, by } => messages.entry(stream).or_default().reset = Some(by),
        Event::GoAway { last, code } => *goaway = Some((last, code)),
        _ => {}
    }
    None
}

/// An origin that speaks HTTP/2 by prior knowledge; its connections are threads.
pub struct Http2Origin {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    /// Of them, those that are over.
    pub closed: Arc<AtomicUsize>,
    /// Requests that were reset.
    pub resets: Arc<Mutex<Vec<ResetBy>>>,
    /// Requests whose end came.
    pub requests: Arc<Mutex<Vec<Message>>>,
}

impl Http2Origin {
    /// `serve` is called for each stream after each turn, with `true` the first time its head is there.
    pub fn start(serve: impl Fn(&mut Peer, StreamId, bool) + Send + Sync + 'static) -> Http2Origin {
        let limits = Limits { extended_connect: true, concurrent_streams_max: 1000, ..Limits::default() };
        Http2Origin::with_limits(limits, serve)
    }

    pub fn with_limits(
        limits: Limits,
        serve: impl Fn(&mut Peer, StreamId, bool) + Send + Sync + 'static,
    ) -> Http2Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Http2Origin {
            address,
            connections: Arc::default(),
            closed: Arc::default(),
            resets: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, resets, requests) =
            (origin.connections.clone(), origin.resets.clone(), origin.requests.clone());
        let (closed, limits) = (origin.closed.clone(), Arc::new(limits));
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let (serve, resets, requests) = (serve.clone(), resets.clone(), requests.clone());
                let (closed, limits) = (closed.clone(), limits.clone());
                thread::spawn(move || {
                    let mut peer = Peer::new(stream, Connection::server(limits));
                    let mut known = HashMap::new();
                    while !peer.closed {
                        peer.turn();
                        let ids: Vec<StreamId> = peer.messages.keys().copied().collect();
                        for id in ids {
                            let is_new = known.insert(id, ()).is_none();
                            serve(&mut peer, id, is_new);
                            let Some(message) = peer.messages.get(&id) else { continue };
                            if let Some(by) = message.reset {
                                resets.lock().unwrap().push(by);
                            } else if !message.ended {
                                continue;
                            } else {
                                requests.lock().unwrap().push(message.clone());
                            }
                            peer.messages.remove(&id);
                        }
                        peer.flush();
                    }
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    /// Answers each request with this text once its end has come.
    pub fn text(text: &'static str) -> Http2Origin {
        Http2Origin::start(move |peer, id, _| {
            if peer.messages.get(&id).is_some_and(|message| message.ended) {
                peer.respond(id, 200, &[("content-type", "text/plain")], false);
                peer.send(id, text, true);
            }
        })
    }
}
