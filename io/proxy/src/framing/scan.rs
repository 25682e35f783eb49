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
