//! The control plane of a real cluster is away, for a minute or for ten: what is served goes on without it, and when it is back
//! and every pod is replaced by another, the gateway follows. No request fails meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::kube_source::{LIMIT, answering, definitions, plain, pods, ready};
use crate::cluster::{self, Cluster};
use crate::lab::Lab;
use crate::report::Report;

/// Until pods are replaced once the API server is back: the lab's kubelets, like others, ask it again only after a minute at worst.
const REPLACED: Duration = Duration::from_secs(180);
/// What goes with the machine that the API server is on.
const CONTROL_PLANE: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// How many pods there are before; after it there are some more, and none of these.
const PODS: u64 = 3;
/// Requests a second, on new connections and on kept ones.
const RATE: u32 = 50;

/// Away for a minute.
pub fn minute(lab: &mut Lab) -> Result<Report> {
    story(lab, Duration::from_secs(60))
}

/// Away for ten.
pub fn ten_minutes(lab: &mut Lab) -> Result<Report> {
    story(lab, Duration::from_secs(600))
}

fn story(lab: &mut Lab, away: Duration) -> Result<Report> {
    let mut report = Report::default();
    let plan = cluster::Plan { name: "", lan: "cluster", nodes: 2, more: &[] };
    let mut cluster = Cluster::start(lab, &plan)?;
    cluster.kubectl(&["apply", "--server-side", "-f", &definitions()?.display().to_string()])?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    cluster.apply(include_str!("../../manifests/plane/echo.yaml"))?;
    cluster.apply(include_str!("../../manifests/kube/objects.yaml"))?;
    let nodes = cluster.about().nodes.iter();
    let ways: Vec<String> =
        nodes.map(|node| format!("route add {} via {}", node.pods, node.address)).collect();
    lab.ns("gw1").ip(&ways)?;
    let kubeconfig = cluster.token_kubeconfig("default", &lab.dir("gw1")?)?;
    lab.start_gateway_reading("gw1", &["--kubeconfig", &kubeconfig.display().to_string()])?;
    cluster.kubectl(&["scale", "deployment", "echo", &format!("--replicas={PODS}")])?;
    ready(lab, &cluster, PODS)?;
    let before = pods(&cluster)?;
    answering(lab, &before)?;

    let loads = [plain(lab, RATE).start(), plain(lab, RATE).kept(8).start()];
    let count = |loads: &[crate::load::Load; 2]| loads.iter().map(|load| load.so_far().len()).sum::<usize>();
    for component in CONTROL_PLANE {
        cluster.kill(component)?;
    }
    let (began, sent) = (Instant::now(), count(&loads));
    lab.pause(away)?;
    let sent = count(&loads) - sent;
    let wanted = usize::try_from(away.as_secs())? * RATE as usize;
    report.at_least(&format!("requests in the {} s without it", began.elapsed().as_secs()), sent, wanted);
    report.exactly("readiness meanwhile", usize::from(lab.ready("gw1")?), 200, "");
    let told = lab.status("gw1")?["sources"][0]["errors"][0]["message"].to_string();
    report.holds("its status says what is away", told.contains("stays in force"), told);

    let back = Instant::now();
    cluster.start_again("kube-apiserver")?;
    lab.wait("ready API server", LIMIT, |_| cluster.kubectl(&["get", "--raw", "/readyz"]).map(Some))?;
    for component in &CONTROL_PLANE[1..] {
        cluster.start_again(component)?;
    }
    cluster.kubectl(&["scale", "deployment", "echo", &format!("--replicas={}", PODS + 1)])?;
    cluster.kubectl(&["rollout", "restart", "deployment", "echo"])?;
    let after = lab.wait("pods of which none was there before", REPLACED, |_| {
        let after = pods(&cluster)?;
        let replaced = after.is_disjoint(&before) && cluster.ready("echo")? == PODS + 1;
        Ok((replaced && after.len() as u64 == PODS + 1).then_some(after))
    })?;
    // How long the cluster takes to replace pods is its own affair.
    report.holds(
        "the cluster has replaced every pod",
        true,
        format!("{:.0?} after its return", back.elapsed()),
    );
    let replaced = Instant::now();
    answering(lab, &after)?;
    report.at_most_ms("exactly the new ones answer, after", Some(replaced.elapsed()), LIMIT);
    let [fresh, kept] = loads;
    report.none_failed("all that time on new connections", &fresh.stop()?, wanted);
    report.none_failed("all that time on kept ones", &kept.stop()?, wanted);
    report.holds("the gateway ends in good order", lab.stop_gateway("gw1")?, "");
    cluster.stop()?;
    Ok(report)
}
