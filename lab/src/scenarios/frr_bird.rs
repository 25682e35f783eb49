//! Sessions with the real daemons, as those daemons see them.

use std::time::Duration;

use anyhow::Result;

use crate::gateway::vip;
use crate::journey::{CLUSTER_NEXT_HOP, OUTSIDE_NEXT_HOP};
use crate::lab::Lab;
use crate::report::Report;
use crate::settle::route;
use crate::topology::Kind;
use crate::{bird, frr};

/// The story.
pub fn run(lab: &mut Lab) -> Result<Report> {
    let mut report = Report::default();
    let (tor, dir) = (lab.ns("tor"), lab.dir("tor")?);
    let summary = frr::show(&tor, &dir, "show bgp ipv4 unicast summary json")?;
    for gateway in lab.gateways() {
        let peer = &summary["peers"][lab.topology.address(gateway, "outside").to_string()];
        let state = peer["state"].to_string();
        report.holds(&format!("FRR's session with {gateway} (eBGP)"), state.contains("Established"), state);
        report.at_least(
            &format!("prefixes FRR has from {gateway}"),
            peer["pfxRcd"].as_u64().unwrap_or(0) as usize,
            2,
        );
    }
    let vip = vip(&lab.status("gw1")?).map(|vip| format!("{vip}/32")).unwrap_or_default();
    for prefix in [vip.as_str(), "10.244.0.0/16"] {
        let path = frr::show(&tor, &dir, &format!("show bgp ipv4 unicast {prefix} json"))?;
        let paths = path["paths"].as_array().map_or(0, Vec::len);
        report.exactly(&format!("paths of FRR to {prefix}"), paths, 3, &path.to_string());
        let there = route(&tor, prefix, OUTSIDE_NEXT_HOP);
        report.holds(
            &format!("the ToR's kernel route to {prefix} over {OUTSIDE_NEXT_HOP}"),
            there.is_ok(),
            said(&there),
        );
    }
    let nodes: Vec<_> = lab.topology.nodes().collect();
    for node in nodes {
        let (ns, dir) = (lab.ns(node.name), lab.dir(node.name)?);
        // The nodes' own mesh is no business of the gateways, and may be the last to stand.
        let mesh = lab.wait("peerings with all", Duration::from_secs(30), |_| {
            Ok(Some(bird::established(&ns, &dir)?).filter(|up| up.len() == 5))
        });
        let up = mesh.or_else(|_| bird::established(&ns, &dir))?;
        report.exactly(&format!("{}'s peerings (iBGP)", node.name), up.len(), 5, &up.join(" "));
        let there = route(&ns, "default", CLUSTER_NEXT_HOP);
        report.holds(
            &format!("{}'s default route over {CLUSTER_NEXT_HOP}", node.name),
            there.is_ok(),
            said(&there),
        );
        let Kind::Node { block } = node.kind else { continue };
        for gateway in lab.gateways() {
            let (prefix, via) = (format!("10.244.{block}.0/26"), lab.topology.address(node.name, "cluster"));
            let there = route(&lab.ns(gateway), &prefix, via);
            report.holds(
                &format!("{gateway}'s kernel route to {prefix} over {via}"),
                there.is_ok(),
                said(&there),
            );
        }
    }
    Ok(report)
}

fn said(there: &Result<()>) -> String {
    there.as_ref().map_or_else(|error| format!("{error:#}"), |()| "there".to_owned())
}
