//! A TLS connection on its socket, after the handshake.
//!
//! What the library wants to say by itself (tickets, answers to key updates, alerts) leaves with the next write, or as
//! soon as someone waits for bytes.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use rustls::{HandshakeKind, ProtocolVersion};
use socket2::SockRef;
use tidegate_tls::ClientCertificate;
use tokio::net::TcpStream;

use crate::wire::Glance;
use crate::wire::session::Session;

/// A TLS connection.
pub struct TlsWire {
    stream: TcpStream,
    session: RefCell<Session>,
    facts: TlsFacts,
}

/// What a handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: &'static str,
    /// The name the client asked for, lower case; empty: none. Towards an endpoint: the name we asked for.
    pub server_name: String,
    /// What is spoken inside, by ALPN.
    pub alpn: Alpn,
    /// Whether the session goes on from an earlier connection.
    pub resumed: bool,
    /// The client's certificate.
    pub client_certificate: ClientCertificate,
}

/// A protocol by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// Nothing was agreed on.
    None,
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
    /// Another that the listener names.
    Other,
}

impl TlsFacts {
    /// What is known after a handshake.
    pub fn of(session: &Session, server_name: String, client_certificate: ClientCertificate) -> TlsFacts {
        let state = session.state();
        let suite = state.negotiated_cipher_suite();
        let names = &tidegate_tls::CIPHER_SUITES;
        let named = |suite| names.iter().find(|(_, known)| *known == suite).map(|(name, _)| *name);
        TlsFacts {
            version: if state.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                "TLSv1.3"
            } else {
                "TLSv1.2"
            },
            cipher: suite.and_then(named).unwrap_or_default(),
            server_name,
            alpn: match state.alpn_protocol() {
                None => Alpn::None,
                Some(b"http/1.1") => Alpn::Http1,
                Some(b"h2") => Alpn::Http2,
                Some(_) => Alpn::Other,
            },
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            client_certificate,
        }
    }
}

impl TlsWire {
    /// A connection whose handshake is done.
    pub fn new(stream: TcpStream, session: Session, facts: TlsFacts) -> TlsWire {
        TlsWire { stream, session: RefCell::new(session), facts }
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// What the handshake settled.
    pub fn facts(&self) -> &TlsFacts {
        &self.facts
    }

    /// Ready when there is plaintext, the end, or an error; hardly ever for less.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = &mut *self.session.borrow_mut();
        loop {
            if session.is_readable() {
                return Poll::Ready(Ok(()));
            }
            // A writer that waits sends what is there; without one, nobody else does.
            while session.has_outgoing() && !session.is_mid_write() && !session.flush(&self.stream)? {
                match self.stream.poll_write_ready(context) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => break,
                }
            }
            match self.stream.poll_read_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    session.park();
                    return Poll::Pending;
                }
            }
            session.fill(&self.stream, false);
        }
    }

    /// Ready when there may be room to write.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(context)
    }

    /// Reads once; `WouldBlock` if there is nothing, 0 is the end, `UnexpectedEof` an end that the other side did not
    /// announce: then what came may be a part.
    pub fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        self.session.borrow_mut().read(&self.stream, room)
    }

    /// Writes once; `WouldBlock` if it did not all leave: then the next write must begin with the same bytes.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.session.borrow_mut().write(&self.stream, bytes)
    }

    /// Says that no more is coming: a `close_notify`, then the end of the stream. What finds no room leaves while someone
    /// waits for bytes.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.session.borrow_mut().close(&self.stream).map(drop)
    }

    /// Ready once that has left; at once if the connection is to be cut.
    pub fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.is_cut() {
                return Poll::Ready(Ok(()));
            }
            if self.session.borrow_mut().close(&self.stream)? {
                return Poll::Ready(Ok(()));
            }
            ready!(self.stream.poll_write_ready(context))?;
        }
    }

    /// Looks without taking plaintext; records that carry none are processed.
    pub fn glance(&self) -> Glance {
        self.look(false)
    }

    /// Whether an unused connection can still be used: with `thorough` the kernel is asked, else only what is known.
    pub fn is_alive(&self, thorough: bool) -> bool {
        self.look(thorough) == Glance::Quiet
    }

    /// Whether the connection is cut when it is dropped: it does not linger.
    fn is_cut(&self) -> bool {
        SockRef::from(&self.stream).linger().is_ok_and(|linger| linger.is_some_and(|time| time.is_zero()))
    }

    /// Bytes of buffers it holds.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.session.borrow().held()
    }

    fn look(&self, direct: bool) -> Glance {
        let session = &mut *self.session.borrow_mut();
        loop {
            if session.is_readable() {
                // A large record may carry no data after all: tickets.
                session.decrypt(&mut []);
                match (session.has_plain(), session.is_over()) {
                    (true, _) => return Glance::Bytes,
                    (false, true) => return Glance::Over,
                    (false, false) => continue,
                }
            }
            if !session.fill(&self.stream, direct) {
                session.park();
                let _ = session.flush(&self.stream);
                return Glance::Quiet;
            }
        }
    }
}

impl Drop for TlsWire {
    /// Says goodbye, unless the connection is cut on purpose or in the middle of a write: then the other side is to see
    /// that something is missing.
    fn drop(&mut self) {
        if self.is_cut() {
            return;
        }
        let session = self.session.get_mut();
        if session.failure().is_none() && !session.is_mid_write() {
            session.queue_close();
            let _ = session.flush(&self.stream);
        }
    }
}
