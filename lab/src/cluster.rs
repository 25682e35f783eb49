//! A real Kubernetes cluster in a lab: the test plane of `lab/testplane`, its nodes attached to one of the lab's LANs. It
//! ends with this value, and with the lab. It knows the launcher's orders and `kubectl`, and nothing of the inside.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::netns::Netns;
use crate::process;
use crate::topology::{Host, Kind, Lan, Topology};

/// The drawing for a cluster: a LAN for its nodes, and a client on it.
pub const CLUSTER: Topology = Topology {
    name: "cluster",
    about: "a LAN for the nodes of a Kubernetes cluster, and a client on it",
    lans: &[Lan { name: "cluster", net: [10, 20, 0] }],
    hosts: &[Host { name: "client", kind: Kind::Client, at: &[("cluster", 100)], via: None }],
    pods: &[],
    manifests: &[],
};

/// Until a cluster stands, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until the launcher has obeyed.
const OBEDIENCE: Duration = Duration::from_secs(100);

/// What a cluster shall be like.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Its name: part of the names of its namespaces, unless it is empty.
    pub name: &'a str,
    /// The LAN that its nodes are on.
    pub lan: &'a str,
    /// How many nodes there are.
    pub nodes: usize,
    /// Further words for `testplane up`.
    pub more: &'a [&'a str],
}

/// A cluster that stands.
#[derive(Debug)]
pub struct Cluster {
    about: About,
    lab: String,
    infix: String,
    /// Where the lab keeps its logs.
    logs: PathBuf,
    launcher: Child,
    /// Closed to end it.
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
}

/// What the launcher says of a cluster that stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Its folder.
    pub home: PathBuf,
    /// `kubectl`, as a command.
    pub kubectl: Vec<String>,
    /// For whoever is on this machine, in the namespace that the lab was started in.
    pub kubeconfig: PathBuf,
    /// For whoever is on the LAN.
    pub inside_kubeconfig: PathBuf,
    /// The version of Kubernetes.
    pub version: String,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Seconds until the API server was ready.
    pub ready_secs: f64,
    /// Seconds until all stood: nodes, routes between all pods, the first ServiceAccount.
    pub standing_secs: f64,
}

/// A node of a cluster.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address on the LAN.
    pub address: Ipv4Addr,
    /// The block of its pods.
    pub pods: String,
}

/// The folder of the test plane's programs; built if they are not there, which takes minutes.
pub fn programs() -> Result<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/testplane");
    let output = Command::new(script).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("running {script}"))?;
    ensure!(output.status.success(), "{script}: {}", output.status);
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

impl Cluster {
    /// Stands a cluster up on a lab's LAN. Call it from the main thread: the kernel watches the thread that started it.
    pub fn start(lab: &Lab, plan: &Plan) -> Result<Cluster> {
        let programs = programs()?;
        let infix = if plan.name.is_empty() { String::new() } else { format!("{}-", plan.name) };
        let log = lab.logs().join(format!("{infix}testplane.log"));
        let subnet = format!("{}/24", lab.topology.lan(plan.lan).address(0));
        let mut command = Command::new(programs.join("testplane"));
        command.arg("up").arg("--prefix").arg(Netns::of(lab.id(), &infix).name());
        command.arg("--home").arg(lab.home().join(format!("{infix}plane")));
        command.arg("--switch").arg(lab.ns(crate::wire::SWITCH).name()).args(["--bridge", plan.lan]);
        command.args(["--subnet", &subnet, "--nodes", &plan.nodes.to_string()]).args(plan.more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
        // SAFETY: between fork and exec only prctl(2), a bare system call, runs.
        unsafe {
            command.pre_exec(|| {
                // It cleans up after itself, whatever ends this process.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let mut launcher = command.spawn().context("starting the test plane")?;
        let orders = launcher.stdin.take();
        let output = launcher.stdout.take().context("a pipe was asked for")?;
        let (lines, answers) = channel();
        std::thread::spawn(move || {
            let mut lines_of = BufReader::new(output).lines();
            while let Some(Ok(line)) = lines_of.next() {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let Ok(line) = answers.recv_timeout(PATIENCE + Duration::from_secs(10)) else {
            let _ = launcher.kill();
            let _ = launcher.wait();
            bail!("no cluster stands; the end of {}:\n{}", log.display(), process::tail(&log, 4000));
        };
        let about = serde_json::from_str(&line).with_context(|| format!("the test plane said {line}"))?;
        Ok(Cluster { about, lab: lab.id().to_owned(), infix, logs: lab.logs(), launcher, orders, answers })
    }

    /// What the launcher said of it.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The namespace of a node, or of `control`, where the control plane is.
    pub fn ns(&self, host: &str) -> Netns {
        Netns::of(&self.lab, &format!("{}{host}", self.infix))
    }

    /// `kubectl` with every right.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        self.kubectl_with(words, "")
    }

    /// Makes these objects as they stand here, whoever made them before.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], manifests).map(drop)
    }

    /// Has the API server say what it would make of new objects, each by itself: who it lets in, and what it says of the others.
    pub fn would_create(&self, manifests: &str) -> Result<(String, String)> {
        let words = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = self.run_kubectl(&words, manifests)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&output.stdout), text(&output.stderr)))
    }

    /// Whether an account may do something: a resource, `RESOURCE/NAME` or `RESOURCE/status`; in a namespace, or everywhere.
    pub fn may(&self, account: &str, verb: &str, what: &str, namespace: &str) -> Result<bool> {
        let place: &[&str] = if namespace.is_empty() { &["-A"] } else { &["-n", namespace] };
        let words: &[&str] = match what.strip_suffix("/status") {
            Some(resource) => &["auth", "can-i", verb, resource, "--subresource=status", "--as", account],
            None => &["auth", "can-i", verb, what, "--as", account],
        };
        let output = self.run_kubectl(&[words, place].concat(), "")?;
        match String::from_utf8_lossy(&output.stdout).split_whitespace().next() {
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            _ => bail!("kubectl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Objects as JSON: the words after `kubectl get`.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&[&["get", "-o", "json"], words].concat())?)?)
    }

    /// How many pods of a Deployment are ready.
    pub fn ready(&self, deployment: &str) -> Result<u64> {
        let found = self.get(&["deployment", deployment])?;
        Ok(found["status"]["readyReplicas"].as_u64().unwrap_or(0))
    }

    /// Kills a component (SIGKILL) and waits until it is gone: `kube-apiserver`, `kubelet/node1`; a node's name means all on it.
    pub fn kill(&mut self, component: &str) -> Result<()> {
        self.order(&format!("kill {component}"))
    }

    /// Starts a component that does not run.
    pub fn start_again(&mut self, component: &str) -> Result<()> {
        self.order(&format!("start {component}"))
    }

    /// Ends it and removes everything of it; how long that took.
    pub fn stop(mut self) -> Result<Duration> {
        let began = Instant::now();
        self.orders = None;
        while self.launcher.try_wait()?.is_none() {
            ensure!(began.elapsed() < PATIENCE, "the test plane has not ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(began.elapsed())
    }

    fn keep_logs(&self) {
        let Ok(entries) = std::fs::read_dir(self.about.home.join("logs")) else { return };
        for entry in entries.flatten() {
            let name = format!("{}{}", self.infix, entry.file_name().to_string_lossy());
            // A log less is no reason to stop.
            let _ = std::fs::copy(entry.path(), self.logs.join(name));
        }
    }

    fn order(&mut self, order: &str) -> Result<()> {
        let orders = self.orders.as_mut().context("the cluster is ending")?;
        writeln!(orders, "{order}")?;
        let line = self.answers.recv_timeout(OBEDIENCE).with_context(|| format!("no answer to {order:?}"))?;
        let answer: Value = serde_json::from_str(&line)?;
        ensure!(answer["ok"] == true, "{order}: {}", answer["error"]);
        Ok(())
    }

    /// A kubeconfig with a token of the account `tidegate` of a namespace, in a folder, as docs/install.md makes it.
    pub fn token_kubeconfig(&self, namespace: &str, folder: &Path) -> Result<PathBuf> {
        let token = self.kubectl(&["create", "token", "tidegate", "-n", namespace, "--duration=1h"])?;
        let inside = self.about.inside_kubeconfig.display().to_string();
        let words = ["config", "view", "--raw", "-o", "json", "--kubeconfig", &inside];
        let (program, first) = self.about.kubectl.split_first().context("kubectl has no name")?;
        let output = Command::new(program).args(first).args(words).output().context("running kubectl")?;
        ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr));
        let mut config: Value = serde_json::from_slice(&output.stdout)?;
        let users = config["users"].as_array_mut().context("a kubeconfig without users")?;
        users.iter_mut().for_each(|user| user["user"] = json!({"token": token.trim()}));
        let path = folder.join("kubeconfig");
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }

    fn kubectl_with(&self, words: &[&str], input: &str) -> Result<String> {
        let output = self.run_kubectl(words, input)?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kubectl {}: {} {out}{err}", words.join(" "), output.status);
        Ok(out.into_owned())
    }

    fn run_kubectl(&self, words: &[&str], input: &str) -> Result<Output> {
        let (program, first) = self.about.kubectl.split_first().context("kubectl has no name")?;
        let mut command = Command::new(program);
        command.args(first).arg("--kubeconfig").arg(&self.about.kubeconfig).arg("--request-timeout=10s");
        // What it finds out about the server it would keep in the home directory.
        command.arg("--cache-dir").arg(self.about.home.join("kubectl"));
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("starting {}", Path::new(program).display()))?;
        let mut stdin = child.stdin.take().context("a pipe was asked for")?;
        stdin.write_all(input.as_bytes())?;
        drop(stdin);
        Ok(child.wait_with_output()?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.orders.is_some() {
            // Nobody ended it, so something went wrong, and its logs would go with its folder.
            self.keep_logs();
        }
        // The launcher cleans up when its orders end; what it does not get done in time is the lab's to remove.
        self.orders = None;
        let until = Instant::now() + Duration::from_secs(10);
        while matches!(self.launcher.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}
