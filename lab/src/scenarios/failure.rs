//! Step 4, failure: the gateway that holds everything is cut off, or killed, while 20 new requests a second flow each way.

use std::time::Duration;

use anyhow::Result;

use crate::gap::{self, Record};
use crate::lab::Lab;
use crate::load::Load;
use crate::report::Report;
use crate::scenarios::inbound::from_client;
use crate::scenarios::out::{Outward, Seen};

/// The longest gap.
pub const GAP: Duration = Duration::from_millis(500);
/// New requests a second, each way.
const RATE: u32 = 20;

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

    /// Ends; requests in, and what was seen outside.
    pub fn stop(self) -> Result<(Vec<Record>, Seen)> {
        Ok((self.inward.stop()?, self.outward.stop()?))
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
    strike(lab, before)?;
    lab.pause(Duration::from_millis(3000))?;
    let (inward, seen) = load.stop()?;
    for (what, records) in [("in", &inward), ("out", &seen.selected), ("out, unselected pod", &seen.other)] {
        report.at_most_ms(&format!("gap {what} ({how})"), gap::outage(records), GAP);
        let outside = gap::failed_outside_gaps(records);
        report.exactly(&format!("failed {what}, outside the gap"), outside, 0, &gap::failures(records));
    }
    seen.sources(lab, &mut report);
    let after = lab.survivor(before)?;
    report.holds("another gateway holds the addresses", after != before, format!("{before} → {after}"));
    Ok(report)
}
