//! A response's head: status, body length, and whether the connection can be used again. It owns its bytes, so that the
//! connection's buffer is free again.

use tidegate_traffic::HeaderLines;
use tidegate_traffic::block::{self, Block};

use super::fields::{Fields, Span, TextSpan};
use super::lines::{FramingLines, Kind};
use super::scan::{HeadScan, LinePlace, Message};
use super::{BodyLength, Malformed};

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead {
    fields: Fields,
    phrase: TextSpan,
    /// Bytes of the head as received; none by HTTP/2.
    bytes: usize,
    /// The status, 100 to 999.
    pub status: u16,
    /// How long its body is.
    pub body: BodyLength,
    /// Whether its lines let another request follow on the connection.
    persistent: bool,
    /// Whether `Connection` has the option `upgrade`.
    pub upgrade: bool,
    /// `Connection` names other headers.
    pub names_headers: bool,
}

impl ResponseHead {
    /// Takes apart `bytes`, one whole HTTP/1 head with its blank line, the answer to a request with or without `HEAD`.
    #[cfg(any(test, fuzzing))]
    pub fn parse(bytes: &[u8], to_head: bool) -> Result<ResponseHead, Malformed> {
        let mut reader = ResponseReader::new(Fields::default());
        let head = reader.advance(bytes)?.filter(|head| head.len() == bytes.len());
        let head = head.ok_or(Malformed::SYNTAX)?;
        Ok(if to_head { head.into_answer_to_head() } else { head })
    }

    /// A head that came as HTTP/2 fields. `declared`: `Length` with `content-length`, `None` where the stream ended with
    /// the head, else `Chunked`. The lines have passed the checks of RFC 9113 section 8.2.
    pub fn from_http2(status: u16, fields: Fields, declared: BodyLength, to_head: bool) -> ResponseHead {
        let body = if is_bodiless(status, to_head) { BodyLength::None } else { declared };
        ResponseHead {
            fields,
            phrase: TextSpan::default(),
            bytes: 0,
            status,
            body,
            persistent: true,
            upgrade: false,
            names_headers: false,
        }
    }

    /// The answer to an extended CONNECT that opened its tunnel, as HTTP/1 says it (RFC 8441 section 5): 101, with what
    /// the lines say about the protocol.
    pub fn switching(fields: Fields) -> ResponseHead {
        ResponseHead { upgrade: true, ..ResponseHead::from_http2(101, fields, BodyLength::None, false) }
    }

    /// The head as the answer to `HEAD`.
    pub fn into_answer_to_head(mut self) -> ResponseHead {
        self.body = BodyLength::None;
        self
    }

    /// Whether another request may follow on the connection. An interim response speaks for the final one, too.
    pub fn is_persistent(&self) -> bool {
        self.persistent && self.body != BodyLength::UntilClose
    }

    /// Bytes of the head as received.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// What stands after the status.
    pub fn phrase(&self) -> &str {
        self.fields.text(self.phrase)
    }

    /// Its lines.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// All header lines.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.lines()
    }

    /// The lines, for the next head.
    pub fn into_fields(self) -> Fields {
        self.fields
    }
}

impl HeaderLines for ResponseHead {
    fn line(&self, index: usize) -> Option<(&str, &[u8])> {
        self.fields.line(index)
    }
}

/// Reads a response's head as it comes in.
#[derive(Debug)]
pub struct ResponseReader {
    scan: HeadScan,
    parts: Parts,
}

impl ResponseReader {
    /// A reader into an empty field list.
    pub fn new(mut fields: Fields) -> ResponseReader {
        fields.clear();
        ResponseReader { scan: HeadScan::default(), parts: Parts { fields, ..Parts::default() } }
    }

    /// The head, once all of it is in `bytes`, as the answer to a request without `HEAD`: then the reader is done. Every call
    /// must get the bytes of the call before and what came after them.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<ResponseHead>, Malformed> {
        match self.scan.advance(bytes, &mut self.parts)? {
            Some(length) => self.parts.finish(&bytes[..length]).map(Some),
            None => Ok(None),
        }
    }
}

/// What was read of a head so far.
#[derive(Debug, Default)]
struct Parts {
    fields: Fields,
    framing: FramingLines,
    status: u16,
    phrase: TextSpan,
    http_1_0: bool,
    /// What is wrong with the lines taken together; told if every line is one.
    flaw: Option<Malformed>,
}

impl Parts {
    /// Puts the head together, of which every line has been taken in.
    fn finish(&mut self, bytes: &[u8]) -> Result<ResponseHead, Malformed> {
        let Parts { ref framing, status, phrase, http_1_0, .. } = *self;
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        let body = match framing.body(http_1_0)? {
            _ if is_bodiless(status, false) => BodyLength::None,
            BodyLength::None => BodyLength::UntilClose,
            declared => declared,
        };
        // These may not announce content (RFC 9110 section 8.6, RFC 9112 section 6.1). Who does may send it, too, and would
        // have it taken for the next response.
        let deceptive = matches!(status, 100..=199 | 204) && framing.announces();
        let mut fields = std::mem::take(&mut self.fields);
        fields.push_bytes(bytes);
        Ok(ResponseHead {
            fields,
            phrase,
            bytes: bytes.len(),
            status,
            body,
            persistent: !framing.close && !http_1_0 && !deceptive,
            upgrade: framing.upgrade,
            names_headers: framing.names_headers,
        })
    }
}

impl Message for Parts {
    /// Version, a space, three digits; then nothing, or a space and a phrase (RFC 9112 section 4). A phrase beyond ASCII is
    /// left out.
    fn first_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        const PHRASE_AT: usize = "HTTP/1.1 200 ".len();
        let (version, rest) = line.split_first_chunk().ok_or(Malformed::SYNTAX)?;
        self.http_1_0 = match version {
            b"HTTP/1.1 " => false,
            b"HTTP/1.0 " => true,
            _ => return Err(Malformed::SYNTAX),
        };
        let (digits, phrase) = match rest {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => ([a, b, c], &[][..]),
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', phrase @ ..] => ([a, b, c], phrase),
            _ => return Err(Malformed::SYNTAX),
        };
        self.status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'));
        if block::span(phrase, 0, Block::printable, |byte| byte == b'\t') == phrase.len() {
            self.phrase = TextSpan::of_ascii(Span::new(PHRASE_AT, phrase.len()));
        }
        Ok(())
    }

    fn no_first_line(_: &[u8]) -> Malformed {
        Malformed::SYNTAX
    }

    #[inline]
    fn header(&mut self, head: &[u8], line: LinePlace) {
        let kind = Kind::of(&head[line.name..line.colon]);
        if matches!(kind, Kind::Connection | Kind::Length | Kind::Coding) && self.flaw.is_none() {
            self.flaw = self.framing.line(kind, &head[line.value..line.value_end]).err();
        }
        self.fields.place(line, kind);
    }
}

/// Whether such a response has no body, whatever its head says (RFC 9112 section 6.3).
pub fn is_bodiless(status: u16, to_head: bool) -> bool {
    to_head || matches!(status, 100..=199 | 204 | 304)
}
