//! A recorded watch, sent again by a stand-in: what a change costs, and how long it takes to the proxy.
//!
//! Latency is counted from before the first byte of the event is written until an answer of the new endpoint has arrived: in it
//! are the stand-in's write, everything that the gateway does, and a request through it by a client that asks without a pause.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::objects::{Replaced, Size};
use super::standin::{Recording, StandIn};
use super::subject::{Asker, Subject};
use super::{Figures, answers, resident, target};
use crate::lab::Lab;

/// CPU of a change, milliseconds.
const CPU_MS: f64 = 0.3;
/// Latency of a change at the 99th percentile, milliseconds.
const LATENCY_MS: f64 = 100.0;
/// Changes a second where they come as from a busy cluster.
const RATE: u32 = 200;
/// Changes that are followed to the proxy.
const PROBED: usize = 500;
/// Time between two of them.
const PROBE_EVERY: Duration = Duration::from_millis(25);
/// How long after the last change its CPU still counts.
const LATER: Duration = Duration::from_secs(2);
/// Of how many Services those are.
const PROBED_SERVICES: usize = 100;

/// Replays; with `hold` for ever.
pub fn run(
    lab: &mut Lab,
    program: &Path,
    size: Size,
    recording: Arc<Recording>,
    hold: bool,
    figures: &mut Figures,
) -> Result<()> {
    let standin = StandIn::start(&lab.ns("gw1"), recording.clone())?;
    let file = lab.dir("gw1")?.join("standin.kubeconfig");
    let server = standin.address;
    std::fs::write(
        &file,
        format!(
            "{{apiVersion: v1, kind: Config, current-context: it, contexts: [{{name: it, context: {{cluster: it, user: it}}}}], \
             clusters: [{{name: it, cluster: {{server: \"http://{server}\"}}}}], users: [{{name: it, user: {{}}}}]}}"
        ),
    )?;
    // What another source has left on disk is none of this one's.
    let left = lab.dir("gw1")?.join("state");
    if left.exists() {
        std::fs::remove_dir_all(&left)?;
    }
    let (mut subject, ready) = Subject::start(lab, program, &file)?;
    figures.note("start to ready, from the stand-in", format!("{:.2} s", ready.as_secs_f64()));
    answers(lab, size)?;
    resident("from the stand-in", &subject, figures)?;
    subject.settle()?;
    ensure!(!recording.events.is_empty(), "no change was recorded");
    if hold {
        println!("tidegate is process {}; Ctrl-C ends it", subject.pid());
    }
    let events = there_and_back(&recording.events)?;
    let mut idle = subject.cpu()?;
    std::thread::sleep(Duration::from_secs(5));
    idle = subject.cpu()? - idle;
    figures.note("CPU where nothing changes", format!("{:.2} ms a second", idle.as_secs_f64() * 1e3 / 5.0));
    loop {
        let each = cost(&standin, &subject, &events, Some(RATE))?;
        figures.at_most(&format!("CPU of a change, {RATE} a second"), each, CPU_MS, "ms");
        if !hold {
            break;
        }
    }
    subject.settle()?;
    let began = Instant::now();
    let each = cost(&standin, &subject, &events, None)?;
    let rate = recording.events.len() as f64 / began.elapsed().as_secs_f64();
    figures.at_most(
        &format!("CPU of a change, as fast as they are taken ({rate:.0} a second)"),
        each,
        CPU_MS,
        "ms",
    );
    subject.settle()?;
    latency(lab, &standin, size, &recording, figures)?;
    subject.settle()?;
    resident("after all changes", &subject, figures)?;
    subject.stop()
}

/// CPU of a change, in milliseconds, where so many come each second, or as fast as they are taken.
fn cost(standin: &StandIn, subject: &Subject, events: &[String], rate: Option<u32>) -> Result<f64> {
    let (before, began) = (subject.cpu()?, Instant::now());
    let mut sent = 0;
    for event in events {
        if let Some(rate) = rate {
            let due = began + Duration::from_secs(1) * sent / rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        standin.push(event)?;
        sent += 1;
    }
    // Whatever is put off until there is time belongs to it.
    std::thread::sleep(LATER);
    Ok((subject.cpu()? - before).as_secs_f64() * 1e3 / f64::from(sent))
}

/// Each event as it was recorded, then each taken back: so every one of them changes something, however often they are sent.
fn there_and_back(events: &[String]) -> Result<Vec<String>> {
    let back = events.iter().map(|event| undone(event)).collect::<Result<Vec<_>>>()?;
    Ok(events.iter().cloned().chain(back).collect())
}

/// The same event with its first endpoint where it was before.
fn undone(event: &str) -> Result<String> {
    let mut value: Value = serde_json::from_str(event)?;
    let first = value.pointer_mut("/object/endpoints/0/addresses/0").context("an event without endpoints")?;
    let address: std::net::Ipv4Addr = first.as_str().unwrap_or_default().parse()?;
    *first = std::net::Ipv4Addr::from(u32::from(address) ^ 1 << 17).to_string().into();
    Ok(value.to_string())
}

/// Changes followed one after the other to the proxy, while others come in between.
fn latency(
    lab: &Lab,
    standin: &StandIn,
    size: Size,
    recording: &Recording,
    figures: &mut Figures,
) -> Result<()> {
    let target = target(lab);
    let services = PROBED_SERVICES.min(recording.events.len());
    let mut took = lab.ns("client").inside(|| {
        let (mut asker, mut took) = (Asker::new(target), Vec::new());
        let others = there_and_back(&recording.events[services..])?;
        let mut others = others.iter().cycle();
        let began = Instant::now();
        for turn in 0..PROBED {
            let due = began + PROBE_EVERY * u32::try_from(turn)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // So many others as come in that time.
            for other in others.by_ref().take(RATE as usize * PROBE_EVERY.as_millis() as usize / 1_000) {
                standin.push(other)?;
            }
            let replaced = if (turn / services).is_multiple_of(2) { size.all() } else { 0 };
            let (service, event) = moved(&recording.events[turn % services], size, replaced)?;
            let wanted: Vec<_> = (0..size.endpoints).map(|at| size.address(service, at, replaced)).collect();
            let (host, path) = size.way_to(service);
            let at = standin.push(&event)?;
            took.push(asker.until((&host, path), &wanted)? - at);
        }
        Ok(took)
    })?;
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    figures.note(
        "an event's first byte to an answer of the new endpoint",
        format!("median {:.1} ms, p90 {:.1} ms, most {:.1} ms, of {}", at(0.5), at(0.9), at(1.0), took.len()),
    );
    figures.at_most("the same, p99", at(0.99), LATENCY_MS, "ms");
    Ok(())
}

/// A recorded event with these endpoints replaced; the Service that it is of.
fn moved(event: &str, size: Size, replaced: Replaced) -> Result<(usize, String)> {
    let mut value: Value = serde_json::from_str(event)?;
    let name =
        value["object"]["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or_default();
    let service =
        name.strip_prefix('s').and_then(|number| number.parse().ok()).context("an event of no Service")?;
    value["object"]["endpoints"] = size.endpoints(service, replaced);
    Ok((service, value.to_string()))
}
