//! A real API server as a source: what is applied there is served by a gateway that stands outside of the cluster, what
//! changes there is followed, and what is served goes on while the API server is away. What the gateway asks for is read in
//! the API server's audit log, and its account may read no more than it should need.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::certificates::self_signed;
use crate::cluster::{self, Cluster};
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;
use crate::topology::{Host, Kind, Lan, Topology};

/// The drawing: a LAN for the nodes of a cluster, a gateway that is none of them, and a client.
pub const OUTSIDE: Topology = Topology {
    name: "outside",
    about: "a LAN for the nodes of a Kubernetes cluster, a gateway that is none of them, and a client",
    lans: &[Lan { name: "cluster", net: [10, 20, 0] }],
    hosts: &[
        Host { name: "gw1", kind: Kind::Gateway, at: &[("cluster", 20)], via: None },
        Host { name: "client", kind: Kind::Client, at: &[("cluster", 100)], via: None },
    ],
    pods: &[],
    manifests: &[],
};

/// Anything that is asked of the cluster; a bound for a machine that has much else to do, not a promise.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(10);
const ACCOUNT: &str = "system:serviceaccount:default:tidegate";
/// The host of the route.
pub const HOST: &str = "echo.example";

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let plan = cluster::Plan { name: "", lan: "cluster", nodes: 2, more: &["--audit"] };
    let mut cluster = Cluster::start(lab, &plan)?;
    let first = set_up(lab, &cluster)?;
    let kubeconfig = cluster.token_kubeconfig("default", &lab.dir("gw1")?)?;
    lab.start_gateway_reading("gw1", &["--kubeconfig", &kubeconfig.display().to_string()])?;
    served(lab, &first, &mut report)?;
    changes(lab, &cluster, &mut report)?;
    renewed(lab, &cluster, &first, &mut report)?;
    refused(&cluster, &mut report)?;
    away(lab, &mut cluster, &mut report)?;
    restarted(lab, &mut cluster, &kubeconfig, &mut report)?;
    asked_for(&cluster, &mut report)?;
    report.holds("the gateway ends in good order", lab.stop_gateway("gw1")?, "");
    cluster.stop()?;
    Ok(report)
}

/// Kinds, servers, objects, and the way to the pods; the certificate that clients are to trust.
fn set_up(lab: &mut Lab, cluster: &Cluster) -> Result<PathBuf> {
    cluster.kubectl(&["apply", "--server-side", "-f", &definitions()?.display().to_string()])?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    cluster.apply(include_str!("../../manifests/plane/echo.yaml"))?;
    let first = certificate(lab, cluster, "first")?;
    cluster.apply(include_str!("../../manifests/kube/objects.yaml"))?;
    // A Secret that nobody names.
    cluster.kubectl(&["create", "secret", "generic", "other", "--from-literal=word=hidden"])?;
    let ways: Vec<String> = cluster
        .about()
        .nodes
        .iter()
        .map(|node| format!("route add {} via {}", node.pods, node.address))
        .collect();
    lab.ns("gw1").ip(&ways)?;
    ready(lab, cluster, 2)?;
    Ok(first)
}

/// The folder of Gateway API's definitions, as its module ships them.
pub(crate) fn definitions() -> Result<PathBuf> {
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance");
    let words = ["mod", "download", "-json", "sigs.k8s.io/gateway-api"];
    let output = Command::new("go").current_dir(module).args(words).output().context("running go")?;
    ensure!(output.status.success(), "go mod download: {}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let folder = told["Dir"].as_str().context("go says no folder")?;
    Ok(Path::new(folder).join("config/crd/standard"))
}

/// Makes a certificate, and the Secret `web` of it.
pub fn certificate(lab: &Lab, cluster: &Cluster, name: &str) -> Result<PathBuf> {
    let folder = lab.dir("certificates")?;
    let (file, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    let (certificate, key) = self_signed(name, &format!("DNS:{HOST}"), &file, &key)?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web", "namespace": "default"},
        "type": "kubernetes.io/tls", "stringData": {"tls.crt": certificate, "tls.key": key},
    });
    cluster.apply(&secret.to_string())?;
    Ok(file)
}

/// Requests of plain HTTP to the gateway.
pub(super) fn plain(lab: &Lab, rate: u32) -> Plan {
    Plan::new(lab.ns("client"), (lab.topology.address("gw1", "cluster"), 80), HOST, rate)
}

/// Whether a client that trusts only this certificate is answered over TLS.
fn is_trusted(lab: &Lab, certificate: &Path) -> Result<bool> {
    let mut command = lab.ns("client").command("curl")?;
    let way = format!("{HOST}:443:{}", lab.topology.address("gw1", "cluster"));
    command.args(["--silent", "--fail", "--max-time", "5", "--resolve", &way, "--cacert"]).arg(certificate);
    let output = command.arg(format!("https://{HOST}/")).output().context("curl cannot be started")?;
    Ok(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("who"))
}

fn served(lab: &mut Lab, certificate: &Path, report: &mut Report) -> Result<()> {
    let began = Instant::now();
    let answer = lab.wait("answer through the gateway", LIMIT, |lab| {
        lab.check()?;
        let answer = plain(lab, 1).ask()?;
        Ok((answer.head.status() == Some(200)).then_some(answer))
    })?;
    report.at_most_ms("the gateway answered, after its start", Some(began.elapsed()), LIMIT);
    report.holds("a pod answered", answer.who().starts_with("echo-"), answer.who());
    report.holds("TLS with the Secret's certificate", is_trusted(lab, certificate)?, "");
    let status = lab.status("gw1")?;
    let source = &status["sources"][0];
    report.holds("its source is a cluster", source["type"] == "kubernetes", &source["location"]);
    // A kind that was installed a moment ago is not there at once.
    lab.wait("a source without errors", LIMIT, |lab| {
        Ok(errors(&lab.status("gw1")?).is_empty().then_some(()))
    })?;
    Ok(())
}

/// Pods come and go under load.
fn changes(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let load = plain(lab, 100).start();
    for replicas in [6, 2] {
        let began = Instant::now();
        cluster.kubectl(&["scale", "deployment", "echo", &format!("--replicas={replicas}")])?;
        ready(lab, cluster, replicas)?;
        let pods = pods(cluster)?;
        answering(lab, &pods)?;
        report.at_most_ms(
            &format!("{replicas} pods, and exactly those answer, after"),
            Some(began.elapsed()),
            LIMIT,
        );
    }
    report.none_failed("while pods came and went", &load.stop()?, 200);
    Ok(())
}

/// A new certificate in the Secret is the one that clients see.
fn renewed(lab: &mut Lab, cluster: &Cluster, first: &Path, report: &mut Report) -> Result<()> {
    let began = Instant::now();
    let second = certificate(lab, cluster, "second")?;
    lab.wait("the new certificate", LIMIT, |lab| Ok(is_trusted(lab, &second)?.then_some(())))?;
    report.at_most_ms("a new certificate was in force after", Some(began.elapsed()), LIMIT);
    report.holds("and the old one no more", !is_trusted(lab, first)?, "");
    Ok(())
}

fn away(lab: &mut Lab, cluster: &mut Cluster, report: &mut Report) -> Result<()> {
    let load = plain(lab, 100).start();
    cluster.kill("kube-apiserver")?;
    let told = lab.wait("word of it in the status", LIMIT, |lab| {
        let errors = errors(&lab.status("gw1")?);
        Ok(errors.iter().find(|error| error.contains("stays in force")).cloned())
    })?;
    report.holds("the status says that the API server is away", true, told);
    lab.pause(AWAY)?;
    let ready = lab.ready("gw1")?;
    report.exactly("readiness meanwhile", usize::from(ready), 200, "");
    cluster.start_again("kube-apiserver")?;
    lab.wait("ready API server", LIMIT, |_| cluster.kubectl(&["get", "--raw", "/readyz"]).map(Some))?;
    let began = Instant::now();
    cluster.kubectl(&["scale", "deployment", "echo", "--replicas=4"])?;
    self::ready(lab, cluster, 4)?;
    answering(lab, &pods(cluster)?)?;
    report.at_most_ms("on its return, changes flow again within", Some(began.elapsed()), LIMIT);
    lab.wait("a source without errors", LIMIT, |lab| {
        Ok(errors(&lab.status("gw1")?).is_empty().then_some(()))
    })?;
    report.none_failed("while the API server went and came", &load.stop()?, 1_000);
    Ok(())
}

/// A gateway that starts while the API server is away serves what its snapshot on disk holds.
fn restarted(lab: &mut Lab, cluster: &mut Cluster, kubeconfig: &Path, report: &mut Report) -> Result<()> {
    let file = lab.dir("gw1")?.join("state/snapshots/kubernetes.snapshot");
    let pods = pods(cluster)?;
    let slices = cluster.get(&["endpointslices", "-l", "kubernetes.io/service-name=echo"])?;
    let endpoints =
        slices["items"].as_array().into_iter().flatten().flat_map(|slice| slice["endpoints"].as_array());
    let addresses: Vec<String> =
        endpoints.flatten().map(|endpoint| endpoint["addresses"][0].to_string()).collect();
    report.exactly("endpoints of these pods", addresses.len(), pods.len(), "");
    lab.wait("snapshot of the latest endpoints", LIMIT, |_| {
        let text = std::fs::read_to_string(&file)?;
        let mut slices = text.lines().filter(|line| line.contains("\"kind\":\"EndpointSlice\""));
        Ok(slices.any(|line| addresses.iter().all(|address| line.contains(address))).then_some(()))
    })?;
    let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
    report.holds("only its owner reads the snapshot", mode == 0o600, format!("{mode:o}"));
    cluster.kill("kube-apiserver")?;
    lab.stop_gateway("gw1")?;
    let began = Instant::now();
    lab.start_gateway_reading("gw1", &["--kubeconfig", &kubeconfig.display().to_string()])?;
    answering(lab, &pods)?;
    report.at_most_ms("from the snapshot, all pods answered after", Some(began.elapsed()), LIMIT);
    let from_disk = lab.status("gw1")?["sources"][0]["from_disk"].clone();
    report.holds("the status says so", from_disk.is_string(), from_disk);
    cluster.start_again("kube-apiserver")?;
    lab.wait("source that was read", LIMIT, |lab| {
        let status = lab.status("gw1")?;
        let read = status["sources"][0]["from_disk"].is_null() && errors(&status).is_empty();
        Ok(read.then_some(()))
    })?;
    report.holds("the API server is followed again", true, "");
    Ok(())
}

/// Every request of the gateway, by the audit log.
fn requests(cluster: &Cluster) -> Result<Vec<Value>> {
    let log = std::fs::read_to_string(cluster.about().home.join("audit.log"))?;
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(events.filter(|event| event["user"]["username"] == ACCOUNT).collect())
}

/// The gateway needs no right that its account has not. (An API server that has just started refuses everybody at first, so
/// this is asked before.)
fn refused(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let requests = requests(cluster)?;
    report.at_least("requests to the API server", requests.len(), 10);
    let refused = requests.iter().filter(|event| event["responseStatus"]["code"] == 403);
    let refused: Vec<String> = refused.map(|event| event["requestURI"].to_string()).collect();
    report.exactly("of them without a right", refused.len(), 0, &refused.join(" "));
    Ok(())
}

/// What the gateway asked for.
fn asked_for(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let ours = requests(cluster)?;
    let verbs: BTreeSet<&str> = ours.iter().filter_map(|event| event["verb"].as_str()).collect();
    let shown = verbs.iter().copied().collect::<Vec<_>>().join(" ");
    let writes =
        |event: &&Value| !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap_or_default());
    let beside = |event: &&Value| {
        let object = &event["objectRef"];
        object["subresource"] != "status" && object["resource"] != "leases" && object["resource"] != "events"
    };
    let made = |event: &&Value| {
        event["objectRef"]["resource"] == "services" && event["objectRef"]["name"] == "tidegate-main"
    };
    let written = ours.iter().filter(writes).filter(beside).filter(|event| !made(event)).count();
    report.exactly("writes beside statuses, Events, its Lease and the Gateway's Service", written, 0, &shown);
    let secrets = ours.iter().filter(|event| event["objectRef"]["resource"] == "secrets");
    let secrets: Vec<&str> = secrets.filter_map(|event| event["requestURI"].as_str()).collect();
    report.at_least("requests for Secrets", secrets.len(), 2);
    let named = "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dweb&";
    let others: Vec<&str> = secrets.into_iter().filter(|path| !path.starts_with(named)).collect();
    report.exactly("of them for another than the one named", others.len(), 0, &others.join(" "));
    Ok(())
}

/// What is wrong with the sources.
fn errors(status: &Value) -> Vec<String> {
    let errors = status["sources"][0]["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits until so many pods are ready, and no other is left.
pub(super) fn ready(lab: &mut Lab, cluster: &Cluster, replicas: u64) -> Result<()> {
    lab.wait("so many pods, all ready", LIMIT, |_| {
        let ready = cluster.ready("echo")? == replicas;
        Ok((ready && pods(cluster)?.len() as u64 == replicas).then_some(()))
    })
}

/// The names of the Deployment's pods.
pub(super) fn pods(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let found = cluster.get(&["pods", "-l", "app=echo"])?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    Ok(items.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// Waits until these pods answer through the gateway, all of them and no other.
pub(super) fn answering(lab: &mut Lab, pods: &BTreeSet<String>) -> Result<()> {
    lab.wait("answers of exactly these pods", LIMIT, |lab| {
        let plan = plain(lab, 1);
        let asked = (0..pods.len() * 4).map(|_| Ok(plan.ask()?.who())).collect::<Result<BTreeSet<_>>>()?;
        Ok((asked == *pods).then_some(()))
    })
}
