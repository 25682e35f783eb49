//! A decoded header list: one run of bytes as HTTP/1 would write it, and where each line and pseudo-header stands in it.
//! Never owned by a connection: the shell lends it, keeps it if it likes, and `clear` keeps its memory.

use crate::error::Malformed;
use crate::rules::{self, Kind};
use std::fmt;
use std::ops::Range;

/// Where something stands in `Fields::bytes`; `ABSENT` if nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    at: u32,
    bytes: u32,
}

const ABSENT: Span = Span { at: u32::MAX, bytes: 0 };

/// One line: `name: value\r\n` at `at`.
#[derive(Debug, Clone, Copy)]
struct Line {
    at: u32,
    name: u32,
    value: u32,
    never_indexed: bool,
    cookie: bool,
}

impl Line {
    fn text(self) -> Range<usize> {
        let at = self.at as usize;
        at..at + self.name as usize + self.value as usize + 4
    }
}

/// One line of a header list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// In lower case.
    pub name: &'a [u8],
    /// Without control characters (HTAB excepted) and without white space around it.
    pub value: &'a [u8],
    /// Whether the sender asked that no table ever holds it (RFC 7541 section 7.1.3); `FieldWriter::copy` keeps that.
    pub never_indexed: bool,
}

/// A header list. `host` is not among the lines: `authority` says it. Cookies are one line (RFC 9113 section 8.2.3).
#[derive(Clone)]
pub struct Fields {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    /// By `Kind`, `Method` to `Status`.
    pseudo: [Span; 6],
    host: Option<Vec<u8>>,
    content_length: Option<u64>,
    fault: Option<Malformed>,
    pub(crate) list_bytes: u32,
    cookies: u32,
    regular: bool,
    pub(crate) too_large: bool,
}

impl Default for Fields {
    fn default() -> Fields {
        Fields {
            bytes: Vec::new(),
            lines: Vec::new(),
            pseudo: [ABSENT; 6],
            host: None,
            content_length: None,
            fault: None,
            list_bytes: 0,
            cookies: 0,
            regular: false,
            too_large: false,
        }
    }
}

impl Fields {
    /// An empty list, without memory.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Empties the list and keeps its memory.
    pub fn clear(&mut self) {
        let (mut bytes, mut lines) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.lines));
        bytes.clear();
        lines.clear();
        *self = Fields { bytes, lines, ..Fields::default() };
    }

    /// Bytes of memory held, for a pool that lets large ones go.
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity() + self.lines.capacity() * size_of::<Line>()
    }

    /// `:method`, a token.
    pub fn method(&self) -> Option<&[u8]> {
        self.pseudo(Kind::Method)
    }

    /// `:scheme`, as it came.
    pub fn scheme(&self) -> Option<&[u8]> {
        self.pseudo(Kind::Scheme)
    }

    /// `:authority`, else `host`: no white space, no user, no path; a port may follow.
    pub fn authority(&self) -> Option<&[u8]> {
        self.pseudo_authority().or(self.host_line())
    }

    /// `:path`: begins with a slash, or is `*` of OPTIONS; with its query, without fragment, space or control character.
    pub fn path(&self) -> Option<&[u8]> {
        self.pseudo(Kind::Path)
    }

    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.pseudo(Kind::Protocol)
    }

    /// `:status` of a response, 100 to 999.
    pub fn status(&self) -> Option<u16> {
        self.status_text().and_then(rules::number).and_then(|status| u16::try_from(status).ok())
    }

    /// `content-length`, which also stands among the lines.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are no lines; pseudo-headers are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of the list as RFC 9113 section 6.5.2 counts them.
    pub fn list_bytes(&self) -> u32 {
        self.list_bytes
    }

    /// Line `index`.
    pub fn line(&self, index: usize) -> Option<Field<'_>> {
        self.lines.get(index).map(|line| self.field(line))
    }

    /// The lines in order.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        self.lines.iter().map(|line| self.field(line))
    }

    /// The first value under `name`, which is in lower case.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.lines().find(|field| field.name == name).map(|field| field.value)
    }

    /// Lines `range` as HTTP/1 writes them, `name: value\r\n` each, in one piece: a head is copied in as many pieces as it
    /// has gaps. Empty for a range that is empty or beyond the end.
    pub fn text(&self, range: Range<usize>) -> &[u8] {
        match self.lines.get(range) {
            Some([first, .., last]) => &self.bytes[first.text().start..last.text().end],
            Some([only]) => &self.bytes[only.text()],
            _ => &[],
        }
    }

    fn field(&self, line: &Line) -> Field<'_> {
        let text = &self.bytes[line.text()];
        let (name, rest) = text.split_at(line.name as usize);
        Field { name, value: &rest[2..rest.len() - 2], never_indexed: line.never_indexed }
    }

    fn pseudo(&self, kind: Kind) -> Option<&[u8]> {
        let span = self.pseudo[kind as usize];
        (span != ABSENT).then(|| &self.bytes[span.at as usize..(span.at + span.bytes) as usize])
    }

    pub(crate) fn status_text(&self) -> Option<&[u8]> {
        self.pseudo(Kind::Status)
    }

    pub(crate) fn pseudo_authority(&self) -> Option<&[u8]> {
        self.pseudo(Kind::Authority)
    }

    pub(crate) fn host_line(&self) -> Option<&[u8]> {
        self.host.as_deref()
    }

    pub(crate) fn has_pseudo(&self) -> bool {
        self.pseudo.iter().any(|&span| span != ABSENT)
    }

    pub(crate) fn has_request_pseudo(&self) -> bool {
        self.pseudo[..Kind::Status as usize].iter().any(|&span| span != ABSENT)
    }

    /// What the lines themselves have wrong.
    pub(crate) fn fault(&self) -> Result<(), Malformed> {
        self.fault.map_or(Ok(()), Err)
    }
}

/// What the decoder does.
impl Fields {
    /// The bytes, for a line to be written at their end.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether a line of `name` and `value` bytes still fits; it is counted either way.
    pub(crate) fn count(&mut self, name: usize, value: usize, list_bytes_max: u32, lines_max: u32) -> bool {
        let line = u32::try_from(name + value + 32).unwrap_or(u32::MAX);
        self.list_bytes = self.list_bytes.saturating_add(line);
        self.too_large |= self.list_bytes > list_bytes_max || self.lines.len() as u64 >= lines_max.into();
        !self.too_large
    }

    /// Takes in the line that stands at `at`, up to the end of the bytes.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        at: usize,
        name: usize,
        value: usize,
        kind: Kind,
        sound: bool,
        never_indexed: bool,
    ) {
        if !sound {
            self.blame(Malformed::FieldValue);
        }
        let line =
            Line { at: at as u32, name: name as u32, value: value as u32, never_indexed, cookie: false };
        if kind == Kind::Other {
            self.regular = true;
            self.lines.push(line);
            return;
        }
        self.admit_special(line, kind);
    }

    fn admit_special(&mut self, line: Line, kind: Kind) {
        let at = line.at as usize;
        let value = Span { at: line.at + line.name + 2, bytes: line.value };
        let text = &self.bytes[value.at as usize..(value.at + value.bytes) as usize];
        match kind {
            Kind::Method | Kind::Scheme | Kind::Authority | Kind::Path | Kind::Protocol | Kind::Status => {
                if self.regular {
                    self.blame(Malformed::PseudoOrder);
                } else if self.pseudo[kind as usize] != ABSENT {
                    self.blame(Malformed::PseudoTwice);
                } else {
                    self.pseudo[kind as usize] = value;
                }
                return;
            }
            Kind::UnknownPseudo => return self.blame(Malformed::PseudoUnknown),
            Kind::Unsound => self.blame(Malformed::FieldName),
            Kind::Connection => self.blame(Malformed::ConnectionField),
            Kind::Te if !text.eq_ignore_ascii_case(b"trailers") => self.blame(Malformed::Te),
            Kind::Te | Kind::Other => {}
            Kind::ContentLength => match (rules::number(text), self.content_length) {
                (Some(length), None) => self.content_length = Some(length),
                _ => self.blame(Malformed::ContentLength),
            },
            Kind::Host => {
                let host = text.to_vec();
                self.bytes.truncate(at);
                self.regular = true;
                if self.host.replace(host).is_some() {
                    self.blame(Malformed::Host);
                }
                return;
            }
            Kind::Cookie => {
                self.regular = true;
                return self.admit_cookie(line);
            }
        }
        self.regular = true;
        self.lines.push(line);
    }

    /// A crumb right after another joins it at once; others are joined by `finish`.
    fn admit_cookie(&mut self, line: Line) {
        let value = (line.at + line.name + 2) as usize..;
        match self.lines.last_mut() {
            Some(last) if last.cookie => {
                let end = last.text().end;
                self.bytes[end - 2..end].copy_from_slice(b"; ");
                self.bytes.copy_within(value, end);
                let dropped = line.name as usize + 2;
                self.bytes.truncate(self.bytes.len() - dropped);
                last.value += line.value + 2;
                last.never_indexed |= line.never_indexed;
            }
            _ => {
                self.cookies += 1;
                self.lines.push(Line { cookie: true, ..line });
            }
        }
    }

    /// Ends the list: cookies that other lines parted become one line, at the end.
    pub(crate) fn finish(&mut self) {
        if self.cookies < 2 {
            return;
        }
        let at = self.bytes.len();
        let mut never_indexed = false;
        self.bytes.extend_from_slice(b"cookie: ");
        for line in self.lines.iter().filter(|line| line.cookie) {
            let text = line.text();
            self.bytes.extend_from_within(text.start + 8..text.end - 2);
            self.bytes.extend_from_slice(b"; ");
            never_indexed |= line.never_indexed;
        }
        let end = self.bytes.len();
        self.bytes[end - 2..].copy_from_slice(b"\r\n");
        let joined =
            Line { at: at as u32, name: 6, value: (end - at - 10) as u32, never_indexed, cookie: true };
        let mut to = self.lines.first().map_or(0, |line| line.at as usize);
        self.lines.retain(|line| !line.cookie);
        self.lines.push(joined);
        for line in &mut self.lines {
            let text = line.text();
            line.at = to as u32;
            let bytes = text.len();
            self.bytes.copy_within(text, to);
            to += bytes;
        }
        self.bytes.truncate(to);
        self.cookies = 1;
    }

    fn blame(&mut self, fault: Malformed) {
        self.fault.get_or_insert(fault);
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = out.debug_map();
        for (name, kind) in [
            (":method", Kind::Method),
            (":scheme", Kind::Scheme),
            (":authority", Kind::Authority),
            (":path", Kind::Path),
            (":protocol", Kind::Protocol),
            (":status", Kind::Status),
        ] {
            if let Some(value) = self.pseudo(kind) {
                map.entry(&name, &String::from_utf8_lossy(value));
            }
        }
        for field in self.lines() {
            map.entry(&String::from_utf8_lossy(field.name), &String::from_utf8_lossy(field.value));
        }
        map.finish()
    }
}
