//! Memory that requests pass through: byte buffers, texts and field lists, and the worker's free lists of them. An idle
//! connection holds none.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::framing::fields::Fields;

/// Holds most heads, and what comes with one to a client that takes nothing yet.
const TINY_BYTES: usize = 2 * 1024;

/// Holds any head of the default size.
const SMALL_BYTES: usize = crate::framing::HEAD_BYTES_MAX;

/// For bodies: the cost of a large one is the number of system calls. Holds any acceptable head, or a usual one and 64 KiB
/// behind it, a size that servers like to write: else a few bytes of each would cost a read and a write more.
const LARGE_BYTES: usize = 68 * 1024;

/// For TLS records: those of as much plaintext, and some room for handshakes.
const RECORDS_BYTES: usize = 72 * 1024;

/// Room before what comes in, so that a rewritten head, or a chunk's size, leaves in one piece with what follows it.
const HEADROOM: usize = 1024;

/// Room behind it, for the end of a chunk.
const TAILROOM: usize = 2;

/// What each size holds.
const BYTES: [usize; 4] = [TINY_BYTES, SMALL_BYTES, LARGE_BYTES, RECORDS_BYTES];

/// Free buffers kept of each size; more are given back to the allocator.
const FREE_MAX: [usize; 4] = [256, 256, 64, 64];

/// Free texts and field lists kept.
const FREE_TEXTS_MAX: usize = 1024;

/// A text or field list that has grown beyond this is not kept.
const TEXT_BYTES_KEPT_MAX: usize = 16 * 1024;

/// Which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 2 KiB.
    Tiny,
    /// 16 KiB.
    Small,
    /// 68 KiB.
    Large,
    /// 72 KiB: 68 KiB of plaintext, encrypted.
    Records,
}

impl Size {
    /// What it holds.
    pub const fn bytes(self) -> usize {
        BYTES[self as usize]
    }
}

/// The free lists of one worker.
#[derive(Default)]
pub struct Buffers {
    free: [RefCell<Vec<Box<[u8]>>>; 4],
    texts: RefCell<Vec<Vec<u8>>>,
    fields: RefCell<Vec<Fields>>,
    /// Bytes of the buffers that are in use, and what of them was told.
    lent: Cell<i64>,
    told: Cell<i64>,
}

impl Buffers {
    /// An empty buffer.
    pub fn take(self: &Rc<Self>, size: Size) -> Buffer {
        let bytes = HEADROOM + TAILROOM + BYTES[size as usize];
        let data = self.free[size as usize].borrow_mut().pop();
        let data = data.unwrap_or_else(|| vec![0; bytes].into_boxed_slice());
        self.lent.set(self.lent.get() + data.len() as i64);
        Buffer { data, start: HEADROOM, end: HEADROOM, size, home: self.clone() }
    }

    /// By how many bytes the buffers in use have become more, or less, since the last call.
    pub fn change(&self) -> i64 {
        self.lent.get() - self.told.replace(self.lent.get())
    }

    /// An empty text.
    pub fn text(self: &Rc<Self>) -> Text {
        let bytes = self.texts.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024));
        Text { bytes, home: self.clone() }
    }

    /// An empty field list.
    pub fn fields(&self) -> Fields {
        self.fields.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a field list back.
    pub fn give_back(&self, mut fields: Fields) {
        let mut free = self.fields.borrow_mut();
        if free.len() < FREE_TEXTS_MAX && fields.capacity_bytes() <= TEXT_BYTES_KEPT_MAX {
            fields.clear();
            free.push(fields);
        }
    }
}

/// Bytes that are being written; goes back to its list when dropped.
pub struct Text {
    bytes: Vec<u8>,
    home: Rc<Buffers>,
}

impl Deref for Text {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Text {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let mut free = self.home.texts.borrow_mut();
        if free.len() < FREE_TEXTS_MAX && self.bytes.capacity() <= TEXT_BYTES_KEPT_MAX {
            self.bytes.clear();
            free.push(std::mem::take(&mut self.bytes));
        }
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
    /// The lists that it goes back to.
    pub fn home(&self) -> &Rc<Buffers> {
        &self.home
    }

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

    /// Takes bytes off the front. The room they leave is for [`prepend`](Self::prepend), until more comes in.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Forgets what is filled.
    pub fn clear(&mut self) {
        (self.start, self.end) = (HEADROOM, HEADROOM);
    }

    /// Room for more; what is filled moves to the front if little is left. Empty only if the whole buffer is filled.
    pub fn space(&mut self) -> &mut [u8] {
        let limit = self.data.len() - TAILROOM;
        if self.is_empty() {
            self.clear();
        } else if self.start > HEADROOM && limit - self.end < limit / 2 {
            self.data.copy_within(self.start..self.end, HEADROOM);
            self.end -= self.start - HEADROOM;
            self.start = HEADROOM;
        }
        &mut self.data[self.end..limit]
    }

    /// Counts in what was written to the room.
    pub fn advance(&mut self, count: usize) {
        self.end = (self.end + count).min(self.data.len() - TAILROOM);
    }

    /// Puts bytes before what is filled; false if there is no room for them.
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else { return false };
        self.data[start..self.start].copy_from_slice(bytes);
        self.start = start;
        true
    }

    /// Puts a line's end behind what is filled, where there is always room for one.
    pub fn append_crlf(&mut self) {
        if let Some(room) = self.data.get_mut(self.end..self.end + 2) {
            room.copy_from_slice(b"\r\n");
            self.end += 2;
        }
    }

    /// Replaces a tiny or small buffer by a large one with the same content.
    pub fn grow(&mut self) {
        if matches!(self.size, Size::Tiny | Size::Small) {
            self.resize(Size::Large);
        }
    }

    /// Moves what is filled to a buffer that is as small as it can be: it is going to wait.
    pub fn settle(&mut self) {
        let fitting =
            [Size::Tiny, Size::Small].into_iter().find(|&size| self.filled().len() <= BYTES[size as usize]);
        if let Some(size) = fitting.filter(|&size| (size as usize) < self.size as usize) {
            self.resize(size);
        }
    }

    fn resize(&mut self, size: Size) {
        let mut other = self.home.take(size);
        let filled = self.filled();
        other.space()[..filled.len()].copy_from_slice(filled);
        other.advance(filled.len());
        *self = other;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.lent.set(self.home.lent.get() - self.data.len() as i64);
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
        assert_eq!([home.free[1].borrow().len(), home.free[2].borrow().len()], [1, 1]);
        assert!(home.take(Size::Large).is_empty());
    }

    /// What waits moves to the smallest buffer that holds it, and stays where none is smaller.
    #[test]
    fn what_waits_settles() {
        let home = Rc::new(Buffers::default());
        let mut buffer = home.take(Size::Large);
        buffer.space()[..SMALL_BYTES + 1].fill(5);
        buffer.advance(SMALL_BYTES + 1);
        for (consumed, size) in
            [(0, Size::Large), (1, Size::Small), (SMALL_BYTES - 3, Size::Tiny), (3, Size::Tiny)]
        {
            buffer.consume(consumed);
            buffer.settle();
            assert_eq!(buffer.size, size);
            assert!(buffer.filled().iter().all(|&byte| byte == 5));
        }
    }

    /// A head fits before what came in, also in place of what was consumed, and a chunk's end behind a full buffer.
    #[test]
    fn heads_and_ends() {
        let home = Rc::new(Buffers::default());
        let mut buffer = home.take(Size::Small);
        let room = buffer.space().len();
        buffer.space().fill(b'x');
        buffer.advance(room);
        buffer.append_crlf();
        assert!(buffer.filled().ends_with(b"x\r\n"));
        assert!(!buffer.prepend(&[0; HEADROOM + 1]));
        buffer.consume(room);
        assert!(buffer.prepend(&[b'h'; HEADROOM + 1]) && buffer.filled().starts_with(b"hh"));
        assert_eq!(buffer.filled().len(), HEADROOM + 3);
    }

    /// A text comes back empty, unless it has grown large: then its memory is given back.
    #[test]
    fn texts_are_used_again() {
        let home = Rc::new(Buffers::default());
        home.text().extend_from_slice(b"a");
        assert!(home.text().is_empty() && home.texts.borrow().len() == 1);
        home.text().resize(TEXT_BYTES_KEPT_MAX + 1, 0);
        assert!(home.texts.borrow().is_empty());
    }
}
