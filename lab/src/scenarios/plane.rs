//! The test plane proves itself, without Tidegate: what a real Kubernetes does is what the lab's cluster does.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::{self, Cluster, Node};
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;
use crate::settle::route;
use crate::traces::Traces;
use crate::{netns, process};

/// Anything that is asked of the cluster; a bound for a machine that has much else to do, not a promise.
const LIMIT: Duration = Duration::from_secs(60);
/// The NodePorts of the manifests.
const ANYWHERE: u16 = 30080;
const LOCAL: u16 = 30081;

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let before = Traces::here()?;
    let plan = cluster::Plan { name: "", lan: "cluster", nodes: 3, more: &[] };
    let mut cluster = Cluster::start(lab, &plan)?;
    let about = cluster.about().clone();
    println!("    Kubernetes {}", about.version);
    report.at_most_ms("the API server was ready after", seconds(about.ready_secs), LIMIT);
    report.at_most_ms("all three nodes stood after", seconds(about.standing_secs), LIMIT);
    reach(lab, &cluster, &mut report)?;
    services(lab, &cluster, &mut report)?;
    inside(&cluster, &mut report)?;
    scale(lab, &cluster, &mut report)?;
    restart(lab, &mut cluster, &mut report)?;
    nothing_left(lab, cluster, &before, &mut report)?;
    Ok(report)
}

fn seconds(seconds: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(seconds))
}

/// Whoever is on the LAN can ask the API server, and every host knows the way to every pod.
fn reach(lab: &Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let about = cluster.about();
    let file = about.inside_kubeconfig.display().to_string();
    let words = ["kubectl", "--kubeconfig", &file, "get", "nodes", "-o", "name"];
    let nodes = lab.ns("client").output(&about.kubectl[0], &words)?;
    report.exactly("nodes that a client on the LAN is told of", nodes.lines().count(), 3, &nodes);
    let over_bird = |node: &Node| route(&cluster.ns("control"), &node.pods, node.address).is_ok();
    let routes = about.nodes.iter().filter(|node| over_bird(node)).count();
    report.exactly("blocks that BIRD carried to the control plane", routes, 3, "");
    Ok(())
}

fn services(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let began = Instant::now();
    cluster.apply(include_str!("../../manifests/plane/echo.yaml"))?;
    lab.wait("two ready pods", LIMIT, |_| Ok((cluster.ready("echo")? == 2).then_some(())))?;
    report.at_most_ms("a Deployment was ready after", Some(began.elapsed()), LIMIT);
    let pods = pods(cluster)?;
    let own = lab.topology.address("client", "cluster");

    let node = node_of(cluster, &pods[0])?;
    let any = Plan::new(lab.ns("client"), (node, ANYWHERE), "echo", 100);
    let answer = lab.wait("answer of a NodePort", LIMIT, |_| any.ask().map(Some))?;
    report.holds("a NodePort answers from outside", !answer.who().is_empty(), answer.who());
    let local = Plan::new(lab.ns("client"), (node, LOCAL), "echo", 1);
    let answer = lab.wait("answer of a local NodePort", LIMIT, |_| local.ask().map(Some))?;
    let source = &answer.json()["source"];
    report.holds("a local one keeps the client's address", *source == own.to_string(), source);
    report.holds("and leads to that node's pod", answer.who() == name(&pods[0]), answer.who());

    let service = cluster.get(&["service", "echo"])?;
    let url = format!("http://{}/", text(&service["spec"]["clusterIP"]));
    // What leads back to the pod itself comes from its node's address, as it must.
    let ask = |_: &mut Lab| {
        let text = cluster.kubectl(&["exec", name(&pods[0]), "--", "/echo", "get", &url])?;
        let answer: Value = serde_json::from_str(&text)?;
        Ok((answer["who"] != name(&pods[0])).then_some(answer))
    };
    let answer = lab.wait("answer of another pod through a ClusterIP", LIMIT, ask)?;
    let (address, who) = (&pods[0]["status"]["podIP"], &answer["who"]);
    report.holds("a ClusterIP answers a pod", who.is_string(), who);
    report.holds("and its server sees the pod's address", answer["source"] == *address, &answer["source"]);
    Ok(())
}

/// What containers see: logs, files, environment, who they are.
fn inside(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let pod = &pods(cluster)?[0];
    let log = cluster.kubectl(&["logs", name(pod), "--tail=1"])?;
    report.holds("kubectl reads a log", log.contains("GET /"), log.trim());
    let file = |path: &str| cluster.kubectl(&["exec", name(pod), "--", "/echo", "show", path]);
    let mounted = [file("/etc/echo/greeting")?, file("/etc/echo/word")?, file("/etc/echo/labels")?].join(" ");
    let whole = mounted.starts_with("ahoy gull ") && mounted.contains(r#"app="echo""#);
    report.holds("ConfigMap, Secret and labels are mounted", whole, mounted.replace('\n', " "));
    let environment = file("/proc/self/environ")?.replace('\0', " ");
    let node = format!("NODE_NAME={}", text(&pod["spec"]["nodeName"]));
    report.holds("and stand in the environment", environment.contains(&node), node);
    let token = file("/var/run/secrets/kubernetes.io/serviceaccount/token")?;
    let parts = token.trim().split('.').count();
    report.exactly("parts of the ServiceAccount's token", parts, 3, "");
    Ok(())
}

fn scale(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    for (name, replicas) in [("2 -> 20 pods took", 20), ("20 -> 2 pods took", 2)] {
        let began = Instant::now();
        cluster.kubectl(&["scale", "deployment", "echo", &format!("--replicas={replicas}")])?;
        lab.wait("so many pods, all ready", LIMIT, |_| {
            let ready = cluster.ready("echo")? == replicas;
            Ok((ready && pods(cluster)?.len() as u64 == replicas).then_some(()))
        })?;
        report.at_most_ms(name, Some(began.elapsed()), LIMIT);
    }
    Ok(())
}

fn restart(lab: &mut Lab, cluster: &mut Cluster, report: &mut Report) -> Result<()> {
    let node = node_of(cluster, &pods(cluster)?[0])?;
    let load = Plan::new(lab.ns("client"), (node, ANYWHERE), "echo", 100).start();
    cluster.kill("kube-apiserver")?;
    let gone = cluster.kubectl(&["get", "--raw", "/readyz"]);
    report.holds("nobody answers while the API server is gone", gone.is_err(), "");
    lab.pause(Duration::from_secs(1))?;
    let began = Instant::now();
    cluster.start_again("kube-apiserver")?;
    lab.wait("ready API server", LIMIT, |_| cluster.kubectl(&["get", "--raw", "/readyz"]).map(Some))?;
    report.at_most_ms("the API server was back after", Some(began.elapsed()), LIMIT);
    report.none_failed("meanwhile", &load.stop()?, 100);
    cluster.kubectl(&["scale", "deployment", "echo", "--replicas=3"])?;
    lab.wait("a third pod", LIMIT, |_| Ok((cluster.ready("echo")? == 3).then_some(())))?;
    report.at_most_ms("and a third pod ready after", Some(began.elapsed()), LIMIT);
    Ok(())
}

fn nothing_left(lab: &mut Lab, cluster: Cluster, before: &Traces, report: &mut Report) -> Result<()> {
    let during = before.changes(&Traces::here()?);
    report.exactly("changes in the root namespace while it stands", during.len(), 0, &during.join("; "));
    let home = cluster.about().home.clone();
    let hosts: Vec<_> = cluster.about().nodes.iter().map(|node| cluster.ns(&node.name)).collect();
    report.at_least("processes on its nodes", process::inside(&hosts).len(), 9);
    report.at_least("all its processes", still_running(&home).len(), 17);
    report.at_most_ms("its end took", Some(cluster.stop()?), LIMIT);
    let left = netns::of_lab(lab.id()).len();
    report.exactly("namespaces of the lab afterwards", left, 1 + lab.topology.hosts.len(), "");
    report.holds("its folder is gone", !home.exists(), "");
    let running = still_running(&home);
    report.exactly("its processes that still run", running.len(), 0, &running.join("; "));
    let after = before.changes(&Traces::here()?);
    report.exactly("changes in the root namespace when it is gone", after.len(), 0, &after.join("; "));
    Ok(())
}

/// Ids of processes that name a folder of this cluster in their command line or have it among their mounts, as containers do.
fn still_running(home: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let home = home.display().to_string();
    let names_home = |folder: &Path| {
        let texts = ["cmdline", "mountinfo"].map(|file| std::fs::read(folder.join(file)).unwrap_or_default());
        texts.iter().any(|text| String::from_utf8_lossy(text).contains(&home))
    };
    let found = entries.flatten().filter(|entry| names_home(&entry.path()));
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The pods of the Deployment.
fn pods(cluster: &Cluster) -> Result<Vec<Value>> {
    let found = cluster.get(&["pods", "-l", "app=echo"])?;
    Ok(found["items"].as_array().cloned().unwrap_or_default())
}

fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The address of the node that a pod is on.
fn node_of(cluster: &Cluster, pod: &Value) -> Result<Ipv4Addr> {
    let node = cluster.about().nodes.iter().find(|node| pod["spec"]["nodeName"] == node.name);
    Ok(node.context("a pod is on no node")?.address)
}
