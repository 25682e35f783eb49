//! A head read line by line as it comes in: where lines and names end, what is no line, how much may come. Each line is
//! looked at once; a head that comes in pieces goes on at the line that was cut.
//!
//! What the first line says and what a header line means is the message's business.

use memchr::memchr;
use tidegate_traffic::block::{self, Block};

use super::{HEAD_BYTES_MAX, HEADER_LINES_MAX, Malformed};

/// What a head is of: it takes in the lines.
pub trait Message {
    /// The first line, without its break, printable but for tabs and what is beyond ASCII.
    fn first_line(&mut self, line: &[u8]) -> Result<(), Malformed>;

    /// Why a first line that is not printable is none.
    fn no_first_line(line: &[u8]) -> Malformed;

    /// A header line of `head`: a name that is a token (RFC 9110 section 5.6.2) and a value without control characters but
    /// tabs, and without white space around it.
    fn header(&mut self, head: &[u8], line: LinePlace);
}

/// Where the parts of a header line stand in the head.
#[derive(Clone, Copy, Debug)]
pub struct LinePlace {
    /// Where the name begins.
    pub name: usize,
    /// Where it ends, and the colon is.
    pub colon: usize,
    /// Where the value begins.
    pub value: usize,
    /// Where it ends.
    pub value_end: usize,
    /// Where its line break begins.
    pub end: usize,
    /// Whether it is written as the proxy would: one space before the value, none behind it.
    pub tidy: bool,
}

/// How far a head has come in.
#[derive(Debug)]
pub struct HeadScan {
    /// Where the line begins that is the next to be read.
    line: usize,
    /// No line feed stands from there to here.
    seen: usize,
    /// Header lines that may still come.
    lines_left: usize,
    bytes_max: usize,
    /// What was wrong first. Then only the head's end is looked for: the answer waits for it.
    fault: Option<Malformed>,
}

impl Default for HeadScan {
    fn default() -> HeadScan {
        HeadScan::new(HEAD_BYTES_MAX, HEADER_LINES_MAX)
    }
}

/// Why no line follows.
enum Stop {
    /// The head ends with the blank line that is here.
    End,
    /// The rest of the line has not come in yet.
    Rest,
    /// It is no line.
    Fault(Malformed),
}

impl HeadScan {
    /// A head of so many bytes and header lines at most.
    pub fn new(bytes_max: usize, lines_max: usize) -> HeadScan {
        HeadScan { line: 0, seen: 0, lines_left: lines_max, bytes_max, fault: None }
    }

    /// Gives the lines in `bytes` to `message`; the length of the head, blank line included, once it is there. Every call
    /// must get the bytes of the call before and what came after them.
    ///
    /// A line feed alone and a head too large are told at once, in this order of the bytes; anything else once the head is
    /// whole, and of several faults the first.
    #[inline]
    pub fn advance<M: Message>(&mut self, bytes: &[u8], message: &mut M) -> Result<Option<usize>, Malformed> {
        let window = &bytes[..bytes.len().min(self.bytes_max)];
        if self.fault.is_none() && !self.is_cut(window) {
            match self.read(window, message) {
                Stop::End => return Ok(Some(self.line + 2)),
                Stop::Rest => self.seen = window.len(),
                Stop::Fault(fault) => {
                    self.fault = Some(fault);
                    self.seen = self.line;
                }
            }
        }
        if let Some(fault) = self.fault
            && self.skip(window)?
        {
            return Err(fault);
        }
        if bytes.len() >= self.bytes_max { Err(Malformed::HEAD_TOO_LARGE) } else { Ok(None) }
    }

    /// Whether the line that is the next to be read is known to have come in part only.
    #[inline]
    fn is_cut(&mut self, window: &[u8]) -> bool {
        let is_cut = self.seen > self.line && memchr(b'\n', &window[self.seen..]).is_none();
        if is_cut {
            self.seen = window.len();
        }
        is_cut
    }

    /// Reads the lines that are whole.
    #[inline]
    fn read<M: Message>(&mut self, window: &[u8], message: &mut M) -> Stop {
        if self.line == 0 {
            match first_line(window, message) {
                Ok(next) => self.line = next,
                Err(stop) => return stop,
            }
        }
        loop {
            match header_line(window, self.line) {
                Ok(_) if self.lines_left == 0 => return Stop::Fault(Malformed::HEAD_TOO_LARGE),
                Ok(line) => {
                    self.lines_left -= 1;
                    message.header(window, line);
                    self.line = line.end + 2;
                }
                Err(stop) => return stop,
            }
        }
    }

    /// Looks for the head's end from the line on that was none; true if it is there.
    #[cold]
    fn skip(&mut self, window: &[u8]) -> Result<bool, Malformed> {
        while let Some(offset) = memchr(b'\n', &window[self.seen..]) {
            let feed = self.seen + offset;
            if feed == self.line || window[feed - 1] != b'\r' {
                return Err(Malformed::BARE_LF);
            }
            if feed == self.line + 1 {
                return Ok(true);
            }
            self.seen = feed + 1;
            self.line = feed + 1;
        }
        self.seen = window.len();
        Ok(false)
    }
}

/// Reads the first line; where the next begins.
#[inline]
fn first_line<M: Message>(window: &[u8], message: &mut M) -> Result<usize, Stop> {
    let end = block::span(window, 0, Block::printable, is_text);
    match window.get(end..).unwrap_or_default() {
        [b'\r', b'\n', ..] => message.first_line(&window[..end]).map(|()| end + 2).map_err(Stop::Fault),
        [] | [b'\r'] => Err(Stop::Rest),
        _ => Err(no_first_line::<M>(window)),
    }
}

/// What kind of fault it is depends on the whole line.
#[cold]
fn no_first_line<M: Message>(window: &[u8]) -> Stop {
    match memchr(b'\n', window) {
        Some(feed) => Stop::Fault(M::no_first_line(&window[..feed])),
        None => Stop::Rest,
    }
}

/// Reads the header line that begins at `start`, which is not behind the end (RFC 9112 section 5).
#[inline]
fn header_line(window: &[u8], start: usize) -> Result<LinePlace, Stop> {
    if window.get(start) == Some(&b'\r') {
        return Err(blank_line(window, start));
    }
    let end = block::span(window, start, Block::printable, is_text);
    if window.get(end..end + 2) != Some(b"\r\n") {
        return Err(no_line(window, end));
    }
    // At the latest it stops there.
    let colon = block::span(window, start, Block::words, is_token);
    if window[colon] != b':' || colon == start {
        return Err(Stop::Fault(Malformed::HEADER));
    }
    let is_tidy = window[colon + 1] == b' ' && window[colon + 2] > b' ' && window[end - 1] > b' ';
    let (value, value_end) = if is_tidy { (colon + 2, end) } else { trimmed(window, colon + 1, end) };
    // An empty value is tidy, too, behind one space.
    let tidy = is_tidy || (value == colon + 2 && window[colon + 1] == b' ' && value_end == end);
    Ok(LinePlace { name: start, colon, value, value_end, end, tidy })
}

/// A line that begins with a return is the last one, or none.
fn blank_line(window: &[u8], start: usize) -> Stop {
    match window.get(start + 1) {
        Some(b'\n') => Stop::End,
        Some(_) => Stop::Fault(Malformed::SYNTAX),
        None => Stop::Rest,
    }
}

/// Why a line does not end at `end`, where the first byte stands that it may not have.
#[cold]
fn no_line(window: &[u8], end: usize) -> Stop {
    match window.get(end..).unwrap_or_default() {
        [] | [b'\r'] => Stop::Rest,
        _ => Stop::Fault(Malformed::HEADER),
    }
}

/// Where a value begins and ends, without the white space around it; one of nothing else is empty, and stands behind it.
#[cold]
fn trimmed(window: &[u8], start: usize, end: usize) -> (usize, usize) {
    let text = &window[start..end];
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let value = start + text.iter().take_while(is_space).count();
    (value, end - window[value..end].iter().rev().take_while(is_space).count())
}

/// What a value may have: visible characters, spaces, tabs, and what is beyond ASCII (RFC 9110 section 5.5).
pub fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// What a name or a method may have (RFC 9110 section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"!#$%&'*+-.^_`|~";
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};
