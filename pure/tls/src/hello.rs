//! The first message of a TLS client, read as far as the server name (RFC 8446 section 4.1.2, RFC 6066 section 3).
//!
//! It decides who goes on: a listener that ends TLS, whose library reads the same bytes again, or a backend, which
//! gets them untouched. A message may come in many records (RFC 8446 section 5.1) and records in many packets.

use rustls_pki_types::{DnsName, ServerName};
use thiserror::Error;

/// Bytes of the message; more is refused, as the library does.
pub const HELLO_BYTES_MAX: usize = 0xffff;

/// Bytes of the records that carry it.
pub const RAW_HELLO_BYTES_MAX: usize = 2 * 0x10000;

const RECORD_HEADER_BYTES: usize = 5;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE_HEADER_BYTES: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What is known of a client after its first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name, lower case; none if it sent none, or an address.
    pub server_name: Option<String>,
}

/// Why the bytes are no first message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HelloError {
    /// They are no TLS.
    #[error("the client does not speak TLS")]
    NotTls,
    /// They begin as TLS and are wrong further on.
    #[error("the client's first TLS message is malformed")]
    Malformed,
    /// They are too many.
    #[error("the client's first TLS message is too large")]
    TooLarge,
}

/// Reads records until the message is whole. Costs what arrives, however small the pieces.
#[derive(Debug, Default)]
pub struct HelloScan {
    message: Vec<u8>,
    /// Bytes of the records in `message`.
    taken: usize,
}

impl HelloScan {
    /// Goes on with everything received so far, from the first byte; nothing yet if it is not whole. Bytes behind the
    /// message are left alone.
    pub fn advance(&mut self, raw: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        while let Some(record) = record(&raw[self.taken.min(raw.len())..], self.taken == 0)? {
            self.taken += RECORD_HEADER_BYTES + record.len();
            self.message.extend_from_slice(record);
            if let Some(message) = whole(&self.message)? {
                return client_hello(message).ok_or(HelloError::Malformed)?.map(Some);
            }
        }
        if raw.len() > RAW_HELLO_BYTES_MAX { Err(HelloError::TooLarge) } else { Ok(None) }
    }
}

/// The content of the record at the front, once it is there whole.
fn record(raw: &[u8], first: bool) -> Result<Option<&[u8]>, HelloError> {
    let wrong = if first { HelloError::NotTls } else { HelloError::Malformed };
    let fits = [|byte| byte == HANDSHAKE, |byte| byte == 3, |byte| byte <= 4];
    if !raw.iter().zip(fits).all(|(&byte, fits)| fits(byte)) {
        return Err(wrong);
    }
    let Some((&[_, _, _, high, low], rest)) = raw.split_first_chunk() else { return Ok(None) };
    match usize::from(u16::from_be_bytes([high, low])) {
        0 => Err(wrong),
        length if length > RECORD_BYTES_MAX => Err(wrong),
        length => Ok(rest.get(..length)),
    }
}

/// The body of the handshake message at the front, once it is there whole.
fn whole(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    if message.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
        return Err(HelloError::Malformed);
    }
    let Some((&[_, high, middle, low], rest)) = message.split_first_chunk::<HANDSHAKE_HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > HELLO_BYTES_MAX { Err(HelloError::TooLarge) } else { Ok(rest.get(..length)) }
}

/// Nothing if a length points outside.
fn client_hello(message: &[u8]) -> Option<Result<ClientHello, HelloError>> {
    let mut rest = message;
    take(&mut rest, 2 + 32)?;
    let _session = prefixed(&mut rest, 1)?;
    let _ciphers = prefixed(&mut rest, 2)?;
    let _compressions = prefixed(&mut rest, 1)?;
    let mut hello = ClientHello { server_name: None };
    if rest.is_empty() {
        return Some(Ok(hello));
    }
    let (mut extensions, mut named) = (prefixed(&mut rest, 2)?, false);
    while !extensions.is_empty() {
        let kind = number(take(&mut extensions, 2)?);
        let content = prefixed(&mut extensions, 2)?;
        if kind == usize::from(SERVER_NAME) {
            if std::mem::replace(&mut named, true) {
                return None;
            }
            hello.server_name = server_name(content)?;
        }
    }
    Some(if rest.is_empty() { Ok(hello) } else { Err(HelloError::Malformed) })
}

/// The one name of the list: outer nothing if it is malformed, inner if it is an address.
fn server_name(content: &[u8]) -> Option<Option<String>> {
    let mut rest = content;
    let mut list = prefixed(&mut rest, 2).filter(|_| rest.is_empty())?;
    let mut found = None;
    while !list.is_empty() {
        if take(&mut list, 1)? != [HOST_NAME] {
            break;
        }
        let name = std::str::from_utf8(prefixed(&mut list, 2)?).ok()?;
        let name = match ServerName::try_from(name).ok()? {
            ServerName::DnsName(name) => Some(lower(&name)),
            _ => None,
        };
        if found.replace(name).is_some() {
            return None;
        }
    }
    found
}

fn lower(name: &DnsName<'_>) -> String {
    name.as_ref().to_ascii_lowercase()
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (front, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(front)
}

/// Bytes behind their length, which is a number of so many bytes.
fn prefixed<'b>(bytes: &mut &'b [u8], digits: usize) -> Option<&'b [u8]> {
    let length = number(take(bytes, digits)?);
    take(bytes, length)
}

fn number(digits: &[u8]) -> usize {
    digits.iter().fold(0, |number, &digit| number << 8 | usize::from(digit))
}

#[cfg(test)]
mod tests;
