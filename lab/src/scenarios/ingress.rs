//! Ingresses of class `nginx`, as ingress-nginx is known: for each annotation that is served a request that shows it.

mod case;
mod cases;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_compile::ingress::annotation::{ANNOTATIONS, PREFIX};

use crate::certificates::Certificates;
use crate::lab::Lab;
use crate::report::Report;
use crate::topology::{Host, Kind, Lan, Topology};
use case::{Ask, Case, Who};

/// The drawing.
pub const INGRESS: Topology = Topology {
    name: "ingress",
    about: "a gateway before servers, of which one is another gateway, and a client that uses it",
    lans: &[Lan { name: "outside", net: [10, 10, 0] }],
    hosts: &[
        Host { name: "client", kind: Kind::Client, at: &[("outside", 2)], via: None },
        Host { name: "server", kind: Kind::Client, at: &[("outside", 3)], via: None },
        Host { name: "gw1", kind: Kind::Gateway, at: &[("outside", 11)], via: None },
        Host { name: "gw2", kind: Kind::Gateway, at: &[("outside", 12)], via: None },
    ],
    pods: &[],
    manifests: &[("services.yaml", include_str!("../../manifests/ingress/services.yaml"))],
};

/// Where the gateway is.
const GATEWAY: &str = "10.10.0.11";
/// The host of an Ingress of Tidegate's own class, which needs no object.
const PLAIN: &str = "plain.example";
const SOON: Duration = Duration::from_secs(10);

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let shown: BTreeSet<&str> = cases::all().map(|case| case.row).collect();
    let missing: Vec<&str> = ANNOTATIONS
        .iter()
        .filter(|row| row.is_served())
        .map(|row| row.name)
        .filter(|row| !shown.contains(row))
        .collect();
    report.exactly(
        "annotations that are served, and have no request here",
        missing.len(),
        0,
        &missing.join(" "),
    );
    stand(lab)?;
    for (number, case) in cases::all().enumerate() {
        for ask in case.asks {
            let wrong = asked(lab, number, case, ask)?;
            let what = format!("{}: {}", case.row, ask.about);
            report.holds(&what, wrong.is_none(), wrong.unwrap_or_default());
        }
    }
    told(lab, &mut report)?;
    Ok(report)
}

/// Starts the servers, writes everything down, and waits until the gateway answers.
fn stand(lab: &mut Lab) -> Result<()> {
    for (name, port) in [("one", "8080"), ("two", "8081")] {
        let server = ["/proc/self/exe", "pod", "--name", name, "--port", port];
        lab.start("server", name, &server.map(String::from))?;
    }
    let dir = lab.dir("server")?;
    crate::certificates::self_signed(
        "behind",
        "DNS:behind",
        &dir.join("behind.crt"),
        &dir.join("behind.key"),
    )?;
    let file = |kind: &str| dir.join(format!("behind.{kind}")).display().to_string();
    let secure =
        ["openssl", "s_server", "-accept", "8443", "-www", "-cert", &file("crt"), "-key", &file("key")];
    lab.start("server", "secure", &secure.map(String::from))?;
    let certificates = Certificates::make(&lab.dir("client")?, "*.example", &["only"])?;
    lab.manifests().put("certificate.yaml", &certificates.secret(0))?;
    lab.manifests().put("ingresses.yaml", &manifests())?;
    lab.bootstrap("ingressNginx: {class: nginx}\n");
    lab.start_gateways()?;
    lab.wait("answer through the gateway", SOON, |lab| {
        lab.check()?;
        let output = curl(lab, &[], &format!("http://{PLAIN}/"))?;
        Ok(output.starts_with("HTTP/1.1 200").then_some(()))
    })
}

/// Every Ingress: one for each case, of host `NUMBER.ROW.example`.
fn manifests() -> String {
    let mut all = ingress("plain", "tidegate", &[], &Rule::plain(PLAIN, "one"));
    for (number, case) in cases::all().enumerate() {
        let (name, host) = (name(number), host(number, case));
        let rule = Rule { host: &host, path: case.path, service: case.service, tls: case.tls };
        all += &ingress(&name, "nginx", case.annotations, &rule);
        if !case.canary.is_empty() {
            let rule = Rule { service: "two", ..rule };
            let canary = [case.canary, &[("canary", "true")]].concat();
            all += &ingress(&format!("{name}-canary"), "nginx", &canary, &rule);
        }
    }
    all
}

/// What an Ingress of the scenario says.
struct Rule<'r> {
    host: &'r str,
    path: &'r str,
    service: &'r str,
    tls: bool,
}

impl<'r> Rule<'r> {
    fn plain(host: &'r str, service: &'r str) -> Rule<'r> {
        Rule { host, path: "/", service, tls: false }
    }
}

fn ingress(name: &str, class: &str, annotations: &[(&str, &str)], rule: &Rule<'_>) -> String {
    let mut text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: shop\n  annotations:\n    example.com/a: b\n"
    );
    for (name, value) in annotations {
        // A JSON string is one of YAML.
        let _ = writeln!(text, "    {PREFIX}{name}: {}", Value::from(*value));
    }
    let Rule { host, path, service, tls } = rule;
    let tls = if *tls { format!("  tls: [{{hosts: [{host}], secretName: any}}]\n") } else { String::new() };
    let _ = write!(
        text,
        "spec:\n  ingressClassName: {class}\n{tls}  rules:\n  - host: {host}\n    http:\n      paths:\n      - path: {path}\n        pathType: ImplementationSpecific\n        backend: {{service: {{name: {service}, port: {{name: http}}}}}}\n"
    );
    text
}

fn name(number: usize) -> String {
    format!("case-{number}")
}

fn host(number: usize, case: &Case) -> String {
    format!("n{number}-{}.example", case.row)
}

/// What is wrong with the answers to a request; none: nothing.
fn asked(lab: &mut Lab, number: usize, case: &Case, ask: &Ask) -> Result<Option<String>> {
    let host = host(number, case);
    let url = ask.url.replace("HOST", &host);
    let jar = lab.dir("client")?.join(format!("{number}.jar")).display().to_string();
    let mut args: Vec<String> = ask.args.iter().map(|arg| arg.replace("HOST", &host)).collect();
    if ask.keeps_cookies {
        args.extend(["-b".to_owned(), jar.clone(), "-c".to_owned(), jar]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (mut who, mut statuses) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..ask.times {
        let output = curl(lab, &args, &url)?;
        let lower = output.to_ascii_lowercase();
        let status = lower.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let misses = |text: &&str| !lower.contains(&text.replace("HOST", &host).to_ascii_lowercase());
        if let Some(text) = ask.says.iter().find(|text| misses(text)) {
            return Ok(Some(format!("{text:?} is not in: {}", output.replace("\r\n", "; "))));
        }
        if let Some(text) = ask.silent.iter().find(|text| !misses(text)) {
            return Ok(Some(format!("{text:?} is in: {}", output.replace("\r\n", "; "))));
        }
        if status != ask.status && ask.who != Who::SomeFail {
            return Ok(Some(format!(
                "status {status}, not {}: {}",
                ask.status,
                output.replace("\r\n", "; ")
            )));
        }
        statuses.insert(status);
        who.extend(["one", "two"].into_iter().filter(|who| lower.contains(&format!("\"who\":\"{who}\""))));
    }
    let wrong = match ask.who {
        Who::Any => false,
        Who::One => !who.is_empty() && who != BTreeSet::from(["one"]),
        Who::Two => who != BTreeSet::from(["two"]),
        Who::Same => who.len() != 1,
        Who::Both => who.len() != 2,
        Who::SomeFail => statuses.len() != 2,
    };
    if wrong {
        return Ok(Some(format!("answered by {who:?} with {statuses:?}")));
    }
    let Some((field, value)) = ask.logs else { return Ok(None) };
    // A gateway never speaks to itself, so the other one is what stands for a backend that speaks HTTP/2.
    let logs = lab.gateways().into_iter().map(|name| lab.logs().join(format!("{name}.log")));
    let logs: Vec<_> = logs.collect();
    let wanted = ask.logged_host.replace("HOST", &host);
    let seen = lab.wait("line of the access log", SOON, |_| {
        let all = logs.iter().map(|log| rows(log)).collect::<Result<Vec<_>>>()?.concat();
        Ok(all.iter().any(|row| row["host"] == *wanted && row[field] == *value).then_some(()))
    });
    Ok(seen.err().map(|error| format!("{field} {value} of {wanted}: {error:#}")))
}

fn rows(log: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Asks the gateway, whatever the host; head and body come back. What breaks off is what came of it.
fn curl(lab: &Lab, args: &[&str], url: &str) -> Result<String> {
    let mut command = lab.ns("client").command("curl")?;
    command.args(["--silent", "--include", "--insecure", "--globoff", "--path-as-is", "--max-time", "6"]);
    command.args(["--connect-to", &format!("::{GATEWAY}:")]).args(args).arg(url);
    let output = command.output().context("curl cannot be started")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `explain`, the access log and `status` call things by their names, and every Ingress here is served whole.
fn told(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let output = lab.tidegate("gw1", &["explain", "http", &format!("http://{PLAIN}/x")])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in ["ingress/shop/plain", "tidegate/http", "shop/one:80", "path under /"] {
        report.holds(&format!("explain names {name}"), text.contains(name), text.trim().replace('\n', "; "));
    }
    let log = lab.logs().join("gw1.log");
    let named = rows(&log)?.iter().any(|row| row["host"] == PLAIN && row["route"] == "ingress/shop/plain");
    report.holds("the access log names the Ingress", named, "");
    let status = lab.status("gw1")?;
    let objects = status["objects"].as_array().context("objects")?;
    let ingresses: Vec<_> = objects.iter().filter(|object| object["kind"] == "Ingress").collect();
    ensure!(ingresses.len() > cases::all().count(), "{} Ingresses are in the status", ingresses.len());
    let partly = ingresses.iter().filter(|object| object["verdict"] != "Accepted");
    let partly: Vec<String> =
        partly.map(|object| format!("{} {}", object["name"], object["message"])).collect();
    report.exactly("Ingresses that are not accepted whole", partly.len(), 0, &partly.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every annotation that is served has a request that shows it, and no request shows one that is not.
    #[test]
    fn every_row_has_a_case() {
        let served: BTreeSet<&str> =
            ANNOTATIONS.iter().filter(|row| row.is_served()).map(|row| row.name).collect();
        let shown: BTreeSet<&str> = cases::all().map(|case| case.row).collect();
        assert_eq!(served, shown);
        for case in cases::all() {
            let all = case.annotations.iter().chain(case.canary);
            assert!(
                all.into_iter().any(|(name, _)| *name == case.row) || case.row == "canary",
                "{}",
                case.row
            );
            assert!(!case.asks.is_empty(), "{}", case.row);
        }
    }
}
