//! Request smuggling: a corpus of our own, run against the daemon before an origin that records every byte.
//!
//! A gateway and an origin that disagree on where a request ends let one client write another's request. So every
//! case says what the origin must see, exactly, or that the gateway refuses and closes; there is no third verdict.
//! After each case a proper request checks that nothing of it is left on a connection. Every case runs twice: sent at
//! once, and cut into pieces, for the verdict must not hang on how bytes arrive.
//!
//! `SMUGGLING=name` runs only the cases whose family or name contains it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cases;
mod client;
mod judge;
mod lane;
mod matrix;
mod origin;
mod strict;

#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../daemon/http.rs"]
mod http;
#[allow(dead_code, reason = "the tests of the daemon need more of it")]
#[path = "../daemon/place.rs"]
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::Case;

/// Cases at a time; each has a listener and an origin of its own.
const LANES: usize = 12;

/// The least number of different cases that the corpus may have.
const CASES_MIN: usize = 500;

/// How the bytes of a case are cut: not at all, and so small that every token is cut somewhere.
const PIECES: [usize; 2] = [usize::MAX, 5];

macro_rules! corpus {
    ($($family:literal),* $(,)?) => {
        [$(($family, include_str!(concat!("corpus/", $family, ".cases")))),*]
    };
}

fn corpus() -> Vec<Case> {
    let files = corpus![
        "bodies",
        "chunk-data",
        "chunk-extension",
        "chunk-size",
        "connection",
        "content-length",
        "control",
        "expect",
        "header-line",
        "host",
        "line-ends",
        "origin-body",
        "origin-framing",
        "origin-head",
        "origin-timing",
        "path",
        "pipeline",
        "request-line",
        "target",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "version",
    ];
    let mut cases: Vec<Case> = files.iter().flat_map(|(family, text)| cases::read(family, text)).collect();
    cases.extend(matrix::cases());
    cases
}

/// What the origin sees is what was meant, or the request is refused and the connection closed: none is unsafe, none
/// merely tolerated.
#[test]
fn nothing_is_smuggled() {
    let only = std::env::var("SMUGGLING").unwrap_or_default();
    let all = corpus();
    let cases: Vec<&Case> =
        all.iter().filter(|case| case.family.contains(&only) || case.name.contains(&only)).collect();
    let (daemon, lanes) = lane::start(LANES);
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for mut lane in lanes {
            let (cases, next, failures) = (&cases, &next, &failures);
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for piece in PIECES {
                        let faults = lane.run(case, piece);
                        if !faults.is_empty() {
                            failures.lock().unwrap().push(complaint(case, piece, &faults));
                            break;
                        }
                    }
                }
            });
        }
    });
    println!("{}", count(&cases));
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let log = daemon.log();
    assert!(!log.contains("panicked"), "the daemon panicked:\n{log}");
    assert!(failures.is_empty(), "{} of {} cases\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn complaint(case: &Case, piece: usize, faults: &[String]) -> String {
    let cut = if piece == usize::MAX { "" } else { " in pieces" };
    let bytes = strict::show(&case.sent());
    let short: String = bytes.chars().take(400).collect();
    let faults: Vec<String> = faults.iter().map(|fault| fault.chars().take(400).collect()).collect();
    format!("{}/{}{cut} (RFC {}): {short}\n    {}", case.family, case.name, case.rfc, faults.join("\n    "))
}

/// How many cases each family has.
fn count(cases: &[&Case]) -> String {
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        *families.entry(&case.family).or_default() += 1;
    }
    let lines: Vec<String> = families.iter().map(|(family, count)| format!("{count:5}  {family}")).collect();
    format!("{}\n{:5}  in all", lines.join("\n"), cases.len())
}

/// The corpus is as large as promised, no two cases do the same, and each names its rule.
#[test]
fn the_corpus_is_large_and_distinct() {
    let cases = corpus();
    let (mut names, mut bytes, mut twins) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    for case in &cases {
        assert!(names.insert((&case.family, &case.name)), "{}/{} twice", case.family, case.name);
        assert!(case.rfc.starts_with(|first: char| first.is_ascii_digit()), "{}/{}", case.family, case.name);
        let acts = format!("{:?} {:?} {}", case.client, case.origin, case.early);
        if let Some(other) = bytes.insert(acts, &case.name) {
            twins.push(format!("{}/{} does what {other} does", case.family, case.name));
        }
    }
    assert!(twins.is_empty(), "{}", twins.join("\n"));
    assert!(bytes.len() >= CASES_MIN, "{} cases", bytes.len());
}
