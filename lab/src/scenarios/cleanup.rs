//! `tidegate cleanup` removes every kernel trace of ours and nothing else.

use anyhow::Result;

use crate::gateway::succeed;
use crate::lab::Lab;
use crate::report::Report;
use crate::traces::Traces;

/// The story: gateways with a stranger's table and route serve, are killed or stopped in good order, and are cleaned;
/// first the holder of everything dies by SIGKILL and its standbys stop, then, after a new start, the other way round.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let mut before = Vec::new();
    for gateway in lab.gateways() {
        let ns = lab.ns(gateway);
        let chain = "add chain inet stranger c { type filter hook forward priority 5; }";
        ns.output("nft", &[&format!("add table inet stranger; {chain}")])?;
        ns.output("ip", &["route", "add", "192.0.2.0/24", "via", "10.10.0.1", "proto", "77"])?;
        before.push((gateway, Traces::of(&ns)?));
    }
    for holder_dies in [true, false] {
        lab.start_gateways()?;
        let holder = lab.settled()?;
        let dies = |gateway: &str| (gateway == holder) == holder_dies;
        for (gateway, before) in &before {
            serves_and_ends(lab, gateway, before, dies(gateway), &mut report)?;
        }
        for (gateway, before) in &before {
            let how = if dies(gateway) { "killed" } else { "stopped" };
            let role = if *gateway == holder { "holder" } else { "standby" };
            clean(lab, gateway, before, &format!("{gateway}, a {role} that was {how}"), &mut report)?;
        }
    }
    Ok(report)
}

fn serves_and_ends(
    lab: &mut Lab,
    gateway: &str,
    before: &Traces,
    dies: bool,
    report: &mut Report,
) -> Result<()> {
    let during = before.changes(&Traces::of(&lab.ns(gateway))?);
    report.at_least(&format!("traces on {gateway} while it serves"), during.len(), 1);
    if dies {
        lab.kill_gateway(gateway)
    } else {
        let went = lab.stop_gateway(gateway)?;
        report.holds(&format!("{gateway} stops in good order"), went, "");
        Ok(())
    }
}

fn clean(lab: &Lab, gateway: &str, before: &Traces, which: &str, report: &mut Report) -> Result<()> {
    let config = lab.config(gateway)?.display().to_string();
    let standing = Traces::of(&lab.ns(gateway))?;
    report.at_least(&format!("traces left on {which}"), before.changes(&standing).len(), 1);
    succeed(&lab.tidegate(gateway, &["cleanup", "--dry-run", "--config", &config])?)?;
    let dry = standing.changes(&Traces::of(&lab.ns(gateway))?);
    report.exactly(&format!("changes by a dry run on {which}"), dry.len(), 0, &dry.join("; "));
    succeed(&lab.tidegate(gateway, &["cleanup", "--config", &config])?)?;
    let left = before.changes(&Traces::of(&lab.ns(gateway))?);
    report.exactly(&format!("differences after cleanup of {which}"), left.len(), 0, &left.join("; "));
    Ok(())
}
