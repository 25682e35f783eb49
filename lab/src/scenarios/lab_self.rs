//! The lab proves itself, without Tidegate.

use std::time::Duration;

use anyhow::Result;

use crate::capture::Capture;
use crate::gap;
use crate::journey::{LEGACY_PORTS, POD_PORT, SHOP};
use crate::lab::Lab;
use crate::load::Plan;
use crate::process::Lifetime;
use crate::report::Report;
use crate::settle::route;
use crate::topology::Kind;
use crate::traces::Traces;
use crate::{bird, frr};

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    blocks(lab, &mut report)?;
    router(lab, &mut report)?;
    pods(lab, &mut report)?;
    cut(lab, &mut report)?;
    nothing_left(lab, &mut report)?;
    Ok(report)
}

fn blocks(lab: &mut Lab, report: &mut Report) -> Result<()> {
    lab.wait("exchange of blocks between the nodes", Duration::from_secs(30), |lab| {
        for node in lab.topology.nodes() {
            for other in lab.topology.nodes().filter(|other| other.name != node.name) {
                let Kind::Node { block } = other.kind else { continue };
                let via = lab.topology.address(other.name, "cluster");
                route(&lab.ns(node.name), &format!("10.244.{block}.0/26"), via)?;
            }
        }
        Ok(Some(()))
    })?;
    for node in lab.topology.nodes() {
        let up = bird::established(&lab.ns(node.name), &lab.dir(node.name)?)?;
        report.exactly(&format!("{}'s peerings with nodes", node.name), up.len(), 2, &up.join(" "));
    }
    Ok(())
}

fn router(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let (ns, dir) = (lab.ns("tor"), lab.dir("tor")?);
    let show = |_: &mut Lab| frr::show(&ns, &dir, "show bgp ipv4 unicast summary json").map(Some);
    let summary = lab.wait("answer of FRR", Duration::from_secs(5), show)?;
    let peers = summary["peers"].as_object().map_or(0, serde_json::Map::len);
    report.exactly("gateways that FRR would peer with", peers, 3, &summary.to_string());
    let connected = frr::show(&ns, &dir, "show ip route connected json")?;
    let lans = connected.as_object().map_or(0, serde_json::Map::len);
    report.exactly("LANs that zebra sees", lans, 3, &connected.to_string());
    Ok(())
}

fn pods(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let target = lab.topology.pod("web-b2");
    let answer = Plan::new(lab.ns("web-a1"), (target.address, POD_PORT), SHOP, 1).ask()?;
    report.holds("a pod reaches a pod on another node", answer.who() == target.name, answer.who());
    let source = answer.json()["source"].clone();
    report.holds("and is seen with its own address", source == "10.244.1.10", source);

    let legacy = lab.topology.address("legacy", "legacy");
    let capture = Capture::start(&lab.ns("legacy"), "legacy")?;
    let load = Plan::new(lab.ns("client"), (legacy, LEGACY_PORTS[0]), "legacy", 200).start();
    let kept = Plan::new(lab.ns("client"), (legacy, LEGACY_PORTS[1]), "legacy", 500).kept(10).start();
    lab.pause(Duration::from_millis(1000))?;
    let (records, kept) = (load.stop()?, kept.stop()?);
    let packets = capture.stop()?;
    report.at_least("requests on new connections in 1 s", records.len(), 190);
    report.at_least("requests on kept connections in 1 s", kept.len(), 480);
    let failed = gap::failed(&records) + gap::failed(&kept);
    report.exactly("failed", failed, 0, &gap::failures(&records));
    let opened =
        |port| packets.iter().filter(|p| p.destination_port == port && p.tcp_flags & 0x12 == 2).count();
    report.exactly("connections seen by the capture, new", opened(LEGACY_PORTS[0]), records.len(), "");
    report.holds(
        "connections seen by the capture, kept",
        opened(LEGACY_PORTS[1]) <= 50,
        opened(LEGACY_PORTS[1]),
    );
    Ok(())
}

fn cut(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let legacy = lab.topology.address("legacy", "legacy");
    let load = Plan::new(lab.ns("client"), (legacy, LEGACY_PORTS[0]), "legacy", 50).start();
    lab.pause(Duration::from_millis(500))?;
    lab.cut("legacy")?;
    let carrier = lab.ns("legacy").output("ip", &["-j", "link", "show", "legacy"])?;
    report.holds("a cut host sees no carrier", carrier.contains("NO-CARRIER"), "");
    lab.pause(Duration::from_millis(700))?;
    lab.mend("legacy")?;
    lab.pause(Duration::from_millis(1500))?;
    let outage = gap::outage(&load.stop()?);
    let long_enough = outage.is_some_and(|outage| outage >= Duration::from_millis(600));
    report.holds("a cut of 700 ms is a gap of about as much", long_enough, format!("{outage:?}"));
    report.at_most_ms("and it heals", outage, Duration::from_millis(2500));
    Ok(())
}

/// Another lab, side by side with this one, comes and goes; the namespace that we were started in stays as it was.
fn nothing_left(lab: &mut Lab, report: &mut Report) -> Result<()> {
    let before = Traces::here()?;
    let other = Lab::stand(lab.topology, Lifetime::Foreground)?;
    let during = before.changes(&Traces::here()?);
    report.exactly(
        "changes in the root namespace while a second lab stands",
        during.len(),
        0,
        &during.join("; "),
    );
    let (id, home) = (other.id().to_owned(), other.home());
    drop(other);
    let after = before.changes(&Traces::here()?);
    report.exactly("and when it is gone", after.len(), 0, &after.join("; "));
    report.exactly("its namespaces that are left", crate::netns::of_lab(&id).len(), 0, "");
    report.holds("its directory is gone", !home.exists(), "");
    Ok(())
}
