//! A [`Place`]: a directory of its own for a test, with manifests, settings, state and ports; and a [`Daemon`] in it.
//!
//! Never starts a daemon that could change the kernel, and never leaves one behind.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::http;

/// `nobody`: what a daemon runs as when the tests run as root.
const NOBODY: u32 = 65534;
/// How long a process may take to start or to end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a change may take to be seen.
const CHANGE: Duration = Duration::from_secs(5);
const CAP_NET_ADMIN: u32 = 12;
const BUILT: &str = env!("CARGO_BIN_EXE_tidegate");

/// A directory for a test, and the ports it may use.
pub struct Place {
    dir: TempDir,
    binary: PathBuf,
    /// A free port for the Gateway.
    pub port: u16,
    /// Its admin address.
    pub admin: SocketAddr,
}

impl Place {
    /// An empty place, with settings that name its `stateDir` and nothing else.
    pub fn new() -> Place {
        let dir = TempDir::with_prefix("tidegate-test-").unwrap();
        fs::create_dir(dir.path().join("manifests")).unwrap();
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut binary = PathBuf::from(BUILT);
        if !is_reachable() {
            binary = dir.path().join("tidegate");
            fs::hard_link(BUILT, &binary).or_else(|_| fs::copy(BUILT, &binary).map(drop)).unwrap();
        }
        let place =
            Place { dir, binary, port: free_port(), admin: (Ipv4Addr::LOCALHOST, free_port()).into() };
        place.settings("");
        place
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory of manifests, as typed on a command line.
    pub fn manifests(&self) -> String {
        self.path("manifests").display().to_string()
    }

    /// Puts a manifest in place by a rename, as editors and configuration tools do.
    pub fn put(&self, name: &str, text: &str) {
        let draft = self.path("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.path("manifests").join(name)).unwrap();
    }

    /// Removes a manifest.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path("manifests").join(name)).unwrap();
    }

    /// Writes the bootstrap file: `stateDir` in line 1, then `more`.
    pub fn settings(&self, more: &str) {
        let state = self.path("state");
        fs::write(self.path("tidegate.yaml"), format!("stateDir: {}\n{more}", state.display())).unwrap();
    }

    /// Writes a file that only the daemon can read.
    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path
    }

    /// Runs `tidegate` with these arguments until it ends; the admin address is this place's.
    pub fn tidegate(&self, arguments: &[&str]) -> Answer {
        let mut command = self.command();
        command.args(arguments);
        Answer::of(command)
    }

    /// The same with a reader that has gone; what it complains of.
    pub fn closed_pipe(&self, arguments: &[&str]) -> String {
        let mut command = self.command();
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let complaint = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        child.wait().unwrap();
        complaint
    }

    /// The binary without rights, and with this place's admin address.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        if is_root() {
            // Also leaves every supplementary group; the change of user drops all capabilities.
            command.uid(NOBODY).gid(NOBODY);
        }
        command.env_remove("TIDEGATE_LOG").current_dir(self.dir.path());
        command.arg("--admin").arg(self.admin.to_string());
        command
    }

    /// `tidegate check` of its manifests.
    pub fn check(&self) -> Answer {
        self.tidegate(&["check", &self.manifests()])
    }

    /// Runs `tidegate run` where it must refuse to start.
    pub fn refused(&self, arguments: &[&str]) -> Answer {
        self.tidegate(&[&["run"], arguments].concat())
    }

    /// Starts the daemon here and waits until it is ready.
    pub fn start(self) -> Daemon {
        self.start_as(&["--node", "gw1"])
    }

    /// The same with other arguments.
    pub fn start_as(self, arguments: &[&str]) -> Daemon {
        let child = self.run(arguments, "log");
        let mut daemon = Daemon { child, place: self };
        daemon.must_be_harmless();
        let deadline = Instant::now() + PATIENCE;
        while !http::get(daemon.place.admin, "localhost", "/readyz").is_ok_and(|answer| answer.status == 200)
        {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "not ready: {ended:?}\n{}", daemon.log());
            pause();
        }
        daemon
    }
}

impl Place {
    /// Starts a daemon that logs to a file of this name, and waits for nothing.
    pub fn run(&self, arguments: &[&str], log: &str) -> Child {
        let log = File::options().create(true).append(true).open(self.path(log)).unwrap();
        let mut command = self.command();
        command.args(["run", "--config", "tidegate.yaml", "--manifests", &self.manifests()]);
        command.env("NOTIFY_SOCKET", self.path("notify"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    }
}

/// A daemon that runs; it is killed when dropped.
pub struct Daemon {
    /// Where.
    pub place: Place,
    child: Child,
}

impl Daemon {
    /// Asks its Gateway.
    pub fn get(&self, host: &str, path: &str) -> http::Answer {
        let address = (Ipv4Addr::LOCALHOST, self.place.port).into();
        http::get(address, host, path).unwrap_or_else(|error| panic!("{host}{path}: {error}\n{}", self.log()))
    }

    /// Asks its admin address.
    pub fn admin(&self, path: &str) -> http::Answer {
        http::get(self.place.admin, "localhost", path).unwrap()
    }

    /// `tidegate status -o json`; it must exit with 0.
    pub fn status(&self) -> Value {
        let answer = self.place.tidegate(&["status", "-o", "json"]);
        assert_eq!(answer.code, Some(0), "{}", answer.err);
        serde_json::from_str(&answer.out).unwrap()
    }

    /// The object of this kind and name in the status.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        let status = self.status();
        let objects = status["objects"].as_array().unwrap();
        let found = objects.iter().find(|object| object["kind"] == kind && object["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name} in {status:#}")).clone()
    }

    /// What it logged so far, access log included.
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.path("log")).unwrap()
    }

    /// Waits, within bounds, until `seen` says something.
    pub fn eventually<T>(&self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + CHANGE;
        loop {
            if let Some(found) = seen() {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            pause();
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Another process takes over from it, under the same log; the one before, which may still drain.
    pub fn hand_over(&mut self) -> Child {
        let next = self.place.run(&["--node", "gw1", "--takeover"], "log");
        let pid = next.id();
        let before = std::mem::replace(&mut self.child, next);
        let took = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let says = line["message"].as_str().is_some_and(|text| text.starts_with("took over"));
            says && line["pid"] == before.id()
        };
        self.eventually(&format!("{pid} takes over"), || self.log().lines().any(took).then_some(()));
        before
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        ended(&mut self.child).unwrap_or_else(|| panic!("it does not end\n{}", self.log()))
    }

    fn must_be_harmless(&self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
        assert_eq!(effective & (1 << CAP_NET_ADMIN), 0, "the daemon could change this machine's kernel");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// Exit status; nothing if it did not end by itself.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    fn of(mut command: Command) -> Answer {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        // A daemon that starts where it should not must not outlive its test.
        let (done, over) = std::sync::mpsc::channel::<()>();
        let guard = std::thread::spawn(move || {
            if over.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
        let err = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        drop(done);
        guard.join().unwrap();
        let Output { status, .. } = child.wait_with_output().unwrap();
        Answer { code: status.code(), out, err }
    }

    /// Must have ended with this exit status.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Answer {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// Must have printed this line.
    #[track_caller]
    pub fn prints(&self, line: &str) -> &Answer {
        assert!(self.out.lines().any(|printed| printed == line), "no line {line:?} in\n{}", self.out);
        self
    }

    /// Must have complained in this one line.
    #[track_caller]
    pub fn complains(&self, line: &str) -> &Answer {
        assert_eq!(self.err, format!("tidegate: {line}\n"));
        self
    }
}

/// How a process ended by itself; none if it did not in time.
pub fn ended(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || Instant::now() > deadline {
            return status;
        }
        pause();
    }
}

pub fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether others than root may reach the binary where it was built.
fn is_reachable() -> bool {
    static REACHABLE: OnceLock<bool> = OnceLock::new();
    let tried = || Command::new(BUILT).uid(NOBODY).gid(NOBODY).arg("version").output();
    *REACHABLE.get_or_init(|| !is_root() || tried().is_ok())
}

/// A port that nothing uses, below those the kernel gives to clients, and each only once: two daemons of one user could
/// share a port unnoticed.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_240;
    const COUNT: u16 = 20_000;
    let offset = (std::process::id() as u16).wrapping_mul(61);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + offset.wrapping_add(step) % COUNT;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}
