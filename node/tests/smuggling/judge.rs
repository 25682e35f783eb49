//! The verdict on one run of one case: what the origin saw and what the client got, against what was meant.

use crate::cases::{Case, Outcome, Seen};
use crate::client::Got;
use crate::origin::{CANARY, Record};
use crate::strict::{Message, show};

/// What the gateway adds to a request or rewrites in it.
const ADDED: [&str; 8] = [
    "host",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-host",
    "x-request-id",
    "traceparent",
    "forwarded",
];

/// The host of a case that says nothing about it.
const HOST: &[u8] = b"a.example";

/// One run.
pub struct Run<'r> {
    /// The case.
    pub case: &'r Case,
    /// What the client got.
    pub got: &'r Got,
    /// What the origin saw.
    pub records: &'r [Record],
    /// The connection that served the request after this case.
    pub canary_connection: usize,
}

impl Run<'_> {
    /// Everything that went wrong; empty if nothing did.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.sound(&mut faults);
        match &self.case.outcome {
            Outcome::Refuse(statuses) => {
                self.refused(0, statuses, &mut faults);
                self.sees_nothing(&mut faults);
            }
            Outcome::Cut(statuses) => {
                self.refused(0, statuses, &mut faults);
                self.sees_no_request(&mut faults);
            }
            Outcome::Silent => {
                if !self.got.bytes.is_empty() {
                    faults.push(format!("an answer: {}", show(&self.got.bytes)));
                }
                self.sees_no_request(&mut faults);
            }
            Outcome::Pass(requests, refusals) => self.passed(requests, refusals, &mut faults),
            Outcome::Bad => self.bad(&mut faults),
            Outcome::Fine(status, keep, seen) => self.fine(*status, *keep, seen, &mut faults),
        }
        faults
    }

    /// What holds for every case: both sides get strict HTTP/1.1, as many answers as requests, and an end.
    fn sound(&self, faults: &mut Vec<String>) {
        for record in self.records {
            if let Some(fault) = &record.fault {
                faults.push(format!("the origin got no strict HTTP/1.1: {fault} in {}", show(&record.rest)));
            }
            if !record.rest.is_empty() && !record.closed {
                faults.push(format!("a part of a request stays open at the origin: {}", show(&record.rest)));
            }
        }
        if let Some(fault) = &self.got.fault {
            faults.push(format!("the client got no strict HTTP/1.1: {fault} in {}", show(&self.got.bytes)));
        }
        if !self.got.closed {
            faults.push("the gateway does not close when the client is done".to_owned());
        }
        if !self.case.origin.is_empty() {
            return;
        }
        let marked = |message: &&Message| !message.all("x-origin").is_empty();
        let answers = self.got.responses.iter().filter(marked).count();
        let requests = self.requests().count();
        if answers != requests {
            faults.push(format!("{requests} requests at the origin, {answers} answers of it at the client"));
        }
    }

    fn requests(&self) -> impl Iterator<Item = &Message> {
        let requests = self.records.iter().flat_map(|record| &record.requests);
        requests.filter(|request| !request.first[1].starts_with(CANARY.as_bytes()))
    }

    fn sees_no_request(&self, faults: &mut Vec<String>) {
        for request in self.requests() {
            faults.push(format!("the origin saw {}", show(&request.line())));
        }
    }

    fn sees_nothing(&self, faults: &mut Vec<String>) {
        self.sees_no_request(faults);
        for record in self.records.iter().filter(|record| !record.rest.is_empty()) {
            faults.push(format!("the origin saw {}", show(&record.rest)));
        }
    }

    /// After `count` answers of the origin, one of the gateway, which then closed.
    fn refused(&self, count: usize, statuses: &[u16], faults: &mut Vec<String>) {
        let Got { responses, closed_by_gateway, .. } = self.got;
        match responses.get(count) {
            None => faults.push(format!("no refusal: {}", show(&self.got.bytes))),
            Some(refusal) => {
                if !statuses.contains(&refusal.status()) || !refusal.all("x-origin").is_empty() {
                    faults.push(format!("not refused with {statuses:?} but {}", show(&refusal.line())));
                }
                if refusal.all("connection") != [b"close"] {
                    faults.push("the refusal does not say that it closes".to_owned());
                }
            }
        }
        if responses.len() > count + 1 || !self.got.rest.is_empty() {
            faults.push(format!("more than a refusal: {}", show(&self.got.bytes)));
        }
        if !closed_by_gateway {
            faults.push("not closed after the refusal".to_owned());
        }
    }

    fn passed(&self, expected: &[Seen], refusals: &[u16], faults: &mut Vec<String>) {
        let seen: Vec<&Message> = self.requests().collect();
        if seen.len() != expected.len() {
            faults.push(format!("the origin saw {} requests, not {}", seen.len(), expected.len()));
        }
        for (request, meant) in seen.iter().zip(expected) {
            same(request, meant, faults);
        }
        if !refusals.is_empty() {
            return self.refused(expected.len(), refusals, faults);
        }
        if self.got.responses.len() != expected.len() || !self.got.rest.is_empty() {
            faults.push(format!("the client got {}", show(&self.got.bytes)));
        }
    }

    /// The client got 502 or a part, and nothing of what came after; the connection was dropped.
    fn bad(&self, faults: &mut Vec<String>) {
        match self.got.responses.as_slice() {
            [] if self.got.closed_by_gateway => {}
            [only] if matches!(only.status(), 502 | 504) && self.got.rest.is_empty() => {}
            _ => faults.push(format!("the client got {}", show(&self.got.bytes))),
        }
        self.reused(false, faults);
    }

    fn fine(&self, status: u16, keep: bool, seen: &Seen, faults: &mut Vec<String>) {
        match self.got.responses.as_slice() {
            [only] if only.status() == status && self.got.rest.is_empty() => {
                if only.body != seen.body {
                    faults.push(format!("the client got the body {}", show(&only.body)));
                }
                for (name, value) in &seen.headers {
                    if only.all(name) != [value.as_slice()] {
                        faults.push(format!("{name} is {:?}", only.all(name)));
                    }
                }
            }
            _ => faults.push(format!("the client got {}", show(&self.got.bytes))),
        }
        self.reused(keep, faults);
    }

    /// Whether the connection of this case served the next request.
    fn reused(&self, keep: bool, faults: &mut Vec<String>) {
        let of_case = |record: &&Record| {
            record.requests.iter().any(|request| !request.first[1].starts_with(CANARY.as_bytes()))
                || !record.rest.is_empty()
        };
        let used: Vec<usize> = self.records.iter().filter(of_case).map(|record| record.connection).collect();
        if used.is_empty() {
            faults.push("the origin was not asked".to_owned());
        }
        if used.contains(&self.canary_connection) != keep {
            let verb = if keep { "was not" } else { "was" };
            faults.push(format!("the connection {verb} used again"));
        }
    }
}

/// Whether the origin saw exactly what was meant.
fn same(request: &Message, meant: &Seen, faults: &mut Vec<String>) {
    if request.line() != meant.line {
        faults.push(format!("the origin saw {} for {}", show(&request.line()), show(&meant.line)));
    }
    if request.body != meant.body {
        faults.push(format!("the origin saw the body {}", show(&request.body)));
    }
    // `*`: any; HTTP/1.0 may name none, and the origin must still get one.
    let host = meant.headers.iter().find(|(name, _)| name == "host").map_or(HOST, |(_, value)| value);
    if host != b"*" && request.all("host") != [host] {
        faults.push(format!("the origin saw the host {}", show(request.all("host")[0])));
    }
    let own = |name: &str| !ADDED.contains(&name);
    let seen: Vec<_> = request.headers.iter().filter(|(name, _)| own(name)).collect();
    let asked: Vec<_> = meant.headers.iter().filter(|(name, _)| own(name)).collect();
    for (name, value) in seen.iter().filter(|line| !asked.contains(line)) {
        faults.push(format!("the origin saw {name}: {}", show(value)));
    }
    for (name, value) in asked.iter().filter(|line| !seen.contains(line)) {
        faults.push(format!("the origin did not see {name}: {}", show(value)));
    }
    if seen.len() != asked.len() {
        faults.push(format!("{} header lines for {}", seen.len(), asked.len()));
    }
    if request.all("x-forwarded-for") != [b"127.0.0.1".as_slice()] {
        faults.push(format!("x-forwarded-for is {:?}", request.all("x-forwarded-for")));
    }
    let trailers: Vec<_> = request.trailers.iter().filter(|(name, _)| !name.starts_with("x-sum")).collect();
    if !trailers.is_empty() {
        faults.push(format!("the trailers {trailers:?}"));
    }
}

/// A verdict can fail: a smuggled request, an answer too many, a header too many and a reused connection are all seen.
#[test]
fn verdicts_can_fail() {
    use crate::strict;
    let request = |text: &str| strict::request(text.as_bytes()).unwrap().unwrap();
    let seen =
        |text: &str| vec![Record { connection: 1, requests: vec![request(text)], ..Record::default() }];
    let head = "GET /a HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 127.0.0.1\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nx-origin: 1\r\ncontent-length: 0\r\n\r\n";
    let answers = |count| Got {
        bytes: answer.repeat(count),
        responses: vec![strict::response(answer, false, false).unwrap().unwrap(); count],
        closed: true,
        ..Got::default()
    };
    let faults = |outcome: Outcome, records: &[Record], got: &Got| {
        let case = Case::new("judge", "a".into(), "9112", Vec::new(), outcome);
        Run { case: &case, got, records, canary_connection: 1 }.faults().len()
    };
    let meant = || Seen { line: b"GET /a HTTP/1.1".to_vec(), ..Seen::default() };
    let pass = || Outcome::Pass(vec![meant()], Vec::new());
    let good = seen(&format!("{head}\r\n"));
    assert_eq!(faults(pass(), &good, &answers(1)), 0);
    assert_ne!(faults(pass(), &good, &answers(2)), 0);
    assert_ne!(faults(pass(), &[], &answers(1)), 0);
    assert_ne!(faults(pass(), &seen(&format!("{head}x: a\r\n\r\n")), &answers(1)), 0);
    assert_ne!(faults(pass(), &[good.clone(), good.clone()].concat(), &answers(1)), 0);
    assert_ne!(faults(Outcome::Refuse(vec![400]), &good, &answers(1)), 0);
    assert_ne!(faults(Outcome::Silent, &good, &answers(0)), 0);
    assert_ne!(faults(Outcome::Bad, &good, &answers(0)), 0);
    assert_eq!(faults(Outcome::Fine(200, true, Seen::default()), &good, &answers(1)), 0);
    assert_ne!(faults(Outcome::Fine(200, false, Seen::default()), &good, &answers(1)), 0);
}
