//! What a user installs, on a real API server: our definitions, which judge objects as the table beside them says; the chart,
//! whose pods serve from the network of a node with the rights that it names and no other; then the same chart for gateways
//! that stand outside, with no right to Secrets but by name.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::kube_source::{HOST, certificate, definitions};
use crate::cluster::{self, Cluster};
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;

/// Anything that is asked of the cluster; a bound for a machine that has much else to do, not a promise.
const LIMIT: Duration = Duration::from_secs(90);
const NAMESPACE: &str = "tidegate-system";
const ACCOUNT: &str = "system:serviceaccount:tidegate-system:tidegate";
const JUDGED: &str = include_str!("../../../pure/definitions/testdata/judged.yaml");

/// The kinds of ours.
const DEFINED: usize = 8;

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let helm = helm()?;
    let image = format!("tidegate={}", crate::gateway::program()?.display());
    let more = ["--audit", "--image", &image];
    let cluster = Cluster::start(lab, &cluster::Plan { name: "", lan: "cluster", nodes: 2, more: &more })?;
    defined(lab, &cluster, &mut report)?;
    judged(&cluster, &mut report)?;
    let certificate = objects(lab, &cluster)?;
    inside(lab, &cluster, &helm, &certificate, &mut report)?;
    rights(
        &cluster,
        &[("list", "secrets", "default", true), ("list", "configmaps", "default", true)],
        &mut report,
    )?;
    refused(&cluster, &mut report)?;
    outside(lab, &cluster, &helm, &certificate, &mut report)?;
    cluster.stop()?;
    Ok(report)
}

/// Gateway API's definitions and ours stand, and `kubectl` explains and lists what is ours.
fn defined(lab: &mut Lab, cluster: &Cluster, report: &mut Report) -> Result<()> {
    for folder in [definitions()?, root().join("deploy/crds")] {
        cluster.kubectl(&["apply", "--server-side", "-f", &folder.display().to_string()])?;
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    // What is served is asked for anew; what kubectl remembers is from before.
    lab.wait("word of the kinds", LIMIT, |_| {
        let listed = cluster.kubectl(&["api-resources", "--api-group=tidegate.dev", "-o", "name"])?;
        Ok((listed.lines().count() == DEFINED).then_some(()))
    })?;
    let told = cluster.kubectl(&["explain", "vrrp.spec.advertisementInterval"])?;
    report.holds("kubectl explains a field", told.contains("10ms to 40s"), "vrrp.spec.advertisementInterval");
    Ok(())
}

/// What the table says of good and bad objects is what the API server says.
fn judged(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let (accepted, refusals) = cluster.would_create(JUDGED)?;
    let refusals: Vec<String> = refusals.lines().map(str::to_owned).collect();
    let (mut good, mut bad, mut wrong) = (0, 0, Vec::new());
    for object in JUDGED.split("\n---").filter(|part| part.contains("apiVersion")) {
        let kind = after(object, "kind: ", &['\n']);
        let name = after(object, "metadata: {name: ", &[',', '}']);
        let is_accepted = accepted.contains(&format!("{}.tidegate.dev/{name} ", kind.to_lowercase()));
        if object.contains("annotations: {refused:") {
            let field = after(object, "refused: ", &[',']).trim_matches('"').to_owned();
            // Of an unknown field the server says no name.
            let names_it =
                |line: &&String| line.contains(&format!("\"{name}\"")) || line.contains("unknown field");
            let named = refusals.iter().filter(names_it).any(|line| line.contains(&field));
            bad += 1;
            if is_accepted || !named {
                wrong.push(format!("{kind} {name} is to be refused for {field}"));
            }
        } else {
            good += 1;
            if !is_accepted {
                wrong.push(format!("{kind} {name} is to be accepted"));
            }
        }
    }
    report.at_least("good objects", good, 14);
    report.at_least("bad objects, refused by the field's name", bad, 50);
    let told = if wrong.is_empty() {
        String::new()
    } else {
        format!("{}\n{}", wrong.join("\n"), refusals.join("\n"))
    };
    report.exactly("judged otherwise than the table says", wrong.len(), 0, &told);
    Ok(())
}

/// What stands behind a word, up to one of these signs.
fn after<'a>(text: &'a str, word: &str, ends: &[char]) -> &'a str {
    text.split_once(word).map_or("", |(_, rest)| rest.split(ends).next().unwrap_or_default())
}

/// Servers, a Gateway with a certificate, a route to them, and a Secret that is nobody's business.
fn objects(lab: &mut Lab, cluster: &Cluster) -> Result<PathBuf> {
    cluster.apply(include_str!("../../manifests/plane/echo.yaml"))?;
    let certificate = certificate(lab, cluster, "first")?;
    cluster.apply(include_str!("../../manifests/install/objects.yaml"))?;
    lab.wait("two ready pods", LIMIT, |_| Ok((cluster.ready("echo")? == 2).then_some(())))?;
    Ok(certificate)
}

/// The chart's own pod, on the node that has the label and no other, serves a client.
fn inside(
    lab: &mut Lab,
    cluster: &Cluster,
    helm: &Path,
    certificate: &Path,
    report: &mut Report,
) -> Result<()> {
    cluster.kubectl(&["label", "node", "node1", "tidegate.dev/gateway="])?;
    let state = lab.dir("state")?.display().to_string();
    let path = format!("state.path={state}");
    let began = Instant::now();
    let values = ["rbac.secretNamespaces={default}", "rbac.infrastructureNamespaces={default}", &path];
    cluster.apply(&template(helm, &values)?)?;
    lab.wait("ready pod of the DaemonSet", LIMIT, |_| {
        let set = cluster.get(&["daemonset", "tidegate", "-n", NAMESPACE])?;
        let count = |field: &str| set["status"][field].as_u64().unwrap_or(0);
        Ok((count("desiredNumberScheduled") == 1 && count("numberReady") == 1).then_some(()))
    })?;
    report.at_most_ms("helm template | kubectl apply, ready after", Some(began.elapsed()), LIMIT);
    let address = cluster.about().nodes[0].address;
    let plan = Plan::new(lab.ns("client"), (address, 80), HOST, 1);
    let answer = lab.wait("answer through the Gateway", LIMIT, |_| {
        let answer = plan.ask()?;
        Ok((answer.head.status() == Some(200)).then_some(answer))
    })?;
    report.holds("a client is served by a pod", answer.who().starts_with("echo-"), answer.who());
    lab.wait("TLS with the Secret's certificate", LIMIT, |lab| {
        Ok(is_trusted(lab, address, certificate)?.then_some(()))
    })?;
    report.holds("and over TLS, with the certificate of a listed namespace", true, "");
    let pods = cluster.get(&["pods", "-n", NAMESPACE])?;
    let restarts = pods["items"][0]["status"]["containerStatuses"][0]["restartCount"].as_u64();
    report.exactly("restarts of the gateway", restarts.unwrap_or(1) as usize, 0, "");
    let kept = Path::new(&state).join("snapshots/kubernetes.snapshot");
    lab.wait("snapshot in the node's folder", LIMIT, |_| Ok(kept.exists().then_some(())))?;
    report.holds("its snapshot outlives the pod", true, "");
    Ok(())
}

/// What the account may and may not do, as the API server says; `more` are rights in single namespaces.
fn rights(cluster: &Cluster, more: &[(&str, &str, &str, bool)], report: &mut Report) -> Result<()> {
    let everywhere = [
        ("get", "secrets", "", false),
        ("list", "secrets", "", false),
        ("list", "configmaps", "", false),
        ("list", "secrets", "kube-system", false),
        ("list", "secrets", NAMESPACE, false),
        ("create", "pods", "", false),
        ("delete", "gateways.gateway.networking.k8s.io", "", false),
        ("update", "nodes", "", false),
        ("create", "services", "", false),
        ("list", "pods", "", true),
        ("watch", "httproutes.gateway.networking.k8s.io", "", true),
        ("patch", "gateways.gateway.networking.k8s.io/status", "", true),
        ("create", "leases.coordination.k8s.io", NAMESPACE, true),
        ("update", "leases.coordination.k8s.io/tidegate-status", NAMESPACE, true),
        ("update", "leases.coordination.k8s.io/another", NAMESPACE, false),
    ];
    for (verb, what, namespace, expected) in everywhere.iter().chain(more) {
        let may = cluster.may(ACCOUNT, verb, what, namespace)?;
        let place = if namespace.is_empty() { "everywhere" } else { namespace };
        let answer = if may { "yes" } else { "no" };
        report.holds(&format!("auth can-i {verb} {what}, {place}"), may == *expected, answer);
    }
    Ok(())
}

/// No right was missing, and no Secret was asked for beyond those that the Gateway names.
fn refused(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let log = std::fs::read_to_string(cluster.about().home.join("audit.log"))?;
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours: Vec<Value> = events.filter(|event| event["user"]["username"] == ACCOUNT).collect();
    report.at_least("requests of the account", ours.len(), 10);
    let refused = ours.iter().filter(|event| event["responseStatus"]["code"] == 403);
    let refused: BTreeSet<String> =
        refused.map(|event| format!("{} {}", event["verb"], event["requestURI"])).collect();
    let shown: Vec<&str> = refused.iter().map(String::as_str).collect();
    report.exactly("of them without a right", refused.len(), 0, &shown.join("\n"));
    let secrets = ours.iter().filter(|event| event["objectRef"]["resource"] == "secrets");
    let names: BTreeSet<String> = secrets.map(|event| event["objectRef"]["namespace"].to_string()).collect();
    report.holds("Secrets were asked for in one namespace", names.len() == 1, format!("{names:?}"));
    Ok(())
}

/// The chart for gateways outside takes the place of the other; a machine that is no node serves with a token of the account,
/// which may read one Secret by its name.
fn outside(
    lab: &mut Lab,
    cluster: &Cluster,
    helm: &Path,
    certificate: &Path,
    report: &mut Report,
) -> Result<()> {
    cluster.kubectl(&["delete", "daemonset", "tidegate", "-n", NAMESPACE, "--wait=false"])?;
    cluster.kubectl(&["delete", "rolebinding", "tidegate-secrets", "-n", "default"])?;
    lab.wait("no pod of it", LIMIT, |_| {
        let pods = cluster.get(&["pods", "-n", NAMESPACE])?;
        Ok(pods["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })?;
    let named = "rbac.secrets[0].namespace=default,rbac.secrets[0].secrets={web}";
    cluster.apply(&template(helm, &["mode=External", named, "rbac.infrastructureNamespaces={default}"])?)?;
    let more = [("list", "secrets", "default", false), ("list", "secrets/web", "default", true)];
    rights(cluster, &more, report)?;
    let nodes = cluster.about().nodes.iter();
    let ways: Vec<String> =
        nodes.map(|node| format!("route add {} via {}", node.pods, node.address)).collect();
    lab.ns("gw1").ip(&ways)?;
    let kubeconfig = cluster.token_kubeconfig(NAMESPACE, &lab.dir("gw1")?)?;
    lab.start_gateway_reading("gw1", &["--kubeconfig", &kubeconfig.display().to_string()])?;
    let address = lab.topology.address("gw1", "cluster");
    lab.wait("TLS through the gateway outside", LIMIT, |lab| {
        lab.check()?;
        Ok(is_trusted(lab, address, certificate)?.then_some(()))
    })?;
    report.holds("a gateway outside serves with a Secret that it may read by name", true, "");
    report.holds("and ends in good order", lab.stop_gateway("gw1")?, "");
    Ok(())
}

/// Whether a client that trusts only this certificate is answered over TLS.
fn is_trusted(lab: &Lab, address: Ipv4Addr, certificate: &Path) -> Result<bool> {
    let mut command = lab.ns("client").command("curl")?;
    let way = format!("{HOST}:443:{address}");
    command.args(["--silent", "--fail", "--max-time", "5", "--resolve", &way, "--cacert"]).arg(certificate);
    let output = command.arg(format!("https://{HOST}/")).output().context("curl cannot be started")?;
    Ok(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("who"))
}

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).to_owned()
}

/// The program; built if it is not there, which takes minutes.
fn helm() -> Result<PathBuf> {
    let output =
        Command::new(root().join("scripts/helm")).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("running scripts/helm")?;
    ensure!(output.status.success(), "scripts/helm: {}", output.status);
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// The chart with these values.
fn template(helm: &Path, values: &[&str]) -> Result<String> {
    let mut command = Command::new(helm);
    command.args(["template", "tidegate"]).arg(root().join("deploy/helm/tidegate"));
    command.args(["--namespace", NAMESPACE, "--set", "namespace.create=true"]);
    values.iter().for_each(|value| _ = command.args(["--set", value]));
    let output = command.output().context("running helm")?;
    ensure!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
