//! A response's head: status, body length, and whether the connection can be used again.

use httparse::{Error, Header, Response, Status};

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
    /// How long its body is.
    pub body: BodyLength,
    /// Whether another request may follow on the connection.
    pub persistent: bool,
    /// Whether `Connection` has the option `upgrade`.
    pub upgrade: bool,
    /// `Connection` names other headers.
    pub names_headers: bool,
}

impl<'h, 'b> ResponseHead<'h, 'b> {
    /// Takes apart `bytes`, one whole head with its blank line, the answer to a request with or without `HEAD`.
    pub fn parse(
        bytes: &'b [u8],
        headers: &'h mut [Header<'b>],
        to_head: bool,
    ) -> Result<ResponseHead<'h, 'b>, Malformed> {
        let mut response = Response::new(headers);
        match response.parse(bytes) {
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
        let bodiless = to_head || matches!(status, 100..=199 | 204 | 304);
        let body = match declared {
            _ if bodiless => BodyLength::None,
            BodyLength::None => BodyLength::UntilClose,
            declared => declared,
        };
        Ok(ResponseHead {
            status,
            phrase: response.reason.unwrap_or_default(),
            headers: response.headers,
            body,
            persistent: !framing.close && !http_1_0 && body != BodyLength::UntilClose,
            upgrade: framing.upgrade,
            names_headers: framing.names_headers,
        })
    }
}
