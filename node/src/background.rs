//! `run --takeover --background`: starts the new process beside this one, waits until it serves, and ends with what became of
//! it. What `systemctl reload` needs: a command that returns, and fails where the hand-over fails.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Names the descriptor on which the new process says that it serves.
const READY_FD: &str = "TIDEGATE_READY_FD";

/// Starts the same command without `--background`, and waits.
pub fn run() -> Result<()> {
    let (mut told, tell) = std::io::pipe()?;
    fcntl(&tell, FcntlArg::F_SETFD(FdFlag::empty())).context("a pipe cannot be passed on")?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--background");
    let program = std::env::current_exe().context("this program cannot be found")?;
    let mut command = Command::new(program);
    command.args(arguments).env(READY_FD, tell.as_raw_fd().to_string()).stdin(Stdio::null());
    let mut child = command.spawn().context("the new process cannot be started")?;
    drop((tell, command));
    let mut word = [0; 1];
    if told.read(&mut word)? == 1 {
        return Ok(());
    }
    let status = child.wait()?;
    bail!("the new process has ended ({status}); the one that ran before runs on")
}

/// Says to whoever started this process in the background that it serves; to nobody, if it was not started so.
pub struct Starter(Option<File>);

impl Starter {
    /// The one named by the environment.
    pub fn of_environment() -> Starter {
        let pipe = || {
            let fd: u32 = std::env::var(READY_FD).ok()?.parse().ok()?;
            let pipe = File::options().write(true).open(format!("/proc/self/fd/{fd}")).ok()?;
            pipe.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()).then_some(pipe)
        };
        Starter(pipe())
    }

    /// This process serves.
    pub fn serves(&mut self) {
        if let Some(mut starter) = self.0.take() {
            // One that does not wait any more need not know.
            let _ = starter.write_all(b"1");
        }
    }
}
