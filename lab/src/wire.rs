//! Turns a topology into namespaces, bridges, links, addresses and routes. Nothing is made in the namespace that the
//! lab was started in: veth pairs are born with one end in the lab's switch and the other in a host.

use anyhow::Result;

use crate::netns::{self, Netns};
use crate::topology::{Host, Kind, Pod, Topology};

/// The namespace that holds every bridge.
pub const SWITCH: &str = "lan";
/// The gateway that every pod sees; its node answers ARP for it.
const POD_GATEWAY: &str = "169.254.1.1";

/// Lays every wire of a topology.
pub fn lay(lab: &str, topology: &Topology) -> Result<()> {
    let switch = Netns::of(lab, SWITCH);
    let mut all = vec![switch.clone()];
    all.extend(topology.hosts.iter().map(|host| Netns::of(lab, host.name)));
    all.extend(topology.pods.iter().map(|pod| Netns::of(lab, pod.name)));
    netns::create(&all)?;
    switch.sysctl(&[
        ("ipv6/conf/all/disable_ipv6".into(), "1"),
        ("ipv6/conf/default/disable_ipv6".into(), "1"),
    ])?;
    switch.ip(&switch_lines(lab, topology))?;
    std::thread::scope(|scope| {
        let host = |host| scope.spawn(move || host_up(lab, topology, host));
        let hosts: Vec<_> = topology.hosts.iter().map(host).collect();
        hosts
            .into_iter()
            .try_for_each(|host| host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    topology.pods.iter().try_for_each(|pod| pod_up(lab, pod))
}

/// Brings a pod that was not in the drawing.
pub fn add_pod(lab: &str, pod: &Pod) -> Result<()> {
    netns::create(&[Netns::of(lab, pod.name)])?;
    pod_up(lab, pod)
}

/// Takes the far ends of a host's links to these LANs down or up, in one go: the host sees no carrier, and keeps its
/// addresses and routes, as with cables that are pulled. One after the other would let it say farewell on the second.
pub fn set_links(lab: &str, host: &str, lans: &[&str], up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    let lines: Vec<_> = lans.iter().map(|lan| format!("link set {} {state}", port(host, lan))).collect();
    Netns::of(lab, SWITCH).ip(&lines)
}

fn port(host: &str, lan: &str) -> String {
    format!("{host}-{lan}")
}

fn switch_lines(lab: &str, topology: &Topology) -> Vec<String> {
    let mut lines = Vec::new();
    for lan in topology.lans {
        lines.push(format!("link add {} type bridge stp_state 0 forward_delay 0 mcast_snooping 0", lan.name));
        lines.push(format!("link set {} up", lan.name));
    }
    for host in topology.hosts {
        let far = Netns::of(lab, host.name);
        for (lan, _) in host.at {
            let near = port(host.name, lan);
            lines.push(format!("link add {near} type veth peer name {lan} netns {}", far.name()));
            lines.push(format!("link set {near} master {lan} up"));
        }
    }
    lines
}

fn host_up(lab: &str, topology: &Topology, host: &Host) -> Result<()> {
    let ns = Netns::of(lab, host.name);
    ns.sysctl(&host_settings(host))?;
    ns.ip(&host_lines(topology, host))
}

fn host_settings(host: &Host) -> Vec<(String, &'static str)> {
    let forward = if host.forwards() { "1" } else { "0" };
    let mut settings = vec![
        ("ipv4/ip_forward".into(), forward),
        ("ipv4/conf/all/rp_filter".into(), "0"),
        ("ipv4/conf/default/rp_filter".into(), "0"),
    ];
    // Else the kernel announces a second later that nobody else has the interface's address, and monitors print it.
    settings.extend(host.at.iter().map(|(lan, _)| (format!("ipv6/conf/{lan}/accept_dad"), "0")));
    settings
}

fn host_lines(topology: &Topology, host: &Host) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for (lan, _) in host.at {
        lines.push(format!("addr add {}/24 dev {lan}", topology.address(host.name, lan)));
        lines.push(format!("link set {lan} up"));
    }
    lines.extend(host.via.map(|via| format!("route add default via {via}")));
    if let (Kind::Node { .. }, Some((lan, _))) = (host.kind, host.at.first()) {
        // Proxy ARP answers only for what has a route elsewhere; a real node's default route does this.
        lines.push(format!("route add {POD_GATEWAY}/32 dev {lan}"));
    }
    lines
}

fn pod_up(lab: &str, pod: &Pod) -> Result<()> {
    let (node, inside) = (Netns::of(lab, pod.node), Netns::of(lab, pod.name));
    let cali = format!("cali{}", pod.name);
    node.ip(&[format!("link add {cali} type veth peer name eth0 netns {}", inside.name())])?;
    node.sysctl(&[
        (format!("ipv4/conf/{cali}/proxy_arp"), "1"),
        (format!("ipv4/conf/{cali}/rp_filter"), "0"),
        (format!("ipv4/neigh/{cali}/proxy_delay"), "0"),
    ])?;
    node.ip(&[format!("link set {cali} up"), format!("route add {}/32 dev {cali} scope link", pod.address)])?;
    inside.ip(&[
        "link set lo up".to_owned(),
        format!("addr add {}/32 dev eth0", pod.address),
        "link set eth0 up".to_owned(),
        format!("route add {POD_GATEWAY} dev eth0 scope link"),
        format!("route add default via {POD_GATEWAY}"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::JOURNEY;

    /// Every link has its near end on the bridge of its LAN and its far end in the host's namespace.
    #[test]
    fn links_of_the_journey() {
        let lines = switch_lines("t", &JOURNEY);
        assert!(
            lines.contains(&"link add gw1-outside type veth peer name outside netns tg-t-gw1".to_owned())
        );
        assert!(lines.contains(&"link set gw1-cluster master cluster up".to_owned()));
        let links: usize = JOURNEY.hosts.iter().map(|host| host.at.len()).sum();
        assert_eq!(lines.len(), 2 * JOURNEY.lans.len() + 2 * links);
    }

    /// A gateway's default route leads to the ToR; a node has none of its own.
    #[test]
    fn default_routes() {
        let has_default =
            |name| host_lines(&JOURNEY, JOURNEY.host(name)).iter().any(|l| l.contains("default"));
        assert!(has_default("gw1") && has_default("client") && !has_default("node1") && !has_default("tor"));
    }
}
