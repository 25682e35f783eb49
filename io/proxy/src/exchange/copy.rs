//! A copy of a request's body for a mirror, taken while the body flows. Bounded: a mirror that is too slow loses its copy,
//! and the request never waits for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::buffer::{Buffer, Buffers, Size};

/// Bytes that may wait for one mirror.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// What waits for one mirror.
pub struct Copy {
    waiting: RefCell<Vec<u8>>,
    state: Cell<State>,
    reader: RefCell<Option<Waker>>,
    buffers: Rc<Buffers>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flowing,
    Whole,
    Failed,
}

/// The rest of the body will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete;

impl Copy {
    /// Nothing was copied yet.
    pub fn new(buffers: &Rc<Buffers>) -> Rc<Copy> {
        Rc::new(Copy {
            waiting: RefCell::default(),
            state: Cell::new(State::Flowing),
            reader: RefCell::default(),
            buffers: buffers.clone(),
        })
    }

    /// Copies a piece; never waits.
    pub fn give(&self, bytes: &[u8]) {
        let mut waiting = self.waiting.borrow_mut();
        if self.state.get() != State::Flowing || waiting.len() + bytes.len() > WAITING_BYTES_MAX {
            self.state.set(State::Failed);
            *waiting = Vec::new();
        } else {
            waiting.extend_from_slice(bytes);
        }
        drop(waiting);
        self.wake();
    }

    /// All of the body was copied.
    pub fn finish(&self) {
        if self.state.get() == State::Flowing {
            self.state.set(State::Whole);
        }
        self.wake();
    }

    /// The rest will not come.
    pub fn fail(&self) {
        self.state.set(State::Failed);
        self.wake();
    }

    /// The next piece; nothing at the end.
    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Result<Option<Buffer>, Incomplete>> {
        let mut waiting = self.waiting.borrow_mut();
        match self.state.get() {
            State::Failed => return Poll::Ready(Err(Incomplete)),
            State::Whole if waiting.is_empty() => return Poll::Ready(Ok(None)),
            State::Flowing if waiting.is_empty() => {
                *self.reader.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            _ => {}
        }
        let mut buffer = self.buffers.take(Size::Large);
        let count = waiting.len().min(buffer.space().len());
        buffer.space()[..count].copy_from_slice(&waiting[..count]);
        buffer.advance(count);
        waiting.drain(..count);
        Poll::Ready(Ok(Some(buffer)))
    }

    fn wake(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(copy: &Copy) -> Poll<Result<Option<Vec<u8>>, Incomplete>> {
        let poll = copy.poll_take(&mut Context::from_waker(Waker::noop()));
        poll.map_ok(|buffer| buffer.map(|buffer| buffer.filled().to_vec()))
    }

    /// What was given comes out, then the end; a reader that is too slow gets nothing more, and never the end.
    #[test]
    fn bounded() {
        let home = Rc::new(Buffers::default());
        let copy = Copy::new(&home);
        assert_eq!(taken(&copy), Poll::Pending);
        copy.give(b"ab");
        copy.give(b"c");
        copy.finish();
        assert_eq!(taken(&copy), Poll::Ready(Ok(Some(b"abc".to_vec()))));
        assert_eq!(taken(&copy), Poll::Ready(Ok(None)));
        let slow = Copy::new(&home);
        slow.give(&vec![0; WAITING_BYTES_MAX]);
        slow.give(b"x");
        slow.finish();
        assert_eq!(taken(&slow), Poll::Ready(Err(Incomplete)));
    }
}
