//! `tidegate explain http` agrees with the access log, for random requests.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::journey::SHOP;
use crate::lab::Lab;
use crate::load::Plan;
use crate::report::Report;
use crate::scenarios::inbound::from_client;

const REQUESTS: usize = 50;
/// Ways to be refused: no rule for the path, a service without an endpoint, weights that are all zero.
const REFUSALS: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: refusals, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [narrow.example]
  rules:
  - matches: [{path: {type: PathPrefix, value: /admin}}]
    backendRefs: [{name: nobody, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /a/b}}]
    backendRefs: [{name: admin, port: 80, weight: 0}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec:
  ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]
";

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let gateway = lab.holder()?;
    let base = from_client(lab, 1)?;
    lab.manifests().put("refusals.yaml", REFUSALS)?;
    let narrow = Plan { host: NARROW.to_owned(), ..base.clone().path("/admin") };
    lab.wait("refusal for want of an endpoint", Duration::from_secs(3), |_| {
        Ok((narrow.ask()?.head.status() == Some(503)).then_some(()))
    })?;
    let log = lab.logs().join(format!("{gateway}.log"));
    let mut random = Random::seeded()?;
    println!("    seed {}", random.0);
    let (mut agree, mut served, mut reasons, mut first) = (0, 0, BTreeSet::new(), String::new());
    for number in 0..REQUESTS {
        let request = any(&mut random, number);
        let plan = Plan {
            host: request.host.to_owned(),
            fields: request.fields.clone(),
            ..base.clone().path(&request.path)
        };
        let answer = plan.ask()?.head;
        let row =
            lab.wait("line of the access log", Duration::from_secs(2), |_| logged(&log, &request.path))?;
        let explained = explain(lab, gateway, &request)?;
        served += usize::from(answer.status() == Some(200));
        reasons.insert(row["reason"].as_str().unwrap_or_default().to_owned());
        match differ(&row, answer.status(), &explained) {
            None => agree += 1,
            Some(why) if first.is_empty() => first = format!("{} {}: {why}", request.host, request.path),
            Some(_) => {}
        }
    }
    report.exactly("requests of which both say the same", agree, REQUESTS, &first);
    report.holds(
        "some were served and some were not",
        (1..REQUESTS).contains(&served),
        format!("{served} served"),
    );
    // The empty one is that of the requests that were served.
    let shown = reasons.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    report.at_least("different reasons", reasons.len(), 4);
    report.holds("all with a known name", reasons.is_subset(&REASONS.map(String::from).into()), shown);
    Ok(report)
}

/// A host with [`REFUSALS`] only.
const NARROW: &str = "narrow.example";
/// What the requests of this scenario may be refused for.
const REASONS: [&str; 6] = ["", "NoListener", "NoRoute", "NoRule", "NoEndpoint", "NoBackendWeight"];

/// A request; its path is used once only.
struct Request {
    host: &'static str,
    path: String,
    fields: Vec<String>,
}

/// What `explain` printed, and whether it says that someone serves the request.
struct Explained {
    found: bool,
    text: String,
}

impl Explained {
    /// With what the gateway itself would answer: status and reason.
    fn answer(&self) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix("answer ")).map(str::trim)
    }
}

fn any(random: &mut Random, number: usize) -> Request {
    let host = random.pick(&[SHOP, SHOP, NARROW, "other.example"]);
    let folder = random.pick(&["", "/admin", "/administration", "/a/b"]);
    let version = random.pick(&["", "x-version: beta", "x-version: alpha"]);
    let fields = if version.is_empty() { Vec::new() } else { vec![version.to_owned()] };
    Request { host, path: format!("{folder}/{number}"), fields }
}

fn explain(lab: &Lab, gateway: &str, request: &Request) -> Result<Explained> {
    let url = format!("http://{}{}", request.host, request.path);
    let mut args = vec!["explain", "http", &url, "--from", "198.51.100.10"];
    request.fields.iter().for_each(|field| args.extend(["-H", field]));
    let output = lab.tidegate(gateway, &args)?;
    Ok(Explained {
        found: output.status.success(),
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

/// How they differ: whether anyone serves it, at which listener, over which route, to which backend and endpoint; or with
/// which status and for which reason it is refused.
fn differ(row: &Value, status: Option<u16>, explained: &Explained) -> Option<String> {
    let served = row["status"] == 200;
    let names = |field: &str| {
        let value = row[field].as_str().unwrap_or_default();
        !value.is_empty() && explained.text.contains(value)
    };
    let same = status.is_some_and(|status| row["status"] == status)
        && served == explained.found
        && if served {
            row["reason"] == "" && ["listener", "route", "backend", "endpoint"].into_iter().all(names)
        } else {
            let reason = row["reason"].as_str().filter(|reason| !reason.is_empty());
            reason.is_some_and(|reason| {
                explained.answer() == Some(format!("{} {reason}", row["status"]).as_str())
            })
        };
    (!same).then(|| format!("logged {row}, explained {}", explained.text.trim().replace('\n', "; ")))
}

fn logged(log: &Path, path: &str) -> Result<Option<Value>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(rows.into_iter().find(|row| row["path"] == path))
}

/// A small generator (xorshift64): requests need variety, not secrecy.
struct Random(u64);

impl Random {
    fn seeded() -> Result<Random> {
        let mut bytes = [0; 8];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Random(u64::from_ne_bytes(bytes) | 1))
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from[(self.0 % from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn explained(found: bool, text: &str) -> Explained {
        Explained { found, text: text.into() }
    }

    /// A refusal agrees only if status and reason are the same, and a served request only if every name is told.
    #[test]
    fn differences() {
        let refused = json!({"status": 404, "reason": "NoRule"});
        let says = |text| differ(&refused, Some(404), &explained(false, text)).is_none();
        assert!(says("route    shop/web\nanswer   404 NoRule\nverdict  x"));
        for text in ["answer   404 NoRoute", "answer   503 NoRule", "verdict  404 NoRule", ""] {
            assert!(!says(text), "{text}");
        }
        assert!(differ(&refused, Some(503), &explained(false, "answer 404 NoRule")).is_some());
        assert!(
            differ(&json!({"status": 404, "reason": ""}), Some(404), &explained(false, "answer 404 "))
                .is_some()
        );

        let row = json!({"status": 200, "reason": "", "listener": "l", "route": "r", "backend": "b", "endpoint": "e"});
        assert!(differ(&row, Some(200), &explained(true, "l r b e")).is_none());
        assert!(differ(&row, Some(200), &explained(true, "l r b")).is_some());
        assert!(differ(&row, Some(200), &explained(false, "l r b e")).is_some());
    }
}
