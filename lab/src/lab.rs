//! A standing lab: its wires are laid, its processes run. It ends when it is dropped, unless it is left standing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::journey::{LEGACY_PORTS, POD_PORT};
use crate::manifests::Manifests;
use crate::netns::Netns;
use crate::process::{self, Lifetime, Process};
use crate::registry::{self, Record};
use crate::topology::{Host, Kind, Pod, Topology};
use crate::{bird, frr, wire};

/// A standing lab.
#[derive(Debug)]
pub struct Lab {
    record: Record,
    /// The drawing.
    pub topology: &'static Topology,
    processes: BTreeMap<String, Process>,
    lifetime: Lifetime,
    /// Pods whose processes end at these times.
    retiring: Vec<(Instant, String)>,
    /// What every gateway's bootstrap file says besides.
    bootstrap: String,
    standing: bool,
}

impl Lab {
    /// Builds it: wires, routers, nodes, servers in pods; not the gateways.
    pub fn stand(topology: &'static Topology, lifetime: Lifetime) -> Result<Lab> {
        let record = registry::claim(topology.name)?;
        let (processes, retiring) = (BTreeMap::new(), Vec::new());
        let (bootstrap, standing) = Default::default();
        let mut lab = Lab { record, topology, processes, lifetime, retiring, bootstrap, standing };
        lab.build().or_else(|error| {
            let folder = lab.save_logs("stand")?;
            Err(error.context(format!("the lab does not stand; every log: {}", folder.display())))
        })?;
        Ok(lab)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// Gateways that start from now on find these lines in their bootstrap file too.
    pub fn bootstrap(&mut self, lines: &str) {
        lines.clone_into(&mut self.bootstrap);
    }

    /// What gateways find in their bootstrap file besides.
    pub fn bootstrap_lines(&self) -> &str {
        &self.bootstrap
    }

    /// Its directory.
    pub fn home(&self) -> PathBuf {
        registry::home(self.id())
    }

    /// The directory of a host; made when asked for.
    pub fn dir(&self, host: &str) -> Result<PathBuf> {
        let dir = self.home().join(host);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// The directory of all logs.
    pub fn logs(&self) -> PathBuf {
        self.home().join("logs")
    }

    /// The directory that the gateways read.
    pub fn manifests(&self) -> Manifests {
        Manifests::of(&self.home())
    }

    /// The namespace of a host or pod.
    pub fn ns(&self, host: &str) -> Netns {
        Netns::of(self.id(), host)
    }

    /// Starts a process on a host, under a name of its own.
    pub fn start(&mut self, host: &str, name: &str, argv: &[String]) -> Result<()> {
        if self.running(name) {
            bail!("{name} runs already");
        }
        let births = births();
        let log = self.logs().join(format!("{name}.log"));
        let process = Process::start(&self.ns(host), name, argv, &log, self.lifetime)?;
        drop(births);
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// Whether the process of that name runs.
    pub fn running(&mut self, name: &str) -> bool {
        self.processes.get_mut(name).is_some_and(Process::alive)
    }

    /// Sends a signal to the process of that name and its group.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        self.processes.get(name).with_context(|| format!("{name} does not run"))?.signal(signal)
    }

    /// Takes the process of that name out of the lab's hands, to be stopped or killed.
    pub fn take(&mut self, name: &str) -> Result<Process> {
        self.processes.remove(name).with_context(|| format!("{name} does not run"))
    }

    /// Kills everything that runs on a host (SIGKILL), children in groups of their own included.
    pub fn kill_host(&mut self, host: &str) -> Result<()> {
        let namespaces = [self.ns(host)];
        for pid in process::inside(&namespaces) {
            // One that is gone already is as good as killed.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.take(host)?.kill();
        let gone = |_: &mut Lab| Ok(process::inside(&namespaces).is_empty().then_some(()));
        self.wait("end of what ran there", Duration::from_secs(2), gone)
    }

    /// An error if any process ended that nobody told to end.
    pub fn check(&mut self) -> Result<()> {
        self.processes.values_mut().try_for_each(Process::check)
    }

    /// Brings a pod that was not in the drawing, and its server.
    pub fn add_pod(&mut self, pod: &Pod) -> Result<()> {
        let births = births();
        wire::add_pod(self.id(), pod)?;
        drop(births);
        self.start_pod(pod)
    }

    /// Ends a pod's process after a while; [`Lab::pause`] sees to it.
    pub fn retire_pod(&mut self, pod: &str, after: Duration) {
        self.retiring.push((Instant::now() + after, pod.to_owned()));
    }

    /// Pulls the cables of a host: the far end of each of its links goes down.
    pub fn cut(&self, host: &str) -> Result<()> {
        self.set_links(host, false)
    }

    /// Pulls one cable of a host: the far end of its link to this LAN goes down.
    pub fn cut_link(&self, host: &str, lan: &str) -> Result<()> {
        wire::set_links(self.id(), host, &[lan], false)
    }

    /// Plugs the cables of a host in again.
    pub fn mend(&self, host: &str) -> Result<()> {
        self.set_links(host, true)
    }

    /// Sleeps, and does what falls due meanwhile.
    pub fn pause(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            let now = Instant::now();
            let due = self.retiring.iter().position(|(when, _)| *when <= now);
            if let Some((_, pod)) = due.map(|index| self.retiring.swap_remove(index)) {
                self.take(&pod)?.kill();
            }
            if now >= until {
                return Ok(());
            }
            std::thread::sleep((until - now).min(Duration::from_millis(20)));
        }
    }

    /// Asks until there is an answer; an error that names `what`, and the last error, after `limit`.
    pub fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut(&mut Lab) -> Result<Option<T>>,
    ) -> Result<T> {
        let until = Instant::now() + limit;
        loop {
            let asked = probe(self);
            match asked {
                Ok(Some(answer)) => return Ok(answer),
                Err(error) if Instant::now() >= until => {
                    return Err(error.context(format!("no {what} in {limit:?}")));
                }
                Ok(None) if Instant::now() >= until => bail!("no {what} in {limit:?}"),
                _ => self.pause(Duration::from_millis(20))?,
            }
        }
    }

    /// Copies every log, configuration and manifest into a folder that outlives the lab.
    pub fn save_logs(&self, name: &str) -> Result<PathBuf> {
        let folder = std::env::temp_dir().join("tidegate-lab-logs").join(format!("{name}-{}", self.id()));
        copy_files(&self.home(), &folder)?;
        Ok(folder)
    }

    /// Lets it stand after this process ends.
    pub fn leave(mut self) -> Result<()> {
        registry::release(&mut self.record)?;
        self.standing = true;
        Ok(())
    }

    fn build(&mut self) -> Result<()> {
        std::fs::create_dir_all(self.logs())?;
        self.manifests().fill(self.topology)?;
        let births = births();
        wire::lay(self.id(), self.topology)?;
        drop(births);
        self.topology.pods.iter().try_for_each(|pod| self.start_pod(pod))?;
        self.topology.hosts.iter().try_for_each(|host| self.start_host(host))
    }

    fn set_links(&self, host: &str, up: bool) -> Result<()> {
        let lans: Vec<_> = self.topology.host(host).at.iter().map(|(lan, _)| *lan).collect();
        wire::set_links(self.id(), host, &lans, up)
    }

    fn start_pod(&mut self, pod: &Pod) -> Result<()> {
        let argv =
            ["/proc/self/exe", "pod", "--name", pod.name, "--port", &POD_PORT.to_string()].map(String::from);
        self.start(pod.name, pod.name, &argv)
    }

    fn start_host(&mut self, host: &Host) -> Result<()> {
        let dir = self.dir(host.name)?;
        match host.kind {
            Kind::Client | Kind::Gateway | Kind::Keepalived => Ok(()),
            Kind::Legacy => {
                let mut argv = vec!["/proc/self/exe".to_owned(), "legacy".into()];
                argv.extend(LEGACY_PORTS.iter().flat_map(|port| ["--port".to_owned(), port.to_string()]));
                self.start(host.name, host.name, &argv)
            }
            Kind::Node { .. } => {
                let (name, argv) = bird::prepare(self.topology, host, &dir)?;
                self.start(host.name, &name, &argv)
            }
            Kind::Router { .. } => self.start_router(host, &dir),
        }
    }

    fn start_router(&mut self, host: &Host, dir: &Path) -> Result<()> {
        for (name, argv) in frr::prepare(self.topology, host, dir, &self.logs())? {
            self.start(host.name, &name, &argv)?;
            // bgpd that finds no zebra asks again only after seconds.
            let socket = frr::zebra_socket(dir);
            self.wait("socket of zebra", Duration::from_secs(5), |lab| {
                lab.check()?;
                Ok(socket.exists().then_some(()))
            })?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.standing {
            return;
        }
        self.processes.clear();
        if let Err(error) = registry::teardown(self.id()) {
            eprintln!("lab {}: {error:#}", self.id());
        }
    }
}

fn births() -> MutexGuard<'static, ()> {
    registry::BIRTHS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Copies plain files, folder by folder; sockets, what vanishes meanwhile and the 64 MB of an etcd are left out.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)?.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() == "etcd" => {}
            Ok(kind) if kind.is_dir() => copy_files(&entry.path(), &to.join(entry.file_name()))?,
            Ok(kind) if kind.is_file() => drop(std::fs::copy(entry.path(), to.join(entry.file_name()))),
            _ => {}
        }
    }
    Ok(())
}
