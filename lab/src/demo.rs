//! `lab demo`: the six steps of the journey in one lab, with a live table and a summary.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::board::{Board, Watched};
use crate::gateway;
use crate::journey::{JOURNEY, LEGACY_PORTS};
use crate::lab::Lab;
use crate::load::Plan;
use crate::process::Lifetime;
use crate::report::Report;
use crate::scenarios::{change, failure, inbound, out, recovery, scaling};

/// The beat in each direction that the table's outages come from, requests a second.
const BEAT: u32 = 20;
/// Longer than the hold time: a gateway that was cut off returns when every session is lost.
const SESSIONS_LOST: Duration = Duration::from_millis(10_500);

/// A step and its figures.
type Step = (&'static str, Report);

/// Shows the journey so many times; whether every figure was met every time.
pub fn run(times: u32) -> Result<bool> {
    gateway::program()?;
    let mut runs = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        let steps = journey()?;
        summary(&steps, began.elapsed());
        runs.push(steps);
    }
    if times > 1 {
        statistics(&runs);
    }
    Ok(!runs.is_empty() && runs.iter().flatten().all(|(_, report)| report.met()))
}

fn journey() -> Result<Vec<Step>> {
    println!("standing up: {}", JOURNEY.about);
    let mut lab = Lab::stand(&JOURNEY, Lifetime::Foreground)?;
    let told = steps(&mut lab);
    let met = told.as_ref().is_ok_and(|steps| steps.iter().all(|(_, report)| report.met()));
    if !met {
        println!("every log: {}", lab.save_logs("demo")?.display());
    }
    told
}

fn steps(lab: &mut Lab) -> Result<Vec<Step>> {
    lab.start_gateways()?;
    lab.settled()?;
    let board = open_board(lab)?;
    let mut steps = Vec::new();
    let mut step = |lab: &mut Lab,
                    title: &'static str,
                    story: &mut dyn FnMut(&mut Lab) -> Result<Report>|
     -> Result<()> {
        board.begin(title);
        let report = story(lab)?;
        board.end(report.met());
        steps.push((title, report));
        Ok(())
    };
    step(lab, "1 in", &mut inbound::run)?;
    step(lab, "2 scaling", &mut scaling::run)?;
    step(lab, "3 out", &mut out::run)?;
    let cut = lab.holder()?;
    let was_cut = Instant::now();
    step(lab, "4 failure: cut off", &mut |lab| {
        board.strike(cut, Some("cut off"));
        failure::cut(lab)
    })?;
    step(lab, "6 change", &mut change::run)?;
    lab.pause(SESSIONS_LOST.saturating_sub(was_cut.elapsed()))?;
    step(lab, "5 recovery after the cut", &mut |lab| {
        board.strike(cut, None);
        recovery::come_back(lab, cut, "after a cut", |lab, gateway| lab.mend(gateway))
    })?;
    let killed = lab.holder()?;
    step(lab, "4 failure: killed", &mut |lab| {
        board.strike(killed, Some("killed"));
        failure::kill(lab)
    })?;
    step(lab, "5 recovery after the kill", &mut |lab| {
        board.strike(killed, None);
        recovery::come_back(lab, killed, "after a kill", Lab::start_gateway)
    })?;
    Ok(steps)
}

fn open_board(lab: &mut Lab) -> Result<Board> {
    let legacy = lab.topology.address("legacy", "legacy");
    let gateways = lab.gateways().into_iter().map(|name| (name, lab.ns(name))).collect();
    let inward = inbound::from_client(lab, BEAT)?.start();
    let outward = Plan::new(lab.ns("worker-1"), (legacy, LEGACY_PORTS[0]), "legacy", BEAT).start();
    if std::io::stdout().is_terminal() {
        print!("\x1b[2J");
    }
    Ok(Board::open(Watched { gateways, client: lab.ns("client"), inward, outward }))
}

fn summary(steps: &[Step], took: Duration) {
    println!("\nThe journey, step by step");
    let mut ordered: Vec<_> = steps.iter().collect();
    ordered.sort_by_key(|(title, _)| title.chars().next());
    for (title, report) in ordered {
        let word = if report.met() { "ok" } else { "FELL SHORT" };
        print!("  {title}: {word}\n{report}");
    }
    let short = steps.iter().filter(|(_, report)| !report.met()).count();
    println!("\n{} of {} met, in {:.0} s", steps.len() - short, steps.len(), took.as_secs_f64());
}

/// Minimum, median and maximum of every figure that is a number.
fn statistics(runs: &[Vec<Step>]) {
    let mut figures = BTreeMap::<(&str, &str), Vec<f64>>::new();
    for (title, report) in runs.iter().flatten() {
        for figure in &report.figures {
            figures.entry((title, &figure.name)).or_default().extend(figure.number);
        }
    }
    println!("\n{} runs: minimum / median / maximum", runs.len());
    for ((title, name), mut numbers) in figures {
        numbers.sort_by(f64::total_cmp);
        if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
            println!("  {title}: {name}: {first:.0} / {:.0} / {last:.0}", median(&numbers));
        }
    }
}

/// The middle of sorted numbers; of an even count, the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The median is the one in the middle, or between the two.
    #[test]
    fn medians() {
        assert_eq!((median(&[1.0, 2.0, 9.0]), median(&[1.0, 3.0])), (2.0, 2.0));
    }
}
