//! One end of a channel: messages and descriptors, each call with a limit to its time.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect,
    recvmsg, sendmsg, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::listener::Listener;
use crate::message::{DESCRIPTORS_MAX, MESSAGE_BYTES_MAX, Message};

/// What went wrong on a channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other process has closed it, or ended.
    #[error("the other process has ended")]
    Ended,
    /// Nothing came, or nothing could be sent, for so long.
    #[error("no answer from the other process for {} s", .0.as_secs())]
    Silent(Duration),
    /// What came is no message.
    #[error("the other process sent what is no message: {0}")]
    Malformed(String),
    /// What came was not expected now.
    #[error("the other process sent {found} where {expected} was expected")]
    Unexpected {
        /// What was expected.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// The other process does not hand over.
    #[error("it does not hand over: {0}")]
    Refused(String),
    /// Somebody else asked, who was given precedence.
    #[error("another process asks in its place")]
    Superseded,
    /// The kernel's answer.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// One end of a channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Connects to who hands over at `path`.
    ///
    /// # Errors
    /// The kernel's: nobody listens there, or it is another user's.
    pub fn connect(path: &Path) -> io::Result<Channel> {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Channel(fd))
    }

    /// The end that this descriptor is.
    pub fn new(fd: OwnedFd) -> Channel {
        Channel(fd)
    }

    /// Another descriptor of this end.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    /// Sends a message with its descriptors, which stay open here.
    ///
    /// # Errors
    /// The other end is gone, or takes nothing for `limit`; or it is longer than a message may be.
    pub fn send(
        &self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<(), ChannelError> {
        let bytes = message.encode().map_err(ChannelError::Malformed)?;
        setsockopt(&self.0, SendTimeout, &time(limit)).map_err(io::Error::from)?;
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let slices = [IoSlice::new(&bytes)];
        loop {
            match sendmsg::<()>(self.0.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(ChannelError::Silent(limit)),
                Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => return Err(ChannelError::Ended),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Waits for something to receive, but not while another process asks at `listener`: who asks later is given precedence.
    ///
    /// # Errors
    /// Somebody else asks; or nothing comes for `limit`.
    pub fn wait(&self, listener: &Listener, limit: Duration) -> Result<(), ChannelError> {
        let deadline = Instant::now() + limit;
        loop {
            let mut both = [&self.0.as_fd(), &listener.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(&mut both, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Err(ChannelError::Silent(limit)),
                Ok(_) if both[0].any().unwrap_or(true) => return Ok(()),
                Ok(_) => return Err(ChannelError::Superseded),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Sends things in batches, a message for each, with a descriptor for each.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_all<T: Clone>(
        &self,
        things: &[(T, OwnedFd)],
        message: impl Fn(Vec<T>) -> Message,
        limit: Duration,
    ) -> Result<(), ChannelError> {
        for batch in things.chunks(DESCRIPTORS_MAX) {
            let fds: Vec<_> = batch.iter().map(|(_, fd)| fd.as_fd()).collect();
            self.send(&message(batch.iter().map(|(thing, _)| thing.clone()).collect()), &fds, limit)?;
        }
        Ok(())
    }

    /// The next message and its descriptors.
    ///
    /// # Errors
    /// The other end is gone, says nothing for `limit`, or sends what is no message.
    pub fn receive(&self, limit: Duration) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        setsockopt(&self.0, ReceiveTimeout, &time(limit)).map_err(io::Error::from)?;
        // One byte more than there may be, so that what is too long shows.
        let mut bytes = vec![0; MESSAGE_BYTES_MAX + 1];
        let mut control = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let (length, fds, whole) = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                Ok(received) => {
                    let whole = !received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                    let length = received.bytes;
                    let fds = received.cmsgs().map(|messages| messages.flat_map(own).collect::<Vec<_>>());
                    break (length, fds.unwrap_or_default(), whole);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(ChannelError::Silent(limit)),
                Err(Errno::ECONNRESET | Errno::ENOTCONN) => return Err(ChannelError::Ended),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        };
        if length == 0 && fds.is_empty() {
            return Err(ChannelError::Ended);
        }
        if !whole {
            return Err(ChannelError::Malformed("more than a message may hold".into()));
        }
        let message = Message::decode(&bytes[..length], fds.len()).map_err(ChannelError::Malformed)?;
        match message {
            Message::Refused { reason } => Err(ChannelError::Refused(reason)),
            message => Ok((message, fds)),
        }
    }

    /// The next message, which must be this one and has no descriptors.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and when it is another.
    pub fn expect(&self, expected: &Message, limit: Duration) -> Result<(), ChannelError> {
        match self.receive(limit)? {
            (message, _) if message == *expected => Ok(()),
            (message, _) => {
                Err(ChannelError::Unexpected { expected: expected.name(), found: message.name() })
            }
        }
    }
}

/// Descriptors of a control message, owned before anything can go wrong.
fn own(message: ControlMessageOwned) -> Vec<OwnedFd> {
    let ControlMessageOwned::ScmRights(fds) = message else { return Vec::new() };
    // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows them.
    fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// At least a millisecond: none would mean for ever.
fn time(limit: Duration) -> TimeVal {
    TimeVal::milliseconds(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX / 1_000_000).max(1))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use nix::sys::socket::socketpair;
    use tidegate_model::handover::Listening;
    use tidegate_model::traffic::Transport;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Channel, Channel) {
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        (Channel(one), Channel(other))
    }

    /// A listening socket arrives as the socket it was, with who waits in its queue.
    #[test]
    fn a_queue_travels() {
        let (one, other) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = TcpStream::connect(address).unwrap();
        waiting.write_all(b"here").unwrap();
        let label = Listening { transport: Transport::Tcp, address, number: 1 };
        one.send(&Message::Sockets(vec![label]), &[listener.as_fd()], SOON).unwrap();
        drop(listener);
        let (message, fds) = other.receive(SOON).unwrap();
        assert_eq!(message, Message::Sockets(vec![label]));
        let listener = TcpListener::from(fds.into_iter().next().unwrap());
        let mut text = [0; 4];
        listener.accept().unwrap().0.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"here");
    }

    /// More sockets than a message holds come in several.
    #[test]
    fn batches() {
        let (one, other) = pair();
        let address = ([127, 0, 0, 1], 80).into();
        let label = |number| Listening { transport: Transport::Tcp, address, number };
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let things: Vec<_> = (0..100).map(|number| (label(number), null())).collect();
        let sender = std::thread::spawn(move || one.send_all(&things, Message::Sockets, SOON));
        let mut seen = 0;
        while seen < 100 {
            let (Message::Sockets(labels), fds) = other.receive(SOON).unwrap() else { panic!("sockets") };
            assert!(labels.len() <= DESCRIPTORS_MAX && fds.len() == labels.len());
            assert_eq!(labels[0].number, seen);
            seen += labels.len() as u64;
        }
        sender.join().unwrap().unwrap();
    }

    /// An end that is gone, one that is silent, a message that lacks a descriptor, and one that is no message are told apart.
    #[test]
    fn what_goes_wrong() {
        let (one, other) = pair();
        assert!(matches!(other.receive(Duration::from_millis(10)), Err(ChannelError::Silent(_))));
        let label = Listening { transport: Transport::Tcp, address: ([127, 0, 0, 1], 80).into(), number: 1 };
        one.send(&Message::Sockets(vec![label]), &[], SOON).unwrap();
        assert!(matches!(other.receive(SOON), Err(ChannelError::Malformed(_))));
        nix::sys::socket::send(one.0.as_raw_fd(), b"nonsense", MsgFlags::empty()).unwrap();
        assert!(matches!(other.receive(SOON), Err(ChannelError::Malformed(_))));
        nix::sys::socket::send(one.0.as_raw_fd(), &[b' '; MESSAGE_BYTES_MAX + 9], MsgFlags::empty()).unwrap();
        assert!(matches!(other.receive(SOON), Err(ChannelError::Malformed(_))));
        one.send(&Message::Prepared, &[], SOON).unwrap();
        let unexpected = other.expect(&Message::Complete, SOON);
        assert!(matches!(unexpected, Err(ChannelError::Unexpected { found: "Prepared", .. })));
        one.send(&Message::Refused { reason: "not now".into() }, &[], SOON).unwrap();
        assert!(matches!(other.receive(SOON), Err(ChannelError::Refused(reason)) if reason == "not now"));
        drop(one);
        assert!(matches!(other.receive(SOON), Err(ChannelError::Ended)));
        assert!(matches!(other.send(&Message::Taken, &[], SOON), Err(ChannelError::Ended)));
    }
}
