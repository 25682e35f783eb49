//! A gateway restarts, or is killed and restarted, over unchanged objects: its kernel sees no change at all.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::monitor::{Monitor, Source};
use crate::report::Report;

/// The story: a standby, killed and stopped; then the holder, killed and stopped.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    for standby in [true, false] {
        for kill in [true, false] {
            let holder = lab.settled()?;
            let other = lab.gateways().into_iter().find(|name| *name != holder);
            let gateway = if standby { other.unwrap_or(holder) } else { holder };
            again(lab, gateway, kill, &mut report, if standby { "standby" } else { "holder" })?;
        }
    }
    Ok(report)
}

fn again(lab: &mut Lab, gateway: &str, kill: bool, report: &mut Report, role: &str) -> Result<()> {
    // The kernel tells of an IPv6 address once more when nobody else has it.
    lab.wait("end of duplicate address detection", Duration::from_secs(5), |lab| {
        let tentative = lab.ns(gateway).output("ip", &["-6", "-o", "addr", "show", "tentative"])?;
        ensure!(tentative.trim().is_empty(), "tentative: {tentative}");
        Ok(Some(()))
    })?;
    let monitors = [Monitor::start(lab, gateway, Source::Ip)?, Monitor::start(lab, gateway, Source::Nft)?];
    if kill {
        lab.kill_gateway(gateway)?;
    } else {
        lab.stop_gateway(gateway)?;
    }
    lab.pause(Duration::from_millis(500))?;
    lab.start_gateway(gateway)?;
    lab.settled()?;
    lab.pause(Duration::from_millis(500))?;
    let word = if kill { "killed" } else { "stopped" };
    for (monitor, source) in monitors.into_iter().zip([Source::Ip, Source::Nft]) {
        let lines = monitor.stop(lab)?;
        let name = format!("lines of {} while the {role} is {word} and started", source.name());
        let shown: Vec<_> = lines.iter().take(6).map(String::as_str).collect();
        report.exactly(&name, lines.len(), 0, &shown.join("; "));
    }
    Ok(())
}
