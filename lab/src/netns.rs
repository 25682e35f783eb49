//! A network namespace with a name, as `ip netns` knows it: how to make one, enter it and run something inside.
//! It never touches the namespace that the lab itself was started in.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps its names.
pub const NAMES: &str = "/run/netns";

/// A named network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Netns(String);

impl Netns {
    /// The namespace of a host of a lab.
    pub fn of(lab: &str, host: &str) -> Netns {
        Netns(format!("{}{host}", prefix(lab)))
    }

    /// Its name, as `ip netns exec NAME` takes it.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// An open handle, for `setns`.
    pub fn open(&self) -> Result<File> {
        let path = PathBuf::from(NAMES).join(&self.0);
        File::open(&path).with_context(|| format!("namespace {} is not there", self.0))
    }

    /// Device and inode: the same for every process inside.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let meta = self.open()?.metadata()?;
        Ok((meta.dev(), meta.ino()))
    }

    /// Moves the calling thread inside, for good.
    pub fn enter(&self) -> Result<()> {
        setns(self.open()?, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {}", self.0))
    }

    /// Runs `work` on a thread of its own inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Result<Command> {
        let handle = self.open()?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only setns(2), a bare system call, runs; the handle lives in the closure.
        unsafe {
            command.pre_exec(move || match libc::setns(handle.as_raw_fd(), libc::CLONE_NEWNET) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        Ok(command)
    }

    /// Runs a command inside to its end; its standard output, or an error with its standard error.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = self.command(program)?.args(args).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("running {program} in {}", self.0))?;
        if !output.status.success() {
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("{program} {} in {}: {} {out}{err}", args.join(" "), self.0, output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs lines of `ip` inside, as one process.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        ip_batch(&["-n", &self.0], lines)
    }

    /// Writes settings below `/proc/sys/net`, given as `ipv4/ip_forward`.
    pub fn sysctl(&self, settings: &[(String, &str)]) -> Result<()> {
        self.inside(|| {
            for (key, value) in settings {
                let path = format!("/proc/sys/net/{key}");
                std::fs::write(&path, value)
                    .with_context(|| format!("writing {value} to {path} in {}", self.0))?;
            }
            Ok(())
        })
    }
}

/// Makes namespaces, all at once.
pub fn create(namespaces: &[Netns]) -> Result<()> {
    ip_batch(&[], &namespaces.iter().map(|ns| format!("netns add {}", ns.0)).collect::<Vec<_>>())
}

/// Every namespace of a lab that has a name now.
pub fn of_lab(lab: &str) -> Vec<Netns> {
    let Ok(entries) = std::fs::read_dir(NAMES) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&prefix(lab))).map(Netns).collect()
}

/// Removes namespaces; what is inside goes with them.
pub fn remove(namespaces: &[Netns]) -> Result<()> {
    ip_batch(&["-force"], &namespaces.iter().map(|ns| format!("netns del {}", ns.0)).collect::<Vec<_>>())
}

fn prefix(lab: &str) -> String {
    format!("tg-{lab}-")
}

fn ip_batch(options: &[&str], lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("ip");
    command.args(options).args(["-batch", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("a pipe was asked for")?;
    stdin.write_all((lines.join("\n") + "\n").as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip {} failed: {}", options.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
