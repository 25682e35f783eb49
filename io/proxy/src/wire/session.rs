//! The TLS of one connection between its socket and its user: records in, records out, and plaintext on the other side.
//!
//! ```text
//!   socket ── fill ──► incoming ── step ──► the user's room, or `plain` for what does not fit
//!   socket ◄── flush ── outgoing ◄── step ── the user's bytes, handshake messages, alerts
//! ```
//!
//! rustls keeps the state and the keys; the buffers are ours, from the worker's lists, and only while something is in
//! them. What a stalled peer leaves behind costs as many bytes as it sent. Nothing here waits.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};
use tokio::net::TcpStream;

use crate::buffer::{Buffer, Buffers, Size};
use crate::wire::clear_readable;

/// Plaintext of one record (RFC 8446 section 5.1).
const PLAIN_BYTES_MAX: usize = 16 * 1024;

/// A record in full, with whatever protects it (RFC 8446 section 5.2).
const RECORD_BYTES_MAX: usize = PLAIN_BYTES_MAX + 256 + RECORD_HEADER_BYTES;

/// The same as we send it: no padding, at most an explicit nonce, a type and a tag.
const SENT_RECORD_BYTES_MAX: usize = PLAIN_BYTES_MAX + 64;

const RECORD_HEADER_BYTES: usize = 5;

/// Records up to this size are opened before the user is told that there is something to read: what is no data (alerts,
/// key updates) is as small.
const SMALL_RECORD_BYTES: usize = 64;

/// Reads from the socket that bring nothing for the user, before others get their turn.
const FRUITLESS_READS_MAX: usize = 16;

/// One side of a TLS connection.
pub struct Session {
    side: Side,
    buffers: Rc<Buffers>,
    /// Ciphertext that was received and not processed.
    incoming: Option<Buffer>,
    /// The same, while nothing is expected soon: no more than there is.
    parked: Vec<u8>,
    /// No whole message is in `incoming`.
    needs_more: bool,
    /// Bytes at the front of `incoming` or `parked` that the library has looked at, and must see again: a part of a message.
    looked_at: usize,
    /// Plaintext that did not fit where it was wanted, from `plain_taken` on.
    plain: Vec<u8>,
    plain_taken: usize,
    /// Ciphertext to be sent.
    outgoing: Option<Buffer>,
    /// Plaintext behind `outgoing` that its writer does not know to be accepted yet.
    unreported: usize,
    closed_by_peer: bool,
    ended_by_peer: bool,
    close_sent: bool,
    /// The end of the stream below.
    fin: Fin,
    failure: Option<Failure>,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// Whether the socket is shut down for writing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fin {
    Open,
    /// It is to be, once `outgoing` has left.
    Wanted,
    Sent,
}

/// Why a session is over.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The connection below broke.
    Io(io::ErrorKind),
    /// The other side's TLS is wrong, or it told us that ours is.
    Tls(Error),
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        match failure {
            Failure::Io(kind) => kind.into(),
            Failure::Tls(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// What one step of the library came to.
enum Outcome {
    /// So many bytes of plaintext are in the room; more may be in `plain`.
    Plain(usize),
    /// So many bytes of plaintext were encrypted.
    Written(usize),
    /// There may be more to do.
    Again,
    /// The other side said that no more is coming.
    Closed,
    /// Nothing goes on without bytes from the socket.
    Blocked,
}

impl Session {
    /// A client's connection.
    pub fn server(config: Arc<ServerConfig>, buffers: &Rc<Buffers>) -> Result<Session, Error> {
        Ok(Session::new(Side::Server(UnbufferedServerConnection::new(config)?), buffers))
    }

    /// A connection to an endpoint, with these protocols offered.
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        alpn: Vec<Vec<u8>>,
        buffers: &Rc<Buffers>,
    ) -> Result<Session, Error> {
        let side = UnbufferedClientConnection::new_with_alpn(config, name, alpn)?;
        Ok(Session::new(Side::Client(side), buffers))
    }

    fn new(side: Side, buffers: &Rc<Buffers>) -> Session {
        Session {
            side,
            buffers: buffers.clone(),
            incoming: None,
            parked: Vec::new(),
            needs_more: false,
            looked_at: 0,
            plain: Vec::new(),
            plain_taken: 0,
            outgoing: None,
            unreported: 0,
            closed_by_peer: false,
            ended_by_peer: false,
            close_sent: false,
            fin: Fin::Open,
            failure: None,
        }
    }

    /// What the library knows of the connection.
    pub fn state(&self) -> &CommonState {
        match &self.side {
            Side::Server(side) => side,
            Side::Client(side) => side,
        }
    }

    /// Whether plaintext lies ready.
    pub fn has_plain(&self) -> bool {
        self.plain_taken < self.plain.len()
    }

    /// Whether ciphertext waits to be sent.
    pub fn has_outgoing(&self) -> bool {
        self.outgoing.is_some()
    }

    /// Why it is over, if it is.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether a read would give something: bytes, the end, or an error. Opens small records to know.
    pub fn is_readable(&mut self) -> bool {
        loop {
            if self.has_plain() || self.is_over() {
                return true;
            }
            match self.whole_record() {
                Some(length) if length > SMALL_RECORD_BYTES => return true,
                _ if self.needs_more => return false,
                _ => _ = self.decrypt(&mut []),
            }
        }
    }

    /// Whether no more plaintext can come.
    pub fn is_over(&self) -> bool {
        self.closed_by_peer || self.ended_by_peer || self.failure.is_some()
    }

    /// The size of the whole record at the front of what was received and not looked at.
    fn whole_record(&self) -> Option<usize> {
        let bytes = self.incoming.as_ref().filter(|_| !self.needs_more)?.filled();
        let &[_, _, _, high, low, ..] = bytes else { return None };
        let length = RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        (bytes.len() >= length).then_some(length)
    }

    /// Plaintext, without the socket: 0 if there is none. An error is told once what came before it is taken.
    pub fn decrypt(&mut self, room: &mut [u8]) -> usize {
        let mut count = self.take_plain(room);
        while !(self.needs_more || self.is_over()) {
            // What does not fit is copied once more: rather stop before that.
            if self.has_plain() || (count > 0 && room.len() - count < PLAIN_BYTES_MAX) {
                break;
            }
            match self.step(&mut room[count..], Want::Read) {
                Ok(Outcome::Plain(more)) => {
                    count += more;
                    self.looked_at = 0;
                    self.needs_more = self.incoming.as_ref().is_none_or(Buffer::is_empty);
                }
                Ok(Outcome::Closed) => self.closed_by_peer = true,
                Ok(Outcome::Blocked) => self.block(),
                Ok(Outcome::Again | Outcome::Written(_)) => {}
                Err(error) => self.fail(error),
            }
        }
        if self.incoming.as_ref().is_some_and(Buffer::is_empty) {
            self.incoming = None;
        }
        count
    }

    /// Nothing goes on without more from the socket.
    fn block(&mut self) {
        self.needs_more = true;
        self.looked_at = self.incoming.as_ref().map_or(self.parked.len(), |incoming| incoming.filled().len());
    }

    fn take_plain(&mut self, room: &mut [u8]) -> usize {
        let left = &self.plain[self.plain_taken..];
        let count = left.len().min(room.len());
        room[..count].copy_from_slice(&left[..count]);
        self.plain_taken += count;
        if !self.has_plain() && self.plain.capacity() > 0 {
            (self.plain, self.plain_taken) = (Vec::new(), 0);
        }
        count
    }

    /// What the end looks like to a reader: 0 after a `close_notify`, an error otherwise.
    pub fn end(&self) -> io::Result<usize> {
        match &self.failure {
            Some(failure) => Err(failure.clone().into()),
            None if self.closed_by_peer => Ok(0),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Receives once; false if there is nothing now. With `direct` the kernel is asked whatever the runtime knows.
    pub fn fill(&mut self, stream: &TcpStream, direct: bool) -> bool {
        let incoming = self.incoming.get_or_insert_with(|| self.buffers.take(Size::Records));
        if !self.parked.is_empty() {
            incoming.space()[..self.parked.len()].copy_from_slice(&self.parked);
            incoming.advance(self.parked.len());
            self.parked = Vec::new();
        }
        let room = incoming.space();
        if room.is_empty() {
            self.fail(too_large());
            return true;
        }
        let room_len = room.len();
        let received = if direct { receive(stream, room) } else { stream.try_read(room) };
        match received {
            Ok(0) => self.ended_by_peer = true,
            Ok(count) => {
                incoming.advance(count);
                self.needs_more = false;
                if count < room_len && !direct {
                    clear_readable(stream);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => self.break_off(&error),
        }
        true
    }

    /// Reads until there is plaintext or nothing more to be had now; `WouldBlock` then.
    pub fn read(&mut self, stream: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
        for _ in 0..FRUITLESS_READS_MAX {
            let count = self.decrypt(room);
            if count > 0 || room.is_empty() {
                return Ok(count);
            }
            if self.is_over() {
                // The alert that says why.
                let _ = self.flush(stream);
                return self.end();
            }
            if !self.fill(stream, false) {
                break;
            }
        }
        self.park();
        let _ = self.flush(stream);
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Gives the buffer back: what is in it waits in as many bytes as it has.
    pub fn park(&mut self) {
        if self.needs_more
            && let Some(incoming) = self.incoming.take()
        {
            self.parked = incoming.filled().to_vec();
        }
    }

    /// Lets the library process bytes that are kept elsewhere (a client's first message); those it has no use for yet
    /// are kept here.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        self.parked = bytes;
        while !(self.needs_more || self.is_over()) {
            match self.step(&mut [], Want::Read) {
                Ok(Outcome::Blocked) => self.block(),
                Ok(Outcome::Closed) => self.closed_by_peer = true,
                Ok(_) => {}
                Err(error) => self.fail(error),
            }
        }
        if self.parked.len() > RECORD_BYTES_MAX * 4 {
            self.fail(too_large());
        }
    }

    /// Writes once: `WouldBlock` until all that was encrypted for it has left, so that nothing is accepted which still
    /// waits here. After `WouldBlock` the next write must begin with the same bytes.
    pub fn write(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone().into());
        }
        if self.close_sent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        if self.unreported == 0 {
            self.encrypt(stream, bytes)?;
        }
        if !self.flush(stream)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        debug_assert!(self.unreported <= bytes.len(), "other bytes than before");
        Ok(std::mem::take(&mut self.unreported).min(bytes.len()))
    }

    fn encrypt(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        // Tickets, for one, leave together with what is written first.
        while self.unreported == 0 {
            if self.outgoing_room() < SENT_RECORD_BYTES_MAX && !self.flush(stream)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            match self.step(&mut [], Want::Write(bytes)) {
                Ok(Outcome::Written(count)) => self.unreported = count,
                Ok(Outcome::Closed) => self.closed_by_peer = true,
                Ok(Outcome::Again | Outcome::Plain(_)) => {}
                Ok(Outcome::Blocked) => return Err(io::ErrorKind::NotConnected.into()),
                Err(error) => {
                    self.fail(error);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
        Ok(())
    }

    fn outgoing_room(&mut self) -> usize {
        self.outgoing.as_mut().map_or(usize::MAX, |outgoing| outgoing.space().len())
    }

    /// Sends what waits to be sent; false if some of it still does.
    pub fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while let Some(outgoing) = &mut self.outgoing {
            match stream.try_write(outgoing.filled()) {
                Ok(count) => outgoing.consume(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.break_off(&error);
                    return Err(error);
                }
            }
            if outgoing.is_empty() {
                self.outgoing = None;
            }
        }
        if self.fin == Fin::Wanted {
            self.fin = Fin::Sent;
            socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write)?;
        }
        Ok(true)
    }

    /// Says that no more is coming, and shuts the socket down for writing as soon as that has left; true if it has.
    pub fn close(&mut self, stream: &TcpStream) -> io::Result<bool> {
        self.queue_close();
        if self.fin == Fin::Open {
            self.fin = Fin::Wanted;
        }
        self.flush(stream)
    }

    /// Puts a `close_notify` behind what waits to be sent, once.
    pub fn queue_close(&mut self) {
        if self.close_sent || self.failure.is_some() || self.state().is_handshaking() {
            return;
        }
        self.close_sent = true;
        while let Ok(Outcome::Again | Outcome::Plain(_)) = self.step(&mut [], Want::Close) {}
    }

    /// Bytes of buffers it holds.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        let buffers = usize::from(self.incoming.is_some()) + usize::from(self.outgoing.is_some());
        buffers * 68 * 1024 + self.parked.capacity() + self.plain.capacity()
    }

    /// Whether a writer's bytes wait here that it does not know to be accepted.
    pub fn is_mid_write(&self) -> bool {
        self.unreported > 0
    }

    fn step(&mut self, room: &mut [u8], want: Want<'_>) -> Result<Outcome, Error> {
        let bytes = match &mut self.incoming {
            Some(incoming) => incoming.filled_mut(),
            None => self.parked.as_mut_slice(),
        };
        // A writer leaves records alone that a reader has not asked for.
        let seen = self.looked_at.min(bytes.len());
        let bytes = if matches!(want, Want::Read) { bytes } else { &mut bytes[..seen] };
        let sink =
            Sink { outgoing: &mut self.outgoing, buffers: &self.buffers, room, plain: &mut self.plain, want };
        let (count, turn) = self.side.step(bytes, sink);
        self.looked_at = self.looked_at.saturating_sub(count);
        match &mut self.incoming {
            Some(incoming) => incoming.consume(count),
            None => drop(self.parked.drain(..count.min(self.parked.len()))),
        }
        turn
    }

    /// Ends the session; the alert that says why waits to be sent.
    fn fail(&mut self, error: Error) {
        self.failure = Some(Failure::Tls(error));
        // As long as there is something to say, the library looks at no bytes.
        while self.state().wants_write() {
            let mut nowhere = Vec::new();
            let outgoing = &mut self.outgoing;
            let sink = Sink {
                outgoing,
                buffers: &self.buffers,
                room: &mut [],
                plain: &mut nowhere,
                want: Want::Read,
            };
            if !matches!(self.side.step(&mut [], sink).1, Ok(Outcome::Again)) {
                break;
            }
        }
    }

    fn break_off(&mut self, error: &io::Error) {
        self.failure.get_or_insert(Failure::Io(error.kind()));
        self.outgoing = None;
    }
}

impl Side {
    /// One step; how many bytes of `bytes` are done with.
    fn step(&mut self, bytes: &mut [u8], sink: Sink<'_>) -> (usize, Result<Outcome, Error>) {
        match self {
            Side::Server(side) => sink.handle(side.process_tls_records(bytes)),
            Side::Client(side) => sink.handle(side.process_tls_records(bytes)),
        }
    }
}

/// Where the outcome of a step goes.
struct Sink<'s> {
    outgoing: &'s mut Option<Buffer>,
    buffers: &'s Rc<Buffers>,
    room: &'s mut [u8],
    plain: &'s mut Vec<u8>,
    want: Want<'s>,
}

/// What a step is for.
enum Want<'w> {
    /// Plaintext, and whatever the library has to say.
    Read,
    /// These bytes are to be encrypted.
    Write(&'w [u8]),
    /// A `close_notify` is.
    Close,
}

impl Sink<'_> {
    fn handle<D>(mut self, status: UnbufferedStatus<'_, '_, D>) -> (usize, Result<Outcome, Error>) {
        (status.discard, status.state.and_then(|state| self.outcome(state)))
    }

    fn outcome<D>(&mut self, state: ConnectionState<'_, '_, D>) -> Result<Outcome, Error> {
        Ok(match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                let mut count = 0;
                while let Some(record) = traffic.next_record() {
                    let payload = record?.payload;
                    let fits = payload.len().min(self.room.len() - count);
                    self.room[count..count + fits].copy_from_slice(&payload[..fits]);
                    count += fits;
                    self.plain.extend_from_slice(&payload[fits..]);
                }
                Outcome::Plain(count)
            }
            ConnectionState::EncodeTlsData(mut message) => {
                let outgoing = self.outgoing.get_or_insert_with(|| self.buffers.take(Size::Records));
                let count = message.encode(outgoing.space());
                outgoing.advance(count.map_err(|_| Error::General("more to say than there is room".into()))?);
                Outcome::Again
            }
            ConnectionState::TransmitTlsData(sent) => {
                // It is in `outgoing`, before all that follows.
                sent.done();
                Outcome::Again
            }
            ConnectionState::WriteTraffic(mut traffic) => {
                if matches!(self.want, Want::Read) {
                    return Ok(Outcome::Blocked);
                }
                let outgoing = self.outgoing.get_or_insert_with(|| self.buffers.take(Size::Records));
                let room = outgoing.space();
                let (count, sealed) = match self.want {
                    Want::Write(bytes) => {
                        let count = bytes.len().min(room.len() / SENT_RECORD_BYTES_MAX * PLAIN_BYTES_MAX);
                        (count, traffic.encrypt(&bytes[..count], room))
                    }
                    Want::Close | Want::Read => (0, traffic.queue_close_notify(room)),
                };
                outgoing.advance(sealed.map_err(|_| Error::General("the keys are used up".into()))?);
                Outcome::Written(count)
            }
            ConnectionState::PeerClosed => Outcome::Closed,
            ConnectionState::ReadEarlyData(_) => {
                return Err(Error::General("early data is never asked for".into()));
            }
            _ => Outcome::Blocked,
        })
    }
}

fn too_large() -> Error {
    Error::General("a message of the other side is too large".into())
}

/// Receives without the runtime's knowledge.
fn receive(stream: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    // SAFETY: the pointer and length are those of a buffer borrowed for the call, which writes at most that many bytes;
    // the descriptor is open as long as the stream is borrowed.
    let count =
        unsafe { libc::recv(stream.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
