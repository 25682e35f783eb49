//! A gateway restarts, or is killed and restarted, over unchanged objects: its kernel sees no change at all.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::lab::Lab;
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
    let monitors = [
        monitor(lab, gateway, &["ip", "monitor", "link", "address", "route", "rule", "nexthop"])?,
        monitor(lab, gateway, &["nft", "monitor"])?,
    ];
    lab.pause(Duration::from_millis(300))?;
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
    for (child, what) in monitors.into_iter().zip(["ip monitor", "nft monitor"]) {
        let printed = end(child)?;
        let lines: Vec<_> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
        let detail = lines.iter().take(6).copied().collect::<Vec<_>>().join("; ");
        report.exactly(
            &format!("lines of {what} while the {role} is {word} and started"),
            lines.len(),
            0,
            &detail,
        );
    }
    Ok(())
}

fn monitor(lab: &Lab, gateway: &str, argv: &[&str]) -> Result<Child> {
    let mut command = lab.ns(gateway).command(argv[0])?;
    Ok(command.args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
}

fn end(mut child: Child) -> Result<String> {
    child.kill()?;
    Ok(String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned())
}
