//! One daemon for one `stateDir`, and one for one kernel: locks that are given back when their holder dies, however it
//! dies.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held for as long as it lives.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "kept for its Drop")] Flock<File>);

impl StateLock {
    /// Creates `directory` (mode 0700) if need be, and takes its lock.
    pub fn take(directory: &Path) -> Result<StateLock> {
        let shown = directory.display();
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).with_context(|| {
            format!("stateDir {shown} cannot be created; name another in the file of --config")
        })?;
        let path = directory.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| {
            format!("stateDir {shown} is not writable; name another in the file of --config")
        })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(StateLock(lock)),
            Err((_, Errno::EWOULDBLOCK)) => {
                bail!("another tidegate runs on stateDir {shown}; stop it first, or name another stateDir")
            }
            Err((_, error)) => bail!("stateDir {shown} cannot be locked: {error}"),
        }
    }
}

/// Held by whoever programs the kernel of this network namespace, whatever its `stateDir`: two would undo each other's
/// work, and pods would leave with their own addresses in between.
#[derive(Debug)]
pub struct KernelLock(#[expect(dead_code, reason = "kept open for as long as it lives")] UnixListener);

impl KernelLock {
    /// Takes it: an abstract socket, whose name is known in this network namespace only.
    pub fn take() -> Result<KernelLock> {
        let name = SocketAddr::from_abstract_name("tidegate/kernel")?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(KernelLock(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bail!("another tidegate programs the kernel of this network namespace; stop it first")
            }
            Err(error) => Err(error).context("the lock on the kernel cannot be taken"),
        }
    }
}
