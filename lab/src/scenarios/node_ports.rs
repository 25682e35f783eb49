//! Design Two against the real kube-proxy: a gateway that has no way to the pods reaches them by the NodePorts of the nodes
//! that have some, and of no others, while pods come and go under load.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::kube_source::{definitions, ready};
use crate::cluster::{self, Cluster};
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;

/// Anything that is asked of the cluster; a bound for a machine that has much else to do, not a promise.
const LIMIT: Duration = Duration::from_secs(60);
/// The NodePorts of the manifests, with the host names that lead there.
const SERVICES: [(&str, u16); 2] = [("echo-anywhere", 30080), ("echo-asked", 30082)];
const HOSTS: [&str; 2] = ["anywhere.example", "local.example"];

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let plan = cluster::Plan { name: "", lan: "cluster", nodes: 3, more: &[] };
    let mut cluster = Cluster::start(lab, &plan)?;
    cluster.kubectl(&["apply", "--server-side", "-f", &definitions()?.display().to_string()])?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    for manifests in [
        include_str!("../../manifests/plane/echo.yaml"),
        include_str!("../../manifests/kube/objects.yaml"),
        include_str!("../../manifests/kube/node_ports.yaml"),
    ] {
        cluster.apply(manifests)?;
    }
    let file = cluster.token_kubeconfig("default", &lab.dir("gw1")?)?;
    let source = format!("{{kubeconfig: {}, endpointMode: NodePort}}", file.display());
    lab.bootstrap(&format!("sources: [{{name: blue, kubernetes: {source}}}]\n"));
    lab.start_gateway_reading("gw1", &[])?;

    scaled(lab, &cluster, 1)?;
    nodes_with_pods(lab, &cluster)?;
    under_load(lab, &cluster, &mut report)?;
    silent_node(lab, &mut cluster, &mut report)?;
    report.holds("the gateway ends in good order", lab.stop_gateway("gw1")?, "");
    cluster.stop()?;
    Ok(report)
}

fn scaled(lab: &mut Lab, cluster: &Cluster, replicas: u64) -> Result<()> {
    cluster.kubectl(&["scale", "deployment", "echo", &format!("--replicas={replicas}")])?;
    ready(lab, cluster, replicas)
}

/// One pod, twenty, three: no request fails, whichever policy the Service has.
fn under_load(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    for host in HOSTS {
        lab.wait("first answer", LIMIT, |lab| {
            Ok((asked(lab, host, 1).ask()?.head.status() == Some(200)).then_some(()))
        })?;
    }
    let loads = HOSTS.map(|host| [asked(lab, host, 50).start(), asked(lab, host, 50).kept(4).start()]);
    for replicas in [1, 20, 3] {
        let began = Instant::now();
        scaled(lab, cluster, replicas)?;
        let nodes = nodes_with_pods(lab, cluster)?;
        report.at_most_ms(
            &format!("{replicas} pods, and exactly the {} nodes that have some, after", nodes.len()),
            Some(began.elapsed()),
            LIMIT,
        );
        if replicas == 20 {
            let crowded = service(&lab.status("gw1")?, "echo-asked")["crowded"].clone();
            let told: BTreeSet<&str> =
                crowded.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            report.exactly(
                "nodes that are told to be crowded",
                told.len(),
                nodes.len(),
                &crowded.to_string(),
            );
        }
    }
    for (load, host) in loads.into_iter().zip(HOSTS) {
        let [fresh, kept] = load;
        report.none_failed(&format!("{host}, on new connections"), &fresh.stop()?, 200);
        report.none_failed(&format!("{host}, on kept ones"), &kept.stop()?, 200);
    }
    Ok(())
}

/// kube-proxy ends on one node: where nodes are asked about their own pods, that node is left out; its rules stay in the
/// kernel, so nobody notices where they are not.
fn silent_node(lab: &mut Lab, cluster: &mut Cluster, report: &mut Report) -> Result<()> {
    let nodes = nodes_with_pods(lab, cluster)?;
    let Some(node) = nodes.first().cloned() else { return Ok(()) };
    let address = address(cluster, &node);
    let loads = HOSTS.map(|host| asked(lab, host, 50).start());
    cluster.kill(&format!("kube-proxy/{node}"))?;
    let began = Instant::now();
    lab.wait("word of the silent node", LIMIT, |lab| {
        let service = service(&lab.status("gw1")?, "echo-asked");
        let impaired = service["impaired"].as_array().cloned().unwrap_or_default();
        let found =
            impaired.iter().any(|it| it["address"] == format!("{address}:30082") && it["healthy"] == false);
        Ok(found.then_some(()))
    })?;
    report.at_most_ms("a node whose health port is silent was left out after", Some(began.elapsed()), LIMIT);
    let others = service(&lab.status("gw1")?, "echo-anywhere")["impaired"].clone();
    report.holds("and only where nodes are asked", others.is_null(), others);
    for (load, host) in loads.into_iter().zip(HOSTS) {
        report.none_failed(&format!("{host} meanwhile"), &load.stop()?, 50);
    }
    cluster.start_again(&format!("kube-proxy/{node}"))
}

/// Requests for a host to the gateway.
fn asked(lab: &Lab, host: &str, rate: u32) -> Plan {
    Plan::new(lab.ns("client"), (lab.topology.address("gw1", "cluster"), 80), host, rate)
}

/// Waits until both Services have exactly the nodes that have a pod; those.
fn nodes_with_pods(lab: &mut Lab, cluster: &Cluster) -> Result<BTreeSet<String>> {
    lab.wait("endpoints of exactly the nodes that have a pod", LIMIT, |lab| {
        let pods = cluster.get(&["pods", "-l", "app=echo"])?;
        let names = pods["items"].as_array().into_iter().flatten();
        let nodes: BTreeSet<String> =
            names.filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned)).collect();
        let status = lab.status("gw1")?;
        let same = SERVICES.iter().all(|(name, port)| {
            let wanted: BTreeSet<String> =
                nodes.iter().map(|node| format!("{}:{port}", address(cluster, node))).collect();
            let service = service(&status, name);
            let found = service["endpoints"].as_array().into_iter().flatten();
            let found: BTreeSet<String> = found.filter_map(|it| it.as_str().map(str::to_owned)).collect();
            !nodes.is_empty() && found == wanted
        });
        Ok(same.then_some(nodes))
    })
}

/// What the status says of a Service's port.
fn service(status: &Value, name: &str) -> Value {
    let wanted = format!("blue: default/{name}:80 by NodePort");
    let all = status["services"].as_array().into_iter().flatten();
    let mut found = all.filter(|it| it["service"].as_str().is_some_and(|it| wanted.ends_with(it)));
    found.next().cloned().unwrap_or_default()
}

fn address(cluster: &Cluster, node: &str) -> String {
    let found = cluster.about().nodes.iter().find(|it| it.name == node);
    found.map(|node| node.address.to_string()).unwrap_or_default()
}
