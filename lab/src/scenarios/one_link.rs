//! A gateway loses one of its two links: it can carry nothing through, so another takes everything, on both LANs.

use std::time::Duration;

use anyhow::Result;

use crate::lab::Lab;
use crate::report::Report;
use crate::scenarios::failure::BothWays;
use crate::scenarios::recovery::come_back;

/// The holder's first link, then the new holder's second.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    for lan in ["outside", "cluster"] {
        let before = lab.settled()?;
        report.extend(lose(lab, before, lan)?);
        let when = format!("when the {lan} link is whole again");
        report.extend(come_back(lab, before, &when, |lab, gateway| lab.mend(gateway))?);
    }
    Ok(report)
}

fn lose(lab: &mut Lab, before: &str, lan: &str) -> Result<Report> {
    let mut report = Report::default();
    let load = BothWays::start(lab)?;
    lab.pause(Duration::from_millis(1500))?;
    let struck = load.now();
    lab.cut_link(before, lan)?;
    lab.pause(Duration::from_millis(3000))?;
    // 20 a second for 4.5 s, less a little.
    load.stop()?.one_gap(lab, &mut report, &[(&format!("{lan} link cut"), struck)], 80);
    // The one that lost its link is asked too: it must have let go of what is on its other link.
    let after = lab.sole_holder(Duration::from_secs(1))?;
    report.holds("another gateway holds everything", after != before, format!("{before} → {after}"));
    Ok(report)
}
