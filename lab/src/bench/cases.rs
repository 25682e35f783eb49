//! The cases: what each loads, how its figure is read, and the goal it has.

use anyhow::{Result, ensure};

use super::contender::{Contender, Kind, Setting};
use super::ground::Ground;
use super::origin::Body;
use super::probe::{self, Fault};
use super::{bulk, datagrams, h2load, machine, openloop, pingpong, tidegate, wrk};

/// One row of the table.
pub struct Case {
    /// As `--case` takes it.
    pub name: &'static str,
    /// What is loaded.
    pub about: &'static str,
    /// Unit of its figure; less is always better.
    pub unit: &'static str,
    /// What is measured.
    pub measure: Measure,
    /// What ours is held against.
    pub against: Against,
    /// The most that ours may be with everything off, and with everything on; none: no goal.
    pub goals: (Option<f64>, Option<f64>),
}

/// How a figure comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// CPU of the proxy under a load, of the three proxies.
    Load(Load),
    /// Ten thousand routes beside ten, both ours.
    Routes,
    /// Resident memory of fresh proxies.
    Memory(Memory),
}

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// HTTP/1.1 by wrk.
    Wrk { body: Body, connections: u32, close: bool, tls: bool },
    /// HTTP/2 by h2load, 16 connections of 10 streams.
    H2 { tls: bool },
    /// gRPC by h2load.
    Grpc,
    /// Messages of 64 bytes there and back.
    PingPong,
    /// 1 GiB over one connection.
    Bulk { splice: bool },
    /// Datagrams there and back.
    Datagrams(datagrams::Plan),
    /// 5,000 requests a second, come what may.
    OpenLoop,
}

/// A figure of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Of a proxy that was only started.
    Idle,
    /// Of an HTTP/1.1 connection after one request.
    Connection,
    /// Of an HTTP/2 connection after one request.
    H2Connection,
}

/// What ours is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The better of nginx and HAProxy.
    Better,
    /// nginx.
    Nginx,
    /// Nothing: the goal is a figure in the case's unit.
    Absolute,
    /// Ours with ten routes.
    Few,
}

/// What one round found.
pub struct Sample {
    /// In the case's unit.
    pub value: f64,
    /// Busy time of the whole machine for one operation, in the case's unit; none where it means nothing.
    pub machine: Option<f64>,
    /// Other figures, by name.
    pub notes: Vec<(&'static str, f64)>,
}

const US: &str = "us/req";

/// Every case, in the order of the table.
pub const ALL: &[Case] = &[
    wrk("h1-small", "HTTP/1.1, 1 KiB, keep-alive, 64 connections", Body::Small, 64, (0.85, 1.0)),
    Case {
        measure: Measure::Load(Load::Wrk { body: Body::Small, connections: 64, close: true, tls: false }),
        ..wrk("h1-close", "HTTP/1.1, 1 KiB, a new connection for each request", Body::Small, 64, (1.0, 1.0))
    },
    wrk("h1-64k", "HTTP/1.1, 64 KiB, 32 connections", Body::Medium, 32, (0.8, 1.0)),
    wrk("h1-1m", "HTTP/1.1, 1 MiB, 16 connections", Body::Large, 16, (0.55, 1.0)),
    Case {
        measure: Measure::Load(Load::Wrk { body: Body::Small, connections: 64, close: false, tls: true }),
        ..wrk("tls-small", "HTTPS (TLS 1.3), 1 KiB, keep-alive, 64 connections", Body::Small, 64, (0.75, 1.0))
    },
    Case {
        unit: "us/hs",
        measure: Measure::Load(Load::Wrk { body: Body::Small, connections: 32, close: true, tls: true }),
        ..wrk("tls-handshake", "full TLS 1.3 handshakes, one request each", Body::Small, 32, (1.0, 1.0))
    },
    load(
        "h2-small",
        "HTTP/2 in clear, 1 KiB, 16 connections of 10 streams",
        US,
        Load::H2 { tls: false },
        (0.7, 1.0),
    ),
    load(
        "h2-tls-small",
        "HTTP/2 over TLS, 1 KiB, 16 connections of 10 streams",
        US,
        Load::H2 { tls: true },
        (0.7, 1.0),
    ),
    load("grpc", "gRPC unary, HTTP/2 on both sides", US, Load::Grpc, (0.8, 1.0)),
    load("tcp-pingpong", "TCP, 64 B there and back, 16 connections", "us/trip", Load::PingPong, (1.0, 1.0)),
    load("tcp-bulk", "TCP, 1 GiB on one connection", "ms/GiB", Load::Bulk { splice: false }, (0.5, 1.0)),
    load(
        "tcp-bulk-splice",
        "the same; HAProxy with splice-auto",
        "ms/GiB",
        Load::Bulk { splice: true },
        (1.0, 1.0),
    ),
    udp("udp-pingpong", "UDP, 64 B there and back, 16 sessions", 64, 1, false),
    udp("udp-stream", "UDP, 1,200 B there and back, 16 sessions with 4 under way", 1200, 4, false),
    udp("udp-session", "UDP, 64 B there and back, a new session for each", 64, 1, true),
    Case {
        measure: Measure::Routes,
        against: Against::Few,
        goals: (Some(1.05), Some(1.05)),
        ..wrk(
            "routes-10000",
            "HTTP/1.1, 1 KiB: 10,000 routes beside 10, both ours",
            Body::Small,
            64,
            (1.05, 1.05),
        )
    },
    memory("memory-idle", "resident memory after the start", "MiB", Memory::Idle, 12.0),
    memory("memory-h1", "memory of an idle HTTP/1.1 connection", "B/conn", Memory::Connection, 2048.0),
    memory("memory-h2", "memory of an idle HTTP/2 connection", "B/conn", Memory::H2Connection, 8192.0),
    Case {
        unit: "us p99",
        against: Against::Nginx,
        ..load(
            "p99-5000",
            "latency at 5,000 requests a second, arrivals by chance",
            US,
            Load::OpenLoop,
            (1.0, 1.0),
        )
    },
];

const fn load(
    name: &'static str,
    about: &'static str,
    unit: &'static str,
    load: Load,
    (off, on): (f64, f64),
) -> Case {
    Case {
        name,
        about,
        unit,
        measure: Measure::Load(load),
        against: Against::Better,
        goals: (Some(off), Some(on)),
    }
}

const fn udp(name: &'static str, about: &'static str, bytes: usize, window: usize, once: bool) -> Case {
    Case {
        name,
        about,
        unit: "us/trip",
        measure: Measure::Load(Load::Datagrams(datagrams::Plan { bytes, window, once })),
        against: Against::Nginx,
        goals: (None, None),
    }
}

const fn wrk(
    name: &'static str,
    about: &'static str,
    body: Body,
    connections: u32,
    goals: (f64, f64),
) -> Case {
    load(name, about, US, Load::Wrk { body, connections, close: false, tls: false }, goals)
}

const fn memory(
    name: &'static str,
    about: &'static str,
    unit: &'static str,
    what: Memory,
    most: f64,
) -> Case {
    // The figures bind the column with everything off.
    Case {
        name,
        about,
        unit,
        measure: Measure::Memory(what),
        against: Against::Absolute,
        goals: (Some(most), None),
    }
}

impl Case {
    /// The goal in a column.
    pub fn goal(&self, setting: Setting) -> Option<f64> {
        match setting {
            Setting::Off => self.goals.0,
            Setting::On => self.goals.1,
        }
    }

    /// Whether that proxy can do it at all: HAProxy passes no UDP on.
    pub fn concerns(&self, kind: Kind) -> bool {
        kind != Kind::Haproxy || !matches!(self.measure, Measure::Load(Load::Datagrams(_)))
    }

    /// The load behind it.
    fn load(&self) -> Load {
        match self.measure {
            Measure::Load(load) => load,
            _ => Load::Wrk { body: Body::Small, connections: 64, close: false, tls: false },
        }
    }

    /// One request or connection, whose answer is looked at in full.
    pub fn probe(&self, ground: &Ground, contender: &Contender) -> Result<(), Fault> {
        match self.load() {
            Load::Wrk { body, tls: false, .. } => probe::http1(ground, contender, body),
            Load::Wrk { body, tls: true, .. } => probe::tls(ground, contender, body, false),
            Load::H2 { tls: false } => probe::h2c(ground, contender, Body::Small),
            Load::H2 { tls: true } => probe::tls(ground, contender, Body::Small, true),
            Load::Grpc => probe::grpc(ground, contender),
            Load::PingPong => probe::echo(contender.ports.echo),
            Load::Bulk { splice } => {
                probe::bulk(if splice { contender.ports.bulk_splice } else { contender.ports.bulk })
            }
            Load::Datagrams(plan) => probe::datagram(datagram_port(contender, plan)),
            Load::OpenLoop => probe::http1(ground, contender, Body::Small),
        }
    }

    /// One round: load for about `secs` seconds, and what it cost.
    pub fn sample(&self, ground: &Ground, contender: &Contender, secs: u32) -> Result<Sample> {
        let logging = contender.kind.ours() && contender.setting == Setting::On;
        let dropped = || if logging { tidegate::dropped_lines(&contender.ports) } else { Ok(0) };
        let earlier = dropped()?;
        let (cpu, busy) = (contender.cpu_ns()?, machine::busy_ns()?);
        let done = self.drive(ground, contender, secs)?;
        let (cpu, busy) = (contender.cpu_ns()? - cpu, machine::busy_ns()? - busy);
        ensure!(done.operations > 0.0, "nothing was completed");
        // Microseconds for one operation; milliseconds for bulk.
        let scale = if self.unit == "ms/GiB" { 1e6 } else { 1e3 };
        let (own, machine) = (cpu as f64 / done.operations / scale, busy as f64 / done.operations / scale);
        let mut notes = done.notes;
        if logging {
            notes.push(("log lines dropped", (dropped()? - earlier) as f64));
        }
        if self.unit == "us/hs" {
            notes.push(("per second and core", 1e6 / own));
        }
        match done.latency {
            None => Ok(Sample { value: own, machine: Some(machine), notes }),
            Some((p50, p99)) => {
                notes.extend([("p50 us", p50), ("CPU us/req", own)]);
                Ok(Sample { value: p99, machine: Some(machine), notes })
            }
        }
    }

    fn drive(&self, ground: &Ground, contender: &Contender, secs: u32) -> Result<Done> {
        let ports = &contender.ports;
        match self.load() {
            Load::Wrk { body, connections, close, tls } => {
                let port = if tls { ports.tls } else { ports.http };
                let plan = wrk::Plan { body, connections, close, tls, routes: contender.kind.routes() };
                wrk::drive(ground, port, &plan, secs)
            }
            Load::H2 { tls } => h2load::drive(ground, if tls { ports.tls } else { ports.h2c }, tls, secs),
            Load::Grpc => h2load::grpc(ground, ports.h2c, secs),
            Load::PingPong => pingpong::drive(ports.echo, secs),
            Load::Bulk { splice } => bulk::drive(if splice { ports.bulk_splice } else { ports.bulk }),
            Load::Datagrams(plan) => datagrams::drive(datagram_port(contender, plan), &plan, secs),
            Load::OpenLoop => openloop::drive(ports.http, contender.kind.routes(), secs),
        }
    }
}

fn datagram_port(contender: &Contender, plan: datagrams::Plan) -> u16 {
    if plan.once { contender.ports.udp_once } else { contender.ports.udp }
}

/// What a generator completed, without a single error.
pub struct Done {
    /// Requests, handshakes, round trips, GiB.
    pub operations: f64,
    /// p50 and p99 where the latency is the figure, microseconds.
    pub latency: Option<(f64, f64)>,
    /// Other figures.
    pub notes: Vec<(&'static str, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case is found by its name.
    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
