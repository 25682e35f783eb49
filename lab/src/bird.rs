//! BIRD on a node, configured as Calico renders it: the node's own block as a static blackhole, iBGP with every other
//! node and every gateway, everything accepted on import, only its own block sent (projectcalico/calico,
//! `node/filesystem/etc/calico/confd/templates`).

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, bail};

use crate::netns::Netns;
use crate::topology::{Host, Kind, Topology};

/// The cluster's AS.
const CLUSTER_AS: u32 = 64512;

/// Writes the configuration of a node into `dir`, and gives the command that runs it.
pub fn prepare(topology: &Topology, host: &Host, dir: &Path) -> Result<(String, Vec<String>)> {
    let file = dir.join("bird.conf");
    std::fs::write(&file, config(topology, host)?)?;
    let path = |name: &str| dir.join(name).display().to_string();
    let argv = ["bird", "-f", "-c", &path("bird.conf"), "-s", &path("bird.ctl"), "-P", &path("bird.pid")];
    Ok((format!("{}-bird", host.name), argv.map(String::from).to_vec()))
}

/// Asks a node's BIRD something.
pub fn birdc(ns: &Netns, dir: &Path, command: &str) -> Result<String> {
    let socket = dir.join("bird.ctl").display().to_string();
    ns.output("birdc", &["-s", &socket, "-r", command])
}

/// Names of the peerings that are established.
pub fn established(ns: &Netns, dir: &Path) -> Result<Vec<String>> {
    let table = birdc(ns, dir, "show protocols")?;
    let up = table.lines().filter(|line| line.contains("BGP") && line.contains("Established"));
    Ok(up.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// A node's address on its LAN.
fn address(topology: &Topology, host: &Host) -> std::net::Ipv4Addr {
    topology.address(host.name, host.at[0].0)
}

fn config(topology: &Topology, host: &Host) -> Result<String> {
    let Kind::Node { block } = host.kind else { bail!("{} is no node", host.name) };
    let (own, block) = (address(topology, host), format!("10.244.{block}.0/26"));
    let mut config = String::new();
    write!(
        config,
        r#"router id {own};
log stderr all;
filter calico_aggr {{
  # The block goes out whole; what is inside it stays here; everything else is the business of others.
  if ( net = {block} ) then accept;
  reject;
}}
filter calico_kernel_programming {{
  # BIRD 1.6, which Calico carries, never writes back what the kernel made of an address.
  if ( source = RTS_DEVICE ) then reject;
  if ( net ~ {block} && net.len = 32 ) then reject;
  accept;
}}
protocol static {{ ipv4; route {block} blackhole; }}
protocol kernel {{
  learn;
  persist;
  scan time 2;
  merge paths on;
  graceful restart;
  ipv4 {{ import all; export filter calico_kernel_programming; }};
}}
protocol device {{ scan time 2; }}
protocol direct {{ ipv4; interface -"cali*", "*"; }}
template bgp bgp_template {{
  local {own} as {CLUSTER_AS};
  multihop;
  ipv4 {{ gateway recursive; import all; export filter calico_aggr; add paths on; }};
  graceful restart;
  connect delay time 2;
  connect retry time 5;
  error wait time 5, 30;
}}
"#
    )?;
    for other in topology.nodes().filter(|other| other.name != host.name) {
        let peer = address(topology, other);
        // Of two nodes one calls, so that no two sessions collide.
        let passive = if own > peer { " passive on;" } else { "" };
        writeln!(
            config,
            "protocol bgp mesh_{} from bgp_template {{ neighbor {peer} as {CLUSTER_AS};{passive} }}",
            other.name
        )?;
    }
    for gateway in topology.gateways() {
        let Some(lan) = host.shared_lan(gateway) else { continue };
        let peer = topology.address(gateway.name, lan);
        writeln!(
            config,
            "protocol bgp gateway_{} from bgp_template {{ neighbor {peer} as {CLUSTER_AS}; }}",
            gateway.name
        )?;
    }
    Ok(config)
}
