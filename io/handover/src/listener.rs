//! The socket at which the next process asks for a hand-over.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen, socket,
};
use nix::unistd::geteuid;

use crate::channel::Channel;

/// Who may wait to be heard; more are refused by the kernel.
const BACKLOG: i32 = 4;

/// A listening socket of the file system; mode 0600.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens at `path`, in the place of whatever is there: whoever calls holds the lock of the directory.
    ///
    /// # Errors
    /// The kernel's; a path of more than 107 bytes is too long for a socket (unix(7)).
    pub fn bind(path: &Path) -> io::Result<Listener> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        // The directory is ours alone (0700); this is for one that was made otherwise. Nobody is heard before `listen`.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listen(&fd, Backlog::new(BACKLOG)?)?;
        Ok(Listener(fd))
    }

    /// One that another process opened.
    pub fn inherit(fd: OwnedFd) -> Listener {
        Listener(fd)
    }

    /// Another descriptor of it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    /// Waits for one of the same user, or root, and says which process it is. Others are closed without a word.
    ///
    /// # Errors
    /// The kernel's.
    pub fn accept(&self) -> io::Result<(Channel, u32)> {
        loop {
            let fd = match accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
                Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::ECONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            let who = getsockopt(&fd, PeerCredentials)?;
            if who.uid() == geteuid().as_raw() || who.uid() == 0 {
                return Ok((Channel::new(fd), u32::try_from(who.pid()).unwrap_or(0)));
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Message;

    /// A socket is this user's alone, takes the place of one that was left behind, and says who connects.
    #[test]
    fn binds_and_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        drop(Listener::bind(&path).unwrap());
        assert!(Channel::connect(&path).is_err(), "nobody listens there any more");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let client = Channel::connect(&path).unwrap();
        let (server, pid) = listener.accept().unwrap();
        assert_eq!(pid, std::process::id());
        client.send(&Message::TakeOver, &[], Duration::from_secs(5)).unwrap();
        server.expect(&Message::TakeOver, Duration::from_secs(5)).unwrap();
    }
}
