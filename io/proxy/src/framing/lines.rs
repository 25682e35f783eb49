//! What header lines say about the message itself: length, coding, connection options.

use httparse::Header;

use super::{BodyLength, CONNECTION_OPTIONS_MAX, Malformed};

/// What the lines of one head say about framing.
#[derive(Debug, Default)]
pub struct FramingLines {
    length: Option<u64>,
    codings: usize,
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
        let mut options = 0;
        for header in headers {
            match header.name.len() {
                10 if header.name.eq_ignore_ascii_case("connection") => {
                    lines.read_connection(header.value, &mut options)?
                }
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    lines.read_length(header.value)?
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    lines.codings += 1;
                    lines.chunked = header.value.eq_ignore_ascii_case(b"chunked");
                }
                _ => {}
            }
        }
        Ok(lines)
    }

    fn read_connection(&mut self, value: &[u8], options: &mut usize) -> Result<(), Malformed> {
        for option in list_items(value) {
            *options += 1;
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
        if *options > CONNECTION_OPTIONS_MAX { Err(Malformed::CONNECTION) } else { Ok(()) }
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

/// Whether a header belongs to one connection only and is never passed on (RFC 9110 section 7.6.1), or is one that
/// the proxy writes itself.
pub fn is_hop_by_hop(name: &str) -> bool {
    let known: &[&str] = match name.len() {
        2 => &["te"],
        5 => &["proxy"],
        7 => &["upgrade"],
        10 => &["connection", "keep-alive"],
        14 => &["content-length", "http2-settings"],
        16 => &["proxy-connection"],
        17 => &["transfer-encoding"],
        18 => &["proxy-authenticate"],
        19 => &["proxy-authorization"],
        _ => return false,
    };
    known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether `Connection` names this header, so that it ends here.
pub fn is_named<'a>(mut connection: impl Iterator<Item = &'a [u8]>, name: &str) -> bool {
    connection.any(|value| list_items(value).any(|item| item.eq_ignore_ascii_case(name.as_bytes())))
}
