//! One end of a link, from the first byte to the last.
//!
//! ```text
//!              handshake done          Hello of the other
//!  Proving ──────────────────► Greeting ─────────────────► Up ──► Down
//!     │                            │                        │
//!     │ TLS fails, or 5 s          │ not who it should be,  │ silence for 15 s, a broken frame,
//!     ▼                            ▼ or 5 s                 ▼ the other closes
//!    Down                         Down                     Down
//! ```
//! Nothing but TLS is read before the other has proved the secret, and nothing but its name before it is known to be
//! wanted. The shell moves bytes and waits; it asks [`Link::poll_output`] after every input until nothing comes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConnection, Connection, Error, ServerConnection};

use crate::fault::Fault;
use crate::frame::Frames;
use crate::message::Message;
use crate::roster::Roster;
use crate::secret::Secret;

/// How long the other may take until it has proved the secret and said its name.
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// After so long without a word of the other the link ends.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Nothing else to say: Alive.
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Bytes of one that has proved nothing; a handshake has a few hundred, two thousand with a post-quantum key.
const UNPROVEN_BYTES_MAX: usize = 16 * 1024;

/// What a link is given.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes came.
    Bytes(&'a [u8]),
    /// The other closed its side.
    Closed,
    /// The other shall hear this. Before the link is up it is dropped.
    Tell(&'a Message),
    /// This end does not go on, for this reason.
    End(Fault),
    /// [`Link::poll_timeout`] has come.
    Timeout,
}

/// What a link wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// These bytes go to the other.
    Send(Vec<u8>),
    /// The other is this gateway, has proved the secret, and is wanted.
    Up(String),
    /// The other says this.
    Heard(Message),
    /// The other says something of a topic or a version that is not known here.
    PassedOver,
    /// The link has ended; close the connection once what came before is sent. Nothing follows.
    Down(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The other has not proved the secret.
    Proving,
    /// It has not said its name.
    Greeting,
    Up,
    Down,
}

/// One end of a link.
pub struct Link {
    tls: Connection,
    frames: Frames,
    roster: Roster,
    /// Who was called; nothing at the end that was called.
    called: Option<String>,
    state: State,
    /// Bytes that came before the secret was proved.
    unproven_bytes: usize,
    /// When the other must have said its name.
    hello_until: Instant,
    heard_at: Instant,
    told_at: Instant,
    outputs: VecDeque<Output>,
}

impl Link {
    /// The end that calls the gateway of that name.
    ///
    /// # Errors
    /// The library refuses, as without randomness.
    pub fn call(secret: &Secret, roster: &Roster, name: &str, now: Instant) -> Result<Link, Fault> {
        // Names are not looked at: who holds the secret is a gateway, and says which.
        let server = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let tls = ClientConnection::new(secret.caller.clone(), server).map_err(|error| fault(&error))?;
        let mut link = Link::new(tls.into(), roster, Some(name.to_owned()), now);
        link.flush();
        Ok(link)
    }

    /// The end that is called.
    ///
    /// # Errors
    /// The library refuses, as without randomness.
    pub fn answer(secret: &Secret, roster: &Roster, now: Instant) -> Result<Link, Fault> {
        let tls = ServerConnection::new(secret.called.clone()).map_err(|error| fault(&error))?;
        Ok(Link::new(tls.into(), roster, None, now))
    }

    fn new(tls: Connection, roster: &Roster, called: Option<String>, now: Instant) -> Link {
        Link {
            tls,
            frames: Frames::default(),
            roster: roster.clone(),
            called,
            state: State::Proving,
            unproven_bytes: 0,
            hello_until: now + HELLO_WITHIN,
            heard_at: now,
            told_at: now,
            outputs: VecDeque::new(),
        }
    }

    /// Takes what came. After [`Output::Down`] nothing has an effect.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        if self.state == State::Down {
            return;
        }
        let went = match input {
            Input::Bytes(bytes) => self.bytes(bytes, now),
            Input::Closed => Err(Fault::Closed),
            Input::Tell(message) => {
                if self.state == State::Up {
                    self.tell(message, now);
                }
                Ok(())
            }
            Input::End(fault) => Err(fault),
            Input::Timeout => self.timeout(now),
        };
        if let Err(fault) = went {
            self.end(fault, now);
        }
        self.flush();
    }

    /// What is to be done, in this order; nothing, when all of it is.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due; nothing after the end.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Proving | State::Greeting => Some(self.hello_until),
            State::Up => Some((self.heard_at + SILENCE_MAX).min(self.told_at + ALIVE_EVERY)),
            State::Down => None,
        }
    }

    /// Whether the other has proved the secret.
    pub fn is_proved(&self) -> bool {
        matches!(self.state, State::Greeting | State::Up)
    }

    fn timeout(&mut self, now: Instant) -> Result<(), Fault> {
        match self.state {
            State::Proving | State::Greeting if now >= self.hello_until => Err(Fault::Late),
            State::Up if now >= self.heard_at + SILENCE_MAX => Err(Fault::Silent),
            State::Up if now >= self.told_at + ALIVE_EVERY => {
                self.tell(&Message::Alive, now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn bytes(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let before = bytes.len();
            // It takes some of them at a time, and all of them before long; the buffer that may be full is emptied below.
            let took = self.tls.read_tls(&mut bytes);
            if took.is_err() || bytes.len() == before {
                return Err(Fault::Protocol("more than a record".into()));
            }
            if self.state == State::Proving {
                self.unproven_bytes += before - bytes.len();
            }
            let state = self.tls.process_new_packets().map_err(|error| fault(&error))?;
            if self.state == State::Proving {
                if !self.tls.is_handshaking() {
                    self.state = State::Greeting;
                    if self.called.is_some() {
                        self.greet(now);
                    }
                } else if self.unproven_bytes > UNPROVEN_BYTES_MAX {
                    return Err(Fault::Protocol("a handshake without end".into()));
                }
            }
            self.plain(state.plaintext_bytes_to_read(), now)?;
            if state.peer_has_closed() {
                return Err(Fault::Closed);
            }
        }
        Ok(())
    }

    /// Reads what was said.
    fn plain(&mut self, count: usize, now: Instant) -> Result<(), Fault> {
        let mut plain = vec![0; count];
        let read = self.tls.reader().read(&mut plain);
        let count = read.unwrap_or_default();
        if count == 0 {
            return Ok(());
        }
        self.heard_at = now;
        self.frames.push(&plain[..count]);
        while let Some(frame) = self.frames.next()? {
            match Message::decode(frame)? {
                Some(message) => self.message(message, now)?,
                None => self.outputs.push_back(Output::PassedOver),
            }
        }
        Ok(())
    }

    fn message(&mut self, message: Message, now: Instant) -> Result<(), Fault> {
        match (self.state, message) {
            (_, Message::Refused { reason }) => Err(Fault::Refused(reason)),
            (State::Greeting, Message::Hello { node }) => {
                match &self.called {
                    Some(called) if *called != node => return Err(Fault::Misplaced(node)),
                    Some(_) => {}
                    None => {
                        self.roster.judge(&node)?;
                        self.greet(now);
                    }
                }
                self.state = State::Up;
                self.outputs.push_back(Output::Up(node));
                Ok(())
            }
            (State::Up, Message::Alive) => Ok(()),
            (State::Up, Message::Hello { .. }) => Err(Fault::Message("Hello for the second time")),
            (State::Up, message) => {
                self.outputs.push_back(Output::Heard(message));
                Ok(())
            }
            (_, _) => Err(Fault::Message("something before Hello")),
        }
    }

    fn greet(&mut self, now: Instant) {
        let node = self.roster.here().to_owned();
        self.tell(&Message::Hello { node }, now);
    }

    fn tell(&mut self, message: &Message, now: Instant) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.told_at = now;
        // What is told is taken from the library at once, a part at a time, so its own limit does not count.
        for part in frame.chunks(16 * 1024) {
            let wrote = self.tls.writer().write_all(part);
            debug_assert!(wrote.is_ok(), "the buffer is emptied after each part");
            self.flush();
        }
    }

    fn end(&mut self, fault: Fault, now: Instant) {
        if self.is_proved() {
            if let Fault::Unwelcome(unwelcome) = &fault {
                self.tell(&Message::Refused { reason: unwelcome.to_string() }, now);
            }
            self.tls.send_close_notify();
        }
        self.flush();
        self.state = State::Down;
        self.outputs.push_back(Output::Down(fault));
    }

    /// What the library wants to send goes out before anything that follows.
    fn flush(&mut self) {
        let mut bytes = Vec::new();
        while self.tls.wants_write() && self.tls.write_tls(&mut bytes).is_ok_and(|count| count > 0) {}
        if bytes.is_empty() {
            return;
        }
        match self.outputs.back_mut() {
            Some(Output::Send(before)) => before.extend_from_slice(&bytes),
            // An alert goes before the end that it is about.
            Some(Output::Down(_)) => {
                let at = self.outputs.len() - 1;
                self.outputs.insert(at, Output::Send(bytes));
            }
            _ => self.outputs.push_back(Output::Send(bytes)),
        }
    }
}

/// What an error of the library says of the other.
fn fault(error: &Error) -> Fault {
    match error {
        Error::InvalidCertificate(_)
        | Error::AlertReceived(AlertDescription::AccessDenied | AlertDescription::DecryptError) => {
            Fault::WrongKey
        }
        other => Fault::Protocol(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
