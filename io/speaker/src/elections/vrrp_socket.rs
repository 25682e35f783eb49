//! The raw socket of IP protocol 112 on one interface.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const PROTOCOL: i32 = 112;

/// An open socket that hears and sends adverts on one interface.
#[derive(Debug)]
pub(crate) struct VrrpSocket(Socket);

/// A datagram as it arrived; the payload is the rest of the buffer.
pub(crate) struct Received<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) payload: &'a [u8],
}

impl VrrpSocket {
    /// Needs `CAP_NET_RAW`.
    pub(crate) fn open(interface: &str, index: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(PROTOCOL)))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
        socket.set_multicast_ttl_v4(255)?;
        socket.set_ttl_v4(255)?;
        socket.set_multicast_loop_v4(false)?;
        // Network control (RFC 4594): adverts must not wait behind bulk traffic.
        socket.set_tos_v4(0xc0)?;
        Ok(VrrpSocket(socket))
    }

    /// Sends one advert.
    pub(crate) fn send(&self, destination: IpAddr, payload: &[u8]) -> io::Result<()> {
        let IpAddr::V4(destination) = destination else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "VRRP over IPv6 is not spoken yet"));
        };
        self.0.send_to(payload, &SocketAddrV4::new(destination, 0).into()).map(drop)
    }

    /// The next datagram, or `None` when there is none. What is no IPv4 packet is passed over.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [MaybeUninit<u8>; 2048]) -> Option<Received<'a>> {
        loop {
            let length = self.0.recv(buffer).ok()?;
            // SAFETY: recv has initialised the first `length` bytes.
            let packet = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
            if let Some(received) = parse(packet) {
                return Some(received);
            }
        }
    }
}

/// Splits an IPv4 packet into what an election needs of its header, and its payload.
fn parse(packet: &[u8]) -> Option<Received<'_>> {
    let header_length = usize::from(packet.first()? & 0x0f) * 4;
    if packet[0] >> 4 != 4 || header_length < 20 {
        return None;
    }
    let header = packet.get(..header_length)?;
    let address = |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Some(Received {
        source: address(12),
        destination: address(16),
        ttl: header[8],
        payload: &packet[header_length..],
    })
}

impl AsRawFd for VrrpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header is cut off by its own length, options included; a cut header is passed over.
    #[test]
    fn parses_the_header() {
        let mut packet =
            vec![0x46, 0, 0, 0, 0, 0, 0, 0, 255, 112, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18, 1, 1, 1, 1, 0x31];
        let received = parse(&packet).expect("a packet");
        assert_eq!((received.ttl, received.payload), (255, &[0x31][..]));
        assert_eq!(received.source, "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(received.destination, "224.0.0.18".parse::<IpAddr>().unwrap());
        packet.truncate(22);
        assert!(parse(&packet).is_none());
        assert!(parse(&[]).is_none());
    }
}
