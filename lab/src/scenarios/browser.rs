//! A browser loads a page over HTTPS and HTTP/2, and the page does what pages do.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::crowd::HOST;
use crate::election::CONTESTED;
use crate::lab::Lab;
use crate::load::Plan;
use crate::process;
use crate::report::Report;
use crate::site::REPORT;

/// How long a browser may take to start and the page to report.
const PATIENCE: Duration = Duration::from_secs(60);
/// From the end of a request to its line in the log.
const LOGGED: Duration = Duration::from_secs(5);
/// A redirect that the gateway makes, and compression, beside the route of everything else.
const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: Exact, value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}, statusCode: 302}
  - backendRefs: [{name: web, port: 80}]
---
apiVersion: tidegate.dev/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  compression: [{type: Gzip}]
";

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let site = ["/proc/self/exe", "site", "--port", "8080"].map(String::from);
    lab.start("server", "server", &site)?;
    let certificates = Certificates::make(&lab.dir("client")?, HOST, &["first"])?;
    lab.manifests().put("certificate.yaml", &certificates.secret(0))?;
    lab.manifests().put("web.yaml", ROUTE)?;
    lab.start_gateway("gw1")?;
    let plan = Plan::new(lab.ns("client"), (CONTESTED, 80), HOST, 1).path("/new");
    lab.wait("first answer", Duration::from_secs(20), |_| Ok(plan.ask().ok()))?;
    let browser = browser(lab, &certificates)?;
    lab.start("client", "browser", &browser)?;
    let log = lab.logs().join("server.log");
    let said = lab.wait("report of the page", PATIENCE, |_| {
        let text = process::tail(&log, 1 << 20);
        Ok(text.lines().find_map(|line| line.strip_prefix(REPORT).map(str::to_owned)))
    })?;
    lab.take("browser")?.kill();
    let seen: Value = serde_json::from_str(&said).context(said)?;
    let wanted = [
        ("the page came over HTTP/2", "page", json!("h2")),
        ("and whatever it loaded", "protocols", json!(["h2"])),
        ("an image has its size", "image", json!(37)),
        ("200 kB posted come back", "post", json!(true)),
        ("a redirect is followed", "moved", json!([true, "/new", "moved here"])),
        ("of a hundred requests at once are answered", "many", json!(100)),
        ("a text came in gzip", "coding", json!("gzip")),
        ("much smaller than it is", "compressed", json!(true)),
        ("and has all its lines", "text", json!(4001)),
        ("what is not there is said so", "missing", json!(404)),
        (
            "WebSocket messages come back, and it closes as agreed",
            "socket",
            json!({"back": [5, 300, 70_000], "code": 1000, "clean": true}),
        ),
    ];
    for (what, key, value) in wanted {
        report.holds(what, seen[key] == value, &seen[key]);
    }
    // The page may know of the end before the gateway does.
    let socket = lab.wait("the WebSocket in the log", LOGGED, |lab| {
        let log = process::tail(&lab.logs().join("gw1.log"), 1 << 20);
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.find(|line| line["path"] == "/socket"))
    })?;
    report.holds("the WebSocket is a stream of HTTP/2", socket["protocol"] == "HTTP/2", &socket["protocol"]);
    Ok(report)
}

/// A browser without a window that trusts this one key beside what all trust, and leaves everything in the lab's directory.
fn browser(lab: &Lab, certificates: &Certificates) -> Result<Vec<String>> {
    let home = lab.dir("client")?.join("browser");
    let pin = format!("--ignore-certificate-errors-spki-list={}", key_hash(certificates)?);
    let data = format!("--user-data-dir={}", home.display());
    let resolve = format!("--host-resolver-rules=MAP {HOST} {CONTESTED}");
    // Without a sandbox, because the lab runs as root; without whatever would ask the world for something.
    let rest = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ];
    let mut argv = vec!["chromium".to_owned()];
    argv.extend(rest.map(String::from));
    argv.extend([data, resolve, pin, format!("https://{HOST}/")]);
    Ok(argv)
}

/// SHA-256 of the first certificate's public key, as browsers pin it.
fn key_hash(certificates: &Certificates) -> Result<String> {
    let pipe = "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | \
                openssl base64";
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", pipe]).arg(&certificates.bundle).stdin(Stdio::null()).output()?;
    let hash = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(hash.len() == 44, "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(hash)
}
