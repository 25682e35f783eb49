//! Where a head ends, found without reading any byte twice.

use memchr::memchr;

use super::{HEAD_BYTES_MAX, Malformed};

/// Looks for the blank line; keeps its place between short reads.
#[derive(Debug)]
pub struct HeadScan {
    seen: usize,
    line_start: usize,
    bytes_max: usize,
}

impl Default for HeadScan {
    fn default() -> HeadScan {
        HeadScan::new(HEAD_BYTES_MAX)
    }
}

impl HeadScan {
    /// A head of so many bytes at most.
    pub fn new(bytes_max: usize) -> HeadScan {
        HeadScan { seen: 0, line_start: 0, bytes_max }
    }

    /// The length of the head in `bytes`, blank line included, once it is there. Every call must get the bytes of the
    /// call before and what came after them.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let window = &bytes[..bytes.len().min(self.bytes_max)];
        if self.seen == 0
            && let Some(length) = whole(window)
        {
            return Ok(Some(length));
        }
        while let Some(offset) = memchr(b'\n', &window[self.seen..]) {
            let feed = self.seen + offset;
            if feed == self.line_start || window[feed - 1] != b'\r' {
                return Err(Malformed::BARE_LF);
            }
            if feed == self.line_start + 1 {
                return Ok(Some(feed + 1));
            }
            self.seen = feed + 1;
            self.line_start = feed + 1;
        }
        self.seen = window.len();
        if bytes.len() >= self.bytes_max { Err(Malformed::HEAD_TOO_LARGE) } else { Ok(None) }
    }
}

/// The length of a head that has come whole and whose lines all end with a return, as nearly every head's do: one pass with
/// wide instructions in place of a search for each line. Nothing: look closer.
fn whole(bytes: &[u8]) -> Option<usize> {
    const STEP: usize = 32;
    if bytes.first_chunk::<2>()?.contains(&b'\n') {
        return None;
    }
    let mut at = 2;
    while let Some(now) = bytes.get(at..at + STEP) {
        let (before, two_before) = (&bytes[at - 1..at - 1 + STEP], &bytes[at - 2..at - 2 + STEP]);
        let looks = now.iter().zip(before).zip(two_before).fold(0, |looks, ((now, before), two_before)| {
            // A line without a return, or one that has nothing else.
            let closer = u8::from(*before != b'\r') | u8::from(*two_before == b'\n');
            looks | (u8::from(*now == b'\n') & closer)
        });
        if looks != 0 {
            break;
        }
        at += STEP;
    }
    for feed in (at..bytes.len()).filter(|&at| bytes[at] == b'\n') {
        match (bytes[feed - 2], bytes[feed - 1]) {
            (b'\n', b'\r') => return Some(feed + 1),
            (_, b'\r') => {}
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Where a head ends does not depend on how it is looked for: at once, or as it comes in, byte by byte.
        #[test]
        fn at_once_or_by_bytes(text in "[ab\r\n]{0,90}|(a{0,40}\r\n){0,5}\r\n[\r\na]{0,9}") {
            let bytes = text.as_bytes();
            let mut scan = HeadScan::new(80);
            let slowly = (1..=bytes.len()).map(|count| scan.advance(&bytes[..count])).find(|seen| *seen != Ok(None));
            prop_assert_eq!(HeadScan::new(80).advance(bytes), slowly.unwrap_or(Ok(None)));
        }
    }
}
