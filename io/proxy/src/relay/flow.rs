//! One direction of a relay: what is in flight, and how it travels.
//!
//! ```text
//!            a read fills its buffer                     pipe, if both sides are in the clear
//!  small ─────────────────────────────► bulk ──────────┤
//!    ▲  16 KiB, copied                   │  256 KiB    └ block, copied: TLS, or no pipe to be had
//!    └───────────────────────────────────┘
//!            a burst that was short
//! ```
//!
//! So a chatty connection costs one read and one write for each message, and a bulk one two splices for each 256 KiB. With
//! nothing in flight a flow holds neither buffer nor pipe.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;

use crate::buffer::{Buffer, Buffers, Size};
use crate::relay::stock::{Block, Loan, Stock};
use crate::turns::{Place, Turns};
use crate::wire::Wire;

/// A burst shorter than this ends bulk.
const BULK_BYTES: u64 = 16 * 1024;

/// Moves before others get their turn.
const MOVES_MAX: usize = 16;

/// Bytes that may stay uncounted in the metrics while a connection lives.
const UNCOUNTED_MAX: u64 = 256 * 1024;

/// Which side broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The one that sends.
    From,
    /// The one that receives.
    To,
}

/// One direction.
pub struct Flow<'a> {
    from: &'a Wire,
    to: &'a Wire,
    home: Home<'a>,
    held: Held,
    bulk: bool,
    /// Splicing was refused once: never again on this connection.
    copies: bool,
    /// Bytes since the sender last had nothing.
    burst: u64,
    /// The sender is done.
    ended: bool,
    moved: u64,
    uncounted: u64,
    /// It has more to move, and lets others go first.
    turn: Place,
}

/// Where a flow borrows from, and where it counts.
#[derive(Clone, Copy)]
pub struct Home<'a> {
    pub buffers: &'a Rc<Buffers>,
    pub stock: &'a Rc<Stock>,
    pub bytes: &'a Counter,
    pub spliced: &'a Counter,
    pub turns: &'a Turns,
}

/// What is in flight.
enum Held {
    Nothing,
    Small(Buffer),
    Pipe(Loan),
    Block(Block),
}

impl<'a> Flow<'a> {
    /// A flow with nothing in flight.
    pub fn new(from: &'a Wire, to: &'a Wire, home: Home<'a>) -> Flow<'a> {
        let copies = plain(from).is_none() || plain(to).is_none();
        let held = Held::Nothing;
        let turn = Place::default();
        Flow {
            from,
            to,
            home,
            held,
            bulk: false,
            copies,
            burst: 0,
            ended: false,
            moved: 0,
            uncounted: 0,
            turn,
        }
    }

    /// Bytes received so far.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Counts in what was passed on before.
    pub fn count(&mut self, bytes: u64) {
        self.moved += bytes;
        self.burst += bytes;
        self.uncounted += bytes;
        if self.uncounted >= UNCOUNTED_MAX {
            self.home.bytes.inc_by(std::mem::take(&mut self.uncounted));
        }
    }

    /// Moves what there is; ready once the sender is done and the receiver has been told.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.turn.is_waiting(self.home.turns) {
            return Poll::Pending;
        }
        self.turn.leave();
        for _ in 0..MOVES_MAX {
            ready!(self.poll_give(context)).map_err(|_| Broken::To)?;
            if self.ended {
                let told = self.to.shutdown_write();
                return Poll::Ready(told.map_err(|_| Broken::To));
            }
            ready!(self.poll_take(context)).map_err(|_| Broken::From)?;
        }
        self.home.turns.queue(&self.turn, context);
        Poll::Pending
    }

    /// Passes on everything that is held.
    fn poll_give(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let given = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Small(buffer) if buffer.is_empty() => return Poll::Ready(Ok(())),
                Held::Small(buffer) => self.to.try_write(buffer.filled()).map(|count| buffer.consume(count)),
                Held::Block(block) if block.bytes().is_empty() => return Poll::Ready(Ok(())),
                Held::Block(block) => self.to.try_write(block.bytes()).map(|count| block.consume(count)),
                Held::Pipe(pipe) if pipe.held() == 0 => return Poll::Ready(Ok(())),
                Held::Pipe(pipe) => {
                    let to = plain(self.to).ok_or(io::ErrorKind::Unsupported)?;
                    pipe.empty_into(to).map(|count| _ = self.home.spliced.inc_by(count as u64))
                }
            };
            match given {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.to.poll_writable(context))?
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Takes what the sender has; with nothing there, nothing is held.
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if matches!(self.held, Held::Nothing) {
                ready!(self.from.poll_readable(context))?;
            }
            match self.take() {
                Ok(0) => {
                    self.held = Held::Nothing;
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Ok(count) => {
                    self.count(count as u64);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.held = Held::Nothing;
                    self.bulk &= self.burst >= BULK_BYTES;
                    self.burst = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(self.held, Held::Pipe(_)) && cannot_splice(&error) => {
                    self.held = Held::Nothing;
                    self.copies = true;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads once, into what suits.
    fn take(&mut self) -> io::Result<usize> {
        if !self.bulk {
            if !matches!(self.held, Held::Small(_)) {
                self.held = Held::Small(self.home.buffers.take(Size::Small));
            }
        } else if matches!(self.held, Held::Nothing | Held::Small(_)) {
            let pipe = if self.copies { None } else { self.home.stock.pipe() };
            self.held = pipe.map_or_else(|| Held::Block(self.home.stock.block()), Held::Pipe);
        }
        match &mut self.held {
            Held::Nothing => Ok(0),
            Held::Small(buffer) => {
                let room = buffer.space();
                let size = room.len();
                let count = self.from.try_read(room)?;
                buffer.advance(count);
                self.bulk = count == size;
                Ok(count)
            }
            Held::Block(block) => {
                let count = self.from.try_read(block.room())?;
                block.filled(count);
                Ok(count)
            }
            Held::Pipe(pipe) => pipe.fill(plain(self.from).ok_or(io::ErrorKind::Unsupported)?),
        }
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        self.home.bytes.inc_by(self.uncounted);
    }
}

/// The socket, if nothing protects what passes through it.
fn plain(wire: &Wire) -> Option<&TcpStream> {
    match wire {
        Wire::Plain(stream) => Some(stream),
        Wire::Tls(_) => None,
    }
}

/// splice(2): not a socket or pipe that can, or no memory for it.
fn cannot_splice(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::ENOMEM | libc::EOPNOTSUPP))
}
