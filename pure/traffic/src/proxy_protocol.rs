//! The PROXY protocol, versions 1 and 2: the addresses of a connection, told by the proxy before it.
//!
//! Parsing is incremental and strict: a header is valid, incomplete within a bound, or an error that closes the
//! connection. Who may send one is [`client::may_send_proxy_header`](crate::client::may_send_proxy_header). Source: the
//! specification in HAProxy's documentation, "The PROXY protocol, versions 1 & 2".

mod crc32c;
mod v1;
mod v2;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use v1::BYTES_MAX as V1_BYTES_MAX;
pub use v2::BYTES_MAX as V2_BYTES_MAX;

/// A header at the start of a connection or datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes; what follows is the connection's own.
    pub consumed: usize,
    /// Who is connected with whom; none: the connection's own addresses hold.
    pub addresses: Option<Addresses>,
    /// Whether the proxy before speaks for itself, as health checks do (command LOCAL of version 2).
    pub local: bool,
}

/// Who is connected with whom. Both addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
    /// TCP or UDP.
    pub transport: Transport,
}

/// What the client speaks to the proxy before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No header of either version begins so. Where headers are optional, these are the connection's own bytes.
    Absent,
    /// A version 1 line without end within its bound.
    TooLong,
    /// A version 1 line that is not as the specification has it.
    BadLine,
    /// A version 2 command, family or transport that there is none of.
    BadCommand,
    /// A version 2 length that is over the bound or too short for its addresses.
    BadLength,
    /// A version 2 extension that is cut off or has an impossible length.
    BadExtension,
    /// The checksum does not fit.
    BadChecksum,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Absent => "the connection does not begin with a PROXY protocol header",
            Error::TooLong => "the PROXY protocol line does not end within 107 bytes",
            Error::BadLine => "the PROXY protocol line is malformed",
            Error::BadCommand => "the PROXY protocol header has an unknown command, family or transport",
            Error::BadLength => "the PROXY protocol header has an impossible length",
            Error::BadExtension => "the PROXY protocol header has a malformed extension",
            Error::BadChecksum => "the PROXY protocol header has a wrong checksum",
        })
    }
}

impl std::error::Error for Error {}

/// Reads a header of either version from the start of `bytes`. Nothing: more bytes are needed, of which there are never
/// more than [`V1_BYTES_MAX`] or [`V2_BYTES_MAX`] in all.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Error> {
    if begins(bytes, &v2::SIGNATURE) {
        if bytes.len() < v2::SIGNATURE.len() { Ok(None) } else { v2::parse(bytes) }
    } else if begins(bytes, v1::START) {
        if bytes.len() < v1::START.len() { Ok(None) } else { v1::parse(bytes) }
    } else {
        Err(Error::Absent)
    }
}

/// Whether `bytes` begin with `start`, as far as there are any.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let length = bytes.len().min(start.len());
    bytes[..length] == start[..length]
}

/// Writes a version 1 line for a TCP connection.
pub fn write_v1(source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    v1::write(one_family(source, destination), out);
}

/// Writes a version 2 header.
pub fn write_v2(addresses: &Addresses, out: &mut Vec<u8>) {
    v2::write(one_family(addresses.source, addresses.destination), addresses.transport, out);
}

/// Writes the version 2 header of a connection that is the gateway's own, as health checks are. Version 1 has none:
/// there it is [`write_v1`] with the connection's own addresses.
pub fn write_v2_local(out: &mut Vec<u8>) {
    v2::write_local(out);
}

/// Both in IPv4 if both are, mapped or not; else both in IPv6: a header has one family.
fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let both_ipv4 = source.ip().to_canonical().is_ipv4() && destination.ip().to_canonical().is_ipv4();
    let in_family = |address: SocketAddr| {
        let ip = match address.ip() {
            ip if both_ipv4 => ip.to_canonical(),
            IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
            ip => ip,
        };
        SocketAddr::new(ip, address.port())
    };
    (in_family(source), in_family(destination))
}

#[cfg(test)]
mod tests;
