//! Sixteen bytes looked at at once: how names, values, hosts and paths are checked without a branch for each byte.
//!
//! A check is a quick question about a block, which may say no to bytes that are fine, and a slow one about a byte, which
//! is right; [`span`] asks the second only where the first said no. Nothing here knows what the bytes mean.

/// As many bytes are looked at at once.
pub const BLOCK_BYTES: usize = 16;

/// The answer that is yes for every byte.
pub const ALL: u32 = 0xffff;

/// Sixteen bytes, or the answer to a question about them.
#[derive(Clone, Copy)]
pub struct Block(Lanes);

#[cfg(target_arch = "x86_64")]
use sse2::Lanes;
#[cfg(not(target_arch = "x86_64"))]
use words::Lanes;

impl Block {
    /// A whole block.
    #[inline]
    pub fn new(bytes: &[u8; BLOCK_BYTES]) -> Block {
        Block(Lanes::new(bytes))
    }

    /// At most sixteen bytes, with NUL behind them.
    #[inline]
    pub fn padded(bytes: &[u8]) -> Block {
        let (low, high) = (first_word(bytes), first_word(bytes.get(8..).unwrap_or_default()));
        let bytes = u128::from(high) << 64 | u128::from(low);
        Block::new(&bytes.to_le_bytes())
    }

    /// Which bytes are `byte`.
    #[inline]
    pub fn is(self, byte: u8) -> Block {
        Block(self.0.is(byte))
    }

    /// Which bytes are in the range; both ends belong to it and are ASCII.
    #[inline]
    pub fn within(self, first: u8, last: u8) -> Block {
        debug_assert!(first <= last && last < 0x80);
        Block(self.0.within(first, last))
    }

    /// Which bytes are letters of ASCII.
    #[inline]
    pub fn letters(self) -> Block {
        Block(self.0.or(Lanes::new(&[0x20; BLOCK_BYTES]))).within(b'a', b'z')
    }

    /// What either says.
    #[inline]
    pub fn or(self, other: Block) -> Block {
        Block(self.0.or(other.0))
    }

    /// Of an answer: a bit for each byte, the lowest for the first.
    #[inline]
    pub fn bits(self) -> u32 {
        self.0.bits()
    }

    /// Letters, digits, `-` and `.`: what most names are made of.
    #[inline]
    pub fn words(self) -> u32 {
        self.letters().or(self.within(b'-', b'.')).or(self.within(b'0', b'9')).bits()
    }

    /// The same and `/`: what most paths are made of.
    #[inline]
    pub fn segments(self) -> u32 {
        self.letters().or(self.within(b'-', b'9')).bits()
    }

    /// Spaces and what is printable in ASCII.
    #[inline]
    pub fn printable(self) -> u32 {
        self.within(b' ', b'~').bits()
    }
}

/// Up to eight bytes as a number, the first its lowest.
#[inline]
fn first_word(bytes: &[u8]) -> u64 {
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(bytes), ..) => u64::from_le_bytes(*bytes),
        (_, Some(first), Some(last)) => half(first) | half(last) << (8 * (bytes.len() - 4)),
        _ => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// The block that begins at `at`, which is before the end; near it the last sixteen bytes are the block, and so many bits of
/// every answer are about bytes before `at`.
#[inline]
pub fn at(bytes: &[u8], at: usize) -> (Block, u32) {
    let Some(rest) = bytes.get(at..) else { return (Block::padded(&[]), 0) };
    match (rest.first_chunk(), bytes.last_chunk()) {
        (Some(chunk), _) => (Block::new(chunk), 0),
        (None, Some(chunk)) => (Block::new(chunk), (BLOCK_BYTES - rest.len()) as u32),
        (None, None) => (Block::padded(rest), 0),
    }
}

/// Where the first byte from `start` on stands that is not fine; the length if all are. `quick` tells bytes of a block that
/// are; of the others `may` decides. NUL is never quickly fine.
#[inline(always)]
pub fn span(bytes: &[u8], start: usize, quick: impl Fn(Block) -> u32, may: impl Fn(u8) -> bool) -> usize {
    let Some(mut rest) = bytes.get(start..) else { return bytes.len() };
    while let Some(chunk) = rest.first_chunk::<BLOCK_BYTES>() {
        let mut odd = quick(Block::new(chunk)) ^ ALL;
        while odd != 0 {
            let index = odd.trailing_zeros() as usize % BLOCK_BYTES;
            if !may(rest[index]) {
                return bytes.len() - rest.len() + index;
            }
            odd &= odd - 1;
        }
        rest = &rest[BLOCK_BYTES..];
    }
    let start = bytes.len() - rest.len();
    if rest.is_empty() { start } else { span_of_last(bytes, start, quick, may) }
}

/// The same, for fewer bytes than a block has.
#[inline(never)]
fn span_of_last(bytes: &[u8], start: usize, quick: impl Fn(Block) -> u32, may: impl Fn(u8) -> bool) -> usize {
    let (block, before) = at(bytes, start);
    let mut odd = (quick(block) ^ ALL) >> before;
    while odd != 0 {
        let index = start + odd.trailing_zeros() as usize;
        match bytes.get(index) {
            Some(&byte) if may(byte) => odd &= odd - 1,
            _ => return index.min(bytes.len()),
        }
    }
    bytes.len()
}

/// Where `byte`, which is not NUL, stands first.
#[inline]
pub fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut start = 0;
    while start < bytes.len() {
        let (block, before) = at(bytes, start);
        let found = block.is(byte).bits() >> before;
        if found != 0 {
            return Some(start + found.trailing_zeros() as usize);
        }
        start += BLOCK_BYTES;
    }
    None
}

/// With the instructions that every x86-64 has.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set_epi64x, _mm_set1_epi8,
    };

    #[derive(Clone, Copy)]
    pub struct Lanes(__m128i);

    impl Lanes {
        #[inline]
        pub fn new(bytes: &[u8; 16]) -> Lanes {
            let bytes = u128::from_le_bytes(*bytes);
            // SAFETY: SSE2 is part of x86-64.
            Lanes(unsafe { _mm_set_epi64x((bytes >> 64) as i64, bytes as i64) })
        }

        #[inline]
        pub fn is(self, byte: u8) -> Lanes {
            // SAFETY: SSE2 is part of x86-64.
            Lanes(unsafe { _mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8)) })
        }

        /// The range is moved to the upper end of what is positive: what was above it is negative then, what was below is less.
        #[inline]
        pub fn within(self, first: u8, last: u8) -> Lanes {
            let shift = 0x7f - last;
            // SAFETY: SSE2 is part of x86-64.
            Lanes(unsafe {
                let moved = _mm_add_epi8(self.0, _mm_set1_epi8(shift as i8));
                _mm_cmpgt_epi8(moved, _mm_set1_epi8((first + shift) as i8 - 1))
            })
        }

        #[inline]
        pub fn or(self, other: Lanes) -> Lanes {
            // SAFETY: SSE2 is part of x86-64.
            Lanes(unsafe { _mm_or_si128(self.0, other.0) })
        }

        #[inline]
        pub fn bits(self) -> u32 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_movemask_epi8(self.0) as u32 }
        }
    }
}

/// With two words, wherever else.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    const ONES: u64 = u64::MAX / 0xff;
    const TOPS: u64 = ONES << 7;

    /// Of an answer, the top bit of a byte counts.
    #[derive(Clone, Copy)]
    pub struct Lanes([u64; 2]);

    impl Lanes {
        #[inline]
        pub fn new(bytes: &[u8; 16]) -> Lanes {
            let bytes = u128::from_le_bytes(*bytes);
            Lanes([bytes as u64, (bytes >> 64) as u64])
        }

        #[inline]
        pub fn is(self, byte: u8) -> Lanes {
            Lanes(self.0.map(|word| {
                let differs = word ^ (ONES * u64::from(byte));
                !(((differs & !TOPS) + !TOPS) | differs) & TOPS
            }))
        }

        /// No byte carries into the next: seven bits and at most 0x80 make at most 0xff.
        #[inline]
        pub fn within(self, first: u8, last: u8) -> Lanes {
            Lanes(self.0.map(|word| {
                let low = word & !TOPS;
                let reaches = low + ONES * u64::from(0x80 - first);
                let exceeds = low + ONES * u64::from(0x7f - last);
                reaches & !exceeds & !word & TOPS
            }))
        }

        #[inline]
        pub fn or(self, other: Lanes) -> Lanes {
            Lanes([self.0[0] | other.0[0], self.0[1] | other.0[1]])
        }

        /// The multiplication gathers the bits of eight bytes in the uppermost.
        #[inline]
        pub fn bits(self) -> u32 {
            let [low, high] =
                self.0.map(|word| ((word & TOPS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56);
            (high << 8 | low) as u32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(bytes: &[u8; 16], says: impl Fn(u8) -> bool) -> u32 {
        bytes.iter().enumerate().map(|(index, &byte)| u32::from(says(byte)) << index).sum()
    }

    proptest! {
        /// A block answers as its bytes would one by one, by wide instructions and by words.
        #[test]
        fn blocks(bytes: [u8; 16], one: u8, two: u8, byte: u8) {
            let (one, two) = (one & 0x7f, two & 0x7f);
            let (first, last) = (one.min(two), one.max(two));
            let (block, lanes) = (Block::new(&bytes), words::Lanes::new(&bytes));
            let some = bytes[usize::from(byte & 15)];
            for wanted in [byte, some] {
                let expected = bits(&bytes, |byte| byte == wanted);
                prop_assert_eq!((block.is(wanted).bits(), lanes.is(wanted).bits()), (expected, expected));
            }
            let expected = bits(&bytes, |byte| (first..=last).contains(&byte));
            prop_assert_eq!(block.within(first, last).bits(), expected);
            prop_assert_eq!(lanes.within(first, last).bits(), expected);
            prop_assert_eq!(lanes.within(first, last).or(lanes.is(some)).bits(), expected | bits(&bytes, |byte| byte == some));
            let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            prop_assert_eq!(block.words(), bits(&bytes, word));
            prop_assert_eq!(block.segments(), bits(&bytes, |byte| word(byte) || byte == b'/'));
            prop_assert_eq!(block.printable(), bits(&bytes, |byte| (b' '..=b'~').contains(&byte)));
        }

        /// Bytes of any number are searched as if one by one.
        #[test]
        fn searches(bytes in proptest::collection::vec(prop_oneof![4 => Just(b'a'), 1 => any::<u8>(), 1 => Just(b'_'), 1 => Just(b'.')], 0..50)) {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            for at in 0..=bytes.len() {
                let expected = bytes[at..].iter().position(|&byte| !fine(byte)).map_or(bytes.len(), |odd| at + odd);
                prop_assert_eq!(span(&bytes, at, Block::words, fine), expected);
            }
            prop_assert_eq!(position(&bytes, b'.'), bytes.iter().position(|&byte| byte == b'.'));
        }

        /// A short block is its bytes and nothing else.
        #[test]
        fn padding(bytes in proptest::collection::vec(1u8.., 0..=16)) {
            let block = Block::padded(&bytes);
            for (index, &byte) in bytes.iter().enumerate() {
                prop_assert!(block.is(byte).bits() >> index & 1 == 1);
            }
            prop_assert_eq!(block.is(0).bits(), (ALL << bytes.len()) & ALL);
        }
    }
}
