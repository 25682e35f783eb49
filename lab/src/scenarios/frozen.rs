//! The holder stands still for a while, as a machine that swaps or a virtual one that is moved, and wakes up believing that
//! it still holds everything.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::gateway::holds;
use crate::lab::Lab;
use crate::report::Report;
use crate::scenarios::failure::BothWays;

/// How long it stands still.
const STILL: Duration = Duration::from_secs(3);

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let (before, vip) = (lab.holder()?, lab.vip()?);
    let load = BothWays::start(lab)?;
    lab.pause(Duration::from_millis(1500))?;
    let frozen = load.now();
    lab.signal(before, Signal::SIGSTOP)?;
    lab.pause(STILL)?;
    // Only the others are asked: the one that stands still does not answer.
    let mut heirs = Vec::new();
    for gateway in lab.gateways().into_iter().filter(|gateway| *gateway != before) {
        heirs.extend(holds(&lab.status(gateway)?, vip).then_some(gateway));
    }
    report.exactly("heirs while it stands still", heirs.len(), 1, &heirs.join(" "));
    let woken = load.now();
    lab.signal(before, Signal::SIGCONT)?;
    lab.pause(Duration::from_millis(3000))?;
    // 20 a second for 7.5 s, less a little.
    load.stop()?.one_gap(lab, &mut report, &[("frozen", frozen), ("woken", woken)], 135);
    let after = lab.sole_holder(Duration::from_secs(1));
    let shown = after.as_ref().map_or_else(|e| format!("{e:#}"), |after| format!("{before} → {after}"));
    report.holds("there is one holder of everything", after.is_ok(), shown);
    Ok(report)
}
