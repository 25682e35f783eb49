//! One proxy under test: which program, how it is set, where it listens.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::daemon::Daemon;
use super::ground::Ground;
use super::routes::{FEW, MANY, Routes, THOUSAND};
use super::{haproxy, nginx, tidegate};

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours, with the thousand routes that all have.
    Tidegate,
    /// nginx of Debian.
    Nginx,
    /// HAProxy of Debian.
    Haproxy,
    /// Ours with ten routes.
    FewRoutes,
    /// Ours with ten thousand.
    ManyRoutes,
}

/// How it is set: a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Access log off, no limits.
    Off,
    /// Ours with access log, metrics, limits, timeouts and header filters; peers with buffered logs, timeouts, limits.
    On,
}

impl Setting {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Setting::Off => "everything off: no access log, no limits",
            Setting::On => {
                "everything on: access log, metrics, limits, timeouts, filters; peers with buffered logs, timeouts, limits"
            }
        }
    }
}

/// Where a proxy listens, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP/1.1 in clear.
    pub http: u16,
    /// HTTP/2 in clear by prior knowledge; the port of `http` where one listener takes both.
    pub h2c: u16,
    /// HTTP/1.1 and HTTP/2 over TLS.
    pub tls: u16,
    /// TCP to the echo server.
    pub echo: u16,
    /// TCP to the server of bulk.
    pub bulk: u16,
    /// The same, spliced; differs for HAProxy only.
    pub bulk_splice: u16,
    /// UDP to the echo server.
    pub udp: u16,
    /// The same for sessions of one question each; differs where that is a setting.
    pub udp_once: u16,
    /// Admin address.
    pub admin: u16,
}

impl Kind {
    /// The three of most cases.
    pub const TRIO: [Kind; 3] = [Kind::Tidegate, Kind::Nginx, Kind::Haproxy];

    /// Its name in paths and messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tidegate => "tidegate",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::FewRoutes => "tidegate-few",
            Kind::ManyRoutes => "tidegate-many",
        }
    }

    /// Whether it is Tidegate.
    pub fn ours(self) -> bool {
        !matches!(self, Kind::Nginx | Kind::Haproxy)
    }

    /// Its route table.
    pub fn routes(self) -> Routes {
        match self {
            Kind::FewRoutes => FEW,
            Kind::ManyRoutes => MANY,
            _ => THOUSAND,
        }
    }

    /// Its ports: below those that the kernel gives to clients, in a network namespace that is ours alone.
    pub fn ports(self) -> Ports {
        let base = 10_000 + 100 * self as u16;
        let shared = self.ours();
        Ports {
            http: base,
            h2c: if shared { base } else { base + 1 },
            tls: base + 2,
            echo: base + 3,
            bulk: base + 4,
            bulk_splice: if self == Kind::Haproxy { base + 5 } else { base + 4 },
            admin: base + 6,
            udp: base + 7,
            udp_once: if self == Kind::Nginx { base + 8 } else { base + 7 },
        }
    }
}

/// A running proxy.
pub struct Contender {
    /// Which.
    pub kind: Kind,
    /// Where it listens.
    pub ports: Ports,
    /// How it is set.
    pub setting: Setting,
    daemon: Daemon,
}

impl Contender {
    /// Writes its configuration, starts it on its core and waits until it serves.
    pub fn start(ground: &Ground, kind: Kind, setting: Setting) -> Result<Contender> {
        let ports = kind.ports();
        let command = match kind {
            Kind::Nginx => nginx::prepare(ground, &ports, setting)?,
            Kind::Haproxy => haproxy::prepare(ground, &ports, setting)?,
            Kind::Tidegate | Kind::FewRoutes | Kind::ManyRoutes => tidegate::prepare(ground, kind, setting)?,
        };
        let log = ground.path(&format!("{}.log", kind.name()));
        // Whoever answers here now would be measured in its place.
        ensure!(TcpStream::connect(here(ports.http)).is_err(), "port {} is taken", ports.http);
        let mut daemon = Daemon::start(kind.name(), command, ground.proxy_core, log)?;
        wait(&mut daemon, ports.http)?;
        Ok(Contender { kind, ports, setting, daemon })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// CPU time of all its threads, nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64> {
        self.daemon.cpu_ns()
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.daemon.resident_bytes()
    }

    /// An error if it runs no more.
    pub fn check(&mut self) -> Result<()> {
        self.daemon.check()
    }
}

/// An address on this host.
pub fn here(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Waits until a daemon takes connections.
pub fn wait(daemon: &mut Daemon, port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(here(port)).is_err() {
        daemon.check()?;
        if Instant::now() > deadline {
            bail!("nothing listens on port {port} after 30 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
