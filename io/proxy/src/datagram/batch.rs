//! Datagrams read and written many at a time: recvmmsg(2) and sendmmsg(2), with what the kernel tells and takes beside them.
//!
//! A train is datagrams of one size, the last one perhaps shorter, that came from one sender as one piece (UDP_GRO) and
//! leave so (UDP_SEGMENT). A network card or path that cannot take a train gets its datagrams one by one.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr;

use crate::listener::set_option;

/// Datagrams or trains read at once.
pub const PIECES: usize = 32;

/// The longest datagram or train.
const PIECE_BYTES: usize = 64 * 1024;

/// Room for what the kernel tells beside a datagram: the address asked and the size of a train's datagrams.
const CONTROL_BYTES: usize = 128;

/// Where a datagram came from or goes to, and which of our addresses it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The other side.
    pub peer: SocketAddr,
    /// Our address; an IPv4 one is mapped on a socket that serves both families.
    pub local: IpAddr,
    /// The interface, which only link-local addresses need.
    pub interface: u32,
}

/// A datagram or train that was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Piece {
    /// Bytes in all.
    pub length: usize,
    /// Bytes of each datagram of a train; 0: it is one datagram.
    pub segment: usize,
    /// Where it came from; none on a connected socket.
    pub path: Option<Path>,
}

impl Piece {
    /// How many datagrams it is.
    pub fn datagrams(&self) -> usize {
        if self.segment == 0 { 1 } else { self.length.div_ceil(self.segment).max(1) }
    }
}

/// Room for pieces; one for a whole worker, used within one turn only.
pub struct Batch {
    data: Vec<u8>,
    pieces: [Piece; PIECES],
}

/// What came of writing pieces.
#[derive(Debug, Default)]
pub struct Sent {
    /// Bytes that left.
    pub bytes: u64,
    /// Datagrams that could not.
    pub dropped: u64,
    /// The piece after the last that was dealt with; those from here on are the caller's if the other side is gone.
    pub next: usize,
    /// What a connected socket was told of its other side: it is not there.
    pub gone: Option<io::Error>,
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

const EMPTY: Control = Control([0; CONTROL_BYTES]);

impl Default for Batch {
    fn default() -> Self {
        Batch { data: vec![0; PIECES * PIECE_BYTES], pieces: [Piece::default(); PIECES] }
    }
}

/// Asks that trains stay together; where the kernel cannot, each datagram comes alone.
pub fn ask_for_trains(fd: RawFd) {
    let _ = set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
}

impl Batch {
    /// The place of each piece, all made from one borrow of the data: a second one would end what was made from the first.
    fn slots(&mut self, length: impl Fn(usize) -> usize) -> [libc::iovec; PIECES] {
        assert_eq!(
            self.data.len(),
            PIECES * PIECE_BYTES,
            "the data has room for all pieces, and never changes its size"
        );
        let base = self.data.as_mut_ptr();
        std::array::from_fn(|index| libc::iovec {
            // SAFETY: `index` is below PIECES, so the place lies within the data, as was just looked at.
            iov_base: unsafe { base.add(index * PIECE_BYTES) }.cast(),
            iov_len: length(index).min(PIECE_BYTES),
        })
    }

    /// Reads what has come, up to [`PIECES`], and says how many; `WouldBlock` if nothing has.
    pub fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::zeroed() }; PIECES];
        let mut controls = [EMPTY; PIECES];
        let mut slots = self.slots(|_| PIECE_BYTES);
        let mut messages: [libc::mmsghdr; PIECES] = std::array::from_fn(|index| {
            let mut message = no_message();
            message.msg_name = names[index].as_mut_ptr().cast();
            message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_iov = &raw mut slots[index];
            message.msg_iovlen = 1;
            message.msg_control = controls[index].0.as_mut_ptr().cast();
            message.msg_controllen = CONTROL_BYTES as _;
            libc::mmsghdr { msg_hdr: message, msg_len: 0 }
        });
        // SAFETY: every message points to a name, a slot of `data` and a control block of its own, of the lengths given,
        // all of which outlive the call, and no reference to any of them is used before it returns; there are PIECES of them.
        let count = unsafe {
            libc::recvmmsg(fd, messages.as_mut_ptr(), PIECES as u32, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (piece, message) in self.pieces.iter_mut().zip(&messages[..count]) {
            *piece = arrived(message);
        }
        Ok(count)
    }

    /// A piece of the last read.
    pub fn piece(&self, index: usize) -> Piece {
        self.pieces[index]
    }

    /// Writes pieces of the last read, in order, to where the socket is connected or along the path.
    pub fn send(&mut self, fd: RawFd, which: Range<usize>, path: Option<&Path>) -> Sent {
        let mut sent = Sent::default();
        let mut next = which.start;
        while next < which.end && sent.gone.is_none() {
            match self.send_some(fd, next..which.end, path) {
                Ok(0) => break,
                Ok(count) => {
                    sent.bytes +=
                        self.pieces[next..next + count].iter().map(|piece| piece.length as u64).sum::<u64>();
                    next += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if self.pieces[next].datagrams() > 1 && !is_gone(&error) => {
                    self.send_one_by_one(fd, next, path, &mut sent);
                    next += 1;
                }
                Err(error) if is_gone(&error) => sent.gone = Some(error),
                Err(_) => {
                    sent.dropped += 1;
                    next += 1;
                }
            }
        }
        sent.next = next;
        if sent.gone.is_none() {
            let left = &self.pieces[next..which.end];
            sent.dropped += left.iter().map(|piece| piece.datagrams() as u64).sum::<u64>();
        }
        sent
    }

    /// One sendmmsg; how many pieces it took.
    fn send_some(&mut self, fd: RawFd, which: Range<usize>, path: Option<&Path>) -> io::Result<usize> {
        let mut name = path.map(|path| sockaddr(path.peer));
        let mut controls = [EMPTY; PIECES];
        let lengths = self.pieces.map(|piece| piece.length);
        let mut slots = self.slots(|index| lengths[index]);
        let mut messages: [libc::mmsghdr; PIECES] = std::array::from_fn(|index| {
            let mut message = no_message();
            if let Some((name, length)) = &mut name {
                message.msg_name = (&raw mut *name).cast();
                message.msg_namelen = *length;
            }
            message.msg_iov = &raw mut slots[index];
            message.msg_iovlen = 1;
            let piece = self.pieces[index];
            let segment = if piece.datagrams() > 1 { piece.segment } else { 0 };
            tell(&mut message, &mut controls[index], path, segment);
            libc::mmsghdr { msg_hdr: message, msg_len: 0 }
        });
        let messages = &mut messages[which];
        // SAFETY: every message points to the one name, a slot of `data` and a control block of its own, of the lengths
        // given, all of which outlive the call, and no reference to any of them is used before it returns; the slice says how many there are.
        let count =
            unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), messages.len() as u32, libc::MSG_DONTWAIT) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// A train that cannot leave as one.
    fn send_one_by_one(&mut self, fd: RawFd, index: usize, path: Option<&Path>, sent: &mut Sent) {
        let Piece { length, segment, .. } = self.pieces[index];
        let bytes = &mut self.data[index * PIECE_BYTES..][..length];
        for datagram in bytes.chunks_mut(segment.max(1)) {
            match send_datagram(fd, datagram, path) {
                Ok(()) => sent.bytes += datagram.len() as u64,
                Err(error) => {
                    sent.dropped += 1;
                    sent.gone = is_gone(&error).then_some(error);
                }
            }
        }
    }
}

fn send_datagram(fd: RawFd, datagram: &mut [u8], path: Option<&Path>) -> io::Result<()> {
    let mut name = path.map(|path| sockaddr(path.peer));
    let mut control = EMPTY;
    let mut slot = libc::iovec { iov_base: datagram.as_mut_ptr().cast(), iov_len: datagram.len() };
    let mut message = no_message();
    if let Some((name, length)) = &mut name {
        message.msg_name = (&raw mut *name).cast();
        message.msg_namelen = *length;
    }
    message.msg_iov = &raw mut slot;
    message.msg_iovlen = 1;
    tell(&mut message, &mut control, path, 0);
    // SAFETY: the message points to a name, a slot and a control block of the lengths given, which outlive the call.
    match unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What ICMP or the routing table says of an endpoint that is not there.
pub fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

fn no_message() -> libc::msghdr {
    // SAFETY: all of its fields are numbers and pointers, for which zero is a value: nothing, of no length.
    unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() }
}

/// What the kernel told of a message.
fn arrived(message: &libc::mmsghdr) -> Piece {
    let header = &message.msg_hdr;
    let mut piece = Piece { length: message.msg_len as usize, ..Piece::default() };
    let mut local = None;
    // SAFETY: the kernel has filled the control block that the header points to and set its length; CMSG_NXTHDR stays
    // within it, and each kind of data is read unaligned, with the type that its level and kind have (ip(7), ipv6(7), udp(7)).
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = next.as_ref() {
            let data = libc::CMSG_DATA(control);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    local = Some((IpAddr::V4(address), info.ipi_ifindex as u32));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    local =
                        Some((IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)), info.ipi6_ifindex as u32));
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment: libc::c_int = ptr::read_unaligned(data.cast());
                    piece.segment = usize::try_from(segment).unwrap_or(0);
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(header, control);
        }
    }
    let peer = peer_of(header);
    piece.path = peer.zip(local).map(|(peer, (local, interface))| Path { peer, local, interface });
    piece
}

/// The sender's address.
fn peer_of(header: &libc::msghdr) -> Option<SocketAddr> {
    let length = header.msg_namelen as usize;
    // SAFETY: the name points to a sockaddr_storage of ours, zeroed before the kernel wrote `length` bytes of it; the
    // family says which kind it is, and it is read as that only if it is long enough.
    unsafe {
        let family = (*header.msg_name.cast::<libc::sockaddr_storage>()).ss_family;
        match i32::from(family) {
            libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
                let name = &*header.msg_name.cast::<libc::sockaddr_in>();
                let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
                let name = &*header.msg_name.cast::<libc::sockaddr_in6>();
                let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                let port = u16::from_be(name.sin6_port);
                Some(SocketAddrV6::new(address, port, name.sin6_flowinfo, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// An address as the kernel takes it.
fn sockaddr(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    let address = socket2::SockAddr::from(address);
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let length = address.len() as usize;
    // SAFETY: the source is `length` readable bytes, which a sockaddr_storage has room for; the rest stays zero, and any
    // bytes are a sockaddr_storage.
    unsafe {
        ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), storage.as_mut_ptr().cast::<u8>(), length);
        (storage.assume_init(), address.len())
    }
}

/// Puts beside a message which of our addresses it leaves from, and the size of a train's datagrams.
fn tell(message: &mut libc::msghdr, control: &mut Control, path: Option<&Path>, segment: usize) {
    let mut used = 0;
    if let Some(path) = path {
        match path.local {
            IpAddr::V4(local) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(local).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                push(control, &mut used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V6(local) => {
                let interface = if local.is_unicast_link_local() { path.interface } else { 0 };
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: local.octets() },
                    ipi6_ifindex: interface as _,
                };
                push(control, &mut used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
    }
    if let Ok(segment @ 1..) = u16::try_from(segment) {
        push(control, &mut used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    if used > 0 {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = used as _;
    }
}

/// Appends one control message.
fn push<T>(control: &mut Control, used: &mut usize, level: libc::c_int, kind: libc::c_int, value: T) {
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (length, space) = unsafe {
        let size = size_of::<T>() as u32;
        (libc::CMSG_LEN(size), libc::CMSG_SPACE(size) as usize)
    };
    assert!(*used + space <= CONTROL_BYTES, "an address and a size fit into the control block");
    let header = libc::cmsghdr { cmsg_len: length as _, cmsg_level: level, cmsg_type: kind };
    let room = control.0[*used..*used + space].as_mut_ptr();
    // SAFETY: `room` is `space` bytes, enough for the header, aligned as it must be, and the value behind it; the writes
    // ask for no alignment.
    unsafe {
        ptr::write_unaligned(room.cast(), header);
        ptr::write_unaligned(libc::CMSG_DATA(room.cast()).cast(), value);
    }
    *used += space;
}
