//! What is attacked: the daemon, or a rival, on a core of its own, with a listener in the clear, one with TLS, short
//! timeouts, and origins in this process.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::origin;
use super::rank::Rank;
use super::rival::Rival;
use crate::bench::daemon::Daemon;
use crate::bench::ground::{Ground, run};

/// The host that is served.
pub const HOST: &str = "bench.example";

/// How long a client may let the gateway wait, for whatever.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// Where HTTP is served in the clear, where HTTP/2 is by a rival that wants a port for it, and where TLS is.
pub const HTTP: u16 = 8080;
pub const HTTP2: u16 = 8082;
pub const TLS: u16 = 8443;

const ADMIN: u16 = 8081;

/// The proxy, and where it listens.
pub struct Stand {
    daemon: RefCell<Daemon>,
    /// The origin of what only attackers ask for.
    _large: Daemon,
    /// In the clear.
    pub http: u16,
    /// HTTP/2 in the clear.
    pub http2: u16,
    /// With TLS.
    pub tls: u16,
    rival: Option<Rival>,
}

impl Stand {
    /// Starts all, and waits until a request is answered.
    pub fn start(ground: &Ground, rival: Option<Rival>) -> Result<Stand> {
        origin::start(origin::HONEST, Rank::First)?;
        let large = origin::start_large(ground)?;
        let (name, command) = match rival {
            None => ("tidegate", tidegate(ground)?),
            Some(rival) => (rival.name(), rival.prepare(ground)?),
        };
        let daemon = Daemon::start(name, command, ground.proxy_core, ground.path("floods/daemon.log"))?;
        let http2 = if rival.is_some() { HTTP2 } else { HTTP };
        let stand = Stand { daemon: RefCell::new(daemon), _large: large, http: HTTP, http2, tls: TLS, rival };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !fetch(HTTP, HOST, "/").is_ok_and(|answer| answer.ends_with("fine")) {
            stand.check()?;
            ensure!(Instant::now() < deadline, "{name} does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(stand)
    }

    /// Whether it is not the daemon.
    pub fn is_rival(&self) -> bool {
        self.rival.is_some()
    }

    /// CPU time of the proxy.
    pub fn cpu_ns(&self) -> Result<u64> {
        self.daemon.borrow().cpu_ns()
    }

    /// An error if the daemon has ended.
    pub fn check(&self) -> Result<()> {
        self.daemon.borrow_mut().check()
    }

    /// Memory of the daemon.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.daemon.borrow().resident_bytes()
    }

    /// The sum of the metrics whose lines begin so; a label nobody counted is 0, and a rival counts nothing of ours.
    pub fn metric(&self, start: &str) -> Result<u64> {
        if self.is_rival() {
            return Ok(0);
        }
        let text = fetch(ADMIN, "127.0.0.1", "/metrics")?;
        let values =
            text.lines().filter(|line| line.starts_with(start)).filter_map(|line| line.rsplit(' ').next());
        Ok(values.filter_map(|value| value.parse::<u64>().ok()).sum())
    }
}

/// One answer, to the end of its connection.
fn fetch(port: u16, host: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn tidegate(ground: &Ground) -> Result<Command> {
    let state = ground.path("floods/state").display().to_string();
    let log = ground.path("floods/access.log").display().to_string();
    let config =
        format!("node: floods\nworkers: 1\nstateDir: {state}\naccessLog: {{output: {log}, format: json}}\n");
    let config = ground.put("floods/tidegate.yaml", config)?;
    let manifests = ground.put("floods/manifests/all.yaml", manifests(ground)?)?;
    let mut command = Command::new(ground.program());
    command.arg("run").arg("--config").arg(config).arg("--manifests");
    command.arg(manifests.parent().context("a folder")?).args(["--admin", &format!("127.0.0.1:{ADMIN}")]);
    Ok(command)
}

fn manifests(ground: &Ground) -> Result<String> {
    let encode =
        |file: &str| run(Command::new("openssl").args(["base64", "-A", "-in"]).arg(ground.path(file)));
    let (secs, honest, large) = (TIMEOUT.as_secs(), origin::HONEST, origin::LARGE);
    Ok(format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: floods}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: floods}}
spec:
  gatewayClassName: tidegate
  addresses: [{{type: IPAddress, value: 127.0.0.1}}]
  listeners:
  - {{name: http, port: {HTTP}, protocol: HTTP}}
  - name: https
    port: {TLS}
    protocol: HTTPS
    tls: {{mode: Terminate, certificateRefs: [{{name: edge}}]}}
---
apiVersion: v1
kind: Secret
metadata: {{name: edge, namespace: floods}}
type: kubernetes.io/tls
data:
  tls.crt: {}
  tls.key: {}
---
apiVersion: tidegate.dev/v1alpha1
kind: ClientTrafficPolicy
metadata: {{name: edge, namespace: floods}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge}}]
  timeout: {{http: {{requestReceivedTimeout: {secs}s, idleTimeout: {secs}s, streamIdleTimeout: {secs}s}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all, namespace: floods}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
  - matches: [{{path: {{type: Exact, value: /moved}}}}]
    filters: [{{type: RequestRedirect, requestRedirect: {{path: {{type: ReplaceFullPath, replaceFullPath: /}}}}}}]
  - matches: [{{path: {{type: Exact, value: /big}}}}, {{path: {{type: Exact, value: /slow}}}}]
    backendRefs: [{{name: large, port: 80}}]
  - backendRefs: [{{name: honest, port: 80}}]
---
apiVersion: v1
kind: Service
metadata: {{name: honest, namespace: floods}}
spec: {{ports: [{{name: main, port: 80, targetPort: {honest}, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: honest, namespace: floods, labels: {{kubernetes.io/service-name: honest}}}}
addressType: IPv4
ports: [{{name: main, port: {honest}, protocol: TCP}}]
endpoints:
- {{addresses: [127.0.0.1], conditions: {{ready: true, serving: true, terminating: false}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: large, namespace: floods}}
spec: {{ports: [{{name: main, port: 80, targetPort: {large}, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: large, namespace: floods, labels: {{kubernetes.io/service-name: large}}}}
addressType: IPv4
ports: [{{name: main, port: {large}, protocol: TCP}}]
endpoints:
- {{addresses: [127.0.0.1], conditions: {{ready: true, serving: true, terminating: false}}}}
",
        encode("tls.crt")?.trim(),
        encode("tls.key")?.trim()
    ))
}
