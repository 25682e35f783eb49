//! Header lists to blocks: names by the static table, values as they are. No dynamic table, so that no state is kept and
//! nothing can be guessed from lengths (RFC 7541 section 7.1); no Huffman code, because the bytes saved cost more than they weigh.

use super::integer;
use super::table::STATIC;
use crate::connection::RequestLine;
use crate::fields::Fields;
use crate::rules::{Kind, classify};

/// Slots of the name table; every name has one to itself.
const SLOTS: usize = 128;

/// A perfect hash of the static table's regular names, whatever their case.
const fn slot(bytes: usize, first: u8, last: u8) -> usize {
    (bytes * 35 + (first | 0x20) as usize * 118 + (last | 0x20) as usize * 91) % SLOTS
}

const fn name_slots() -> [u8; SLOTS] {
    let mut slots = [0; SLOTS];
    // The pseudo-headers come first, up to index 14; no regular name occurs twice.
    let mut index = 15;
    while index <= STATIC.len() {
        let entry = &STATIC[index - 1];
        let at = slot(entry.name_bytes, entry.text[0], entry.text[entry.name_bytes - 1]);
        assert!(slots[at] == 0, "two names share a slot");
        slots[at] = index as u8;
        index += 1;
    }
    slots
}

static NAME_SLOTS: [u8; SLOTS] = name_slots();

/// The static index of a regular name in any case; 0 if it has none.
#[inline]
fn name_index(name: &[u8]) -> usize {
    let (Some(&first), Some(&last)) = (name.first(), name.last()) else { return 0 };
    let index = usize::from(NAME_SLOTS[slot(name.len(), first, last)]);
    match index.checked_sub(1).and_then(|at| STATIC.get(at)) {
        Some(entry) if is_same(name, &entry.text[..entry.name_bytes]) => index,
        _ => 0,
    }
}

/// Whether a name is `lower` in any case. A static name has letters and hyphens only, so that one bit folds the case; no token
/// becomes a hyphen by it.
#[inline]
fn is_same(name: &[u8], lower: &[u8]) -> bool {
    let differing = || name.iter().zip(lower).fold(0, |bits, (byte, lower)| bits | ((byte | 0x20) ^ lower));
    name.len() == lower.len() && differing() == 0
}

/// Writes one header block into a frame. What RFC 9113 section 8.2.2 forbids is left out, whoever passes it; so is
/// `host`, which `:authority` says.
#[derive(Debug)]
pub struct FieldWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> FieldWriter<'a> {
    /// Writes at the end of `out`. As no table is kept, lines may be written ahead, and go into a block by `verbatim` later.
    pub fn new(out: &'a mut Vec<u8>) -> FieldWriter<'a> {
        FieldWriter { out }
    }

    /// Lines that another writer wrote.
    pub fn verbatim(&mut self, lines: &[u8]) {
        self.out.extend_from_slice(lines);
    }

    /// A request's pseudo-headers; they come before all lines.
    pub fn request(&mut self, request: &RequestLine<'_>) {
        self.pseudo(2, request.method);
        for (index, value) in [(6, request.scheme), (1, request.authority), (4, request.path)] {
            if let Some(value) = value {
                self.pseudo(index, value);
            }
        }
        if let Some(protocol) = request.protocol {
            self.protocol(protocol);
        }
    }

    /// A line; the name in any case. The value must be sound: no CR, LF or NUL.
    #[inline]
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.write(name, value, false);
    }

    /// A line that no table on the way may ever hold: credentials. `authorization` and `proxy-authorization` always are.
    pub fn sensitive(&mut self, name: &[u8], value: &[u8]) {
        self.write(name, value, true);
    }

    /// All lines of a received list, as they came.
    pub fn copy(&mut self, fields: &Fields) {
        for field in fields.lines() {
            self.write(field.name, field.value, field.never_indexed);
        }
    }

    /// Tells the peer that the table stays empty (RFC 7541 section 4.2).
    pub(crate) fn empty_table(&mut self) {
        self.out.push(0x20);
    }

    pub(crate) fn status(&mut self, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digit = |of: u16| b'0' + (status / of % 10) as u8;
                return self.out.extend_from_slice(&[0x08, 3, digit(100), digit(10), digit(1)]);
            }
        };
        self.out.push(0x80 | index);
    }

    /// A request's pseudo-header, by the index of its name.
    pub(crate) fn pseudo(&mut self, index: u8, value: &[u8]) {
        let whole = match (index, value) {
            (2, b"GET") => 2,
            (2, b"POST") => 3,
            (4, b"/") => 4,
            (4, b"/index.html") => 5,
            (6, b"http") => 6,
            (6, b"https") => 7,
            _ => {
                self.out.push(index);
                return self.string(value);
            }
        };
        self.out.push(0x80 | whole);
    }

    /// `:protocol`, which the static table lacks.
    pub(crate) fn protocol(&mut self, value: &[u8]) {
        self.out.extend_from_slice(b"\x00\x09:protocol");
        self.string(value);
    }

    #[inline]
    fn write(&mut self, name: &[u8], value: &[u8], sensitive: bool) {
        let index = name_index(name);
        self.out.reserve(name.len() + value.len() + 16);
        let pattern = if sensitive { 0x10 } else { 0x00 };
        match index {
            0 => {
                if is_forbidden(name, value) {
                    return;
                }
                self.out.push(pattern);
                integer::encode(self.out, 0, 7, name.len());
                let at = self.out.len();
                self.out.extend_from_slice(name);
                self.out[at..].make_ascii_lowercase();
            }
            // host, transfer-encoding
            38 | 57 => return,
            // authorization, proxy-authorization
            23 | 49 => integer::encode(self.out, 0x10, 4, index),
            _ => integer::encode(self.out, pattern, 4, index),
        }
        self.string(value);
    }

    #[inline]
    fn string(&mut self, value: &[u8]) {
        integer::encode(self.out, 0, 7, value.len());
        self.out.extend_from_slice(value);
    }
}

/// Whether a name outside the static table belongs to one connection, or is none.
#[inline]
fn is_forbidden(name: &[u8], value: &[u8]) -> bool {
    if !matches!(name.len(), 0 | 2 | 7 | 10 | 16) {
        return false;
    }
    let mut lower = [0; 16];
    let lower = &mut lower[..name.len()];
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    match classify(lower) {
        Kind::Connection => true,
        Kind::Te => !value.eq_ignore_ascii_case(b"trailers"),
        _ => lower.is_empty(),
    }
}
