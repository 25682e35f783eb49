//! When a journey is settled: every session stands, one gateway holds everything that moves, and every kernel has the
//! routes it should. Stories begin here and come back here.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::gateway::{holds, sessions, vip};
use crate::journey::{CLUSTER_NEXT_HOP, EGRESS_ADDRESS, OUTSIDE_NEXT_HOP};
use crate::lab::Lab;
use crate::netns::Netns;
use crate::topology::Kind;

/// A node that lost a peer may refuse it for 30 s; then it connects.
const SETTLE: Duration = Duration::from_secs(45);

impl Lab {
    /// Waits until the journey is settled; the name of the gateway that holds what moves.
    pub fn settled(&mut self) -> Result<&'static str> {
        self.wait("settled journey", SETTLE, |lab| {
            // A look costs a dozen processes, and stories look while they measure.
            lab.pause(Duration::from_millis(100))?;
            lab.look().map(Some)
        })
    }

    /// The gateway that holds the VIP now.
    pub fn holder(&mut self) -> Result<&'static str> {
        let statuses = self.statuses()?;
        holder(&statuses, self.vip()?)
    }

    /// The gateway that holds the VIP among those that are not `lost`, once there is one.
    pub fn survivor(&mut self, lost: &str) -> Result<&'static str> {
        self.survivor_within(lost, Duration::from_secs(3))
    }

    /// The same, where it may take so long.
    pub fn survivor_within(&mut self, lost: &str, limit: Duration) -> Result<&'static str> {
        self.wait("heir of the addresses", limit, |lab| {
            let statuses = lab.statuses()?;
            let others: Vec<_> = statuses.into_iter().filter(|(name, _)| *name != lost).collect();
            let vip = others.iter().find_map(|(_, status)| vip(status)).context("no gateway shows a VIP")?;
            holder(&others, vip).map(Some)
        })
    }

    /// Waits until one gateway holds everything that moves, and every other one says that it holds nothing; its name.
    pub fn sole_holder(&mut self, limit: Duration) -> Result<&'static str> {
        self.wait("sole holder of the addresses", limit, |lab| {
            let statuses = lab.statuses()?;
            let vip =
                statuses.iter().find_map(|(_, status)| vip(status)).context("no gateway shows a VIP")?;
            holder_of_all(&statuses, vip).map(Some)
        })
    }

    /// The address of the Gateway.
    pub fn vip(&mut self) -> Result<Ipv4Addr> {
        let statuses = self.statuses()?;
        statuses
            .iter()
            .find_map(|(_, status)| vip(status))
            .context("no gateway shows a listener with an address")
    }

    fn look(&mut self) -> Result<&'static str> {
        let statuses = self.statuses()?;
        let vip = statuses.iter().find_map(|(_, status)| vip(status)).context("no gateway shows a VIP")?;
        for (name, status) in &statuses {
            ensure!(status["ready"] == true, "{name} is not ready");
            let (up, all) = sessions(status);
            ensure!(up == all && all > 0, "{name}: {up} of {all} BGP sessions are established");
            for node in self.topology.nodes() {
                let Kind::Node { block } = node.kind else { continue };
                route(
                    &self.ns(name),
                    &format!("10.244.{block}.0/26"),
                    self.topology.address(node.name, "cluster"),
                )?;
            }
        }
        for router in self.topology.routers() {
            route(&self.ns(router.name), &vip.to_string(), OUTSIDE_NEXT_HOP)?;
        }
        for node in self.topology.nodes() {
            route(&self.ns(node.name), "default", CLUSTER_NEXT_HOP)?;
        }
        holder_of_all(&statuses, vip)
    }
}

fn holder_of_all(statuses: &[(&'static str, Value)], vip: Ipv4Addr) -> Result<&'static str> {
    let holder = holder(statuses, vip)?;
    for address in [OUTSIDE_NEXT_HOP, CLUSTER_NEXT_HOP, EGRESS_ADDRESS] {
        let also = self::holder(statuses, address)?;
        ensure!(also == holder, "{holder} holds {vip}, but {also} holds {address}");
    }
    Ok(holder)
}

fn holder(statuses: &[(&'static str, Value)], address: Ipv4Addr) -> Result<&'static str> {
    let holders: Vec<_> =
        statuses.iter().filter(|(_, status)| holds(status, address)).map(|(name, _)| *name).collect();
    ensure!(holders.len() == 1, "{address} is held by {holders:?}");
    Ok(holders[0])
}

/// An error unless the kernel there has this route over this next hop.
pub fn route(ns: &Netns, prefix: &str, via: Ipv4Addr) -> Result<()> {
    let routes: Value = serde_json::from_str(&ns.output("ip", &["-j", "route", "show", prefix])?)?;
    let over = |hop: &Value| hop["gateway"] == via.to_string();
    let nested = |row: &Value| row["nexthops"].as_array().is_some_and(|hops| hops.iter().any(over));
    let there = routes.as_array().is_some_and(|rows| rows.iter().any(|row| over(row) || nested(row)));
    ensure!(there, "{} has no route to {prefix} over {via}: {routes}", ns.name());
    Ok(())
}
