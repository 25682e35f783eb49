//! Reads and writes on a shared stream, so that both directions run in one task without locks or reference counts.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::buffer::Buffer;
use crate::timer::Watch;

/// Waits until there is something to read, or the end.
pub async fn readable(stream: &TcpStream) -> io::Result<()> {
    poll_fn(|context| stream.poll_read_ready(context)).await
}

/// Reads once into the buffer's room; 0 is the end.
pub async fn read(stream: &TcpStream, buffer: &mut Buffer) -> io::Result<usize> {
    loop {
        let room = buffer.space();
        let room_len = room.len();
        match stream.try_read(room) {
            Ok(count) => {
                if count > 0 && count < room_len {
                    clear_readable(stream);
                }
                buffer.advance(count);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable(stream).await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A short read has emptied the socket: the next byte raises readiness again, so the read that would find nothing is saved.
fn clear_readable(stream: &TcpStream) {
    let _ = stream.try_io(Interest::READABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
}

/// Writes everything; every byte of progress puts the deadline off.
pub async fn write_all(
    stream: &TcpStream,
    mut bytes: &[u8],
    watch: &Watch,
    stall: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(count) => {
                bytes = &bytes[count..];
                watch.set(stall);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|context| stream.poll_write_ready(context)).await?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a look at the socket without taking anything shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// Nothing yet.
    Quiet,
    /// Bytes.
    Bytes,
    /// The end, or an error.
    Over,
}

/// Looks without waiting and without taking anything: one system call.
pub fn glance(stream: &TcpStream) -> Glance {
    let mut byte = [MaybeUninit::uninit(); 1];
    match stream.try_io(Interest::READABLE, || SockRef::from(stream).peek(&mut byte)) {
        Ok(0) => Glance::Over,
        Ok(_) => Glance::Bytes,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Glance::Quiet,
        Err(_) => Glance::Over,
    }
}

/// Whether an unused connection can still be used. Without `thorough` this costs no system call unless something came in.
pub fn is_alive(stream: &TcpStream, thorough: bool) -> bool {
    if thorough {
        let mut byte = [MaybeUninit::uninit(); 1];
        let peeked = SockRef::from(stream).peek(&mut byte);
        return peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    }
    match stream.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => true,
        Poll::Ready(_) => glance(stream) == Glance::Quiet,
    }
}
