//! `explain http` says of a request what then happens to it: for 1,000 random requests against a random route table, what
//! it answers through the admin address is compared with the access log and the response.
//!
//! A failure names its seed; `TIDEGATE_SEED=n` repeats it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod random;
mod table;

#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../daemon/http.rs"]
mod http;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../daemon/place.rs"]
mod place;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use place::{Daemon, Place, free_port};
use random::Random;
use serde_json::Value;

const REQUESTS: usize = 1000;

/// Answers everything, on every address of loopback.
fn origin() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(stream));
        }
    });
    port
}

fn answer_all(stream: TcpStream) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        while !lines.next()?.ok()?.is_empty() {}
        answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

/// A request, none of which has a body.
struct Request {
    port: u16,
    host: String,
    method: &'static str,
    target: String,
    headers: Vec<String>,
}

fn any(random: &mut Random, ports: [u16; 3]) -> Request {
    let port = random.pick(&[ports[0], ports[0], ports[0], ports[1], ports[1], ports[2]]);
    let lone = ["narrow.alone", "void.alone", "elsewhere"];
    let host = random.pick(if port == ports[2] {
        &lone[..]
    } else {
        &[
            "shop.example",
            "shop.example",
            "a.shop.example",
            "b.a.shop.example",
            "b.example",
            "x.y.test",
            "test",
            "elsewhere",
            "Shop.EXAMPLE",
            "127.0.0.1",
        ]
    });
    let host = if random.percent(25) { format!("{host}:{port}") } else { host.to_owned() };
    let mut headers = Vec::new();
    for name in table::HEADERS {
        for _ in 0..random.pick(&[0, 0, 1, 1, 2]) {
            headers.push(format!("{name}: {}", random.pick(&table::VALUES)));
        }
    }
    Request { port, host, method: random.pick(&table::METHODS), target: target(random), headers }
}

/// Mostly what routes know; sometimes what has to be made normal first, or cannot be.
fn target(random: &mut Random) -> String {
    let mut target = String::new();
    for _ in 0..=random.below(3) {
        let odd = ["%61", "..", ".", "", "%2e%2e", "%2F", "a%", "%zz", "c;d", "%c3%a9"];
        let segment = if random.percent(12) { random.pick(&odd) } else { random.pick(&table::SEGMENTS) };
        target += &format!("/{segment}");
    }
    if random.percent(15) {
        target.push('/');
    }
    for (index, name) in table::QUERIES.iter().enumerate() {
        if random.percent(40) {
            let value = random.pick(&["1", "beta", "beta2", "%62eta", "", "1&v=2", "a+b"]);
            target += &format!(
                "{}{name}={value}",
                if target.contains('?') {
                    "&"
                } else if index < 2 {
                    "?"
                } else {
                    ""
                }
            );
        }
    }
    target
}

/// What came back.
struct Response {
    status: u16,
    rule: Option<String>,
}

fn ask(request: &Request, number: usize) -> Response {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, request.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let Request { host, method, target, headers, .. } = request;
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: n{number}\r\nConnection: close\r\n{lines}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let rule = text.lines().find_map(|line| line.strip_prefix("x-rule: "));
    Response { status, rule: rule.map(str::to_owned) }
}

fn explain(daemon: &Daemon, request: &Request) -> Value {
    let url = format!("http://127.0.0.1:{}{}", request.port, request.target);
    let mut headers = vec![format!("Host: {}", request.host)];
    headers.extend(request.headers.iter().cloned());
    let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let (url, headers) = (encode(&url), encode(&headers.join("\n")));
    let answer =
        daemon.admin(&format!("/api/v1/explain/http?url={url}&method={}&headers={headers}", request.method));
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// Where explanation, access log and response differ.
fn differ(answer: &Value, row: &Value, response: &Response) -> Option<String> {
    let explained = &answer["data"]["explanation"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut wrong = Vec::new();
    let mut same = |what: &str, explained: String, logged: String| {
        if explained != logged {
            wrong.push(format!("{what}: explained `{explained}`, logged `{logged}`"));
        }
    };
    same("answer", response.status.to_string(), row["status"].to_string());
    same("listener", text(&explained["listener"]), text(&row["listener"]));
    same("route", text(&explained["route"]), text(&row["route"]));
    let refused = |refusal: &Value| format!("{} {}", refusal["status"], text(&refusal["reason"]));
    let logged = format!("{} {}", row["status"], text(&row["reason"]));
    let shares = explained["backends"].as_array().unwrap();
    let mut possible = shares.iter().filter(|share| share["weight"] != 0);
    if explained["refusal"].is_object() {
        // Where every share is refused, which of them it falls to is chance.
        let mut refusals: BTreeSet<String> = possible.map(|share| refused(&share["refusal"])).collect();
        refusals.insert(refused(&explained["refusal"]));
        same("refusal", refusals.contains(&logged).to_string(), "true".into());
    } else if shares.is_empty() {
        // The rule answers itself; the sentence names the status.
        let told = text(&explained["message"]).ends_with(&format!("status {}.", response.status));
        same("own answer", told.to_string(), "true".into());
        same("reason", String::new(), text(&row["reason"]));
    } else if row["reason"] != "" {
        let refusals: BTreeSet<String> = possible
            .map(|share| &share["refusal"])
            .filter(|refusal| refusal.is_object())
            .map(refused)
            .collect();
        same("refusal of a share", refusals.contains(&logged).to_string(), "true".into());
    } else {
        let share = possible.find(|share| share["backend"] == row["backend"]);
        let endpoints = share.and_then(|share| share["endpoints"].as_array()).cloned().unwrap_or_default();
        same("backend", share.is_some().to_string(), "true".into());
        same("endpoint", endpoints.contains(&row["endpoint"]).to_string(), "true".into());
    }
    if let Some(rule) = &response.rule {
        let route = text(&explained["route"]);
        let name = route.strip_prefix("shop/").unwrap_or(&route);
        same("rule", format!("{name}/{}", explained["rule"]), rule.clone());
    }
    same("found", answer["found"].to_string(), explained["refusal"].is_null().to_string());
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

/// Explanation and access log agree for every one of 1,000 random requests, and the requests are of every kind.
#[test]
fn explain_agrees_with_the_access_log() {
    let (mut random, seed) = Random::seeded();
    let place = Place::new();
    let ports = [place.port, free_port(), free_port()];
    // One worker writes the lines in the order of the requests.
    place.settings("workers: 1\naccessLog: {output: access.log}\n");
    let manifests = table::manifests(&mut random, ports, origin());
    place.put("all.yaml", &manifests);
    let daemon = place.start();
    let requests: Vec<Request> = (0..REQUESTS).map(|_| any(&mut random, ports)).collect();
    let responses: Vec<Response> =
        requests.iter().enumerate().map(|(number, request)| ask(request, number)).collect();
    let rows = daemon.eventually("all lines", || {
        let text = std::fs::read_to_string(daemon.place.path("access.log")).unwrap();
        let rows: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (rows.len() == REQUESTS).then_some(rows)
    });
    let (mut differences, mut kinds) = (Vec::new(), BTreeSet::new());
    for (number, (request, response)) in requests.iter().zip(&responses).enumerate() {
        let row = &rows[number];
        let id = row["request_id"].as_str().unwrap();
        assert!(id.is_empty() || id == format!("n{number}"), "seed {seed}: lines out of order: {row}");
        kinds.insert(format!("{} {}", row["status"], row["reason"].as_str().unwrap()));
        let answer = explain(&daemon, request);
        if let Some(why) = differ(&answer, row, response) {
            let Request { port, host, method, target, headers } = request;
            differences.push(format!("{method} {host} :{port} {target} {headers:?}: {why}"));
        }
    }
    let count = differences.len();
    differences.truncate(10);
    assert!(count == 0, "seed {seed}: {count} of {REQUESTS} differ\n{}", differences.join("\n"));
    for kind in ["200 ", "404 NoRule", "404 NoRoute", "404 NoListener", "400 BadPath"] {
        assert!(kinds.contains(kind), "seed {seed}: no request came to {kind}; there are {kinds:?}");
    }
}
