//! The static and the dynamic table (RFC 7541 sections 2.3 and 4). Each entry is kept as the HTTP/1 line it stands for, with
//! what the rules say of it: an indexed field costs one copy. Never larger than the size it is given.

use crate::rules::{Kind, classify};
use std::collections::VecDeque;

/// An entry of the static table.
pub(super) struct Static {
    /// `name: value\r\n`.
    pub text: &'static [u8],
    pub name_bytes: usize,
    pub kind: Kind,
}

const fn entry(name: &'static str, text: &'static str) -> Static {
    Static { text: text.as_bytes(), name_bytes: name.len(), kind: classify(name.as_bytes()) }
}

macro_rules! table {
    ($($name:literal, $value:literal;)*) => {
        [$(entry($name, concat!($name, ": ", $value, "\r\n")),)*]
    };
}

/// RFC 7541 appendix A; the first entry has index 1.
#[rustfmt::skip]
pub(super) static STATIC: [Static; 61] = table! {
    ":authority", "";
    ":method", "GET";
    ":method", "POST";
    ":path", "/";
    ":path", "/index.html";
    ":scheme", "http";
    ":scheme", "https";
    ":status", "200";
    ":status", "204";
    ":status", "206";
    ":status", "304";
    ":status", "400";
    ":status", "404";
    ":status", "500";
    "accept-charset", "";
    "accept-encoding", "gzip, deflate";
    "accept-language", "";
    "accept-ranges", "";
    "accept", "";
    "access-control-allow-origin", "";
    "age", "";
    "allow", "";
    "authorization", "";
    "cache-control", "";
    "content-disposition", "";
    "content-encoding", "";
    "content-language", "";
    "content-length", "";
    "content-location", "";
    "content-range", "";
    "content-type", "";
    "cookie", "";
    "date", "";
    "etag", "";
    "expect", "";
    "expires", "";
    "from", "";
    "host", "";
    "if-match", "";
    "if-modified-since", "";
    "if-none-match", "";
    "if-range", "";
    "if-unmodified-since", "";
    "last-modified", "";
    "link", "";
    "location", "";
    "max-forwards", "";
    "proxy-authenticate", "";
    "proxy-authorization", "";
    "range", "";
    "referer", "";
    "refresh", "";
    "retry-after", "";
    "server", "";
    "set-cookie", "";
    "strict-transport-security", "";
    "transfer-encoding", "";
    "user-agent", "";
    "vary", "";
    "via", "";
    "www-authenticate", "";
};

/// What is looked up by index, from either table.
pub(super) struct Found<'a> {
    /// `name: value\r\n`.
    pub text: &'a [u8],
    pub name_bytes: usize,
    pub kind: Kind,
    /// Whether the value is sound.
    pub sound: bool,
}

impl Found<'_> {
    pub fn value_bytes(&self) -> usize {
        self.text.len() - self.name_bytes - 4
    }
}

#[derive(Debug, Clone, Copy)]
struct Dynamic {
    /// Where the text begins, counted from `base`, wrapping.
    at: u32,
    name: u16,
    value: u16,
    kind: Kind,
    sound: bool,
}

impl Dynamic {
    fn size(self) -> u32 {
        u32::from(self.name) + u32::from(self.value) + 32
    }
}

/// The dynamic table of a decoder. Holds no memory until something is inserted.
#[derive(Debug)]
pub(super) struct Table {
    /// The texts, oldest first, with dead ones before them.
    bytes: Vec<u8>,
    /// Newest first.
    entries: VecDeque<Dynamic>,
    base: u32,
    size: u32,
    size_max: u32,
}

/// The largest table there may be: lengths are kept in 16 bits.
pub(super) const SIZE_MAX: u32 = 64 << 10;
/// Dead bytes at the front that are borne before the rest is moved.
const DEAD_BYTES_MAX: usize = 1024;
/// The texts grow by this much, not twofold: thousands of idle connections hold a table each.
const GROWTH_BYTES: usize = 1024;

impl Table {
    pub fn new(size_max: u32) -> Table {
        Table {
            bytes: Vec::new(),
            entries: VecDeque::new(),
            base: 0,
            size: 0,
            size_max: size_max.min(SIZE_MAX),
        }
    }

    pub fn size_max(&self) -> u32 {
        self.size_max
    }

    /// Sets the size and evicts what no longer fits.
    pub fn resize(&mut self, size_max: u32) {
        self.size_max = size_max.min(SIZE_MAX);
        self.evict(self.size_max);
    }

    /// The entry of `index`, from 1.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Found<'_>> {
        let index = index.checked_sub(1)?;
        if let Some(entry) = STATIC.get(index) {
            return Some(Found {
                text: entry.text,
                name_bytes: entry.name_bytes,
                kind: entry.kind,
                sound: true,
            });
        }
        let entry = self.entries.get(index - STATIC.len())?;
        let name_bytes = usize::from(entry.name);
        let at = entry.at.wrapping_sub(self.base) as usize;
        let text = &self.bytes[at..at + name_bytes + usize::from(entry.value) + 4];
        Some(Found { text, name_bytes, kind: entry.kind, sound: entry.sound })
    }

    /// Inserts `name: value\r\n`; one that is larger than the table empties it (RFC 7541 section 4.4).
    pub fn insert(&mut self, text: &[u8], name_bytes: usize, kind: Kind, sound: bool) {
        let size = text.len() - 4 + 32;
        let Some(room) = (self.size_max as usize).checked_sub(size) else { return self.evict(0) };
        self.evict(room as u32);
        self.compact();
        let at = self.base.wrapping_add(self.bytes.len() as u32);
        let (name, value) = (name_bytes as u16, (text.len() - name_bytes - 4) as u16);
        if self.bytes.capacity() - self.bytes.len() < text.len() {
            self.bytes.reserve_exact(text.len().max(GROWTH_BYTES));
        }
        self.bytes.extend_from_slice(text);
        self.entries.push_front(Dynamic { at, name, value, kind, sound });
        self.size += size as u32;
    }

    fn evict(&mut self, room: u32) {
        while self.size > room {
            match self.entries.pop_back() {
                Some(entry) => self.size -= entry.size(),
                None => break,
            }
        }
    }

    fn compact(&mut self) {
        let live =
            self.entries.back().map_or(self.bytes.len(), |oldest| oldest.at.wrapping_sub(self.base) as usize);
        if live > DEAD_BYTES_MAX || live == self.bytes.len() {
            self.bytes.drain(..live);
            self.base = self.base.wrapping_add(live as u32);
        }
    }
}

#[cfg(test)]
impl Table {
    /// Entries from the newest, as `name: value`, and the size.
    pub fn dump(&self) -> (Vec<String>, u32) {
        let text =
            |index| self.get(index).map(|found| String::from_utf8_lossy(found.text).trim_end().to_string());
        ((62..62 + self.entries.len()).filter_map(text).collect(), self.size)
    }
}
