//! What header lines say about the message itself: length, coding, connection options.

use httparse::Header;
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
    /// Reads the framing of a head. The lines have passed `httparse`: names are tokens, values have no control characters.
    pub fn read(headers: &[Header<'_>]) -> Result<FramingLines, Malformed> {
        let mut lines = FramingLines::default();
        for header in headers {
            if matches!(header.name.len(), 10 | 14 | 17) {
                lines.line(Kind::of(header.name.as_bytes()), header.value)?;
            }
        }
        Ok(lines)
    }

    /// Takes in a line.
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
        for option in list_items(value) {
            self.options += 1;
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.names_headers = true;
            }
        }
        if self.options > CONNECTION_OPTIONS_MAX { Err(Malformed::CONNECTION) } else { Ok(()) }
    }

    /// Digits only, at most 19; a second line must say the same (RFC 9112 section 6.3).
    fn read_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
        if !digits {
            return Err(Malformed::LENGTH);
        }
        let length = value.iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
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
    /// The kind of a name in any case.
    pub fn of(name: &[u8]) -> Kind {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => return Kind::Te,
            4 if is("host") => return Kind::Host,
            5 if is("proxy") => return Kind::Hop,
            6 if is("expect") => return Kind::Expect,
            7 if is("upgrade") => return Kind::Upgrade,
            10 => match name[0] | 0x20 {
                b'c' if is("connection") => return Kind::Connection,
                b'k' if is("keep-alive") => return Kind::Hop,
                b't' if is("tracestate") => return Kind::Trace,
                _ => {}
            },
            11 if is("traceparent") => return Kind::Trace,
            14 if is("content-length") => return Kind::Length,
            14 if is("http2-settings") => return Kind::Hop,
            16 if is("proxy-connection") => return Kind::Hop,
            17 if is("transfer-encoding") => return Kind::Coding,
            18 if is("proxy-authenticate") => return Kind::Hop,
            19 if is("proxy-authorization") => return Kind::Hop,
            0..4 => return Kind::Plain,
            _ => {}
        }
        // What follows is about aliases, and about claims, which all begin with one of four letters.
        if name.len() < 9 || !matches!(name[0] | 0x20, b'c' | b'f' | b't' | b'x') {
            return Kind::Plain;
        }
        let Ok(name) = std::str::from_utf8(name) else { return Kind::Plain };
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

/// Whether a header belongs to one connection only and is never passed on (RFC 9110 section 7.6.1), or is one that
/// the proxy writes itself.
pub fn is_hop_by_hop(name: &str) -> bool {
    Kind::of(name.as_bytes()).ends_here()
}

/// Whether `Connection` names this header, so that it ends here.
pub fn is_named<'a>(mut connection: impl Iterator<Item = &'a [u8]>, name: &str) -> bool {
    connection.any(|value| list_items(value).any(|item| item.eq_ignore_ascii_case(name.as_bytes())))
}
