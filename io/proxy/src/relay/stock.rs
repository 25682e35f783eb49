//! What bulk relays borrow from their worker: pipes that bytes pass through inside the kernel, and blocks for the rest.
//!
//! A relay holds one only while bytes are in flight. A pipe that still holds bytes is closed and never lent again, so
//! that nothing of one connection can reach another.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes that a pipe should hold: the best of the sizes measured.
const PIPE_BYTES: usize = 256 * 1024;

/// Bytes of a block.
const BLOCK_BYTES: usize = 256 * 1024;

/// Pipes kept for the next borrower; two descriptors each.
const KEPT_MAX: usize = 32;

/// Blocks kept.
const BLOCKS_KEPT_MAX: usize = 8;

/// Pipes and blocks of one worker.
pub struct Stock {
    /// Pipes lent at once; further relays copy.
    lent_max: usize,
    pipes: RefCell<Vec<Pipe>>,
    lent: Cell<usize>,
    blocks: RefCell<Vec<Box<[u8]>>>,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    bytes: usize,
}

impl Stock {
    /// Nothing is there yet; so many pipes are lent at once.
    pub fn new(lent_max: usize) -> Stock {
        Stock { lent_max, pipes: RefCell::default(), lent: Cell::default(), blocks: RefCell::default() }
    }

    /// An empty pipe; none if too many are lent or the kernel has none.
    pub fn pipe(self: &Rc<Self>) -> Option<Loan> {
        if self.lent.get() >= self.lent_max {
            return None;
        }
        let known = self.pipes.borrow_mut().pop();
        let pipe = known.or_else(|| Pipe::new().ok())?;
        self.lent.set(self.lent.get() + 1);
        Some(Loan { pipe: Some(pipe), held: 0, home: self.clone() })
    }

    /// An empty block.
    pub fn block(self: &Rc<Self>) -> Block {
        let data = self.blocks.borrow_mut().pop();
        let data = data.unwrap_or_else(|| vec![0; BLOCK_BYTES].into_boxed_slice());
        Block { data, start: 0, end: 0, home: self.clone() }
    }
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let mut ends: [RawFd; 2] = [0; 2];
        // SAFETY: `ends` is room for the two descriptors that the call writes.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded: both are open descriptors that nobody else owns.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: changes nothing but the size of a pipe that is ours; its third argument is an int.
        let granted =
            unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES as libc::c_int) };
        // Where the user's pipes are limited (pipe(7)) it stays as small as it was made: one page at the least.
        Ok(Pipe { read, write, bytes: usize::try_from(granted).unwrap_or(4096) })
    }
}

/// A borrowed pipe; goes back when dropped.
pub struct Loan {
    /// Always there until it is dropped.
    pipe: Option<Pipe>,
    held: usize,
    home: Rc<Stock>,
}

impl Loan {
    /// Bytes in it.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what the socket has into the empty pipe; 0 is the end, `WouldBlock` that there is nothing.
    pub fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Err(io::ErrorKind::InvalidInput.into()) };
        let count =
            from.try_io(Interest::READABLE, || splice(from.as_raw_fd(), pipe.write.as_raw_fd(), pipe.bytes))?;
        self.held += count;
        Ok(count)
    }

    /// Moves what the pipe holds into the socket; `WouldBlock` if it takes nothing now.
    pub fn empty_into(&mut self, to: &TcpStream) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Err(io::ErrorKind::InvalidInput.into()) };
        let count =
            to.try_io(Interest::WRITABLE, || splice(pipe.read.as_raw_fd(), to.as_raw_fd(), self.held))?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.home.lent.set(self.home.lent.get() - 1);
        let mut kept = self.home.pipes.borrow_mut();
        if self.held == 0
            && kept.len() < KEPT_MAX
            && let Some(pipe) = self.pipe.take()
        {
            kept.push(pipe);
        }
    }
}

/// Moves up to `bytes` from one descriptor to the other without waiting.
fn splice(from: RawFd, to: RawFd, bytes: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: both descriptors are open, as their owners are borrowed by the callers; without offsets the call touches
    // no memory of ours.
    let count = unsafe { libc::splice(from, std::ptr::null_mut(), to, std::ptr::null_mut(), bytes, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// A borrowed block of memory; goes back when dropped.
pub struct Block {
    data: Box<[u8]>,
    start: usize,
    end: usize,
    home: Rc<Stock>,
}

impl Block {
    /// All of it, to be filled from the front once it is empty.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// Says how much was filled.
    pub fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count.min(self.data.len()));
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Takes bytes off the front.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut kept = self.home.blocks.borrow_mut();
        if kept.len() < BLOCKS_KEPT_MAX {
            kept.push(std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that is empty is lent again; one that holds bytes is not.
    #[test]
    fn a_pipe_with_bytes_is_never_lent_again() {
        let stock = Rc::new(Stock::new(2));
        drop(stock.pipe().unwrap());
        assert_eq!((stock.pipes.borrow().len(), stock.lent.get()), (1, 0));
        let mut loan = stock.pipe().unwrap();
        assert_eq!((stock.pipes.borrow().len(), stock.lent.get()), (0, 1));
        loan.held = 1;
        drop(loan);
        assert_eq!((stock.pipes.borrow().len(), stock.lent.get()), (0, 0));
    }

    /// No more pipes are lent than the bound says.
    #[test]
    fn loans_are_bounded() {
        let stock = Rc::new(Stock::new(2));
        stock.lent.set(2);
        assert!(stock.pipe().is_none());
    }
}
