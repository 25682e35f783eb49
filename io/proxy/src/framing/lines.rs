//! What header lines say about the message itself: length, coding, connection options.

use tidegate_traffic::client::{alias, is_claim};

use super::{BodyLength, CONNECTION_OPTIONS_MAX, Malformed};

/// What the lines of one head say about framing.
#[derive(Debug, Default)]
pub struct FramingLines {
    length: Option<u64>,
    codings: usize,
    options: usize,
    chunked: bool,
    /// `close` among the connection options.
    pub close: bool,
    /// `keep-alive` among them.
    pub keep_alive: bool,
    /// `upgrade` among them.
    pub upgrade: bool,
    /// Whether other headers are named there.
    pub names_headers: bool,
}

impl FramingLines {
    /// Takes in a line. The value has no control characters but tabs.
    pub fn line(&mut self, kind: Kind, value: &[u8]) -> Result<(), Malformed> {
        match kind {
            Kind::Connection => self.read_connection(value),
            Kind::Length => self.read_length(value),
            Kind::Coding => {
                self.codings += 1;
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn read_connection(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.read_option(value) {
            self.options += 1;
        } else {
            // It is a list, or names a header.
            for option in list_items(value) {
                self.options += 1;
                self.names_headers |= !self.read_option(option);
            }
        }
        if self.options > CONNECTION_OPTIONS_MAX { Err(Malformed::CONNECTION) } else { Ok(()) }
    }

    /// Whether it is an option that is no header's name.
    fn read_option(&mut self, option: &[u8]) -> bool {
        match option.len() {
            5 if is(option, b"close") => self.close = true,
            10 if is(option, b"keep-alive") => self.keep_alive = true,
            7 if is(option, b"upgrade") => self.upgrade = true,
            _ => return false,
        }
        true
    }

    /// Digits only, at most 19; a second line must say the same (RFC 9112 section 6.3).
    fn read_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if !matches!(value.len(), 1..=19) {
            return Err(Malformed::LENGTH);
        }
        let mut length = 0;
        for byte in value {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(Malformed::LENGTH);
            }
            length = length * 10 + u64::from(digit);
        }
        match self.length.replace(length) {
            Some(other) if other != length => Err(Malformed::LENGTH),
            _ => Ok(()),
        }
    }

    /// Whether they announce content.
    pub fn announces(&self) -> bool {
        self.codings > 0 || self.length.is_some_and(|length| length > 0)
    }

    /// The length that the lines give; `BodyLength::None` if they are silent.
    pub fn body(&self, http_1_0: bool) -> Result<BodyLength, Malformed> {
        match (self.codings, self.length) {
            (0, None) => Ok(BodyLength::None),
            (0, Some(length)) => Ok(BodyLength::Length(length)),
            (_, Some(_)) => Err(Malformed::LENGTH_AND_CODING),
            (1, None) if self.chunked && !http_1_0 => Ok(BodyLength::Chunked),
            _ => Err(Malformed::CODING),
        }
    }
}

/// The items of a comma-separated list.
pub fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// What a line is to a proxy, by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Passed on as it is.
    Plain,
    /// Belongs to one connection only and is never passed on (RFC 9110 section 7.6.1), or the proxy writes it itself.
    Hop,
    /// `Connection`.
    Connection,
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding`.
    Coding,
    /// `Upgrade`.
    Upgrade,
    /// `TE`.
    Te,
    /// `Host`.
    Host,
    /// `Expect`.
    Expect,
    /// `X-Request-Id`, in any spelling.
    RequestId,
    /// `Traceparent`, `Tracestate`.
    Trace,
    /// It says where the request comes from.
    Claim,
    /// A name with `_` that a CGI-like server takes for a framing header.
    FramingAlias,
}

impl Kind {
    /// The kind of a name, which is a token, in any case.
    pub fn of(name: &[u8]) -> Kind {
        match name.len() {
            2 if is(name, b"te") => return Kind::Te,
            4 if is(name, b"host") => return Kind::Host,
            5 if is(name, b"proxy") => return Kind::Hop,
            6 if is(name, b"expect") => return Kind::Expect,
            7 if is(name, b"upgrade") => return Kind::Upgrade,
            10 if is(name, b"connection") => return Kind::Connection,
            10 if is(name, b"keep-alive") => return Kind::Hop,
            10 if is(name, b"tracestate") => return Kind::Trace,
            11 if is(name, b"traceparent") => return Kind::Trace,
            14 if is(name, b"content-length") => return Kind::Length,
            14 if is(name, b"http2-settings") => return Kind::Hop,
            16 if is(name, b"proxy-connection") => return Kind::Hop,
            17 if is(name, b"transfer-encoding") => return Kind::Coding,
            18 if is(name, b"proxy-authenticate") => return Kind::Hop,
            19 if is(name, b"proxy-authorization") => return Kind::Hop,
            _ => {}
        }
        // What follows is about aliases, and about claims, which all begin with one of four letters.
        if name.len() < 9 || !matches!(name[0] | FOLD, b'c' | b'f' | b't' | b'x') {
            return Kind::Plain;
        }
        match name.len() {
            12 if alias(crate::outgoing::REQUEST_ID, name) => Kind::RequestId,
            14 if alias("content-length", name) => Kind::FramingAlias,
            17 if alias("transfer-encoding", name) => Kind::FramingAlias,
            _ if is_claim(name) => Kind::Claim,
            _ => Kind::Plain,
        }
    }

    /// Whether such a line ends at this proxy, whatever it says.
    pub fn ends_here(self) -> bool {
        use Kind::{Coding, Connection, FramingAlias, Hop, Length, Te, Upgrade};
        matches!(self, Hop | Connection | Length | Coding | Upgrade | Te | FramingAlias)
    }
}

/// The bit in which letters differ in case; what else it changes in visible ASCII is no part of a known name.
const FOLD: u8 = 0x20;

/// Whether a text without control characters is `known`, which is of lower-case letters, digits and dashes, in any case.
/// By words: a name is one or two.
#[inline]
fn is<const N: usize>(text: &[u8], known: &[u8; N]) -> bool {
    let Some(text) = text.first_chunk::<N>().filter(|whole| whole.len() == text.len()) else { return false };
    (0..N.div_ceil(8)).fold(0, |differ, index| {
        let at = (index * 8).min(N.saturating_sub(8));
        differ | (word(text, at) | FOLDS) ^ (word(known, at) | FOLDS)
    }) == 0
}

const FOLDS: u64 = u64::from_le_bytes([FOLD; 8]);

/// Up to eight bytes from `at` on.
#[inline]
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let mut word = [0; 8];
    word[..N.min(8)].copy_from_slice(&bytes[at..at + N.min(8)]);
    u64::from_le_bytes(word)
}

/// Whether a header belongs to one connection only and is never passed on (RFC 9110 section 7.6.1), or is one that
/// the proxy writes itself.
pub fn is_hop_by_hop(name: &str) -> bool {
    Kind::of(name.as_bytes()).ends_here()
}

/// Whether `Connection` names this header, so that it ends here.
pub fn is_named<'a>(mut connection: impl Iterator<Item = &'a [u8]>, name: &str) -> bool {
    connection.any(|value| list_items(value).any(|item| item.eq_ignore_ascii_case(name.as_bytes())))
}
