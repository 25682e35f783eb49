//! The packet socket that hears and sends ARP frames on one interface.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// An open socket for whole Ethernet frames of type ARP.
#[derive(Debug)]
pub(crate) struct ArpSocket {
    socket: Socket,
}

/// `PACKET_IGNORE_OUTGOING` of linux/if_packet.h: our own frames are not handed back to us.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

impl ArpSocket {
    /// Needs `CAP_NET_RAW`.
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let ethertype = (libc::ETH_P_ARP as u16).to_be();
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ethertype))))?;
        socket.set_nonblocking(true)?;
        let on: libc::c_int = 1;
        let on_length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the option takes an int, which outlives the call. A kernel before 4.20 lacks it: own frames are then
        // told apart by their sender's hardware address.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_IGNORE_OUTGOING,
                (&raw const on).cast(),
                on_length,
            );
        }
        // SAFETY: sockaddr_ll is plain data for which all zeroes is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ethertype;
        address.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_ll that outlives the call, and `length` is its size.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ArpSocket { socket })
    }

    /// Sends one whole frame.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// The next frame's length in `buffer`, or `None` when there is none.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        // SAFETY: the buffer is writable for its whole length.
        let read =
            unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        usize::try_from(read).ok()
    }
}

impl AsRawFd for ArpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
