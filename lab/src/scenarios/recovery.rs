//! Step 5, recovery: the gateway comes back and takes nothing over by force; nothing is lost.

use std::time::Duration;

use anyhow::Result;

use crate::lab::Lab;
use crate::report::Report;
use crate::scenarios::failure::BothWays;

/// Longer than the hold time of every session, so that all of them are lost before the gateway returns.
const SESSIONS_LOST: Duration = Duration::from_millis(10_500);

/// The story, after a cut and after a kill.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let cut = lab.holder()?;
    lab.cut(cut)?;
    lab.pause(SESSIONS_LOST)?;
    report.extend(come_back(lab, cut, "after a cut", |lab, gateway| lab.mend(gateway))?);

    let killed = lab.holder()?;
    lab.kill_gateway(killed)?;
    lab.pause(Duration::from_secs(2))?;
    report.extend(come_back(lab, killed, "after a kill", Lab::start_gateway)?);
    Ok(report)
}

/// Brings a gateway back under load and waits until all is settled.
pub fn come_back(
    lab: &mut Lab,
    gateway: &str,
    when: &str,
    revive: fn(&mut Lab, &str) -> Result<()>,
) -> Result<Report> {
    let mut report = Report::default();
    let holder = lab.survivor(gateway)?;
    let load = BothWays::start(lab)?;
    lab.pause(Duration::from_millis(500))?;
    revive(lab, gateway)?;
    let settled = lab.settled()?;
    lab.pause(Duration::from_millis(1000))?;
    let shown = load.stop()?;
    report.holds(&format!("the holder stays {when}"), settled == holder, format!("{holder} → {settled}"));
    // 20 a second for 1.5 s at least, less a little.
    shown.none_late(lab, &mut report, when, 25);
    Ok(report)
}
