//! Step 4, failure: the gateway that holds everything is cut off, or killed, while 20 new requests a second flow each way.

use std::time::Duration;

use anyhow::Result;

use crate::gap::Record;
use crate::lab::Lab;
use crate::load::Load;
use crate::report::Report;
use crate::scenarios::inbound::from_client;
use crate::scenarios::out::{Outward, Seen};
use crate::verdict::Strike;

/// The longest gap.
pub const GAP: Duration = Duration::from_millis(500);
/// New requests a second, each way.
pub const RATE: u32 = 20;

/// Load in both directions.
#[derive(Debug)]
pub struct BothWays {
    /// From the client to the Gateway.
    pub inward: Load,
    /// From the pods to the legacy network.
    pub outward: Outward,
}

impl BothWays {
    /// Begins.
    pub fn start(lab: &mut Lab) -> Result<BothWays> {
        Ok(BothWays { outward: Outward::start(lab, RATE)?, inward: from_client(lab, RATE)?.start() })
    }

    /// The time on the scale of each load: in, out, and out from an unselected pod.
    pub fn now(&self) -> [Duration; 3] {
        [self.inward.now(), self.outward.selected.now(), self.outward.other.now()]
    }

    /// Ends.
    pub fn stop(self) -> Result<Shown> {
        Ok(Shown { inward: self.inward.stop()?, seen: self.outward.stop()? })
    }
}

/// What load in both directions showed.
#[derive(Debug)]
pub struct Shown {
    /// Requests in.
    pub inward: Vec<Record>,
    /// Requests out, and what was seen of them outside.
    pub seen: Seen,
}

impl Shown {
    /// The loads in the order of [`BothWays::now`], by name.
    pub fn loads(&self) -> [(&'static str, &[Record]); 3] {
        let Seen { selected, other, .. } = &self.seen;
        [("in", &self.inward), ("out", selected), ("out, unselected pod", other)]
    }

    /// Each strike made one gap at most, no longer than [`GAP`], nothing failed elsewhere, and no packet had a wrong
    /// source; `least` is the number of requests of each load without which nothing is proven.
    pub fn one_gap(&self, lab: &Lab, report: &mut Report, strikes: &[(&str, [Duration; 3])], least: usize) {
        for (index, (what, records)) in self.loads().into_iter().enumerate() {
            let strikes: Vec<_> = strikes.iter().map(|(what, at)| Strike { what, at: at[index] }).collect();
            report.one_gap(what, records, least, &strikes, GAP);
        }
        self.seen.sources(lab, report);
    }

    /// Nothing failed or was late, and no packet had a wrong source.
    pub fn none_late(&self, lab: &Lab, report: &mut Report, when: &str, least: usize) {
        for (what, records) in self.loads() {
            report.none_late(&format!("{what} {when}"), records, least);
        }
        self.seen.sources(lab, report);
    }
}

/// The story with a cut; the gateway stays cut.
pub fn cut(lab: &mut Lab) -> Result<Report> {
    fail(lab, "cut", |lab, holder| lab.cut(holder))
}

/// The story with SIGKILL; the gateway stays dead.
pub fn kill(lab: &mut Lab) -> Result<Report> {
    fail(lab, "kill", Lab::kill_gateway)
}

fn fail(lab: &mut Lab, how: &str, strike: fn(&mut Lab, &str) -> Result<()>) -> Result<Report> {
    let mut report = Report::default();
    let before = lab.holder()?;
    let load = BothWays::start(lab)?;
    lab.pause(Duration::from_millis(1500))?;
    let struck = load.now();
    strike(lab, before)?;
    lab.pause(Duration::from_millis(3000))?;
    // 20 a second for 4.5 s, less a little.
    load.stop()?.one_gap(lab, &mut report, &[(how, struck)], 80);
    let after = lab.survivor(before)?;
    report.holds("another gateway holds the addresses", after != before, format!("{before} → {after}"));
    Ok(report)
}
