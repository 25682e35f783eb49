//! `lab bench control`: what a large cluster costs a gateway: its start, its memory, and a change of an EndpointSlice, from
//! the watch event until a request reaches the new endpoint. The API server is a real one (`lab/testplane`), filled for the
//! purpose; CPU of a change, and its latency, are measured with what that server said, replayed. See docs/bench-control.md.

mod objects;
mod replay;
mod sender;
mod standin;
mod subject;

use std::fmt::Display;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::objects::{ADDRESSES, PORT, Size};
use self::sender::Sender;
use self::standin::{Recording, SLICES};
use self::subject::{Asker, Subject, memory};
use super::machine;
use crate::cluster::{self, Cluster};
use crate::lab::Lab;
use crate::load::{Load, Plan};
use crate::process::Lifetime;
use crate::report::Report;
use crate::scenarios::kube_source::definitions;
use crate::topology::{Host, Kind, Lan, Topology};

/// The drawing: a LAN for the API server, a gateway, a host on which all endpoints are, and a client.
pub const CONTROL: Topology = Topology {
    name: "control",
    about: "a LAN for an API server, a gateway, a host that has all endpoints, and a client",
    lans: &[Lan { name: "cluster", net: [10, 20, 0] }],
    hosts: &[
        Host { name: "gw1", kind: Kind::Gateway, at: &[("cluster", 20)], via: None },
        Host { name: "pods", kind: Kind::Client, at: &[("cluster", 90)], via: None },
        Host { name: "client", kind: Kind::Client, at: &[("cluster", 100)], via: None },
    ],
    pods: &[],
    manifests: &[],
};

const START: Duration = Duration::from_secs(10);
const START_FROM_DISK: Duration = Duration::from_secs(2);
const RESIDENT_MIB: f64 = 300.0;
/// How many changes are recorded.
const RECORDED: usize = 2_000;
/// Routes under load while Services change.
const LOADED: usize = 10;
/// Requests a second of them all.
const RATE: u32 = 1_000;
/// Resident memory at the end of a minute of changes beside what it was after ten seconds.
const GROWTH: f64 = 1.05;

/// How `lab bench control` measures.
#[derive(Args)]
pub struct Control {
    /// Services, each with one EndpointSlice
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Endpoints of each Service
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    /// HTTPRoutes, each to two Services
    #[arg(long, default_value_t = 5_000)]
    routes: usize,
    /// How long the real API server is changed as fast as it goes, in seconds
    #[arg(long, default_value_t = 60)]
    secs: u64,
    /// Keep here what the API server said
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Only replay what was kept here: no API server, no start from it
    #[arg(long, value_name = "DIR", conflicts_with = "record")]
    replay: Option<PathBuf>,
    /// With --replay: go on replaying changes until Ctrl-C, for a profiler
    #[arg(long, requires = "replay")]
    hold: bool,
    /// The program; else $TIDEGATE_BIN, else the one beside this one
    #[arg(long)]
    tidegate: Option<PathBuf>,
}

/// Figures as they are found: each is printed at once, with the load of the machine.
#[derive(Default)]
pub struct Figures {
    report: Report,
}

impl Figures {
    /// A figure that must not be larger.
    fn at_most(&mut self, name: &str, found: f64, limit: f64, unit: &str) {
        let shown = format!("{found:.2} {unit} (at most {limit} {unit})");
        self.holds(name, found <= limit, shown);
    }

    /// Anything that must hold.
    fn holds(&mut self, name: &str, met: bool, found: impl Display) {
        self.report.holds(name, met, found);
        self.shown();
    }

    /// A figure beside which there is no goal.
    fn note(&self, name: &str, found: impl Display) {
        println!("         {name}: {found}; load {:.2}", machine::load());
    }

    fn shown(&self) {
        if let Some(figure) = self.report.figures.last() {
            let mark = if figure.met { "met   " } else { "MISSED" };
            println!("  {mark} {}: {}; load {:.2}", figure.name, figure.found, machine::load());
        }
    }
}

/// Runs it; whether every figure is as it must be.
pub fn run(order: Control) -> Result<bool> {
    let size = Size { services: order.services, endpoints: order.endpoints, routes: order.routes };
    ensure!(size.fits(), "so many endpoints have no addresses of their own");
    let program = match &order.tidegate {
        Some(path) => path.canonicalize()?,
        None => crate::gateway::program()?,
    };
    machine::describe().iter().for_each(|line| println!("{line}"));
    println!(
        "{} Services, {} endpoints, {} routes",
        size.services,
        size.services * size.endpoints,
        size.routes
    );
    let mut lab = Lab::stand(&CONTROL, Lifetime::Foreground)?;
    endpoints(&mut lab)?;
    let mut figures = Figures::default();
    let recording = match &order.replay {
        Some(folder) => Recording::kept(folder)?,
        None => with_server(&mut lab, &program, size, order.secs, &mut figures)?,
    };
    if let Some(folder) = &order.record {
        recording.keep(folder)?;
    }
    replay::run(&mut lab, &program, size, Arc::new(recording), order.hold, &mut figures)?;
    Ok(figures.report.met())
}

/// Somebody who answers at every address of an endpoint, and the way there.
fn endpoints(lab: &mut Lab) -> Result<()> {
    lab.ns("pods").ip(&[format!("route add local {ADDRESSES} dev lo")])?;
    lab.ns("gw1").ip(&[format!("route add {ADDRESSES} via {}", lab.topology.address("pods", "cluster"))])?;
    let argv = ["/proc/self/exe", "endpoints", "--port", &PORT.to_string()].map(String::from);
    lab.start("pods", "pods", &argv)
}

/// What is measured with a real API server; what that one said.
fn with_server(
    lab: &mut Lab,
    program: &Path,
    size: Size,
    secs: u64,
    figures: &mut Figures,
) -> Result<Recording> {
    let plan = cluster::Plan { name: "", lan: "cluster", nodes: 1, more: &[] };
    let mut cluster = Cluster::start(lab, &plan)?;
    cluster.kubectl(&["apply", "--server-side", "-f", &definitions()?.display().to_string()])?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    cluster.apply(include_str!("../../manifests/control/objects.yaml"))?;
    let kubeconfig = cluster.token_kubeconfig("default", &lab.dir("gw1")?)?;
    // Whoever else follows so many objects would take the machine from those that are measured.
    for component in ["kube-controller-manager", "kube-scheduler", "node1"] {
        cluster.kill(component)?;
    }
    fill(&cluster, size, figures)?;

    let (mut subject, ready) = Subject::start(lab, program, &kubeconfig)?;
    figures.at_most("start to ready, from the API server", ready.as_secs_f64(), START.as_secs_f64(), "s");
    answers(lab, size)?;
    resident("from the API server", &subject, figures)?;
    let began = Instant::now();
    subject.settle()?;
    figures.note("statuses written, and at rest, after", format!("{:.0} s", began.elapsed().as_secs_f64()));
    resident("at rest", &subject, figures)?;
    let recording = record(&cluster, size)?;
    under_load(lab, &cluster, &subject, size, secs, figures)?;
    subject.settle()?;
    resident("at rest again", &subject, figures)?;

    cluster.kill("kube-apiserver")?;
    let (_, bytes) = subject.snapshot()?;
    subject.stop()?;
    let (subject, ready) = Subject::start(lab, program, &kubeconfig)?;
    figures.note("snapshot on disk", format!("{:.0} MiB", mib(bytes)));
    figures.at_most(
        "start to ready, from the snapshot",
        ready.as_secs_f64(),
        START_FROM_DISK.as_secs_f64(),
        "s",
    );
    answers(lab, size)?;
    resident("from the snapshot", &subject, figures)?;
    subject.stop()?;
    cluster.stop()?;
    Ok(recording)
}

fn fill(cluster: &Cluster, size: Size, figures: &Figures) -> Result<()> {
    let mut sender = Sender::start(cluster)?;
    size.namespaces().try_for_each(|request| sender.send(&request))?;
    sender.finish()?;
    let mut sender = Sender::start(cluster)?;
    size.creations().try_for_each(|request| sender.send(&request))?;
    let sent = sender.finish()?;
    figures.note("objects made", format!("{} in {:.0} s", sent.sent, sent.secs));
    Ok(())
}

/// Where requests go.
pub fn target(lab: &Lab) -> SocketAddr {
    (lab.topology.address("gw1", "cluster"), 80).into()
}

/// The first route and the last lead to endpoints of theirs.
fn answers(lab: &Lab, size: Size) -> Result<()> {
    let target = target(lab);
    lab.ns("client").inside(|| {
        let mut asker = Asker::new(target);
        for service in [0, size.routed() - 1] {
            let (host, path) = size.way_to(service);
            let theirs: Vec<_> = [0, size.all()]
                .into_iter()
                .flat_map(|it| (0..size.endpoints).map(move |at| size.address(service, at, it)))
                .collect();
            asker.until((&host, path), &theirs)?;
        }
        Ok(())
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Resident memory against its goal; its peak beside it.
pub fn resident(when: &str, subject: &Subject, figures: &mut Figures) -> Result<()> {
    let memory = subject.memory()?;
    figures.note(&format!("most memory so far, {when}"), format!("{:.0} MiB", mib(memory.peak)));
    figures.at_most(&format!("resident, {when}"), mib(memory.resident), RESIDENT_MIB, "MiB");
    Ok(())
}

/// What the API server says, and how it tells of changes.
fn record(cluster: &Cluster, size: Size) -> Result<Recording> {
    let mut recording = Recording::of(cluster)?;
    let (program, first) = cluster.about().kubectl.split_first().context("kubectl has no name")?;
    let path = format!("{SLICES}?watch=1&allowWatchBookmarks=true&resourceVersion={}", recording.version()?);
    let mut command = cluster.ns("control").command(program)?;
    command.args(first).arg("--kubeconfig").arg(&cluster.about().inside_kubeconfig);
    command.args(["get", "--raw", &path]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watch = command.spawn().context("starting kubectl")?;
    let lines = BufReader::new(watch.stdout.take().context("a pipe was asked for")?).lines();
    let mut sender = Sender::start(cluster)?;
    // In order, so that events of one Service come as they were asked for: no Service is changed twice.
    (0..RECORDED.min(size.services)).try_for_each(|number| sender.send(&size.change(number, 1)))?;
    let sent = sender.finish()?.sent;
    for line in lines {
        let line = line?;
        if line.contains("\"MODIFIED\"") {
            recording.events.push(line);
        }
        if recording.events.len() == sent {
            break;
        }
    }
    watch.kill()?;
    watch.wait()?;
    Ok(recording)
}

/// Changes as fast as the API server goes, under requests.
fn under_load(
    lab: &Lab,
    cluster: &Cluster,
    subject: &Subject,
    size: Size,
    secs: u64,
    figures: &mut Figures,
) -> Result<()> {
    let plan = |route: usize| {
        let (host, path) = size.way_to(2 * route);
        Plan::new(lab.ns("client"), target(lab), &host, RATE / LOADED as u32).path(path).kept(8)
    };
    let loads: Vec<Load> = (0..LOADED).map(|route| plan(route).start()).collect();
    std::thread::sleep(Duration::from_secs(2));
    let (pid, ended) = (subject.pid(), Arc::new(AtomicBool::new(false)));
    let sampler = std::thread::spawn({
        let ended = ended.clone();
        move || {
            let mut samples = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                samples.extend(memory(pid).map(|memory| mib(memory.resident)));
                std::thread::sleep(Duration::from_secs(1));
            }
            samples
        }
    });
    let (before, began) = (subject.cpu()?, Instant::now());
    let mut sender = Sender::start(cluster)?;
    for turn in 0.. {
        if began.elapsed() >= Duration::from_secs(secs) {
            break;
        }
        // Every fourth is of a Service under load.
        let service = match turn % 4 {
            0 => turn / 4 % LOADED * 2,
            _ => turn * 7_919 % size.services,
        };
        sender.send(&size.change(service, 1 << (turn % size.endpoints)))?;
    }
    let sent = sender.finish()?;
    let cpu = subject.cpu()? - before;
    ended.store(true, Ordering::Relaxed);
    let Ok(samples) = sampler.join() else { bail!("nobody looked at the memory") };
    let records = loads.into_iter().map(Load::stop).collect::<Result<Vec<_>>>()?.concat();
    let failed = records.iter().filter(|record| !record.answered()).count();
    figures.note(
        "changes by the API server",
        format!("{} a second for {:.0} s", sent.sent as f64 / sent.secs, sent.secs),
    );
    figures.note(
        "CPU of all of it",
        format!(
            "{:.2} ms a change, with {} requests",
            cpu.as_secs_f64() * 1e3 / sent.sent as f64,
            records.len()
        ),
    );
    figures.holds("requests that failed meanwhile", failed == 0, format!("{failed} of {}", records.len()));
    let part = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len().max(1) as f64;
    let (first, last) = (
        part(&samples[5.min(samples.len())..15.min(samples.len())]),
        part(&samples[samples.len().saturating_sub(10)..]),
    );
    let most = samples.iter().copied().fold(0.0, f64::max);
    figures.holds(
        "memory meanwhile is flat",
        last <= first * GROWTH,
        format!("{first:.0} MiB after ten seconds, {last:.0} MiB at the end, {most:.0} MiB at most"),
    );
    Ok(())
}
