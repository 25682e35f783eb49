//! Two real clusters as one: the same namespace and Service name in both, and a gateway outside that reads both. First one of
//! them lies empty, then both have pods, then one is lost as a whole, pods and API server, and it is the one in which the Gateway
//! and its routes stand.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::kube_source::{OUTSIDE, definitions};
use crate::cluster::{self, Cluster};
use crate::gap::{self, Record};
use crate::gateway;
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;

/// Anything that is asked of a cluster; a bound for a machine that has much else to do, not a promise.
const LIMIT: Duration = Duration::from_secs(90);
/// From the loss of a cluster until no request feels it any more.
const MOVED: Duration = Duration::from_secs(5);
/// Its name in the test plane's drawing.
const LAN: &str = "cluster";
const NAMESPACE: &str = "tidegate-system";

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    // One node each: two control planes are what costs.
    let green = Cluster::start(lab, &cluster::Plan { name: "green", lan: LAN, nodes: 1, more: &[] })?;
    let more = ["--control=40", "--node=41", "--pods=10.245.0.0/16", "--services=10.97.0.0/16"];
    let blue = Cluster::start(lab, &cluster::Plan { name: "blue", lan: LAN, nodes: 1, more: &more })?;
    set_up(lab, &green, 2)?;
    set_up(lab, &blue, 0)?;
    green.apply(include_str!("../../manifests/clusters/entry.yaml"))?;
    start_gateway(lab, &green, &blue)?;

    lying_empty(lab, &green, &mut report)?;
    both(lab, &green, &blue, &mut report)?;
    lost(lab, green, &blue, &mut report)?;
    report.holds("the gateway ends in good order", lab.stop_gateway("gw1")?, "");
    blue.stop()?;
    Ok(report)
}

/// Kinds, the account of docs/install.md, the Service and its export, so many pods, and the gateway's way to them.
fn set_up(lab: &mut Lab, cluster: &Cluster, replicas: usize) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for path in [
        definitions()?,
        root.join("deploy/crds"),
        root.join("lab/manifests/clusters/definitions.yaml"),
        root.join("deploy/manifests/external.yaml"),
    ] {
        cluster.kubectl(&["apply", "--server-side", "-f", &path.display().to_string()])?;
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    let echo = include_str!("../../manifests/plane/echo.yaml");
    let scaled = echo.replace("replicas: 2", &format!("replicas: {replicas}"));
    ensure!(scaled.contains(&format!("replicas: {replicas}\n")), "echo.yaml says no replicas");
    cluster.apply(&scaled)?;
    cluster.apply(include_str!("../../manifests/clusters/export.yaml"))?;
    let nodes = cluster.about().nodes.iter();
    let ways: Vec<String> =
        nodes.map(|node| format!("route add {} via {}", node.pods, node.address)).collect();
    lab.ns("gw1").ip(&ways)
}

fn start_gateway(lab: &mut Lab, green: &Cluster, blue: &Cluster) -> Result<()> {
    let mut sources = Vec::new();
    for (name, cluster) in [("green", green), ("blue", blue)] {
        let folder = lab.dir(&format!("gw1/{name}"))?;
        let file = cluster.token_kubeconfig(NAMESPACE, &folder)?;
        sources.push(format!("{{name: {name}, kubernetes: {{kubeconfig: {}}}}}", file.display()));
    }
    lab.bootstrap(&format!("sources: [{}]\n", sources.join(", ")));
    lab.start_gateway_reading("gw1", &[])
}

/// Blue has no pod: what leads to both is answered by green, and what leads to blue alone by nobody.
fn lying_empty(lab: &mut Lab, green: &Cluster, report: &mut Report) -> Result<()> {
    let pods = pods(lab, green, 2)?;
    answering(lab, "both.example", &pods)?;
    let load = asked(lab, "both.example", 100).start();
    lab.pause(Duration::from_secs(2))?;
    let records = load.stop()?;
    report.none_failed("while blue lies empty", &records, 150);
    report.exactly("of them answered by others than green", by_others(&records, &pods).len(), 0, "");
    let status = asked(lab, "blue.example", 1).ask()?.head.status();
    report.holds("what leads to blue alone", status == Some(503), format!("{status:?}"));
    Ok(())
}

/// Pods come to blue under load: both answer, and the status says which endpoint is whose.
fn both(lab: &mut Lab, green: &Cluster, blue: &Cluster, report: &mut Report) -> Result<()> {
    let load = asked(lab, "both.example", 100).start();
    blue.kubectl(&["scale", "deployment", "echo", "--replicas=2"])?;
    let of_blue = pods(lab, blue, 2)?;
    let began = Instant::now();
    let all: BTreeSet<String> = pods(lab, green, 2)?.union(&of_blue).cloned().collect();
    answering(lab, "both.example", &all)?;
    report.at_most_ms("once blue's pods are ready, both answer after", Some(began.elapsed()), LIMIT);
    report.none_failed("while they came", &load.stop()?, 100);
    answering(lab, "blue.example", &of_blue)?;
    let status = lab.status("gw1")?;
    let rows = status["services"].as_array().cloned().unwrap_or_default();
    let row = |source: &str| {
        let mut own =
            rows.iter().filter(|row| row["source"] == source && row["service"] == "default/echo:80");
        own.next().and_then(|row| row["endpoints"].as_array()).map_or(0, Vec::len)
    };
    report.exactly("endpoints that the status calls blue's", row("blue"), 2, &status["services"].to_string());
    report.exactly("and green's", row("green"), 2, "");
    let told = lab.tidegate("gw1", &["explain", "http", "http://both.example/"])?;
    let told = gateway::succeed(&told)?;
    report.holds(
        "explain names the source of each",
        told.contains("(blue)") && told.contains("(green)"),
        told,
    );
    Ok(())
}

/// Green is lost, API server and pods: its endpoints stay, as nobody takes them away, and yet no request fails.
fn lost(lab: &mut Lab, mut green: Cluster, blue: &Cluster, report: &mut Report) -> Result<()> {
    let of_green = pods(lab, &green, 2)?;
    let (fresh, kept) =
        (asked(lab, "both.example", 100).start(), asked(lab, "both.example", 50).kept(8).start());
    let slow = asked(lab, "both.example", 10).path("/?ms=700").start();
    lab.pause(Duration::from_secs(2))?;
    let strike = [fresh.now(), kept.now(), slow.now()];
    for component in ["kube-apiserver", "node1"] {
        green.kill(component)?;
    }
    lab.pause(Duration::from_secs(10))?;
    for ((load, strike), what) in [fresh, kept, slow].into_iter().zip(strike).zip([
        "on new connections",
        "on kept connections",
        "that take 0.7 s each",
    ]) {
        let records = load.stop()?;
        report.at_least(&format!("requests {what} around the loss"), records.len(), 50);
        report.exactly(&format!("failed {what}"), gap::failed(&records), 0, &gap::failures(&records));
        let moved = last_felt(&records, strike, &of_green);
        report.at_most_ms(
            &format!("the last that felt it {what} was sent, after the loss"),
            Some(moved),
            MOVED,
        );
    }
    let sources = lab.status("gw1")?["sources"].clone();
    let is_told =
        |source: &Value| source["name"] == "green" && !source["errors"].as_array().is_none_or(Vec::is_empty);
    let told = sources.as_array().into_iter().flatten().any(is_told);
    report.holds("the status says that green is away", told, &sources);
    let began = Instant::now();
    blue.kubectl(&["scale", "deployment", "echo", "--replicas=4"])?;
    let all = pods(lab, blue, 4)?;
    answering(lab, "both.example", &all)?;
    report.at_most_ms(
        "meanwhile blue scales, and all of its pods answer after",
        Some(began.elapsed()),
        LIMIT,
    );
    green.stop()?;
    Ok(())
}

/// How long after the loss the last request was sent that failed, waited for longer than usual, or was answered from there.
fn last_felt(records: &[Record], strike: Duration, lost: &BTreeSet<String>) -> Duration {
    let quick = |record: &Record| record.end.saturating_sub(record.start) < Duration::from_millis(950);
    let felt = records.iter().filter(|record| {
        record.start > strike && !(quick(record) && record.who().is_some_and(|who| !lost.contains(who)))
    });
    felt.map(|record| record.start - strike).max().unwrap_or_default()
}

fn by_others<'r>(records: &'r [Record], pods: &BTreeSet<String>) -> Vec<&'r str> {
    records.iter().filter_map(Record::who).filter(|who| !pods.contains(*who)).collect()
}

/// Requests for a host to the gateway.
fn asked(lab: &Lab, host: &str, rate: u32) -> Plan {
    Plan::new(lab.ns("client"), (OUTSIDE.address("gw1", LAN), 80), host, rate)
}

/// Waits until a cluster has so many pods, all ready, and none that leaves; their names.
fn pods(lab: &mut Lab, cluster: &Cluster, count: usize) -> Result<BTreeSet<String>> {
    lab.wait("so many pods, all ready", LIMIT, |_| {
        if cluster.ready("echo")? != count as u64 {
            return Ok(None);
        }
        let found = cluster.get(&["pods", "-l", "app=echo"])?;
        let items = found["items"].as_array().cloned().unwrap_or_default();
        let names: BTreeSet<String> =
            items.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect();
        Ok((names.len() == count).then_some(names))
    })
}

/// Waits until these pods answer through the gateway, all of them and no other.
fn answering(lab: &mut Lab, host: &str, pods: &BTreeSet<String>) -> Result<()> {
    lab.wait("answers of exactly these pods", LIMIT, |lab| {
        lab.check()?;
        let plan = asked(lab, host, 1);
        let answers = (0..pods.len() * 4).map(|_| Ok(plan.ask()?.who())).collect::<Result<BTreeSet<_>>>()?;
        Ok((answers == *pods).then_some(()))
    })
}
