//! One daemon for one `stateDir`, and one for one kernel: locks that are given back when their last holder dies, however it
//! dies. Both are descriptors, and travel to the process that takes over.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// Held for as long as it lives.
#[derive(Debug)]
pub struct StateLock(File);

impl StateLock {
    /// Creates `directory` (mode 0700) if need be, and takes its lock.
    pub fn take(directory: &Path) -> Result<StateLock> {
        let shown = directory.display();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).with_context(|| {
            format!("stateDir {shown} cannot be created; name another in the file of --config")
        })?;
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(path(directory));
        let file = file.with_context(|| {
            format!("stateDir {shown} is not writable; name another in the file of --config")
        })?;
        match file.try_lock() {
            Ok(()) => Ok(StateLock(file)),
            Err(TryLockError::WouldBlock) => {
                bail!("another tidegate runs on stateDir {shown}; stop it first, or name another stateDir")
            }
            Err(TryLockError::Error(error)) => bail!("stateDir {shown} cannot be locked: {error}"),
        }
    }

    /// The lock that another process held, if it is that of `directory`.
    pub fn inherit(directory: &Path, fd: OwnedFd) -> Result<StateLock> {
        let file = File::from(fd);
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = std::fs::metadata(path(directory)).map(identity);
        let shown = directory.display();
        ensure!(
            ours.is_ok_and(|ours| file.metadata().map(identity).is_ok_and(|theirs| theirs == ours)),
            "the lock that was handed over is not that of stateDir {shown}"
        );
        Ok(StateLock(file))
    }

    /// Another descriptor of it; the lock is given back with the last.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("lock")
}

/// Held by whoever programs the kernel of this network namespace, whatever its `stateDir`: two would undo each other's
/// work, and pods would leave with their own addresses in between.
#[derive(Debug)]
pub struct KernelLock(OwnedFd);

impl KernelLock {
    /// Takes it: an abstract socket, whose name is known in this network namespace only.
    pub fn take() -> Result<KernelLock> {
        let name = SocketAddr::from_abstract_name("tidegate/kernel")?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(KernelLock(listener.into())),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bail!("another tidegate programs the kernel of this network namespace; stop it first")
            }
            Err(error) => Err(error).context("the lock on the kernel cannot be taken"),
        }
    }

    /// The lock that another process held.
    pub fn inherit(fd: OwnedFd) -> KernelLock {
        KernelLock(fd)
    }

    /// Another descriptor of it; the lock is given back with the last.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock that was passed on is held until its last holder is gone, and one of another directory is not accepted.
    #[test]
    fn a_lock_travels() {
        let (place, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = StateLock::take(place.path()).unwrap();
        let fd = first.duplicate().unwrap();
        let _elsewhere = StateLock::take(other.path()).unwrap();
        assert!(StateLock::inherit(other.path(), first.duplicate().unwrap()).is_err());
        let second = StateLock::inherit(place.path(), fd).unwrap();
        drop(first);
        assert!(StateLock::take(place.path()).is_err());
        drop(second);
        assert!(StateLock::take(place.path()).is_ok());
    }
}
