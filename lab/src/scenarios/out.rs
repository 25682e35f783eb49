//! Step 3, out: pods → gateway → ToR → legacy network, with the address that their policy says.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use crate::capture::{Capture, Packet};
use crate::gap::Record;
use crate::journey::{EGRESS_ADDRESS, LEGACY_PORTS};
use crate::lab::Lab;
use crate::load::{Load, Plan};
use crate::report::Report;

/// A pod that the policy selects, and one that it does not; each asks a port of its own.
const SELECTED: &str = "worker-1";
const OTHER: &str = "plain-1";

/// New connections from both kinds of pod to the legacy server, and a capture in front of it.
#[derive(Debug)]
pub struct Outward {
    /// Load from the selected pod.
    pub selected: Load,
    /// Load from the other.
    pub other: Load,
    capture: Capture,
}

/// What came of it.
#[derive(Debug)]
pub struct Seen {
    /// Requests of the selected pod.
    pub selected: Vec<Record>,
    /// Requests of the other.
    pub other: Vec<Record>,
    packets: Vec<Packet>,
}

impl Outward {
    /// Begins, with so many new connections a second from each.
    pub fn start(lab: &Lab, rate: u32) -> Result<Outward> {
        let legacy = lab.topology.address("legacy", "legacy");
        let capture = Capture::start(&lab.ns("legacy"), "legacy")?;
        let load = |pod: &str, port: u16| Plan::new(lab.ns(pod), (legacy, port), "legacy", rate).start();
        Ok(Outward {
            selected: load(SELECTED, LEGACY_PORTS[0]),
            other: load(OTHER, LEGACY_PORTS[1]),
            capture,
        })
    }

    /// Ends.
    pub fn stop(self) -> Result<Seen> {
        let (selected, other) = (self.selected.stop()?, self.other.stop()?);
        Ok(Seen { selected, other, packets: self.capture.stop()? })
    }
}

impl Seen {
    /// Every packet that reached the legacy server had the source address it should.
    pub fn sources(&self, lab: &Lab, report: &mut Report) {
        let own = lab.topology.pod(OTHER).address;
        for (what, port, source) in
            [("a selected pod's", LEGACY_PORTS[0], EGRESS_ADDRESS), ("another's", LEGACY_PORTS[1], own)]
        {
            let packets: Vec<_> = self.packets.iter().filter(|p| p.destination_port == port).collect();
            let wrong: Vec<Ipv4Addr> =
                packets.iter().map(|p| p.source).filter(|found| *found != source).collect();
            let detail = wrong.first().map(|first| format!("such as {first}")).unwrap_or_default();
            report.at_least(&format!("{what} packets at the legacy server"), packets.len(), 10);
            report.exactly(
                &format!("{what} packets with a source other than {source}"),
                wrong.len(),
                0,
                &detail,
            );
        }
    }
}

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let outward = Outward::start(lab, 50)?;
    lab.pause(Duration::from_secs(2))?;
    let seen = outward.stop()?;
    seen.sources(lab, &mut report);
    for (what, records) in [("selected", &seen.selected), ("other", &seen.other)] {
        report.none_failed(&format!("of the {what} pod"), records, 80);
    }
    Ok(report)
}
