//! `tidegate cleanup` removes every kernel trace of ours and nothing else.

use anyhow::Result;

use crate::gateway::succeed;
use crate::lab::Lab;
use crate::report::Report;
use crate::traces::Traces;

/// The story: a gateway with a stranger's table and route serves, is stopped in good order or killed, and is cleaned.
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
    lab.start_gateways()?;
    lab.settled()?;
    for (index, (gateway, before)) in before.iter().enumerate() {
        let during = before.changes(&Traces::of(&lab.ns(gateway))?);
        report.at_least(&format!("traces on {gateway} while it serves"), during.len(), 1);
        if index == 0 {
            lab.kill_gateway(gateway)?;
        } else {
            lab.stop_gateway(gateway)?;
        }
    }
    for (gateway, before) in &before {
        let config = lab.config(gateway)?.display().to_string();
        let standing = Traces::of(&lab.ns(gateway))?;
        succeed(&lab.tidegate(gateway, &["cleanup", "--dry-run", "--config", &config])?)?;
        let dry = standing.changes(&Traces::of(&lab.ns(gateway))?);
        report.exactly(&format!("changes by a dry run on {gateway}"), dry.len(), 0, &dry.join("; "));
        succeed(&lab.tidegate(gateway, &["cleanup", "--config", &config])?)?;
        let left = before.changes(&Traces::of(&lab.ns(gateway))?);
        report.exactly(&format!("differences on {gateway} after cleanup"), left.len(), 0, &left.join("; "));
    }
    Ok(report)
}
