//! Where a head ends, found without reading any byte twice.

use super::{HEAD_BYTES_MAX, Malformed};

/// Looks for the blank line; keeps its place between short reads.
#[derive(Debug, Default)]
pub struct HeadScan {
    seen: usize,
    line_start: usize,
}

impl HeadScan {
    /// The length of the head in `bytes`, blank line included, once it is there. Every call must get the bytes of the
    /// call before and what came after them.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        while let Some(offset) = window[self.seen..].iter().position(|&byte| byte == b'\n') {
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
        if bytes.len() >= HEAD_BYTES_MAX { Err(Malformed::HEAD_TOO_LARGE) } else { Ok(None) }
    }
}
