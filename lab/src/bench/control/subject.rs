//! The gateway under measurement: how it is started, and what it takes of the machine; and a client that asks it again and
//! again who answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{SysconfVar, sysconf};

use crate::lab::Lab;
use crate::process::Process;

/// Nothing here takes as long; then it is broken.
const PATIENCE: Duration = Duration::from_secs(120);
/// Work of so little in a second is none.
const IDLE_CPU: Duration = Duration::from_millis(30);

/// A gateway that runs.
pub struct Subject {
    process: Process,
    state: PathBuf,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that it ever was.
    pub peak: u64,
}

impl Subject {
    /// Starts the program on `gw1`, reading what a kubeconfig leads to; the time until it said that it is ready.
    pub fn start(lab: &mut Lab, program: &Path, kubeconfig: &Path) -> Result<(Subject, Duration)> {
        let dir = lab.dir("gw1")?;
        let (config, state) = (dir.join("tidegate.yaml"), dir.join("state"));
        // The access log of a thousand requests a second is no part of what is measured.
        std::fs::write(&config, format!("stateDir: {}\naccessLog: {{output: \"off\"}}\n", state.display()))?;
        let argv = [
            program.display().to_string(),
            "run".into(),
            "--config".into(),
            config.display().to_string(),
            "--node".into(),
            "gw1".into(),
            "--kubeconfig".into(),
            kubeconfig.display().to_string(),
        ];
        let began = Instant::now();
        lab.start("gw1", "gw1", &argv)?;
        let until = Instant::now() + PATIENCE;
        while lab.ready("gw1").ok() != Some(200) {
            lab.check()?;
            ensure!(Instant::now() < until, "the gateway is not ready");
            std::thread::sleep(Duration::from_millis(2));
        }
        let ready = began.elapsed();
        Ok((Subject { process: lab.take("gw1")?, state }, ready))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// CPU time of all its threads, those that have ended too.
    pub fn cpu(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name in brackets may hold anything; fields are counted behind it.
        let fields = text.rsplit_once(')').context("a strange stat")?.1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
        Ok(Duration::from_secs_f64(ticks as f64 / second as f64))
    }

    /// What it takes of memory.
    pub fn memory(&self) -> Result<Memory> {
        memory(self.pid())
    }

    /// Waits until it has nothing left to do: statuses written, the snapshot on disk, memory given back.
    pub fn settle(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut calm = 0;
        while calm < 3 {
            let before = self.cpu()?;
            std::thread::sleep(Duration::from_secs(1));
            calm = if self.cpu()? - before <= IDLE_CPU { calm + 1 } else { 0 };
            self.process.check()?;
            ensure!(Instant::now() < until, "the gateway does not come to rest");
        }
        Ok(())
    }

    /// The snapshot on disk, and how many bytes it has.
    pub fn snapshot(&self) -> Result<(PathBuf, u64)> {
        let folder = std::fs::read_dir(self.state.join("snapshots"))?;
        let file = folder.flatten().find(|entry| entry.file_name().to_string_lossy().ends_with(".snapshot"));
        let file = file.context("no snapshot is on disk")?;
        Ok((file.path(), file.metadata()?.len()))
    }

    /// Ends it in good order.
    pub fn stop(self) -> Result<()> {
        ensure!(self.process.stop(Duration::from_secs(20)), "the gateway did not end");
        Ok(())
    }
}

/// Memory of a process.
pub fn memory(pid: i32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        anyhow::Ok(kib * 1024)
    };
    Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// A client that keeps its connection.
pub struct Asker {
    target: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Asker {
    /// Asks this address, from the namespace that the calling thread is in.
    pub fn new(target: SocketAddr) -> Asker {
        Asker { target, stream: None }
    }

    /// Which endpoint answers a request for a host and path.
    pub fn ask(&mut self, host: &str, path: &str) -> Result<Ipv4Addr> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.target)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        let (mut first, mut length, mut closes) = (String::new(), 0, false);
        stream.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            ensure!(stream.read_line(&mut line)? > 0, "the answer broke off");
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            length = line
                .strip_prefix("content-length:")
                .map_or(length, |value| value.trim().parse().unwrap_or(0));
            closes |= line == "connection: close";
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        if !closes {
            self.stream = Some(stream);
        }
        if !first.contains(" 200 ") {
            bail!("{host}{path}: {}", first.trim());
        }
        let answer: serde_json::Value = serde_json::from_slice(&body)?;
        Ok(answer["who"].as_str().unwrap_or_default().parse()?)
    }

    /// Asks until one of these answers; when its answer was there.
    pub fn until(&mut self, (host, path): (&str, &str), wanted: &[Ipv4Addr]) -> Result<Instant> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match self.ask(host, path) {
                Ok(who) if wanted.contains(&who) => return Ok(Instant::now()),
                Err(error) if Instant::now() > until => return Err(error),
                Ok(who) => ensure!(Instant::now() < until, "{host}{path} is still answered by {who}"),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}
