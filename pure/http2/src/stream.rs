//! Streams: their two halves (RFC 9113 section 5.1), their send windows, and where each is found. Never writes a frame.
//!
//! ```text
//!   receiving  Head ─► Body ─► Ended        idle: above the last identifier opened
//!   sending    Head ─► Body ─► Ended        closed: both ended, or reset; then it is no longer in the map
//! ```

use crate::window::ReceiveWindow;
use std::fmt;

/// A stream of one connection. The shell keeps what belongs to it at `slot`, in a plain vector: a slot is used again
/// only after the stream ended in both directions or was reset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    pub(crate) number: u32,
    pub(crate) slot: u32,
}

impl StreamId {
    /// The identifier on the wire.
    pub fn number(self) -> u32 {
        self.number
    }

    /// A small number, below the most streams ever open at once.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.number, self.slot)
    }
}

/// What one direction of a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Head,
    Body,
    Ended,
}

/// Why a sender waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    /// For the connection's window or for room in the output: it stands in the queue.
    Queued,
    /// For its own window.
    Window,
}

#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub number: u32,
    pub receiving: Half,
    pub sending: Half,
    pub wait: Wait,
    /// As a client: the request was HEAD, so its response has no body.
    pub head_request: bool,
    /// A CONNECT: `content-length` says nothing about a tunnel.
    pub connect: bool,
    pub interims: u8,
    pub receive_window: ReceiveWindow,
    /// What we may send; below zero after the peer shrank it.
    pub send_window: i64,
    /// DATA still to come by `content-length`; `None` if not said.
    pub content_left: Option<u64>,
}

impl Stream {
    pub fn is_over(&self) -> bool {
        self.receiving == Half::Ended && self.sending == Half::Ended
    }
}

/// The open streams, by identifier and by slot.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Ascending; identifiers of a connection only grow.
    numbers: Vec<u32>,
    /// For each of `numbers`, its slot.
    slots: Vec<u32>,
    slab: Vec<Option<Stream>>,
    free: Vec<u32>,
}

impl Streams {
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Adds a stream whose number is above all others.
    pub fn insert(&mut self, stream: Stream) -> StreamId {
        let number = stream.number;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slab[slot as usize] = Some(stream);
                slot
            }
            None => {
                self.slab.push(Some(stream));
                self.slab.len() as u32 - 1
            }
        };
        self.numbers.push(number);
        self.slots.push(slot);
        StreamId { number, slot }
    }

    /// The stream of a number.
    #[inline]
    pub fn find(&self, number: u32) -> Option<StreamId> {
        let at = match self.numbers.last() {
            Some(&last) if last == number => self.numbers.len() - 1,
            _ => self.numbers.binary_search(&number).ok()?,
        };
        Some(StreamId { number, slot: self.slots[at] })
    }

    #[inline]
    pub fn get(&self, id: StreamId) -> Option<&Stream> {
        self.slab.get(id.slot as usize)?.as_ref().filter(|stream| stream.number == id.number)
    }

    #[inline]
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.slab.get_mut(id.slot as usize)?.as_mut().filter(|stream| stream.number == id.number)
    }

    pub fn remove(&mut self, id: StreamId) -> Option<Stream> {
        self.get(id)?;
        let at = self.numbers.binary_search(&id.number).ok()?;
        self.numbers.remove(at);
        self.slots.remove(at);
        self.free.push(id.slot);
        self.slab[id.slot as usize].take()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Stream)> {
        self.slab.iter_mut().enumerate().filter_map(|(slot, stream)| {
            stream.as_mut().map(|stream| (StreamId { number: stream.number, slot: slot as u32 }, stream))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.numbers.iter().zip(&self.slots).filter_map(|(&number, &slot)| {
            let id = StreamId { number, slot };
            self.get(id).map(|stream| (id, stream))
        })
    }

    /// The stream with the highest number.
    pub fn last(&self) -> Option<StreamId> {
        Some(StreamId { number: *self.numbers.last()?, slot: *self.slots.last()? })
    }

    /// Lets memory go if there are no streams.
    pub fn shrink(&mut self) {
        if self.numbers.is_empty() {
            *self = Streams::default();
        }
    }
}

/// Which identifiers that are no longer open were opened at all, and which of them we reset: late frames on those are
/// ignored, as the peer may not know yet. Both memories are bounded; what they forgot counts as closed by the peer.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The highest identifier opened.
    pub last: u32,
    /// Bit `n`: identifier `last - 2n` was opened.
    opened: u64,
    reset: Vec<u32>,
    oldest: usize,
}

/// Streams that we reset and remember.
const RESETS_KEPT: usize = 256;

impl Past {
    /// Notes that `number`, above `last`, was opened.
    pub fn open(&mut self, number: u32) {
        let step = (number - self.last).div_ceil(2);
        self.opened = self.opened.checked_shl(step).unwrap_or(0) | 1;
        self.last = number;
    }

    /// Whether `number` was opened, or may have been.
    pub fn was_opened(&self, number: u32) -> bool {
        let steps = self.last.checked_sub(number).map(|back| back / 2);
        steps.is_some_and(|steps| steps >= 64 || self.opened >> steps & 1 == 1)
    }

    pub fn reset(&mut self, number: u32) {
        if self.reset.len() < RESETS_KEPT {
            self.reset.push(number);
        } else {
            self.reset[self.oldest] = number;
            self.oldest = (self.oldest + 1) % RESETS_KEPT;
        }
    }

    pub fn was_reset(&self, number: u32) -> bool {
        self.reset.contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::INITIAL_WINDOW;
    use proptest::prelude::*;

    fn stream(number: u32) -> Stream {
        Stream {
            number,
            receiving: Half::Head,
            sending: Half::Head,
            wait: Wait::No,
            head_request: false,
            connect: false,
            interims: 0,
            receive_window: ReceiveWindow::new(INITIAL_WINDOW),
            send_window: 0,
            content_left: None,
        }
    }

    /// Skipped identifiers are told from closed ones; a stream we reset is remembered until 256 others were.
    #[test]
    fn the_past_is_remembered() {
        let mut past = Past::default();
        for number in [1, 3, 9, 131] {
            past.open(number);
        }
        assert!([131, 9, 3, 1].iter().all(|&number| past.was_opened(number)));
        assert!([129, 7, 11].iter().all(|&number| !past.was_opened(number)) && !past.was_opened(133));
        past.open(u32::MAX / 2);
        assert!(past.was_opened(3) && past.was_opened(5), "too long ago to tell");
        for number in 0..=256 {
            past.reset(number);
        }
        assert!(!past.was_reset(0) && past.was_reset(1) && past.was_reset(256));
    }

    proptest! {
        /// Whatever opens and closes, every open stream is found by number and by handle, and no closed one is.
        #[test]
        fn the_map_finds_what_is_open(steps in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200)) {
            let (mut streams, mut open, mut gone, mut next) = (Streams::default(), Vec::new(), Vec::new(), 1);
            for (opens, which) in steps {
                if opens || open.is_empty() {
                    open.push(streams.insert(stream(next)));
                    next += 2;
                } else {
                    let id = open.remove(which.index(open.len()));
                    prop_assert!(streams.remove(id).is_some() && streams.remove(id).is_none());
                    gone.push(id);
                }
                prop_assert_eq!(streams.len(), open.len());
                for &id in &open {
                    prop_assert_eq!(streams.find(id.number), Some(id));
                    prop_assert_eq!(streams.get(id).map(|stream| stream.number), Some(id.number));
                }
                prop_assert!(gone.iter().all(|&id| streams.get(id).is_none() && streams.find(id.number).is_none()));
                prop_assert!(streams.iter().map(|(id, _)| id).eq(open.iter().copied()));
            }
        }
    }
}
