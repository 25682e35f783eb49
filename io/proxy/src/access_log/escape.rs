//! Values as bytes of a line. Whatever a client sends, no value begins a line of its own, ends its quotes, or moves a
//! terminal's cursor.

use std::fmt::Display;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// How what is not plain is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As in a JSON string (RFC 8259 section 7), with every control character escaped; what is no UTF-8 is U+FFFD.
    Json,
    /// As nginx does: `\x` and two digits, for everything but printable ASCII without `"` and `\`.
    Hex,
}

impl Escape {
    /// Writes text from outside.
    pub fn text(self, out: &mut Vec<u8>, text: &[u8]) {
        if text.iter().all(is_plain) {
            return out.extend_from_slice(text);
        }
        match self {
            Escape::Json => json(out, text),
            Escape::Hex => hex(out, text),
        }
    }

    /// Writes a name.
    pub fn name(self, out: &mut Vec<u8>, name: Option<&dyn Display>) {
        let Some(name) = name else { return };
        let start = out.len();
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{name}");
        if !out[start..].iter().all(is_plain) {
            let text = out.split_off(start);
            self.text(out, &text);
        }
    }
}

/// Printable ASCII that neither ends nor escapes anything.
fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn json(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                // C0 and C1, and what some readers take for the end of a line.
                _ if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => {
                    let code = char as u32;
                    out.extend_from_slice(b"\\u");
                    out.extend([12, 8, 4, 0].map(|shift| DIGITS[(code >> shift) as usize & 15]));
                }
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn hex(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        if is_plain(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[
                b'\\',
                b'x',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
    }
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Writes a number in decimal.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    crate::outgoing::push_number(out, number);
}

/// Writes an address in its own family: IPv4 mapped into IPv6 as IPv4.
pub fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_number(out, octet.into());
            }
        }
        IpAddr::V6(address) => _ = write!(out, "{address}"),
    }
}

/// Writes an address with its port.
pub fn push_socket(out: &mut Vec<u8>, address: SocketAddr) {
    let ip = address.ip().to_canonical();
    if ip.is_ipv6() {
        out.push(b'[');
    }
    push_ip(out, ip);
    if ip.is_ipv6() {
        out.push(b']');
    }
    out.push(b':');
    push_number(out, address.port().into());
}
