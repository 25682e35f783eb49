//! Step 2, scaling: a pod comes and another goes while 500 keep-alive requests a second pass.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::journey::NEWCOMER;
use crate::lab::Lab;
use crate::manifests::{self, endpoint_slice};
use crate::report::Report;
use crate::scenarios::inbound::from_client;

/// Traffic follows within this.
const FOLLOWS: Duration = Duration::from_millis(500);
/// The removed pod's process lives this much longer.
const LIVES_ON: Duration = Duration::from_secs(10);
const LEAVING: &str = "web-a1";

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let load = from_client(lab, 500)?.kept(50).start();
    lab.add_pod(&NEWCOMER)?;
    lab.manifests().put("pods-newcomer.yaml", &manifests::pod(&NEWCOMER, "app: web, version: a"))?;
    lab.pause(Duration::from_secs(1))?;

    // Long answers begin just before the change; some of them come from the pod that goes.
    let slow = from_client(lab, 40)?.path("/slow?ms=5000").start();
    lab.pause(Duration::from_millis(500))?;
    let changed = load.now();
    let stays = lab.topology.pod("web-a2");
    lab.manifests().put("endpoints-web-a.yaml", &endpoint_slice("web-a", &[stays, &NEWCOMER]))?;
    lab.retire_pod(LEAVING, LIVES_ON);
    let slow = slow.stop()?;
    lab.pause(Duration::from_millis(500))?;
    let records = load.stop()?;

    let late = records.iter().filter(|r| r.who() == Some(LEAVING) && r.start > changed + FOLLOWS).count();
    report.exactly("requests that still went to the removed pod 500 ms later", late, 0, "");
    let left = records
        .iter()
        .filter(|r| r.who() == Some(LEAVING))
        .map(|r| r.start)
        .max()
        .context("it never served")?;
    report.at_most_ms(
        "the removed pod's last request came after",
        Some(left.saturating_sub(changed)),
        FOLLOWS,
    );
    let first = records.iter().filter(|r| r.who() == Some(NEWCOMER.name)).map(|r| r.start).min();
    report.at_most_ms(
        "the new pod's first request came after",
        first.map(|at| at.saturating_sub(changed)),
        FOLLOWS,
    );
    // It lasted seven seconds.
    report.none_failed("of 500 a second", &records, 3000);
    let whole = slow.iter().filter(|record| record.who() == Some(LEAVING)).count();
    report.at_least("5-second answers of the removed pod that arrived whole", whole, 1);
    report.none_failed("for a 5-second answer", &slow, 15);
    Ok(report)
}
