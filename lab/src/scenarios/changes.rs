//! Changes of the configuration under load, of every kind and faster than anybody types: each has its effect soon, mistakes
//! are told, and nobody whose service did not change notices anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::churn::{Churn, DOORS, Door, FIELD};
use crate::crowd::{Crowd, HOST};
use crate::election::CONTESTED;
use crate::gateway::metrics;
use crate::lab::Lab;
use crate::netns::Netns;
use crate::process;
use crate::report::Report;
use crate::talk::Talk;

/// A change is visible within this, a file's debounce and a compile included, as far as the median goes.
const SOON: Duration = Duration::from_millis(200);
/// The slowest, on a machine that does other things too.
const LATE: Duration = Duration::from_secs(2);
/// How long a request through a door takes that closes meanwhile.
const GUEST_MS: u64 = 700;
/// Between two looks at a door.
const LOOK: Duration = Duration::from_millis(15);

/// Some changes.
pub fn some(lab: &mut Lab) -> Result<Report> {
    run(lab, 78, Duration::from_millis(4700))
}

/// A thousand in a minute.
pub fn many(lab: &mut Lab) -> Result<Report> {
    run(lab, 1000, Duration::from_secs(60))
}

fn run(lab: &mut Lab, changes: usize, within: Duration) -> Result<Report> {
    let mut report = Report::default();
    let crowd = Crowd::gather(lab, within + Duration::from_secs(1))?;
    let client = lab.ns("client");
    let mut churn = Churn::new(lab.manifests(), crowd.certificates.clone());
    let before = carried_out(lab)?;
    let versions = Talk::start(client.clone(), watch_versions);
    let doors: Vec<_> =
        DOORS.iter().map(|door| Talk::start(client.clone(), move |stop| turns(stop, door))).collect();
    let (mut guests, mut closings, mut shown, mut mistakes) = (Vec::new(), 0, Vec::new(), 0);
    let (began, beat) = (Instant::now(), within / u32::try_from(changes)?);
    for number in 0..changes {
        // After a moment in which the machine stood still, changes follow one another faster, but not all at once.
        let due = began + beat * u32::try_from(number)?;
        lab.pause(due.saturating_duration_since(Instant::now()).max(beat / 3))?;
        if let Some(door) = churn.about_to_close().filter(|door| !door.udp) {
            closings += 1;
            guests.extend(guest(&client, door));
        }
        let made = churn.make()?;
        mistakes += usize::from(made.broken);
        if made.shows {
            shown.push((made.number, Instant::now()));
        }
    }
    report.at_most_ms("all changes made in", Some(began.elapsed()), within + Duration::from_millis(500));
    report.exactly("changes", changes, changes, "");
    lab.pause(Duration::from_millis(700))?;
    let rounds = carried_out(lab)?;
    let whole = rounds.0 - before.0;
    report.at_least("times that the whole was compiled for them", whole, changes / 5);
    report.at_least("times that only endpoints were exchanged", rounds.1 - before.1, changes / 50);
    tell_effects(&mut report, &shown, &versions.end()?);
    for (door, turns) in DOORS.iter().zip(doors) {
        tell_turns(&mut report, door, &turns.end()?, began, changes);
    }
    report.at_least(
        &format!("requests under way through a door that closed, of {closings}"),
        guests.len(),
        closings / 2,
    );
    let cut: Vec<_> = guests
        .into_iter()
        .filter_map(|guest: JoinHandle<Result<()>>| {
            guest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).err()
        })
        .map(|error| format!("{error:#}"))
        .collect();
    report.exactly("of these cut", cut.len(), 0, &cut.join(", "));
    let log = process::tail(&lab.logs().join("gw1.log"), 256 << 20);
    let told =
        |file: &str| log.lines().filter(|line| line.contains("\"WARN\"") && line.contains(file)).count();
    let told = told("broken.yaml") + told("web.yaml");
    report.at_least(&format!("mistakes told, of {mistakes}"), told, mistakes / 2);
    crowd.disperse(lab, &mut report, 2)?;
    Ok(report)
}

/// How often the daemon compiled everything, and how often it only exchanged members.
fn carried_out(lab: &Lab) -> Result<(usize, usize)> {
    let text = metrics(&lab.ns("gw1"))?;
    let count = |scope: &str| {
        let name = format!("tidegate_intent_changes_total{{scope=\"{scope}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    };
    Ok((count("all"), count("members")))
}

/// Times from a change to the first answer that shows it or a later one.
fn tell_effects(report: &mut Report, shown: &[(usize, Instant)], seen: &[(usize, Instant)]) {
    let effect = |(number, put): &(usize, Instant)| {
        let first = seen.iter().find(|(version, _)| version >= number)?;
        Some(first.1.saturating_duration_since(*put))
    };
    let mut times: Vec<_> = shown.iter().filter_map(effect).collect();
    times.sort();
    report.exactly("changes of the route that had their effect", times.len(), shown.len(), "");
    report.at_most_ms("from a file to its effect, median", times.get(times.len() / 2).copied(), SOON);
    report.at_most_ms("from a file to its effect, slowest", times.last().copied(), LATE);
}

/// A door opens and closes as often as it was told to.
fn tell_turns(report: &mut Report, door: &Door, turns: &[(bool, Instant)], began: Instant, changes: usize) {
    let (opens, closes) = Churn::turns_of(door, changes);
    let at = |(open, at): &(bool, Instant)| {
        let word = if *open { "there" } else { "gone" };
        format!("{word} at {} ms", at.saturating_duration_since(began).as_millis())
    };
    let detail = turns.iter().map(at).collect::<Vec<_>>().join(", ");
    let count = |open| turns.iter().filter(|turn| turn.0 == open).count();
    for (word, found, told) in [("came", count(true), opens), ("went", count(false), closes)] {
        // On a machine that stood still for a moment some turns come at once, and one may be seen that was none.
        let near = found.abs_diff(told) <= 1 + told / 10;
        let seen = if near { format!("{found}, told {told} times") } else { format!("{found} ({detail})") };
        report.holds(&format!("times that {} {word}", door.what), near, seen);
    }
}

/// A request through a door that takes longer than the door stays; none if the door is not there (yet). Its connection
/// stands when this returns, accepted or not.
fn guest(client: &Netns, door: &Door) -> Option<JoinHandle<Result<()>>> {
    let (what, address) = (door.what, door.address);
    let client = client.clone();
    let (inside, is_inside) = mpsc::channel();
    let guest = std::thread::spawn(move || {
        client.enter()?;
        let mut stream = TcpStream::connect_timeout(&address.parse()?, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_secs(8)))?;
        let target = format!("/slow?ms={GUEST_MS}");
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
        // Nobody waits any more where this took too long.
        let _ = inside.send(());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(|| format!("through {what}"))?;
        let whole = answer.starts_with("HTTP/1.1 200") && answer.contains("\"who\":\"server\"");
        ensure!(whole, "through {what}: {answer:?}");
        Ok(())
    });
    is_inside.recv_timeout(Duration::from_millis(500)).ok().map(|()| guest)
}

/// Numbers of changes that answers show, each when it was first seen.
fn watch_versions(stop: &AtomicBool) -> Result<Vec<(usize, Instant)>> {
    let mut seen: Vec<(usize, Instant)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let version = ask(SocketAddr::from((CONTESTED, 80))).as_deref().and_then(version);
        if let Some(version) = version
            && seen.last().is_none_or(|(last, _)| version > *last)
        {
            seen.push((version, Instant::now()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(seen)
}

fn version(answer: &str) -> Option<usize> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| line.strip_prefix(FIELD)?.strip_prefix(": ")?.parse().ok())
}

/// When a door was found open after it was closed, or closed after it was open.
fn turns(stop: &AtomicBool, door: &Door) -> Result<Vec<(bool, Instant)>> {
    let address: SocketAddr = door.address.parse()?;
    let look = || if door.udp { is_echoed(address) } else { ask(address).is_some() };
    let (mut open, mut turns) = (false, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        // One answer that did not come may be late.
        let now = look() || (open && look());
        if now != open {
            turns.push((now, Instant::now()));
        }
        open = now;
        std::thread::sleep(LOOK);
    }
    Ok(turns)
}

/// The answer to one request on a connection of its own; none if there is none at once.
fn ask(address: SocketAddr) -> Option<String> {
    let patience = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

fn is_echoed(address: SocketAddr) -> bool {
    let echo = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send(b"there?")?;
        socket.recv(&mut [0; 64])
    };
    echo().is_ok()
}
