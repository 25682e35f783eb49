//! A client's TLS handshake: its first message is read, a listener chosen by the server name, and the handshake done
//! with that listener's certificates, or left to the backend.
//!
//! Who names nobody that is served here gets an alert (`unrecognized_name`, RFC 6066 section 3), unless the socket is for
//! TLSRoutes alone: then the connection is closed without a word, as Gateway API wants it. Who does not speak TLS, or takes
//! too long, is cut off. Every failure is counted by its reason.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, Error, ProtocolVersion};
use socket2::SockRef;
use tidegate_model::traffic::{Entrance, Listener, Serves};
use tidegate_tls::{ClientCertificate, HelloError, HelloScan, ListenerTls};
use tidegate_traffic::Router;
use tokio::net::TcpStream;

use crate::buffer::{Buffers, Size};
use crate::timer::{Expired, Watch, unless_zero};
use crate::wire::Wire;
use crate::wire::configs::Configs;
use crate::wire::handshakes::Handshakes;
use crate::wire::session::{Failure, Session};
use crate::wire::tls::{TlsFacts, TlsWire};

/// Bytes thrown away after an alert, so that it is not lost in a reset.
const DISCARDED_BYTES_MAX: usize = 256 * 1024;

/// Who came in by TLS.
pub enum Hello {
    /// The handshake is done; the listener says what is inside.
    Terminated {
        /// The connection.
        wire: Wire,
        /// Whose handshake it was.
        listener: Arc<Listener>,
    },
    /// The listener passes TLS through; nothing was answered.
    Passthrough {
        /// The connection, from which `first` was read.
        stream: TcpStream,
        /// Whose name it was.
        listener: Arc<Listener>,
        /// The name, lower case; empty: none.
        server_name: String,
        /// What was read: the backend gets it first.
        first: Vec<u8>,
    },
}

/// Meets a client that just connected; nothing if it was turned away. `first` are bytes that were read already.
pub async fn accept_tls(
    stream: TcpStream,
    first: Vec<u8>,
    router: &Router,
    configs: &Configs,
    entrance: &Entrance,
    handshakes: &Handshakes,
    watch: &Watch,
) -> Option<Hello> {
    let listeners = &entrance.listeners;
    let Some(_under_way) = handshakes.begin() else {
        handshakes.metrics.client_failure("TooMany");
        return None;
    };
    watch.set(entrance.client.timeouts.handshake.map_or(handshakes.timeout, unless_zero));
    let met = async {
        let (server_name, first) = hello(&stream, first, &handshakes.buffers).await?;
        let Some(listener) = router.listener_for(&server_name) else {
            match listeners.iter().all(|listener| matches!(listener.serves, Serves::Tls(_))) {
                true => discard(&stream),
                false => refuse(&stream, AlertDescription::UnrecognisedName),
            }
            return Err(Turned("UnknownServerName"));
        };
        let listener = listener.clone();
        if listener.tls.is_none() {
            return Ok((None, listener, server_name, first));
        }
        let place = listeners.iter().position(|known| Arc::ptr_eq(known, &listener));
        let Some(tls) = place.and_then(|place| configs.get(place)) else {
            refuse(&stream, AlertDescription::InternalError);
            return Err(Turned("NotConfigured"));
        };
        let (session, certificate) = shake(&stream, first, tls, handshakes).await?;
        Ok((Some((session, certificate)), listener, server_name, Vec::new()))
    };
    let met = watch.within(met).await.unwrap_or_else(|Expired| Err(Turned("Timeout")));
    match met {
        Ok((None, listener, server_name, first)) => {
            Some(Hello::Passthrough { stream, listener, server_name, first })
        }
        Ok((Some((session, certificate)), listener, server_name, _)) => {
            let facts = TlsFacts::of(&session, server_name, certificate);
            handshakes.metrics.client(&facts);
            let wire = Wire::Tls(Box::new(TlsWire::new(stream, session, facts)));
            Some(Hello::Terminated { wire, listener })
        }
        Err(Turned(reason)) => {
            handshakes.metrics.client_failure(reason);
            None
        }
    }
}

/// A client was turned away, for this reason.
struct Turned(&'static str);

impl From<io::Error> for Turned {
    fn from(_: io::Error) -> Turned {
        Turned("ClientGone")
    }
}

/// Reads the first message: the server name, and all that was read.
async fn hello(
    stream: &TcpStream,
    mut raw: Vec<u8>,
    buffers: &Rc<Buffers>,
) -> Result<(String, Vec<u8>), Turned> {
    let mut scan = HelloScan::default();
    loop {
        match scan.advance(&raw) {
            Ok(Some(hello)) => return Ok((hello.server_name.unwrap_or_default(), raw)),
            Ok(None) => {}
            Err(HelloError::NotTls) => return Err(Turned("NotTls")),
            Err(HelloError::Malformed | HelloError::TooLarge) => {
                refuse(stream, AlertDescription::DecodeError);
                return Err(Turned("Malformed"));
            }
        }
        poll_fn(|context| stream.poll_read_ready(context)).await?;
        // A client that says nothing holds no buffer.
        let mut buffer = buffers.take(Size::Small);
        match stream.try_read(buffer.space()) {
            Ok(0) => return Err(Turned("ClientGone")),
            Ok(count) => {
                buffer.advance(count);
                raw.extend_from_slice(buffer.filled());
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The handshake, from the bytes of the first message on.
async fn shake(
    stream: &TcpStream,
    first: Vec<u8>,
    tls: &ListenerTls,
    handshakes: &Handshakes,
) -> Result<(Session, ClientCertificate), Turned> {
    handshakes.turn().await;
    let mut session =
        Session::server(tls.config().clone(), &handshakes.buffers).map_err(|_| Turned("NotConfigured"))?;
    session.feed(first);
    let failed = finish(stream, &mut session).await.err();
    if let Some(failure) = failed {
        farewell(stream, &mut session);
        return Err(Turned(reason(&failure)));
    }
    if session.state().protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        // Here the last message is ours, and the client waits for it. With TLS 1.3 it is the client's: what we say then,
        // tickets, can leave with the first answer.
        session.flush(stream)?;
    }
    match tls.judge(session.state().peer_certificates(), UnixTime::now()) {
        Ok(certificate) => Ok((session, certificate)),
        Err(_) => {
            session.queue_close();
            farewell(stream, &mut session);
            Err(Turned("ClientCertificate"))
        }
    }
}

/// Moves messages until the handshake is done. What is to be said last may wait in the session.
pub async fn finish(stream: &TcpStream, session: &mut Session) -> Result<(), Failure> {
    loop {
        session.decrypt(&mut []);
        if let Some(failure) = session.failure() {
            return Err(failure.clone());
        }
        if !session.state().is_handshaking() {
            return Ok(());
        }
        if session.is_over() {
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof));
        }
        let broken = |error: io::Error| Failure::Io(error.kind());
        while !session.flush(stream).map_err(broken)? {
            poll_fn(|context| stream.poll_write_ready(context)).await.map_err(broken)?;
        }
        session.park();
        poll_fn(|context| stream.poll_read_ready(context)).await.map_err(broken)?;
        session.fill(stream, false);
    }
}

/// Sends the alert that waits, as far as there is room.
fn farewell(stream: &TcpStream, session: &mut Session) {
    let _ = session.flush(stream);
    discard(stream);
}

/// Sends a fatal alert before there is any session (RFC 8446 section 6).
fn refuse(stream: &TcpStream, alert: AlertDescription) {
    const ALERT: [u8; 6] = [21, 3, 3, 0, 2, 2];
    let mut record = [0; 7];
    record[..6].copy_from_slice(&ALERT);
    record[6] = u8::from(alert);
    let _ = stream.try_write(&record);
    discard(stream);
}

/// Ends the writing side and throws away what has come in: closing a socket with unread bytes resets it, and the alert
/// with it.
fn discard(stream: &TcpStream) {
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    let (mut room, mut left) = ([0; 4096], DISCARDED_BYTES_MAX);
    while let Ok(count @ 1..) = stream.try_read(&mut room) {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

/// The reason of a failure, as the metrics have it.
fn reason(failure: &Failure) -> &'static str {
    match failure {
        Failure::Io(_) => "ClientGone",
        Failure::Tls(error) => match error {
            Error::AlertReceived(_) => "ClientRefused",
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => "ClientCertificate",
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => "NothingInCommon",
            _ => "Malformed",
        },
    }
}
