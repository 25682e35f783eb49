//! Statuses in a real API server: of three gateways that follow it one writes them, another takes over when that one is killed,
//! nothing is written in vain, and what other controllers have written stays. Every write is read in the API server's audit log.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::kube_source::definitions;
use crate::cluster::{self, Cluster};
use crate::gateway;
use crate::lab::Lab;
use crate::report::Report;
use crate::topology::{Host, Kind, Lan, Topology};

/// The drawing: a LAN for the nodes of a cluster, and three gateways that are none of them.
pub const THREE: Topology = Topology {
    name: "three",
    about: "a LAN for the nodes of a Kubernetes cluster, and three gateways that are none of them",
    lans: &[Lan { name: "cluster", net: [10, 20, 0] }],
    hosts: &[
        Host { name: "gw1", kind: Kind::Gateway, at: &[("cluster", 20)], via: None },
        Host { name: "gw2", kind: Kind::Gateway, at: &[("cluster", 21)], via: None },
        Host { name: "gw3", kind: Kind::Gateway, at: &[("cluster", 22)], via: None },
    ],
    pods: &[],
    manifests: &[],
};

/// Anything that is asked of the cluster; a bound for a machine that has much else to do, not a promise.
const LIMIT: Duration = Duration::from_secs(60);
/// From the death of the writer to the next write.
const TAKEOVER: Duration = Duration::from_secs(5);
/// How long nothing may be written while nothing changes.
const STEADY: Duration = Duration::from_secs(60);
const ACCOUNT: &str = "system:serviceaccount:default:tidegate";
const STRANGER: &str = "example.com/other";

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let plan = cluster::Plan { name: "", lan: "cluster", nodes: 1, more: &["--audit"] };
    let cluster = Cluster::start(lab, &plan)?;
    cluster.kubectl(&["apply", "--server-side", "-f", &definitions()?.display().to_string()])?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    cluster.apply(include_str!("../../manifests/status/objects.yaml"))?;
    for name in lab.gateways() {
        let kubeconfig = cluster.token_kubeconfig("default", &lab.dir(name)?)?;
        lab.start_gateway_reading(name, &["--kubeconfig", &kubeconfig.display().to_string()])?;
    }
    told(lab, &cluster, &mut report)?;
    strangers(lab, &cluster, &mut report)?;
    killed(lab, &cluster, &mut report)?;
    steady(lab, &cluster, &mut report)?;
    quarrel(lab, &cluster, &mut report)?;
    taken_away(lab, &cluster, &mut report)?;
    let refused = requests(&cluster)?.into_iter().filter(|event| event["responseStatus"]["code"] == 403);
    let refused: Vec<String> = refused.map(|event| event["requestURI"].to_string()).collect();
    report.exactly("requests without a right", refused.len(), 0, &refused.join(" "));
    let writer = leader(lab)?.context("one writes")?;
    report.holds("the writer ends in good order", lab.stop_gateway(writer)?, "");
    let lease = cluster.get(&["lease", "-n", "tidegate-system", "tidegate-status"])?;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    report.holds("and its Lease is another's, or nobody's", !holder.starts_with(writer), holder);
    cluster.stop()?;
    Ok(report)
}

/// The gateway that writes.
fn leader(lab: &mut Lab) -> Result<Option<&'static str>> {
    let mut leading = Vec::new();
    for name in lab.gateways() {
        if lab.running(name) {
            let metrics = gateway::metrics(&lab.ns(name))?;
            if metrics.lines().any(|line| line.starts_with("tidegate_status_leads{") && line.ends_with(" 1"))
            {
                leading.push(name);
            }
        }
    }
    anyhow::ensure!(leading.len() < 2, "{} write at once", leading.join(" and "));
    Ok(leading.first().copied())
}

/// A condition, where it is of the object's generation.
fn condition(object: &Value, conditions: &Value, name: &str) -> Option<String> {
    let all = conditions.as_array()?;
    let found = all.iter().find(|condition| condition["type"] == name)?;
    let current = found["observedGeneration"] == object["metadata"]["generation"];
    current.then(|| {
        format!(
            "{} {}",
            found["status"].as_str().unwrap_or_default(),
            found["reason"].as_str().unwrap_or_default()
        )
    })
}

/// What our controller says of a route.
fn ours(route: &Value) -> Value {
    let parents = route["status"]["parents"].as_array().cloned().unwrap_or_default();
    parents.into_iter().find(|parent| parent["controllerName"] != STRANGER).unwrap_or_default()
}

/// Everything is told what becomes of it.
fn told(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let began = Instant::now();
    let gateway = lab.wait("Gateway that is told so", LIMIT, |lab| {
        lab.check()?;
        let gateway = cluster.get(&["gateway", "main"])?;
        let programmed = condition(&gateway, &gateway["status"]["conditions"], "Programmed");
        Ok((programmed.as_deref() == Some("True Programmed")).then_some(gateway))
    })?;
    report.at_most_ms("the Gateway was Programmed, after the gateways' start", Some(began.elapsed()), LIMIT);
    let address = gateway["status"]["addresses"][0]["value"].clone();
    report.holds("with an address", address.is_string(), address);
    let class = cluster.get(&["gatewayclass", "tidegate"])?;
    let features = class["status"]["supportedFeatures"].as_array().map_or(0, Vec::len);
    report.at_least("features of the class", features, 40);
    for (name, resolved) in [("web", "True ResolvedRefs"), ("broken", "False BackendNotFound")] {
        let route = lab.wait("route that is told so", LIMIT, |_| {
            let route = cluster.get(&["httproute", name])?;
            let is_told =
                condition(&route, &ours(&route)["conditions"], "ResolvedRefs").as_deref() == Some(resolved);
            Ok(is_told.then_some(route))
        })?;
        let accepted = condition(&route, &ours(&route)["conditions"], "Accepted").unwrap_or_default();
        report.holds(
            &format!("route {name}: ResolvedRefs is {resolved}"),
            accepted == "True Accepted",
            accepted,
        );
    }
    let service =
        lab.wait("Service of the Gateway", LIMIT, |_| cluster.get(&["service", "tidegate-main"]).map(Some))?;
    let owner = service["metadata"]["ownerReferences"][0]["uid"] == gateway["metadata"]["uid"];
    report.holds("its Service is the Gateway's", owner, &service["metadata"]["labels"]);
    let event =
        lab.wait("Event for the broken route", LIMIT, |_| Ok(events(cluster, "broken")?.into_iter().next()))?;
    report.holds("an Event names the broken route", event["reason"] == "BackendNotFound", &event["note"]);
    report.exactly(
        "Events of the others",
        events(cluster, "web")?.len() + events(cluster, "main")?.len(),
        0,
        "",
    );
    Ok(())
}

/// Events about an object.
fn events(cluster: &Cluster, name: &str) -> Result<Vec<Value>> {
    let all = cluster.get(&["events.events.k8s.io", "--all-namespaces"])?;
    let items = all["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().filter(|event| event["regarding"]["name"] == name).collect())
}

/// What another controller says of a route stays, whatever becomes of the route.
fn strangers(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let route = cluster.get(&["httproute", "web"])?;
    let mut parents = route["status"]["parents"].as_array().cloned().unwrap_or_default();
    let time = parents.first().map(|parent| parent["conditions"][0]["lastTransitionTime"].clone());
    let accepted = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "theirs",
                          "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let foreign = json!({"parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "other"},
                         "controllerName": STRANGER, "conditions": [accepted]});
    parents.push(foreign.clone());
    let patch = json!({"status": {"parents": parents}}).to_string();
    cluster.kubectl(&["patch", "httproute", "web", "--subresource=status", "--type=merge", "-p", &patch])?;
    cluster.kubectl(&[
        "patch",
        "httproute",
        "web",
        "--type=merge",
        "-p",
        r#"{"spec": {"hostnames": ["web2.example"]}}"#,
    ])?;
    let route = lab.wait("route that is told of its new generation", LIMIT, |_| {
        let route = cluster.get(&["httproute", "web"])?;
        Ok(condition(&route, &ours(&route)["conditions"], "Accepted").is_some().then_some(route))
    })?;
    let kept = route["status"]["parents"].as_array().is_some_and(|all| all.contains(&foreign));
    report.holds("what another controller says of a route stays", kept, "");
    let same = Some(&ours(&route)["conditions"][0]["lastTransitionTime"]) == time.as_ref();
    report.holds("and the time of a condition that has not changed", same, "");
    Ok(())
}

/// The writer is killed, and another one writes.
fn killed(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let writer = leader(lab)?.context("one writes")?;
    let began = Instant::now();
    lab.kill_gateway(writer)?;
    cluster.kubectl(&[
        "patch",
        "httproute",
        "broken",
        "--type=merge",
        "-p",
        r#"{"spec": {"hostnames": ["b.example"]}}"#,
    ])?;
    lab.wait("route that another gateway tells", LIMIT, |_| {
        let route = cluster.get(&["httproute", "broken"])?;
        Ok(condition(&route, &ours(&route)["conditions"], "Accepted").map(drop))
    })?;
    report.at_most_ms("after the writer was killed, another one wrote", Some(began.elapsed()), TAKEOVER);
    let heir = leader(lab)?.context("one writes")?;
    report.holds("the heir", heir != writer, heir);
    report.exactly("Events about the broken route, as before", events(cluster, "broken")?.len(), 1, "");
    let kubeconfig = lab.dir(writer)?.join("kubeconfig").display().to_string();
    lab.start_gateway_reading(writer, &["--kubeconfig", &kubeconfig])
}

/// Where nothing changes nothing is written, but the Lease.
fn steady(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    // What the new start and the takeover have to write is written.
    lab.pause(Duration::from_secs(10))?;
    let before = requests(cluster)?.len();
    lab.pause(STEADY)?;
    let since = requests(cluster)?.split_off(before);
    let (leases, others): (Vec<Value>, Vec<Value>) =
        writes(&since).into_iter().partition(|event| event["objectRef"]["resource"] == "leases");
    report.at_least("renewals of the Lease in a minute of steady state", leases.len(), 30);
    let shown: Vec<String> = others.iter().map(|event| event["requestURI"].to_string()).collect();
    report.exactly("and other writes", others.len(), 0, &shown.join(" "));
    Ok(())
}

/// Who changes again and again what we have written is answered a few times, and then told of.
fn quarrel(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let before = requests(cluster)?.len();
    for _ in 0..40 {
        let patch = r#"{"status": {"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]}}"#;
        cluster.kubectl(&[
            "patch",
            "gateway",
            "main",
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        ])?;
        lab.pause(Duration::from_millis(200))?;
    }
    let since = requests(cluster)?.split_off(before);
    let answers =
        writes(&since).into_iter().filter(|event| event["objectRef"]["subresource"] == "status").count();
    report.holds(
        "forty changes by somebody else are answered a few times",
        (2..=5).contains(&answers),
        answers,
    );
    let right = lab.wait("address of ours", LIMIT, |_| {
        let gateway = cluster.get(&["gateway", "main"])?;
        let address = gateway["status"]["addresses"][0]["value"].clone();
        Ok((address != "192.0.2.1").then_some(address))
    })?;
    report.holds("and in the end it stands as it should", true, right);
    Ok(())
}

/// What was made for a Gateway goes with it, and what was said of its routes.
fn taken_away(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    cluster.kubectl(&["delete", "gateway", "main"])?;
    let route = lab.wait("route without a parent of ours", LIMIT, |_| {
        let route = cluster.get(&["httproute", "web"])?;
        Ok(ours(&route).is_null().then_some(route))
    })?;
    let parents = route["status"]["parents"].as_array().map_or(0, Vec::len);
    report.exactly("of a route whose Gateway is gone, what the other controller says stays", parents, 1, "");
    lab.wait("end of the Gateway's Service", LIMIT, |_| {
        Ok(cluster.kubectl(&["get", "service", "tidegate-main"]).is_err().then_some(()))
    })?;
    report.holds("and its Service is gone", true, "");
    Ok(())
}

/// Every request of the gateways, by the audit log.
fn requests(cluster: &Cluster) -> Result<Vec<Value>> {
    let log = std::fs::read_to_string(cluster.about().home.join("audit.log"))?;
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(events.filter(|event| event["user"]["username"] == ACCOUNT).collect())
}

/// Those that write.
fn writes(requests: &[Value]) -> Vec<Value> {
    let reads = ["get", "list", "watch"];
    requests
        .iter()
        .filter(|event| !reads.contains(&event["verb"].as_str().unwrap_or_default()))
        .cloned()
        .collect()
}
