//! `tidegate explain http` agrees with the access log, for random requests.

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

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let gateway = lab.holder()?;
    let base = from_client(lab, 1)?;
    let log = lab.logs().join(format!("{gateway}.log"));
    let mut random = Random::seeded()?;
    println!("    seed {}", random.0);
    let (mut agree, mut served, mut first) = (0, 0, String::new());
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
    Ok(report)
}

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

fn any(random: &mut Random, number: usize) -> Request {
    let host = random.pick(&[SHOP, SHOP, SHOP, "other.example"]);
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

/// How they differ: whether anyone serves it, at which listener, over which route, to which backend and endpoint.
fn differ(row: &Value, status: Option<u16>, explained: &Explained) -> Option<String> {
    let served = row["status"] == 200;
    let names = |field: &str| {
        let value = row[field].as_str().unwrap_or_default();
        !value.is_empty() && explained.text.contains(value)
    };
    let same = status.is_some_and(|status| row["status"] == status)
        && served == explained.found
        && (!served || ["listener", "route", "backend", "endpoint"].into_iter().all(names));
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
