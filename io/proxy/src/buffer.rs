//! Byte buffers and the worker's free lists of them. An idle connection holds none.

use std::cell::RefCell;
use std::rc::Rc;

/// Holds any acceptable head.
const SMALL_BYTES: usize = crate::framing::HEAD_BYTES_MAX;

/// For bodies: the cost of a large one is the number of system calls.
const LARGE_BYTES: usize = 64 * 1024;

/// Free buffers kept, small and large; more are given back to the allocator.
const FREE_MAX: [usize; 2] = [256, 64];

/// Which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 16 KiB.
    Small,
    /// 64 KiB.
    Large,
}

/// The free lists of one worker.
#[derive(Default)]
pub struct Buffers {
    free: [RefCell<Vec<Box<[u8]>>>; 2],
}

impl Buffers {
    /// An empty buffer.
    pub fn take(self: &Rc<Self>, size: Size) -> Buffer {
        let bytes = if size == Size::Small { SMALL_BYTES } else { LARGE_BYTES };
        let data = self.free[size as usize].borrow_mut().pop();
        let data = data.unwrap_or_else(|| vec![0; bytes].into_boxed_slice());
        Buffer { data, start: 0, end: 0, size, home: self.clone() }
    }
}

/// Bytes that came in and were not used yet; goes back to its list when dropped.
pub struct Buffer {
    data: Box<[u8]>,
    start: usize,
    end: usize,
    size: Size,
    home: Rc<Buffers>,
}

impl Buffer {
    /// What came in.
    pub fn filled(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// What came in, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.start..self.end]
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes bytes off the front.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets what is filled.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Room for more; what is filled moves to the front first. Empty only if the whole buffer is filled.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.data[self.end..]
    }

    /// Counts in what was written to the room.
    pub fn advance(&mut self, count: usize) {
        self.end = (self.end + count).min(self.data.len());
    }

    /// Replaces a small buffer by a large one with the same content.
    pub fn grow(&mut self) {
        if self.size == Size::Small {
            let mut large = self.home.take(Size::Large);
            let filled = self.filled();
            large.space()[..filled.len()].copy_from_slice(filled);
            large.advance(filled.len());
            *self = large;
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.home.free[self.size as usize].borrow_mut();
        if free.len() < FREE_MAX[self.size as usize] {
            free.push(std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes come out as they came in, across moves and growth, and a dropped buffer is used again.
    #[test]
    fn fill_consume_grow() {
        let home = Rc::new(Buffers::default());
        let mut buffer = home.take(Size::Small);
        let room = buffer.space().len();
        buffer.space().fill(7);
        buffer.advance(room);
        assert!(buffer.space().is_empty());
        buffer.consume(room - 2);
        buffer.space()[0] = 9;
        buffer.advance(1);
        assert_eq!(buffer.filled(), [7, 7, 9]);
        buffer.grow();
        assert_eq!(buffer.filled(), [7, 7, 9]);
        assert_eq!(buffer.space().len(), LARGE_BYTES - 3);
        drop(buffer);
        assert_eq!([home.free[0].borrow().len(), home.free[1].borrow().len()], [1, 1]);
        assert!(home.take(Size::Large).is_empty());
    }
}
