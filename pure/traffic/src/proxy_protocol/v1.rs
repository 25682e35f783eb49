//! Version 1: one line of text (specification, section 2.1).

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Error, Header, Transport};
use crate::text::push_number;

/// The longest line, with its end.
pub const BYTES_MAX: usize = 107;
/// How a line begins.
pub(super) const START: &[u8] = b"PROXY ";

/// Reads a line that is known to begin as one does.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let seen = &bytes[..bytes.len().min(BYTES_MAX)];
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        // A carriage return may be the last byte so far; before it, it ends no line.
        if seen.split_last().is_some_and(|(_, line)| line.contains(&b'\r')) {
            return Err(Error::BadLine);
        }
        return if seen.len() == BYTES_MAX { Err(Error::TooLong) } else { Ok(None) };
    };
    let line = seen[START.len()..end].strip_suffix(b"\r").ok_or(Error::BadLine)?;
    let text = std::str::from_utf8(line).map_err(|_| Error::BadLine)?;
    if text.contains(char::is_control) {
        return Err(Error::BadLine);
    }
    Ok(Some(Header { consumed: end + 1, addresses: addresses(text)?, local: false }))
}

/// What follows `PROXY `. After `UNKNOWN` anything may stand, and means nothing.
fn addresses(text: &str) -> Result<Option<Addresses>, Error> {
    let (family, rest) = text.split_once(' ').unwrap_or((text, ""));
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut words = rest.split(' ');
    let mut word = || words.next().ok_or(Error::BadLine);
    let parse_ip = match family {
        "TCP4" => |text: &str| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text: &str| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(Error::BadLine),
    };
    let (source, destination) = (parse_ip(word()?), parse_ip(word()?));
    let (source_port, destination_port) = (port(word()?), port(word()?));
    if words.next().is_some() {
        return Err(Error::BadLine);
    }
    let address = |ip: Option<IpAddr>, port: Option<u16>| {
        Ok(SocketAddr::new(ip.ok_or(Error::BadLine)?, port.ok_or(Error::BadLine)?))
    };
    Ok(Some(Addresses {
        source: address(source, source_port)?,
        destination: address(destination, destination_port)?,
        transport: Transport::Stream,
    }))
}

/// A port in decimal, without leading zeros.
fn port(digits: &str) -> Option<u16> {
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

/// Writes a line; both addresses are of one family.
pub(super) fn write((source, destination): (SocketAddr, SocketAddr), out: &mut Vec<u8>) {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    // Not the canonical form: an IPv4 address in a line of IPv6 is a mapped one. Writing to a Vec cannot fail.
    let _ = write!(out, "PROXY {family} {} {} ", source.ip(), destination.ip());
    push_number(out, source.port().into());
    out.push(b' ');
    push_number(out, destination.port().into());
    out.extend_from_slice(b"\r\n");
}
