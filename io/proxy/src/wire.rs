//! A connection, as the rest of the proxy sees it: bytes in, bytes out, whatever protects them on the way.
//!
//! Everything takes `&self`, so that both directions run in one task without locks or reference counts.

mod accept;
mod approach;
mod configs;
mod connect;
mod handshakes;
mod metrics;
mod session;
mod tls;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

pub use accept::{Hello, accept_tls};
pub use approach::{Approach, datagram_socket};
pub use configs::{Configs, own_tickets};
pub use connect::{ConnectError, Offer, connect, secure};
pub use handshakes::{Handshakes, dice, make_ready};
pub use metrics::TlsMetrics;
pub use tls::{Alpn, TlsFacts, TlsWire};

use crate::buffer::Buffer;
use crate::timer::Watch;

/// A connection to a client or an endpoint.
pub enum Wire {
    /// In the clear.
    Plain(TcpStream),
    /// Within TLS that ends or begins here.
    Tls(Box<TlsWire>),
}

/// What a look without taking anything shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// Nothing yet.
    Quiet,
    /// Bytes.
    Bytes,
    /// The end, or an error.
    Over,
}

impl Wire {
    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(wire) => wire.tcp(),
        }
    }

    /// What the TLS handshake settled; nothing in the clear.
    pub fn tls(&self) -> Option<&TlsFacts> {
        match self {
            Wire::Plain(_) => None,
            Wire::Tls(wire) => Some(wire.facts()),
        }
    }

    /// Whether there may be something to read, or the end.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Plain(stream) => stream.poll_read_ready(context),
            Wire::Tls(wire) => wire.poll_readable(context),
        }
    }

    /// Whether there may be room to write.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Plain(stream) => stream.poll_write_ready(context),
            Wire::Tls(wire) => wire.poll_writable(context),
        }
    }

    /// Waits until there is something to read, or the end.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await
    }

    /// Reads once; `WouldBlock` if there is nothing, 0 is the end. `UnexpectedEof`: TLS ended without being closed, and
    /// what came may be a part.
    pub fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => {
                let room_len = room.len();
                let count = stream.try_read(room)?;
                if count > 0 && count < room_len {
                    clear_readable(stream);
                }
                Ok(count)
            }
            Wire::Tls(wire) => wire.try_read(room),
        }
    }

    /// Writes once; `WouldBlock` if there is no room. After that the next write must begin with the same bytes: TLS may
    /// hold them already. What is reported as written has left for the kernel.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.try_write(bytes),
            Wire::Tls(wire) => wire.try_write(bytes),
        }
    }

    /// Reads once into the buffer's room; 0 is the end.
    pub async fn read(&self, buffer: &mut Buffer) -> io::Result<usize> {
        self.read_most(buffer, usize::MAX).await
    }

    /// Reads once into the buffer's room, and no more than `most` bytes; 0 is the end.
    pub async fn read_most(&self, buffer: &mut Buffer, most: usize) -> io::Result<usize> {
        loop {
            let space = buffer.space();
            let most = space.len().min(most);
            match self.try_read(&mut space[..most]) {
                Ok(count) => {
                    buffer.advance(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes everything; every byte of progress puts the deadline off.
    pub async fn write_all(&self, mut bytes: &[u8], watch: &Watch, stall: Duration) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    watch.set(stall);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|context| self.poll_writable(context)).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that no more is coming; the other side may still send. A TLS `close_notify` that finds no room leaves while
    /// someone waits to read; [`shutdown`](Wire::shutdown) waits for it.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Wire::Tls(wire) => wire.shutdown_write(),
        }
    }

    /// Says that no more is coming, and waits until that has left. For responses whose end is the end of the connection.
    pub async fn shutdown(&self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Wire::Tls(wire) => poll_fn(|context| wire.poll_shutdown(context)).await,
        }
    }

    /// Cuts the connection when it is dropped: the other side sees a reset, and no end that it could take for one.
    pub fn cut(&self) {
        let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Looks without waiting and without taking anything: one system call.
    pub fn glance(&self) -> Glance {
        let stream = match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(wire) => return wire.glance(),
        };
        let mut byte = [MaybeUninit::uninit(); 1];
        match stream.try_io(Interest::READABLE, || SockRef::from(stream).peek(&mut byte)) {
            Ok(0) => Glance::Over,
            Ok(_) => Glance::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Glance::Quiet,
            Err(_) => Glance::Over,
        }
    }

    /// Whether an unused connection can still be used. Without `thorough` this costs no system call unless something
    /// came in.
    pub fn is_alive(&self, thorough: bool) -> bool {
        match self {
            Wire::Tls(wire) => wire.is_alive(thorough),
            Wire::Plain(stream) if thorough => {
                let mut byte = [MaybeUninit::uninit(); 1];
                let peeked = SockRef::from(stream).peek(&mut byte);
                peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Wire::Plain(_) => match self.poll_readable(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => true,
                Poll::Ready(_) => self.glance() == Glance::Quiet,
            },
        }
    }
}

/// A short read has emptied the socket: the next byte raises readiness again, so the read that would find nothing is
/// saved.
fn clear_readable(stream: &TcpStream) {
    let _ = stream.try_io(Interest::READABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
}
