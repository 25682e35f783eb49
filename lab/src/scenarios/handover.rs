//! Hand-overs under load: one process after the other takes over on a gateway, and nobody notices, neither clients nor the
//! keepalived that waits for the address.

use std::time::Duration;

use anyhow::Result;

use crate::crowd::Crowd;
use crate::lab::Lab;
use crate::process::Process;
use crate::report::Report;

/// Between two hand-overs; long enough that all of the load sees each process.
const BETWEEN: Duration = Duration::from_millis(700);
/// How long processes before may take to end after the load.
const ENDS: Duration = Duration::from_secs(10);

/// Three hand-overs.
pub fn some(lab: &mut Lab) -> Result<Report> {
    run(lab, 3)
}

/// Twenty.
pub fn many(lab: &mut Lab) -> Result<Report> {
    run(lab, 20)
}

fn run(lab: &mut Lab, times: u32) -> Result<Report> {
    let mut report = Report::default();
    let crowd = Crowd::gather(lab, Duration::from_millis(1500) * times)?;
    let mut before: Vec<Process> = Vec::new();
    for _ in 0..times {
        lab.pause(BETWEEN)?;
        before.push(lab.hand_over("gw1")?);
    }
    lab.pause(BETWEEN)?;
    report.exactly("hand-overs", before.len(), times as usize, "");
    crowd.disperse(lab, &mut report, 1)?;
    let ended = lab.wait("end of the processes before", ENDS, |_| {
        Ok((!before.iter_mut().any(Process::alive)).then_some(()))
    });
    report.holds("processes before end with their last connection", ended.is_ok(), before.len());
    Ok(report)
}
