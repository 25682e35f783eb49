//! Design One against a real cluster: a gateway that learns the way to the pods by BGP, as Calico's nodes tell it, while pods
//! scale from 1 to 20 to 3 under load. Nobody sets a route by hand.

use std::time::Instant;

use anyhow::Result;

use super::kube_source::{LIMIT, answering, definitions, plain, pods, ready};
use crate::cluster::{self, Cluster};
use crate::gateway::sessions;
use crate::lab::Lab;
use crate::report::Report;

const NODES: usize = 3;
/// Sessions with the nodes, and what is learned by them.
const SPEAKS: &str = include_str!("../../manifests/kube/pods_by_bgp.yaml");

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let gateway = lab.topology.address("gw1", "cluster").to_string();
    let plan = cluster::Plan { name: "", lan: "cluster", nodes: NODES, more: &["--peers", &gateway] };
    let cluster = Cluster::start(lab, &plan)?;
    cluster.kubectl(&["apply", "--server-side", "-f", &definitions()?.display().to_string()])?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    cluster.apply(include_str!("../../manifests/plane/echo.yaml"))?;
    cluster.apply(include_str!("../../manifests/kube/objects.yaml"))?;
    lab.manifests().put("bgp.yaml", SPEAKS)?;
    let file = cluster.token_kubeconfig("default", &lab.dir("gw1")?)?;
    let (file, here) = (file.display(), lab.manifests().path().display().to_string());
    lab.bootstrap(&format!(
        "sources: [{{name: blue, kubernetes: {{kubeconfig: {file}}}}}, {{name: here, manifests: {here}}}]\n"
    ));
    lab.start_gateway_reading("gw1", &[])?;
    let began = Instant::now();
    lab.wait("sessions with all nodes", LIMIT, |lab| {
        lab.check()?;
        Ok((sessions(&lab.status("gw1")?) == (NODES, NODES)).then_some(()))
    })?;
    let blocks: Vec<String> = cluster.about().nodes.iter().map(|node| node.pods.clone()).collect();
    let routes = lab.wait("routes to the pods of every node", LIMIT, |lab| {
        let routes = lab.ns("gw1").output("ip", &["route"])?;
        Ok(blocks.iter().all(|block| routes.contains(block.as_str())).then_some(routes))
    })?;
    report.at_most_ms("routes to all pods, learned after the start within", Some(began.elapsed()), LIMIT);
    let learned = routes.lines().filter(|line| blocks.iter().any(|block| line.starts_with(block.as_str())));
    report.exactly(
        "of them learned by BGP",
        learned.filter(|line| line.contains("proto")).count(),
        NODES,
        &routes,
    );

    scaled(lab, &cluster, 1)?;
    let loads = [plain(lab, 100).start(), plain(lab, 100).kept(8).start()];
    for replicas in [1, 20, 3] {
        let began = Instant::now();
        scaled(lab, &cluster, replicas)?;
        report.at_most_ms(
            &format!("{replicas} pods, and exactly those answer, after"),
            Some(began.elapsed()),
            LIMIT,
        );
    }
    let [fresh, kept] = loads;
    report.none_failed("on new connections", &fresh.stop()?, 500);
    report.none_failed("on kept ones", &kept.stop()?, 500);
    report.holds("the gateway ends in good order", lab.stop_gateway("gw1")?, "");
    cluster.stop()?;
    Ok(report)
}

fn scaled(lab: &mut Lab, cluster: &Cluster, replicas: u64) -> Result<()> {
    cluster.kubectl(&["scale", "deployment", "echo", &format!("--replicas={replicas}")])?;
    ready(lab, cluster, replicas)?;
    answering(lab, &pods(cluster)?)
}
