//! What the targets share: raw input taken apart into steps, numbers and cuts. Never judges anything.

use std::time::{Duration, Instant};

/// A fuzzer's input, read from the front; zeros once it is used up.
pub struct Source<'a>(pub &'a [u8]);

impl<'a> Source<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Up to as many bytes.
    pub fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// Up to 255 bytes, as many as the next byte says.
    pub fn chunk(&mut self) -> &'a [u8] {
        let bytes = self.byte();
        self.take(bytes.into())
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `bytes` in pieces whose lengths follow from `seed`: mostly short ones, now and then a long one.
pub fn cut(mut bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed) | 1;
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let longest = if state & 7 == 0 { 4096 } else { 24 };
        let (piece, rest) = bytes.split_at(((state >> 8) as usize % longest + 1).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// A BGP stream that comes near to a real one: chunks of the input with a sound header before each, except where the
/// input says otherwise.
pub fn bgp_stream(source: &mut Source<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !source.is_empty() {
        let kind = source.byte();
        let body = source.chunk();
        if kind & 0x80 == 0 {
            let bytes = 19 + body.len() as u16;
            stream.extend_from_slice(&[0xff; 16]);
            stream.extend_from_slice(&bytes.to_be_bytes());
            stream.push(kind % 6);
        }
        stream.extend_from_slice(body);
    }
    stream
}

/// A clock that only the input moves.
pub struct Clock(Instant);

impl Clock {
    /// Somewhere in time.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.0
    }

    /// Lets time pass.
    pub fn pass(&mut self, millis: u64) {
        self.0 += Duration::from_millis(millis);
    }

    /// Goes on to `then`, unless that has been.
    pub fn reach(&mut self, then: Instant) {
        self.0 = self.0.max(then);
    }
}

/// Header lines with these names, which value with which as the input says; values as a head may have them.
pub fn header_lines<'n>(source: &mut Source<'_>, names: &[&'n str]) -> Vec<(&'n str, Vec<u8>)> {
    let mut lines = Vec::new();
    while !source.is_empty() {
        let name = names[usize::from(source.byte()) % names.len()];
        let value =
            source.chunk().iter().copied().filter(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        lines.push((name, value.collect()));
    }
    lines
}
