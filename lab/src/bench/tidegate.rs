//! Tidegate as a contender: one worker and a directory of manifests, as a user would write them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::contender::{Kind, Ports, Setting};
use super::ground::{Ground, run};
use super::origin;
use super::routes::{GRPC_HOST, PREFIXES, Routes, host, prefix};

/// Writes bootstrap file and manifests; the command that serves them.
pub fn prepare(ground: &Ground, kind: Kind, setting: Setting) -> Result<Command> {
    let (name, ports) = (kind.name(), kind.ports());
    let home = ground.path(name);
    let log = match setting {
        Setting::Off => "'off'".to_owned(),
        Setting::On => home.join("access.log").display().to_string(),
    };
    let state = home.join("state").display().to_string();
    let bootstrap =
        format!("node: bench\nworkers: 1\nstateDir: {state}\naccessLog: {{output: {log}, format: json}}\n");
    let config = ground.put(&format!("{name}/tidegate.yaml"), bootstrap)?;
    let files = [
        ("gateway.yaml", gateway(&ports) + &secret(ground)?),
        ("services.yaml", services(kind.routes())),
        ("routes.yaml", routes(kind.routes(), setting)),
        ("other.yaml", tcp("echo", origin::ECHO) + &tcp("bulk", origin::BULK) + &udp() + &grpc()),
    ];
    for (file, text) in files {
        ground.put(&format!("{name}/manifests/{file}"), text)?;
    }
    if setting == Setting::On {
        ground.put(&format!("{name}/manifests/policy.yaml"), POLICY)?;
    }
    Ok(command(ground.program(), &config, &home.join("manifests"), ports.admin))
}

/// Access-log lines that were dropped since the start: a log that is not written costs nothing.
pub fn dropped_lines(ports: &Ports) -> Result<u64> {
    let url = format!("http://127.0.0.1:{}/metrics", ports.admin);
    let text = run(Command::new("curl").args(["-sS", "-m", "5", "--noproxy", "*", &url]))?;
    let line = text.lines().find_map(|line| line.strip_prefix("tidegate_access_log_drops_total "));
    Ok(line.context("no metric of dropped lines")?.trim().parse()?)
}

fn command(program: &Path, config: &Path, manifests: &Path, admin: u16) -> Command {
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(config).arg("--manifests").arg(manifests);
    command.args(["--admin", &format!("127.0.0.1:{admin}")]);
    command
}

/// Limits and timeouts towards clients and endpoints.
const POLICY: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: bench, namespace: bench}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: bench}]
  connection: {connectionLimit: {value: 10000}}
  timeout: {http: {requestReceivedTimeout: 30s, idleTimeout: 75s}}
---
apiVersion: tidegate.dev/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: bench, namespace: bench}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: bench}]
  timeout: {tcp: {connectTimeout: 5s}, http: {requestTimeout: 30s}}
  circuitBreaker: {maxConnections: 4096, maxParallelRequests: 4096}
";

fn gateway(ports: &Ports) -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: bench}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: bench, namespace: bench}}
spec:
  gatewayClassName: tidegate
  addresses: [{{type: IPAddress, value: 127.0.0.1}}]
  listeners:
  - {{name: http, port: {}, protocol: HTTP}}
  - name: https
    port: {}
    protocol: HTTPS
    tls: {{mode: Terminate, certificateRefs: [{{name: bench}}]}}
  - {{name: echo, port: {}, protocol: TCP}}
  - {{name: bulk, port: {}, protocol: TCP}}
  - {{name: udp, port: {}, protocol: UDP}}
---
",
        ports.http, ports.tls, ports.echo, ports.bulk, ports.udp
    )
}

fn secret(ground: &Ground) -> Result<String> {
    let encode =
        |file: &str| run(Command::new("openssl").args(["base64", "-A", "-in"]).arg(ground.path(file)));
    Ok(format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: bench, namespace: bench}}
type: kubernetes.io/tls
data:
  tls.crt: {}
  tls.key: {}
---
",
        encode("tls.crt")?.trim(),
        encode("tls.key")?.trim()
    ))
}

fn services(table: Routes) -> String {
    (0..table.services).map(|number| service(&format!("s{number}"), origin::HTTP, "")).collect()
}

/// A Service of one endpoint on this host.
fn service(name: &str, port: u16, extra: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: bench}}
spec: {{ports: [{{name: main, port: 80, targetPort: {port}, protocol: TCP{extra}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: bench, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: main, port: {port}, protocol: TCP{extra}}}]
endpoints:
- {{addresses: [127.0.0.1], conditions: {{ready: true, serving: true, terminating: false}}}}
---
"
    )
}

fn routes(table: Routes, setting: Setting) -> String {
    // Header filters belong to the full column; timeouts come with the policy.
    let filters = match setting {
        Setting::Off => "",
        Setting::On => {
            "\n    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-gateway, value: bench}], remove: [x-internal]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-served-by, value: bench}], remove: [x-powered-by]}}"
        }
    };
    let mut text = String::new();
    for number in table.hosts() {
        let _ = write!(
            text,
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: h{number}, namespace: bench}}
spec:
  parentRefs: [{{name: bench, sectionName: http}}, {{name: bench, sectionName: https}}]
  hostnames: [{}]
  rules:
",
            host(number)
        );
        for at in 0..PREFIXES {
            let (prefix, service) = (prefix(at), table.service(number, at));
            let _ = writeln!(
                text,
                "  - matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}]
    backendRefs: [{{name: s{service}, port: 80}}]{filters}"
            );
        }
        text += "---\n";
    }
    text
}

fn tcp(name: &str, port: u16) -> String {
    format!(
        "{}apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{name: {name}, namespace: bench}}
spec:
  parentRefs: [{{name: bench, sectionName: {name}}}]
  rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]
---
",
        service(name, port, "")
    )
}

fn udp() -> String {
    tcp("udp", origin::ECHO).replace("protocol: TCP", "protocol: UDP").replace("TCPRoute", "UDPRoute")
}

fn grpc() -> String {
    format!(
        "{}apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: grpc, namespace: bench}}
spec:
  parentRefs: [{{name: bench, sectionName: http}}]
  hostnames: [{GRPC_HOST}]
  rules:
  - matches: [{{method: {{service: bench.Echo, method: Call}}}}]
    backendRefs: [{{name: grpc, port: 80}}]
---
",
        service("grpc", origin::H2C, ", appProtocol: kubernetes.io/h2c")
    )
}
