//! A response's head: status, body length, and whether the connection can be used again.

use std::mem::MaybeUninit;
use std::ops::Range;

use httparse::{Error, Header, ParserConfig, Response, Status};
use tidegate_traffic::HeaderLines;

use super::lines::FramingLines;
use super::{BodyLength, Malformed};

/// A response's head; its lines are those parsed into the caller's array.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// The status, 100 to 999.
    pub status: u16,
    /// What stands after it.
    pub phrase: &'b str,
    /// Header lines.
    pub headers: &'h [Header<'b>],
    /// The head as it came, where the lines stand; empty if it did not come as HTTP/1.
    pub text: &'b [u8],
    /// How long its body is.
    pub body: BodyLength,
    /// Whether another request may follow on the connection. An interim response speaks for the final one, too.
    pub persistent: bool,
    /// Whether `Connection` has the option `upgrade`.
    pub upgrade: bool,
    /// `Connection` names other headers.
    pub names_headers: bool,
}

impl<'h, 'b> ResponseHead<'h, 'b> {
    /// Takes apart `bytes`, one whole HTTP/1 head with its blank line, the answer to a request with or without `HEAD`.
    #[cfg(any(test, fuzzing))]
    pub fn parse(
        bytes: &'b [u8],
        headers: &'h mut [Header<'b>],
        to_head: bool,
    ) -> Result<ResponseHead<'h, 'b>, Malformed> {
        let mut response = Response::new(headers);
        let parsed = response.parse(bytes);
        ResponseHead::checked(response, parsed, bytes, to_head)
    }

    /// The same, with room for lines that was never written to.
    pub fn parse_uninit(
        bytes: &'b [u8],
        headers: &'h mut [MaybeUninit<Header<'b>>],
        to_head: bool,
    ) -> Result<ResponseHead<'h, 'b>, Malformed> {
        let mut response = Response::new(&mut []);
        let parsed =
            ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, headers);
        ResponseHead::checked(response, parsed, bytes, to_head)
    }

    /// A head that came as HTTP/2 fields. `declared`: `Length` with `content-length`, `None` where the stream ended with
    /// the head, else `Chunked`. The lines have passed the checks of RFC 9113 section 8.2.
    pub fn from_http2(
        status: u16,
        headers: &'h [Header<'b>],
        declared: BodyLength,
        to_head: bool,
    ) -> ResponseHead<'h, 'b> {
        let body = if is_bodiless(status, to_head) { BodyLength::None } else { declared };
        ResponseHead {
            status,
            phrase: "",
            headers,
            text: b"",
            body,
            persistent: true,
            upgrade: false,
            names_headers: false,
        }
    }

    /// The answer to an extended CONNECT that opened its tunnel, as HTTP/1 says it (RFC 8441 section 5): 101, with what
    /// `headers` say about the protocol.
    pub fn switching(headers: &'h [Header<'b>]) -> ResponseHead<'h, 'b> {
        ResponseHead { upgrade: true, ..ResponseHead::from_http2(101, headers, BodyLength::None, false) }
    }

    fn checked(
        response: Response<'h, 'b>,
        parsed: httparse::Result<usize>,
        bytes: &'b [u8],
        to_head: bool,
    ) -> Result<ResponseHead<'h, 'b>, Malformed> {
        match parsed {
            Ok(Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(Malformed::SYNTAX),
            Err(Error::TooManyHeaders) => return Err(Malformed::HEAD_TOO_LARGE),
            Err(Error::HeaderName | Error::HeaderValue) => return Err(Malformed::HEADER),
            Err(_) => return Err(Malformed::SYNTAX),
        }
        let (Some(status @ 100..=999), Some(version)) = (response.code, response.version) else {
            return Err(Malformed::SYNTAX);
        };
        let http_1_0 = version == 0;
        let framing = FramingLines::read(response.headers)?;
        let declared = framing.body(http_1_0)?;
        let bodiless = is_bodiless(status, to_head);
        let body = match declared {
            _ if bodiless => BodyLength::None,
            BodyLength::None => BodyLength::UntilClose,
            declared => declared,
        };
        // These may not announce content (RFC 9110 section 8.6, RFC 9112 section 6.1). Who does may send it, too, and would
        // have it taken for the next response.
        let deceptive = matches!(status, 100..=199 | 204) && framing.announces();
        Ok(ResponseHead {
            status,
            phrase: response.reason.unwrap_or_default(),
            headers: response.headers,
            text: bytes,
            body,
            persistent: !framing.close && !http_1_0 && !deceptive && body != BodyLength::UntilClose,
            upgrade: framing.upgrade,
            names_headers: framing.names_headers,
        })
    }
}

impl HeaderLines for ResponseHead<'_, '_> {
    fn line(&self, index: usize) -> Option<(&str, &[u8])> {
        self.headers.get(index).map(|header| (header.name, header.value))
    }
}

impl ResponseHead<'_, '_> {
    /// Where a line stands in the text, with its line break, if it is written there as the proxy would: one space before the
    /// value, none behind it. Such lines may be copied in one piece.
    pub fn tidy(&self, header: &Header<'_>) -> Option<Range<usize>> {
        let place = |part: &[u8]| part.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        let (at, value) = (place(header.name.as_bytes()), place(header.value));
        let end = value.checked_add(header.value.len())?;
        let colon = self.text.get(at.checked_add(header.name.len())?..value)?;
        (colon == b": " && self.text.get(end..end + 2)? == b"\r\n").then_some(at..end + 2)
    }
}

/// Whether such a response has no body, whatever its head says (RFC 9112 section 6.3).
pub fn is_bodiless(status: u16, to_head: bool) -> bool {
    to_head || matches!(status, 100..=199 | 204 | 304)
}
