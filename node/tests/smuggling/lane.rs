//! [`Lane`]s: each a listener of the one daemon with an origin of its own, so that what an origin sees has one cause.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::cases::{Case, Outcome, Step};
use crate::client::{Client, Got};
use crate::judge::Run;
use crate::origin::{CANARY, Origin, Record};
use crate::place::{Daemon, Place, free_port};
use crate::strict::show;

/// How long an aborted upstream connection may take to be closed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A listener and the origin behind it.
pub struct Lane {
    port: u16,
    origin: Origin,
    canaries: usize,
}

/// A daemon with as many lanes. One worker: every lane's upstream connections are in one pool, so a spoiled one is
/// found again.
pub fn start(count: usize) -> (Daemon, Vec<Lane>) {
    let lanes: Vec<Lane> =
        (0..count).map(|_| Lane { port: free_port(), origin: Origin::start(), canaries: 0 }).collect();
    let place = Place::new();
    place.settings("workers: 1\naccessLog: {output: \"off\"}\n");
    place.put("lanes.yaml", &manifest(&lanes));
    (place.start(), lanes)
}

fn manifest(lanes: &[Lane]) -> String {
    let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n---\n\
        apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gate, namespace: lab}\nspec:\n  \
        gatewayClassName: tidegate\n  listeners:\n"
        .to_owned();
    for (number, lane) in lanes.iter().enumerate() {
        let _ = writeln!(text, "  - {{name: lane{number}, port: {}, protocol: HTTP}}", lane.port);
    }
    for (number, lane) in lanes.iter().enumerate() {
        let port = lane.origin.port;
        let _ = write!(
            text,
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: lane{number}, namespace: lab}}
spec:
  parentRefs: [{{name: gate, sectionName: lane{number}}}]
  rules:
  - backendRefs: [{{name: origin{number}, port: 80}}]
---
apiVersion: v1
kind: Service
metadata: {{name: origin{number}, namespace: lab}}
spec:
  ports: [{{name: http, port: 80, targetPort: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: origin{number}, namespace: lab, labels: {{kubernetes.io/service-name: origin{number}}}}}
addressType: IPv4
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints:
- addresses: [127.0.0.1]
  conditions: {{ready: true}}
"
        );
    }
    text
}

impl Lane {
    /// Runs a case, its bytes cut into pieces of `piece`, and a proper request after it; what went wrong.
    pub fn run(&mut self, case: &Case, piece: usize) -> Vec<String> {
        self.origin.script(&case.origin, case.early);
        let client = Client::connect(self.port, heads(&case.outcome, &case.client));
        let got = client.run(&case.client, piece, &case.outcome);
        // What the script sends late is there before the next request, or the origin could not tell them apart either.
        self.origin.settle();
        let (mut faults, canary_connection) = self.canary();
        let records = self.records();
        faults.extend(Run { case, got: &got, records: &records, canary_connection }.faults());
        faults
    }

    /// A request on a connection of its own: it must get its own answer; which connection of the origin gave it.
    fn canary(&mut self) -> (Vec<String>, usize) {
        self.canaries += 1;
        let target = format!("{CANARY}{}", self.canaries);
        let request = format!("GET {target} HTTP/1.1\r\nHost: canary.example\r\n\r\n");
        let client = Client::connect(self.port, Vec::new());
        let one = Outcome::Pass(vec![Default::default()], Vec::new());
        let got = client.run(&[Step::Send(request.into_bytes())], usize::MAX, &one);
        match own_answer(&got, &target) {
            Some(connection) => (Vec::new(), connection),
            None => (vec![format!("UNSAFE: the next client got {}", show(&got.bytes))], 0),
        }
    }

    /// What the origin saw, once every aborted request there has ended.
    fn records(&self) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        while self.origin.has_open_rest() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.origin.take()
    }
}

/// The connection that answered, if the answer is the one to this target and the only one.
fn own_answer(got: &Got, target: &str) -> Option<usize> {
    let [answer] = got.responses.as_slice() else { return None };
    let fine = got.fault.is_none() && got.rest.is_empty() && answer.body == target.as_bytes();
    let mark = std::str::from_utf8(answer.all("x-origin").first()?).ok()?;
    if fine { mark.parse().ok() } else { None }
}

/// Which of the responses to expect are to HEAD.
fn heads(outcome: &Outcome, steps: &[Step]) -> Vec<bool> {
    match outcome {
        Outcome::Pass(requests, _) => {
            requests.iter().map(|request| request.line.starts_with(b"HEAD ")).collect()
        }
        _ => steps
            .iter()
            .map(|step| matches!(step, Step::Send(bytes) if bytes.starts_with(b"HEAD ")))
            .collect(),
    }
}
