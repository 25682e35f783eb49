//! A process on a core of its own: a proxy under test, or the origin. It dies with the bench, whatever ends that, and
//! is ended by the id it was started with.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::process::tail;

/// Linux numbers of the capabilities that a daemon is started without: CAP_NET_ADMIN and CAP_NET_RAW.
const WITHHELD: [libc::c_ulong; 2] = [12, 13];

/// A running daemon of one process.
pub struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program that stays in the foreground. Call from the main thread only: the kernel ends the daemon with
    /// the thread that started it. It may bind ports and change nothing in the kernel.
    pub fn start(name: &'static str, mut command: Command, core: usize, log: PathBuf) -> Result<Daemon> {
        let file = File::create(&log)?;
        let mut set = CpuSet::new();
        set.set(core)?;
        let parent = std::process::id() as libc::pid_t;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // SAFETY: between fork and exec only prctl(2), sched_setaffinity(2) and getppid(2), bare system calls, run.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                WITHHELD.iter().for_each(|capability| {
                    libc::prctl(libc::PR_CAPBSET_DROP, *capability);
                });
                sched_setaffinity(Pid::from_raw(0), &set)?;
                if libc::getppid() == parent {
                    Ok(())
                } else {
                    Err(std::io::Error::other("the bench is gone"))
                }
            });
        }
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Daemon { name, child, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log if it runs no more.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}): {}", self.name, tail(&self.log, 2000).trim()),
        }
    }

    /// CPU time of all its threads, nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let on_cpu = text.split_whitespace().next().context("an empty schedstat")?;
            sum += on_cpu.parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
