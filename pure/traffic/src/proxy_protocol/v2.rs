//! Version 2: binary (specification, section 2.2).
//!
//! ```text
//!  0                12        13         14        16
//!  | signature       | version | family   | length  | addresses, then extensions (type, length, value) |
//!  |                 | command | transport| of rest |                                                  |
//! ```

use std::net::{IpAddr, SocketAddr};

use super::crc32c::crc32c;
use super::{Addresses, Error, Header, Transport};

/// The longest header that is read, with extensions.
pub const BYTES_MAX: usize = 4096;
/// How a header begins.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const FIXED_BYTES: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;

/// Reads a header that is known to begin as one does. What is wrong is said as soon as it can be known.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let command = bytes.get(SIGNATURE.len()).copied();
    if command.is_some_and(|command| !matches!(command, LOCAL | PROXY)) {
        return Err(Error::BadCommand);
    }
    let family = bytes.get(SIGNATURE.len() + 1).copied();
    let family = match (command, family) {
        // The family of a local connection means nothing.
        (Some(LOCAL), Some(_)) => Some(Family::Unspecified),
        (_, Some(family)) => Some(Family::of(family)?),
        (_, None) => None,
    };
    let (Some(family), Some(length)) = (family, bytes.get(14..FIXED_BYTES)) else { return Ok(None) };
    let consumed = FIXED_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if consumed > BYTES_MAX || consumed < FIXED_BYTES + family.bytes() {
        return Err(Error::BadLength);
    }
    let Some(header) = bytes.get(..consumed) else { return Ok(None) };
    let (addresses, extensions) = header[FIXED_BYTES..].split_at(family.bytes());
    if !matches!(family, Family::Unspecified) {
        check_extensions(header, extensions)?;
    }
    Ok(Some(Header { consumed, addresses: family.addresses(addresses), local: command == Some(LOCAL) }))
}

#[derive(Clone, Copy)]
enum Family {
    Unspecified,
    Inet(Transport),
    Inet6(Transport),
    Unix,
}

impl Family {
    fn of(byte: u8) -> Result<Family, Error> {
        match byte {
            0x00 => Ok(Family::Unspecified),
            0x11 => Ok(Family::Inet(Transport::Stream)),
            0x12 => Ok(Family::Inet(Transport::Datagram)),
            0x21 => Ok(Family::Inet6(Transport::Stream)),
            0x22 => Ok(Family::Inet6(Transport::Datagram)),
            0x31 | 0x32 => Ok(Family::Unix),
            _ => Err(Error::BadCommand),
        }
    }

    /// The bytes of both addresses with their ports.
    fn bytes(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::Inet(_) => 12,
            Family::Inet6(_) => 36,
            Family::Unix => 216,
        }
    }

    /// Addresses of a Unix socket say nothing to a router.
    fn addresses(self, bytes: &[u8]) -> Option<Addresses> {
        let address = |ip: IpAddr, port: &[u8]| SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]]));
        let (source, destination, transport) = match self {
            Family::Unspecified | Family::Unix => return None,
            Family::Inet(transport) => {
                let (source, rest) = bytes.split_first_chunk::<4>()?;
                let (destination, ports) = rest.split_first_chunk::<4>()?;
                let addresses = (IpAddr::from(*source), IpAddr::from(*destination));
                (address(addresses.0, &ports[..2]), address(addresses.1, &ports[2..]), transport)
            }
            Family::Inet6(transport) => {
                let (source, rest) = bytes.split_first_chunk::<16>()?;
                let (destination, ports) = rest.split_first_chunk::<16>()?;
                let addresses = (IpAddr::from(*source), IpAddr::from(*destination));
                (address(addresses.0, &ports[..2]), address(addresses.1, &ports[2..]), transport)
            }
        };
        Some(Addresses { source, destination, transport })
    }
}

/// Every extension ends within the header, and the checksum fits if there is one (section 2.2.3).
fn check_extensions(header: &[u8], mut rest: &[u8]) -> Result<(), Error> {
    let mut checked = false;
    while !rest.is_empty() {
        let (kind, value, after) = extension(rest)?;
        match kind {
            CRC32C => {
                let expected: [u8; 4] = value.try_into().map_err(|_| Error::BadExtension)?;
                if std::mem::replace(&mut checked, true) {
                    return Err(Error::BadExtension);
                }
                let at = header.len() - after.len() - value.len();
                let parts: [&[u8]; 3] = [&header[..at], &[0; 4], &header[at + 4..]];
                if crc32c(parts) != u32::from_be_bytes(expected) {
                    return Err(Error::BadChecksum);
                }
            }
            UNIQUE_ID if value.len() > 128 => return Err(Error::BadExtension),
            SSL => check_tls(value)?,
            _ => {}
        }
        rest = after;
    }
    Ok(())
}

/// A byte of flags, the verdict on the client's certificate, then extensions of its own (section 2.2.6).
fn check_tls(value: &[u8]) -> Result<(), Error> {
    let mut rest = value.get(5..).ok_or(Error::BadExtension)?;
    while !rest.is_empty() {
        rest = extension(rest)?.2;
    }
    Ok(())
}

/// Type and value of the first extension, and what follows it.
fn extension(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Error> {
    let ([kind, high, low], rest) = bytes.split_first_chunk::<3>().ok_or(Error::BadExtension)?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, after) = rest.split_at_checked(length).ok_or(Error::BadExtension)?;
    Ok((*kind, value, after))
}

/// Writes a header; both addresses are of one family.
pub(super) fn write(
    (source, destination): (SocketAddr, SocketAddr),
    transport: Transport,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&SIGNATURE);
    let low = match transport {
        Transport::Stream => 1,
        Transport::Datagram => 2,
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[PROXY, 0x10 | low, 0, 12]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            out.extend_from_slice(&[PROXY, 0x20 | low, 0, 36]);
            for ip in [source, destination] {
                let ip = match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                out.extend_from_slice(&ip.octets());
            }
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

pub(super) fn write_local(out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[LOCAL, 0, 0, 0]);
}
