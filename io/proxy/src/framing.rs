//! HTTP/1 framing, strict (RFC 9112): heads, body lengths, chunks. Bytes in, facts out; no sockets.
//!
//! What two parsers could read differently is refused rather than repaired, in requests (400) and responses (502).

pub mod chunked;
pub mod fields;
pub mod lines;
pub mod request;
pub mod response;
pub mod scan;

#[cfg(test)]
mod tests;

/// The largest head: a request's first line and headers. More is 431 (or 502 from an upstream). A listener may set
/// another limit for requests, up to 64 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most header lines; a listener may set another limit for requests, up to 256.
pub const HEADER_LINES_MAX: usize = 100;

/// What a listener's own limits may be raised to: bytes and lines.
pub const HEAD_CEILING: (usize, usize) = (64 * 1024, 256);

/// The most options in `Connection`; each is compared with each header.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none, and no field says so.
    None,
    /// As many bytes.
    Length(u64),
    /// Not known before its end: until the last chunk in HTTP/1, until the stream's end in HTTP/2.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

/// Bytes that are no acceptable message: what is answered, the reason for the log, one sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The status to answer with, when a request is malformed.
    pub status: u16,
    /// A CamelCase word.
    pub reason: &'static str,
    /// One sentence.
    pub message: &'static str,
}

impl Malformed {
    /// A 400.
    pub const fn bad(reason: &'static str, message: &'static str) -> Malformed {
        Malformed { status: 400, reason, message }
    }

    pub const HEAD_TOO_LARGE: Malformed = Malformed {
        status: 431,
        reason: "HeadTooLarge",
        message: "The request's headers are too large or too many.",
    };
    pub const SYNTAX: Malformed = Malformed::bad("BadSyntax", "The request is not HTTP/1.");
    pub const BARE_LF: Malformed = Malformed::bad("BareLineFeed", "A line ends without a carriage return.");
    pub const HEADER: Malformed = Malformed::bad("BadHeader", "A header line is malformed.");
    pub const LENGTH: Malformed =
        Malformed::bad("BadContentLength", "Content-Length is no number, or there are two.");
    pub const LENGTH_AND_CODING: Malformed =
        Malformed::bad("LengthAndCoding", "The message has both Content-Length and Transfer-Encoding.");
    pub const CODING: Malformed = Malformed::bad(
        "BadTransferEncoding",
        "Transfer-Encoding is not exactly one 'chunked', or not HTTP/1.1.",
    );
    pub const HOST: Malformed =
        Malformed::bad("BadHost", "The request does not name exactly one valid host.");
    pub const TARGET: Malformed = Malformed::bad("BadTarget", "The request target is malformed.");
    pub const SCHEME: Malformed =
        Malformed::bad("BadScheme", "The request target has the scheme of another kind of connection.");
    pub const CONNECTION: Malformed =
        Malformed::bad("BadConnection", "The Connection header has too many options.");
    pub const TEXT: Malformed =
        Malformed::bad("BadText", "The body is not the base64 that its content type says it is.");
    pub const CHUNK: Malformed = Malformed::bad("BadChunk", "The chunked body is malformed.");
    pub const METHOD: Malformed =
        Malformed { status: 501, reason: "NotImplemented", message: "CONNECT is not served here." };
    pub const PRI: Malformed = Malformed::bad("BadMethod", "PRI is no method of a request.");
    pub const VERSION: Malformed = Malformed {
        status: 505,
        reason: "BadVersion",
        message: "Only HTTP/1.0 and HTTP/1.1 are served here.",
    };
    pub const EXPECTATION: Malformed =
        Malformed { status: 417, reason: "BadExpectation", message: "Only 'Expect: 100-continue' is known." };
}
