//! The live table of the demo: who holds what, sessions, requests a second, outages as they happen. It only looks: at
//! each gateway's status, as a user would, and at the records of the load that is under way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gap;
use crate::gateway::{holds, sessions, status, vip};
use crate::journey::{CLUSTER_NEXT_HOP, EGRESS_ADDRESS, OUTSIDE_NEXT_HOP};
use crate::load::{self, Load};
use crate::netns::Netns;

/// How often the table is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(250);
/// Without a terminal, a line this often.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// What is watched.
#[derive(Debug)]
pub struct Watched {
    /// Gateways and their namespaces.
    pub gateways: Vec<(&'static str, Netns)>,
    /// Where the client stands.
    pub client: Netns,
    /// A steady beat in each direction, whose gaps are the outages shown.
    pub inward: Load,
    /// The other direction.
    pub outward: Load,
}

/// The table; it is drawn until it is closed.
#[derive(Debug)]
pub struct Board {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    closed: AtomicBool,
    told: Mutex<Told>,
}

/// What the demo tells the table.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Steps and how they went.
    steps: Vec<(String, Option<bool>)>,
    /// Gateways that were struck, and how.
    struck: BTreeMap<String, &'static str>,
}

impl Board {
    /// Begins to draw.
    pub fn open(watched: Watched) -> Board {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || watch(&watched, &shared)
        });
        Board { shared, thread: Some(thread) }
    }

    /// A step begins.
    pub fn begin(&self, title: &str) {
        self.told().steps.push((title.to_owned(), None));
    }

    /// The last step ended.
    pub fn end(&self, met: bool) {
        if let Some(step) = self.told().steps.last_mut() {
            step.1 = Some(met);
        }
    }

    /// A gateway was struck, or came back.
    pub fn strike(&self, gateway: &str, how: Option<&'static str>) {
        match how {
            Some(how) => self.told().struck.insert(gateway.to_owned(), how),
            None => self.told().struck.remove(gateway),
        };
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.shared.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn watch(watched: &Watched, shared: &Shared) {
    let (began, terminal) = (Instant::now(), std::io::stdout().is_terminal());
    let mut counts = Vec::new();
    let mut last_line = began;
    while !shared.closed.load(Ordering::Relaxed) {
        let round = Instant::now();
        let told = shared.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let statuses: Vec<_> = watched.gateways.iter().map(|(name, ns)| (*name, status(ns).ok())).collect();
        counts.push((Instant::now(), requests(&watched.client)));
        counts.retain(|(when, _)| when.elapsed() < Duration::from_millis(1200));
        let flow = Flow { rates: rates(&counts), outages: [&watched.inward, &watched.outward].map(outages) };
        if terminal {
            // Home, draw, clear what is left below: no flicker.
            print!(
                "\x1b[H{}\x1b[J",
                table(&told, &statuses, &flow, began.elapsed()).replace('\n', "\x1b[K\n")
            );
        } else if last_line.elapsed() >= LINE_EVERY {
            println!("{}", line(&told, &statuses, &flow, began.elapsed()));
            last_line = Instant::now();
        }
        let _ = std::io::stdout().flush();
        std::thread::sleep(DRAWN_EVERY.saturating_sub(round.elapsed()));
    }
}

/// What passes: requests a second and outages, in and out.
struct Flow {
    rates: [f64; 2],
    outages: [Vec<Duration>; 2],
}

/// Requests so far, in and out.
fn requests(client: &Netns) -> BTreeMap<bool, usize> {
    let mut counts = BTreeMap::new();
    for (from, count) in load::ended() {
        *counts.entry(from == *client).or_default() += count;
    }
    counts
}

fn rates(counts: &[(Instant, BTreeMap<bool, usize>)]) -> [f64; 2] {
    let (Some((t0, first)), Some((t1, last))) = (counts.first(), counts.last()) else { return [0.0; 2] };
    let seconds = (*t1 - *t0).as_secs_f64().max(0.1);
    let count = |counts: &BTreeMap<bool, usize>, inward| counts.get(&inward).copied().unwrap_or(0);
    [true, false].map(|inward| count(last, inward).saturating_sub(count(first, inward)) as f64 / seconds)
}

fn outages(load: &Load) -> Vec<Duration> {
    gap::gaps(&load.so_far()).iter().map(|gap| gap.length).filter(|length| !length.is_zero()).collect()
}

fn held(status: &Value) -> String {
    let mut held: Vec<String> = Vec::new();
    held.extend(vip(status).filter(|vip| holds(status, *vip)).map(|vip| format!("VIP {vip}")));
    let others =
        [(OUTSIDE_NEXT_HOP, "next hop out"), (CLUSTER_NEXT_HOP, "next hop in"), (EGRESS_ADDRESS, "egress")];
    held.extend(
        others.iter().filter(|(address, _)| holds(status, *address)).map(|(_, what)| (*what).to_owned()),
    );
    if held.is_empty() { "–".into() } else { held.join(", ") }
}

fn milliseconds(outages: &[Duration]) -> String {
    let shown: Vec<_> =
        outages.iter().rev().take(4).rev().map(|outage| format!("{} ms", outage.as_millis())).collect();
    if shown.is_empty() { "none".into() } else { shown.join(", ") }
}

fn table(told: &Told, statuses: &[(&str, Option<Value>)], flow: &Flow, elapsed: Duration) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "Tidegate: a cluster's traffic in and out through three gateways   {:>4.0} s\n",
        elapsed.as_secs_f64()
    );
    let _ = writeln!(text, "  {:8} {:10} {:8} {:44}", "gateway", "state", "BGP", "holds");
    for (name, status) in statuses {
        let struck = told.struck.get(*name).copied();
        let (state, bgp, held) = match status {
            Some(status) => {
                let (up, all) = sessions(status);
                let ready = if status["ready"] == true { "ready" } else { "starting" };
                (struck.unwrap_or(ready), format!("{up} of {all}"), held(status))
            }
            None => (struck.unwrap_or("away"), "–".to_owned(), "–".to_owned()),
        };
        let _ = writeln!(text, "  {name:8} {state:10} {bgp:8} {held:44}");
    }
    let _ = writeln!(text);
    for ((way, rate), outages) in ["in", "out"].iter().zip(flow.rates).zip(&flow.outages) {
        let _ = writeln!(text, "  {way:4} {rate:>6.0} requests/s   outages: {}", milliseconds(outages));
    }
    let _ = writeln!(text);
    for (title, met) in &told.steps {
        let mark = met.map_or("…", |met| if met { "✓" } else { "✗" });
        let _ = writeln!(text, "  {mark} {title}");
    }
    text
}

fn line(told: &Told, statuses: &[(&str, Option<Value>)], flow: &Flow, elapsed: Duration) -> String {
    let holder =
        statuses.iter().filter(|(_, status)| status.as_ref().is_some_and(|s| holds(s, OUTSIDE_NEXT_HOP)));
    let holders = holder.map(|(name, _)| *name).collect::<Vec<_>>().join("+");
    let sessions: usize = statuses.iter().filter_map(|(_, status)| Some(sessions(status.as_ref()?).0)).sum();
    let step = told.steps.last().map_or("", |(title, _)| title.as_str());
    let [rate_in, rate_out] = flow.rates;
    let [in_, out] = [0, 1].map(|way| milliseconds(&flow.outages[way]));
    format!(
        "{:>4.0} s  {step:28} holder {holders:8} sessions {sessions:2}  in {rate_in:.0}/s out {rate_out:.0}/s  outages in: {in_}; out: {out}",
        elapsed.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The table names the holder, its sessions, what passes and how each step went.
    #[test]
    fn a_table() {
        let status = json!({"ready": true, "bgp": [{"state": "Established"}, {"state": "Active"}],
            "listeners": [{"address": "203.0.113.1:80"}],
            "addresses": [{"address": "203.0.113.1", "here": true}, {"address": "10.10.0.50", "here": true}]});
        let told = Told {
            steps: vec![("1 in".into(), Some(true))],
            struck: BTreeMap::from([("gw2".into(), "killed")]),
        };
        let flow = Flow { rates: [512.0, 20.0], outages: [vec![Duration::from_millis(312)], vec![]] };
        let text = table(&told, &[("gw1", Some(status)), ("gw2", None)], &flow, Duration::from_secs(3));
        for part in
            ["1 of 2", "VIP 203.0.113.1, egress", "killed", "512 requests/s   outages: 312 ms", "✓ 1 in"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
