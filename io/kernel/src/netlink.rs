//! A netlink socket for requests, and the bytes of messages: what `route`, `nft` and `monitor` are built on.
//!
//! The kernel handles a request inside `send`, so every answer is there when it returns: batches are sent, then
//! answers are drained without waiting. Blocking here means at most a dump. The socket belongs to the network
//! namespace of the thread that opened it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(crate) const ACK: u16 = 0x4;
/// `NLM_F_REPLACE`.
pub(crate) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub(crate) const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_DUMP`.
pub(crate) const DUMP: u16 = 0x300;

const DUMP_INTERRUPTED: u16 = 0x10;
const ACK_TLVS: u16 = 0x200;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER_LEN: usize = 16;
const NESTED: u16 = 0x8000;
const BUFFER_BYTES: usize = 16 << 20;
const READ_BYTES: usize = 256 << 10;
const DUMP_WAIT_SECS: i64 = 10;
const DUMP_TRIES: usize = 5;

/// One message under construction: header, fixed part, attributes.
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of a kind and flags, followed by the fixed header of its family.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self { bytes }
    }

    /// Appends an attribute. The value is under 64 KiB.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let at = self.begin(kind);
        self.bytes.extend_from_slice(value);
        self.end(at);
        self
    }

    /// Appends a string with its final zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let at = self.begin(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.end(at);
        self
    }

    /// Appends a number in network byte order, as nftables wants it.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a number in host byte order, as rtnetlink wants it.
    pub(crate) fn ne32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.begin(kind | NESTED);
        fill(self);
        self.end(at);
        self
    }

    /// Appends bytes as they are, inside an attribute (`rtnexthop`).
    pub(crate) fn raw(&mut self, value: &[u8]) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(value);
        at
    }

    /// Writes the distance from `at` to the end into the two bytes at `at`.
    pub(crate) fn close_raw(&mut self, at: usize) {
        let len = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn begin(&mut self, kind: u16) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    fn end(&mut self, at: usize) {
        self.close_raw(at);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn seal(&mut self, seq: u32, more_flags: u16) -> &[u8] {
        let len = self.bytes.len() as u32;
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | more_flags;
        self.bytes[0..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&seq.to_ne_bytes());
        &self.bytes
    }
}

/// A message that was received.
pub(crate) struct Received<'a> {
    /// Message type.
    pub(crate) kind: u16,
    /// Netlink port of the socket whose request caused it.
    pub(crate) port: u32,
    /// What follows the netlink header.
    pub(crate) payload: &'a [u8],
    flags: u16,
    seq: u32,
}

/// The messages in a datagram; stops at the first that is cut short.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let len = number(bytes.get(..4)?) as usize;
        let message = bytes.get(..len).filter(|_| len >= HEADER_LEN)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Received {
            kind: short(&message[4..6]),
            flags: short(&message[6..8]),
            seq: number(&message[8..12]),
            port: number(&message[12..16]),
            payload: &message[HEADER_LEN..],
        })
    })
}

/// The attributes in a block: type without its flag bits, and value; stops at the first that is cut short.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(short(bytes.get(..2)?));
        let kind = short(bytes.get(2..4)?) & 0x3fff;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// A host-order number of up to four bytes; short input counts as if it were padded.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    let len = bytes.len().min(4);
    word[..len].copy_from_slice(&bytes[..len]);
    u32::from_ne_bytes(word)
}

/// A network-order number of four bytes, 0 if it is not four bytes long.
pub(crate) fn big_endian(bytes: &[u8]) -> u32 {
    bytes.try_into().map(u32::from_be_bytes).unwrap_or(0)
}

/// A string without its final zero.
pub(crate) fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or(&[])).into_owned()
}

fn short(bytes: &[u8]) -> u16 {
    number(bytes) as u16
}

/// A message of a batch that the kernel refused.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Place of the message in the batch.
    pub(crate) index: usize,
    /// Why, with the kernel's own words if it gave any.
    pub(crate) error: io::Error,
}

/// A socket for requests.
pub(crate) struct Requests {
    socket: Socket,
    port: u32,
    seq: u32,
}

impl Requests {
    /// Opens a socket of a netlink protocol (0 routes, 12 netfilter).
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let (socket, port) = open(protocol, 0)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(DUMP_WAIT_SECS, 0))?;
        Ok(Self { socket, port, seq: 0 })
    }

    /// Our port: notifications caused by us carry it.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Sends messages in one datagram, the last one acknowledged, and returns those that were refused. An error is
    /// about the whole datagram.
    pub(crate) fn batch(&mut self, mut batch: Vec<Message>, acked: usize) -> io::Result<Vec<Refused>> {
        let first = self.seq.wrapping_add(1);
        let mut datagram = Vec::with_capacity(batch.iter().map(Message::len).sum());
        for (index, message) in batch.iter_mut().enumerate() {
            self.seq = self.seq.wrapping_add(1);
            let ack = if index == acked { ACK } else { 0 };
            datagram.extend_from_slice(message.seal(self.seq, ack));
        }
        self.socket.send(&datagram, 0)?;
        self.answers(first, batch.len(), acked)
    }

    fn answers(&mut self, first: u32, sent: usize, acked: usize) -> io::Result<Vec<Refused>> {
        let (mut refused, mut acknowledged) = (Vec::new(), false);
        let mut buffer = Vec::with_capacity(READ_BYTES);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            for answer in messages(&buffer).filter(|answer| answer.kind == ERROR) {
                let index = answer.seq.wrapping_sub(first) as usize;
                match failure(&answer) {
                    _ if index >= sent => {}
                    None => acknowledged |= index == acked,
                    Some(error) => refused.push(Refused { index, error }),
                }
            }
        }
        if refused.is_empty() && !acknowledged {
            return Err(io::Error::other("the kernel did not acknowledge"));
        }
        Ok(refused)
    }

    /// Asks one question and hands each message of the answer to `each`. A dump that a change interrupted is repeated,
    /// so `each` may see a message twice; `start` is called before every try.
    pub(crate) fn ask<T>(
        &mut self,
        mut question: Message,
        start: impl Fn() -> T,
        mut each: impl FnMut(&mut T, &Received<'_>),
    ) -> io::Result<T> {
        for _ in 0..DUMP_TRIES {
            self.seq = self.seq.wrapping_add(1);
            self.socket.send(question.seal(self.seq, 0), 0)?;
            let mut found = start();
            if self.collect(&mut |message| each(&mut found, message))? {
                return Ok(found);
            }
        }
        Err(io::Error::other("the kernel's state changed during every one of several dumps"))
    }

    /// True if the answer is whole.
    fn collect(&mut self, each: &mut dyn FnMut(&Received<'_>)) -> io::Result<bool> {
        let mut whole = true;
        let mut buffer = Vec::with_capacity(READ_BYTES);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            for answer in messages(&buffer).filter(|answer| answer.seq == self.seq) {
                whole &= answer.flags & DUMP_INTERRUPTED == 0;
                match answer.kind {
                    DONE => return Ok(whole),
                    ERROR => return failure(&answer).map_or(Ok(whole), Err),
                    _ => each(&answer),
                }
            }
        }
    }
}

/// What an error message says; none for an acknowledgement.
fn failure(answer: &Received<'_>) -> Option<io::Error> {
    let errno = -(number(answer.payload.get(..4)?) as i32);
    if errno == 0 {
        return None;
    }
    let error = io::Error::from_raw_os_error(errno);
    // NETLINK_CAP_ACK: only the header of the failed message comes back, then the kernel's words.
    let words = (answer.flags & ACK_TLVS != 0)
        .then(|| attributes(answer.payload.get(4 + HEADER_LEN..)?).find(|(kind, _)| *kind == 1))
        .flatten();
    Some(match words {
        Some((_, words)) => io::Error::new(error.kind(), format!("{} ({error})", string(words))),
        None => error,
    })
}

/// A socket that only listens to multicast groups (bit 0 is group 1), for use with `AsyncFd`.
pub(crate) struct Listener {
    socket: Socket,
}

impl Listener {
    /// Joins groups of a netlink protocol.
    pub(crate) fn open(protocol: isize, groups: u32) -> io::Result<Self> {
        let (socket, _) = open(protocol, groups)?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    /// Reads one datagram into `buffer`, which is emptied first.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        buffer.reserve(READ_BYTES);
        self.socket.recv(buffer, 0).map(|_| ())
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(protocol: isize, groups: u32) -> io::Result<(Socket, u32)> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, groups))?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    // Without CAP_NET_ADMIN the default sizes remain, which do for reading links.
    let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES);
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES);
    let mut own = SocketAddr::new(0, 0);
    socket.get_address(&mut own)?;
    Ok((socket, own.port_number()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes_and_nest() {
        let mut message = Message::new(7, 0, &[9, 9, 9, 9]);
        message.nest(2, |inner| {
            inner.attr(1, &[0xaa]).text(3, "ab");
        });
        let bytes = message.seal(5, ACK);
        assert_eq!(&bytes[..4], &40u32.to_ne_bytes());
        assert_eq!(short(&bytes[6..8]), REQUEST | ACK);
        assert_eq!(
            &bytes[20..],
            &[20, 0, 2, 0x80, 5, 0, 1, 0, 0xaa, 0, 0, 0, 7, 0, 3, 0, b'a', b'b', 0, 0],
            "on a little-endian machine"
        );
    }

    #[test]
    fn what_is_cut_short_is_not_read() {
        for len in 0..40usize {
            let mut bytes = vec![0u8; len];
            if len >= 4 {
                bytes[..4].copy_from_slice(&100u32.to_ne_bytes());
            }
            assert_eq!(messages(&bytes).count(), 0);
        }
        assert_eq!(attributes(&[3, 0, 0, 0]).count(), 0, "a length below its own header");
        assert_eq!(attributes(&[8, 0, 1, 0, 1, 2]).count(), 0);
    }
}
