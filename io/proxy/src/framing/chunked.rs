//! Chunked bodies (RFC 9112 section 7.1): finds the end, drops chunk extensions, filters trailers.
//!
//! Works in place: the bytes to pass on are moved to the front of the buffer, which is where they already are unless
//! an extension was dropped. Lines are taken whole or not at all, so the caller keeps what is left and reads more.

use super::Malformed;
use super::fields::Fields;
use super::lines::Kind;
use super::scan::{is_text, is_token};

/// The longest chunk-size line: 15 digits, an extension of 256 bytes, CRLF.
const SIZE_LINE_BYTES_MAX: usize = 15 + 256 + 2;

/// Extension bytes allowed in one body.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// The largest trailer section.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Trailers that are dropped beside those of which [`Kind`] knows: what changes how the message is read, whom it is from,
/// or what is done with it (RFC 9110 section 6.5.1). Those that begin with `if-` are, too.
const TRAILERS_DROPPED: [&str; 29] = [
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expires",
    "host",
    "http2-settings",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "upgrade",
    "vary",
    "warning",
    "www-authenticate",
    "x-http-method-override",
];

/// What becomes of the framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// It is passed on.
    Chunks,
    /// Only the content is passed on, and the trailers are kept; for HTTP/1.0 and HTTP/2.
    Content,
}

/// The state of one body.
#[derive(Debug)]
pub struct ChunkScanner {
    state: State,
    emit: Emit,
    extension_bytes: usize,
    trailer_bytes: usize,
    tail: Vec<u8>,
    trailers: Fields,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a chunk-size line.
    Size,
    /// In a chunk, with as many bytes to come.
    Data(u64),
    /// Before the CRLF after a chunk.
    DataEnd,
    /// In the trailer section.
    Trailers,
    Done,
}

/// What one scan did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes taken off the front.
    pub consumed: usize,
    /// Bytes at the front to pass on; never more than `consumed`.
    pub kept: usize,
}

impl ChunkScanner {
    /// Before the first chunk.
    pub fn new(emit: Emit) -> ChunkScanner {
        let (tail, trailers) = (Vec::new(), Fields::default());
        ChunkScanner { state: State::Size, emit, extension_bytes: 0, trailer_bytes: 0, tail, trailers }
    }

    /// Whether the body is over; then [`tail`](Self::tail) is to be passed on.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The last chunk with the trailers that may pass, where chunks are passed on.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// The trailers that may pass, where only the content is passed on.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// What becomes of the framing.
    pub fn emit(&self) -> Emit {
        self.emit
    }

    /// Takes as much as it can off the front of `buffer`.
    pub fn scan(&mut self, buffer: &mut [u8]) -> Result<Step, Malformed> {
        let mut step = Step { consumed: 0, kept: 0 };
        loop {
            let rest = &buffer[step.consumed..];
            let (taken, kept) = match self.state {
                State::Size => match line(rest, SIZE_LINE_BYTES_MAX)? {
                    Some(text) => {
                        let digits = self.size_line(text)?;
                        let taken = text.len() + 2;
                        self.keep_size_line(buffer, &mut step, digits, taken);
                        continue;
                    }
                    None if may_begin_size_line(rest) => return Ok(step),
                    None => return Err(Malformed::CHUNK),
                },
                State::Data(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    if length == 0 {
                        return Ok(step);
                    }
                    let left = left - length as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    (length, length)
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.state = State::Size;
                        (2, if self.emit == Emit::Chunks { 2 } else { 0 })
                    }
                    [] | [b'\r'] => return Ok(step),
                    _ => return Err(Malformed::CHUNK),
                },
                State::Trailers => match line(rest, TRAILER_BYTES_MAX - self.trailer_bytes)? {
                    Some(text) => {
                        let taken = text.len() + 2;
                        self.trailer_line(text, taken)?;
                        (taken, 0)
                    }
                    None => return Ok(step),
                },
                State::Done => return Ok(step),
            };
            keep(buffer, &mut step, taken, kept);
        }
    }

    /// Checks a chunk-size line; the number of digits it starts with.
    fn size_line(&mut self, text: &[u8]) -> Result<usize, Malformed> {
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &text[digits..];
        let clean = extension.iter().all(|&byte| is_text(byte));
        self.extension_bytes += extension.len();
        let fits = matches!(digits, 1..=15) && self.extension_bytes <= EXTENSION_BYTES_MAX;
        if !fits || !clean || !(extension.is_empty() || extension[0] == b';') {
            return Err(Malformed::CHUNK);
        }
        let digit = |byte: &u8| u64::from(char::from(*byte).to_digit(16).unwrap_or_default());
        let size = text[..digits].iter().fold(0, |size: u64, byte| size * 16 + digit(byte));
        self.state = if size == 0 { State::Trailers } else { State::Data(size) };
        Ok(digits)
    }

    /// Passes the line on without its extension, unless it is the last chunk's: that one goes with the tail.
    fn keep_size_line(&self, buffer: &mut [u8], step: &mut Step, digits: usize, taken: usize) {
        if self.emit == Emit::Content || self.state == State::Trailers {
            step.consumed += taken;
            return;
        }
        let line_end = step.consumed + taken;
        keep(buffer, step, digits, digits);
        step.consumed = line_end;
        buffer[step.kept..step.kept + 2].copy_from_slice(b"\r\n");
        step.kept += 2;
    }

    fn trailer_line(&mut self, text: &[u8], taken: usize) -> Result<(), Malformed> {
        self.trailer_bytes += taken;
        if self.tail.is_empty() && self.emit == Emit::Chunks {
            self.tail.extend_from_slice(b"0\r\n");
        }
        if text.is_empty() {
            self.state = State::Done;
            if self.emit == Emit::Chunks {
                self.tail.extend_from_slice(b"\r\n");
            }
            return Ok(());
        }
        let colon = text.iter().position(|&byte| byte == b':').ok_or(Malformed::CHUNK)?;
        let (name, value) = text.split_at(colon);
        let clean = value.iter().all(|&byte| is_text(byte));
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) || !clean {
            return Err(Malformed::CHUNK);
        }
        match self.emit {
            Emit::Chunks if may_pass(name) => {
                self.tail.extend_from_slice(text);
                self.tail.extend_from_slice(b"\r\n");
            }
            Emit::Content if may_pass(name) => self.trailers.push(name, value[1..].trim_ascii()),
            _ => {}
        }
        Ok(())
    }
}

/// Moves `kept` of the `taken` bytes to the end of what is kept.
fn keep(buffer: &mut [u8], step: &mut Step, taken: usize, kept: usize) {
    if step.kept != step.consumed {
        buffer.copy_within(step.consumed..step.consumed + kept, step.kept);
    }
    step.consumed += taken;
    step.kept += kept;
}

/// The first line without its CRLF, once it is whole. Neither CR nor LF may stand alone in it.
fn line(bytes: &[u8], bytes_max: usize) -> Result<Option<&[u8]>, Malformed> {
    let window = &bytes[..bytes.len().min(bytes_max)];
    match memchr::memchr(b'\n', window) {
        Some(feed) => match window[..feed].strip_suffix(b"\r") {
            Some(text) if !text.contains(&b'\r') => Ok(Some(text)),
            _ => Err(Malformed::CHUNK),
        },
        None if bytes.len() >= bytes_max => Err(Malformed::CHUNK),
        None => Ok(None),
    }
}

/// Whether a part of a chunk-size line may become one; who sends something else is not waited for.
fn may_begin_size_line(part: &[u8]) -> bool {
    let digits = part.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    match part.get(digits) {
        None => digits <= 15,
        Some(b';' | b'\r') => matches!(digits, 1..=15),
        Some(_) => false,
    }
}

/// Whether a trailer of this name is passed on.
pub fn may_pass(name: &[u8]) -> bool {
    let conditional = matches!(name, [b'i' | b'I', b'f' | b'F', b'-' | b'_', ..]);
    Kind::of(name) == Kind::Plain
        && !conditional
        && !TRAILERS_DROPPED.iter().any(|dropped| tidegate_traffic::client::alias(dropped, name))
}
