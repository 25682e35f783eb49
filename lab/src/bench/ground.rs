//! Where a bench happens: a network namespace of this process's own, a directory in memory, one core for the proxy and
//! one for everything else, a certificate. Nothing of it outlives the process.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::routes::DOMAIN;
use crate::certificates::self_signed;

/// In memory, so that no disk is measured; the process id follows.
const HOMES: &str = "/dev/shm/tidegate-bench-";

/// Directories of this process.
static MINE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The prepared ground.
pub struct Ground {
    dir: PathBuf,
    program: PathBuf,
    /// The core of the proxy under test.
    pub proxy_core: usize,
    /// The core of load and origin.
    pub load_core: usize,
}

impl Ground {
    /// Leaves the machine's network for an empty one and makes the directory. Call from the main thread: what it
    /// starts later inherits both.
    pub fn prepare(program: PathBuf) -> Result<Ground> {
        Ground::with(program, &["nginx", "haproxy", "wrk", "h2load", "nghttp", "openssl", "curl", "ip"])
    }

    /// The same, for what needs only these programs.
    pub fn with(program: PathBuf, programs: &[&str]) -> Result<Ground> {
        need(programs)?;
        let (proxy_core, load_core) = cores()?;
        raise_descriptors()?;
        unshare(CloneFlags::CLONE_NEWNET).context("the bench needs root: it makes a network namespace")?;
        run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        // New connections by the ten thousand must find ports; listeners stand below the range.
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "16384 65500")?;
        fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1")?;
        fs::write("/proc/sys/net/core/somaxconn", "8192")?;
        remove_orphans();
        let dir = PathBuf::from(format!("{HOMES}{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
        mine().push(dir.clone());
        let ground = Ground { dir, program, proxy_core, load_core };
        pin(load_core)?;
        // Whatever else this machine does disturbs less. Not vital, and the same for all.
        // SAFETY: setpriority(2) takes three integers and touches no memory of ours.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -10) };
        ground.certify()?;
        Ok(ground)
    }

    /// A path below the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file below the directory.
    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Tidegate.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A P-256 certificate for every host of the bench: `tls.crt` and `tls.key`, and both in `tls.pem`.
    fn certify(&self) -> Result<()> {
        let names = format!("DNS:*.{DOMAIN},IP:127.0.0.1");
        let (certificate, key) =
            self_signed(&format!("*.{DOMAIN}"), &names, &self.path("tls.crt"), &self.path("tls.key"))?;
        let both = certificate + &key;
        self.put("tls.pem", both).map(|_| ())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        mine().retain(|dir| *dir != self.dir);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes the directories of this process: for the end by a signal. Its daemons end with it, by the kernel's hand.
pub fn remove_mine() {
    for dir in mine().drain(..) {
        let _ = fs::remove_dir_all(dir);
    }
}

/// Directories whose process was killed outright.
fn remove_orphans() {
    let Ok(entries) = fs::read_dir("/dev/shm") else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let pid = path.to_str().and_then(|path| path.strip_prefix(HOMES)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn mine() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    MINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs a command to its end; its standard output, or an error with what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    // SAFETY: between fork and exec only prctl(2), a bare system call, runs: generators die with the bench.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {name}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{name}: {} {}{}", output.status, out.trim(), err.trim());
    }
    Ok(out.into_owned())
}

fn need(programs: &[&str]) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &&&str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing: Vec<_> = programs.iter().filter(|program| !found(program)).copied().collect();
    ensure!(
        missing.is_empty(),
        "not installed: {}; `make packages` installs what is needed",
        missing.join(", ")
    );
    Ok(())
}

/// The first two cores that this process may use.
fn cores() -> Result<(usize, usize)> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    match (cores.next(), cores.next()) {
        (Some(first), Some(second)) => Ok((first, second)),
        _ => bail!("two cores are needed: one for the proxy, one for load and origin"),
    }
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("pinning this process")
}

fn raise_descriptors() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(hard >= 10_000, "{hard} open files at most; the bench needs 10,000");
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard.min(20_000), hard)?)
}
