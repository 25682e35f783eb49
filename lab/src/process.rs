//! A process of a lab: started inside a namespace, in a group of its own, with its output in a file. A foreground lab's
//! process dies with the lab, whatever kills it. Nothing is ever ended by name.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::netns::Netns;

/// How long a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as this process; the kernel sees to it. Start such a process from the main thread only: the kernel
    /// watches the thread that started it.
    Foreground,
    /// Until `lab down`.
    Standing,
}

/// A running process and its group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    lifetime: Lifetime,
}

impl Process {
    /// Starts a program inside a namespace; standard output and error are appended to `log`.
    pub fn start(ns: &Netns, name: &str, argv: &[String], log: &Path, lifetime: Lifetime) -> Result<Process> {
        let (program, args) = argv.split_first().context("an empty command")?;
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = ns.command(program)?;
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let parent = std::process::id() as libc::pid_t;
        // SAFETY: between fork and exec only prctl(2) and getppid(2), bare system calls, run.
        unsafe {
            command.pre_exec(move || {
                if lifetime == Lifetime::Foreground {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    if libc::getppid() != parent {
                        return Err(std::io::Error::other("the lab is gone"));
                    }
                }
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("starting {program} in {}", ns.name()))?;
        Ok(Process { name: name.to_owned(), child, log: log.to_owned(), lifetime })
    }

    /// Its process id, which is also its group's.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// An error with the end of its log if it runs no more.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended ({status}); the end of its log:\n{}", self.name, tail(&self.log, 2000))
            }
        }
    }

    /// Asks it to end, waits, and kills it after `patience`. Whether it went by itself.
    pub fn stop(mut self, patience: Duration) -> bool {
        let _ = self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + patience;
        while self.alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        !self.alive()
    }

    /// Kills it and its group at once (SIGKILL), and reaps it.
    pub fn kill(mut self) {
        self.end();
    }

    /// Sends a signal to its group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        killpg(Pid::from_raw(self.pid()), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    fn end(&mut self) {
        let _ = self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Foreground {
            self.end();
        }
    }
}

/// Ids of all processes inside any of these namespaces, this one excepted.
pub fn inside(namespaces: &[Netns]) -> Vec<i32> {
    use std::os::unix::fs::MetadataExt;
    let wanted: Vec<_> = namespaces.iter().filter_map(|ns| ns.identity().ok()).collect();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_inside = |pid: &i32| {
        std::fs::metadata(format!("/proc/{pid}/ns/net"))
            .is_ok_and(|meta| wanted.contains(&(meta.dev(), meta.ino())))
    };
    pids.filter(|pid| *pid != std::process::id() as i32).filter(is_inside).collect()
}

/// The last bytes of a file, as text.
pub fn tail(path: &Path, bytes: u64) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(bytes)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_default()
}
