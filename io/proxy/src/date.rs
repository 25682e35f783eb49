//! The time of day as HTTP tells it, written once for each second and thread. Never told to backends, and nothing is decided by it.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// The bytes of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
const BYTES: usize = 29;

thread_local! {
    static WRITTEN: Cell<(u64, [u8; BYTES])> = const { Cell::new((u64::MAX, [b' '; BYTES])) };
}

/// What `Date` says now (RFC 9110 sections 5.6.7 and 6.6.1).
pub fn now() -> [u8; BYTES] {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (written, date) = WRITTEN.get();
    if written == secs {
        return date;
    }
    let date = at(secs);
    WRITTEN.set((secs, date));
    date
}

/// A second since 1970. A clock behind the year 9999 is told as that.
fn at(secs: u64) -> [u8; BYTES] {
    let second = i64::try_from(secs).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    let text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    text.as_bytes().try_into().unwrap_or([b' '; BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110 section 5.6.7 by its own example, and the ends of what a clock may say.
    #[test]
    fn fixdates() {
        assert_eq!(&at(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&at(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(at(u64::MAX).ends_with(b" GMT"));
        assert_eq!(now().len(), BYTES);
    }
}
