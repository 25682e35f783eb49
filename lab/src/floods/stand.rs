//! What is attacked: the daemon on a core of its own, with a listener in the clear, one with TLS, short timeouts, and an
//! origin in this process.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bench::daemon::Daemon;
use crate::bench::ground::{Ground, run};

/// The host that is served.
pub const HOST: &str = "bench.example";

/// How long a client may let the gateway wait, for whatever.
pub const TIMEOUT: Duration = Duration::from_secs(2);

const HTTP: u16 = 8080;
const TLS: u16 = 8443;
const ADMIN: u16 = 8081;
const ORIGIN: u16 = 9000;

/// A body that fills every buffer on its way.
const BIG_BYTES: usize = 4 << 20;

/// The daemon, and where it listens.
pub struct Stand {
    daemon: RefCell<Daemon>,
    /// In the clear.
    pub http: u16,
    /// With TLS.
    pub tls: u16,
}

impl Stand {
    /// Starts all, and waits until a request is answered.
    pub fn start(ground: &Ground) -> Result<Stand> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ORIGIN))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A thread each; what the gateway breaks off concerns nobody else.
                std::thread::spawn(move || serve(stream));
            }
        });
        let state = ground.path("floods/state").display().to_string();
        let log = ground.path("floods/access.log").display().to_string();
        let config = format!(
            "node: floods\nworkers: 1\nstateDir: {state}\naccessLog: {{output: {log}, format: json}}\n"
        );
        let config = ground.put("floods/tidegate.yaml", config)?;
        let manifests = ground.put("floods/manifests/all.yaml", manifests(ground)?)?;
        let mut command = Command::new(ground.program());
        command.arg("run").arg("--config").arg(config).arg("--manifests");
        command.arg(manifests.parent().context("a folder")?).args(["--admin", &format!("127.0.0.1:{ADMIN}")]);
        let daemon = Daemon::start("tidegate", command, ground.proxy_core, ground.path("floods/daemon.log"))?;
        let stand = Stand { daemon: RefCell::new(daemon), http: HTTP, tls: TLS };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !fetch(HTTP, HOST, "/").is_ok_and(|answer| answer.ends_with("fine")) {
            stand.check()?;
            ensure!(Instant::now() < deadline, "the daemon does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(stand)
    }

    /// An error if the daemon has ended.
    pub fn check(&self) -> Result<()> {
        self.daemon.borrow_mut().check()
    }

    /// Memory of the daemon.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.daemon.borrow().resident_bytes()
    }

    /// The sum of the metrics whose lines begin so; a label nobody counted is 0.
    pub fn metric(&self, start: &str) -> Result<u64> {
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

/// The origin: a word for most paths, a large body for `/big`, and a while for `/slow`.
fn serve(stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
        reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
        loop {
            line.clear();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().ok()?;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let path = first.split(' ').nth(1)?;
        let body = match path {
            "/big" => vec![b'x'; BIG_BYTES],
            _ => b"fine".to_vec(),
        };
        if path == "/slow" {
            std::thread::sleep(Duration::from_millis(500));
        }
        // In one write: two would wait for each other, by Nagle's algorithm and the other side's late acknowledgement.
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend(body);
        reader.get_mut().write_all(&answer).ok()?;
    }
}

fn manifests(ground: &Ground) -> Result<String> {
    let encode =
        |file: &str| run(Command::new("openssl").args(["base64", "-A", "-in"]).arg(ground.path(file)));
    let secs = TIMEOUT.as_secs();
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
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: floods}}
spec: {{ports: [{{name: main, port: 80, targetPort: {ORIGIN}, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web, namespace: floods, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: main, port: {ORIGIN}, protocol: TCP}}]
endpoints:
- {{addresses: [127.0.0.1], conditions: {{ready: true, serving: true, terminating: false}}}}
",
        encode("tls.crt")?.trim(),
        encode("tls.key")?.trim()
    ))
}
