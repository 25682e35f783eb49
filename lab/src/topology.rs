//! What a topology is: LANs, hosts attached to them, pods behind nodes. Data only; `wire` turns it into commands.
//!
//! Every LAN is an IPv4 /24 and a bridge; every host and every pod is a network namespace.

use std::net::Ipv4Addr;

/// A drawing: who stands where and what runs there.
#[derive(Debug)]
pub struct Topology {
    /// Its name, as `lab up NAME` takes it.
    pub name: &'static str,
    /// One line for `lab list`.
    pub about: &'static str,
    /// The segments.
    pub lans: &'static [Lan],
    /// The machines.
    pub hosts: &'static [Host],
    /// Pods, each behind a host of kind `Node`.
    pub pods: &'static [Pod],
    /// The files that every gateway reads, by name.
    pub manifests: &'static [(&'static str, &'static str)],
}

/// A segment: a bridge and a /24.
#[derive(Debug)]
pub struct Lan {
    /// Its name; also the name of the interface of every host on it.
    pub name: &'static str,
    /// The first three bytes of its addresses.
    pub net: [u8; 3],
}

/// A machine.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: &'static str,
    /// What runs on it.
    pub kind: Kind,
    /// Its LANs, and the last byte of its address on each.
    pub at: &'static [(&'static str, u8)],
    /// Its static default route.
    pub via: Option<Ipv4Addr>,
}

/// What runs on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing; load starts from here.
    Client,
    /// FRR: zebra and bgpd, eBGP with every gateway.
    Router {
        /// Its AS number.
        asn: u32,
    },
    /// Tidegate.
    Gateway,
    /// BIRD as Calico configures it, and pods.
    Node {
        /// The third byte of its block, `10.244.N.0/26`.
        block: u8,
    },
    /// Servers outside the cluster that answer who called them.
    Legacy,
    /// keepalived, for elections with a stranger; configured by the scenario.
    Keepalived,
}

/// A pod: a namespace with a /32 and a server in it.
#[derive(Clone, Copy, Debug)]
pub struct Pod {
    /// Its name.
    pub name: &'static str,
    /// The node it runs on.
    pub node: &'static str,
    /// Its address, inside the node's block.
    pub address: Ipv4Addr,
}

impl Topology {
    /// The host of that name; a name that is not there is a mistake in a scenario.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .unwrap_or_else(|| panic!("no host {name} in {}", self.name))
    }

    /// The LAN of that name.
    pub fn lan(&self, name: &str) -> &Lan {
        self.lans
            .iter()
            .find(|lan| lan.name == name)
            .unwrap_or_else(|| panic!("no LAN {name} in {}", self.name))
    }

    /// The pod of that name.
    pub fn pod(&self, name: &str) -> &Pod {
        self.pods
            .iter()
            .find(|pod| pod.name == name)
            .unwrap_or_else(|| panic!("no pod {name} in {}", self.name))
    }

    /// The address of a host on a LAN.
    pub fn address(&self, host: &str, lan: &str) -> Ipv4Addr {
        let last = self.host(host).at.iter().find(|(name, _)| *name == lan);
        self.lan(lan).address(last.unwrap_or_else(|| panic!("{host} is not on {lan}")).1)
    }

    /// Hosts on which Tidegate runs.
    pub fn gateways(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.kind == Kind::Gateway)
    }

    /// Hosts on which pods run.
    pub fn nodes(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| matches!(host.kind, Kind::Node { .. }))
    }

    /// Routers.
    pub fn routers(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| matches!(host.kind, Kind::Router { .. }))
    }
}

impl Lan {
    /// The address that ends in `last`.
    pub fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last)
    }
}

impl Host {
    /// The first LAN that this host and another share.
    pub fn shared_lan(&self, other: &Host) -> Option<&'static str> {
        self.at.iter().map(|(lan, _)| *lan).find(|lan| other.at.iter().any(|(theirs, _)| theirs == lan))
    }

    /// Whether the lab makes it pass on what is not for it. Tidegate makes a gateway do so, and `cleanup` undoes it.
    pub fn forwards(&self) -> bool {
        matches!(self.kind, Kind::Router { .. } | Kind::Node { .. })
    }
}

/// Every topology, by name.
pub fn all() -> &'static [&'static Topology] {
    &[
        &crate::journey::JOURNEY,
        &crate::election::ELECTION,
        &crate::election::HANDOVER,
        &crate::election::PAIR,
        &crate::scenarios::ingress::INGRESS,
        &crate::cluster::CLUSTER,
        &crate::scenarios::kube_source::OUTSIDE,
        &crate::bench::control::CONTROL,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every topology is consistent: hosts are on LANs that exist, pods on nodes and inside their block, names fit an interface.
    #[test]
    fn consistent() {
        for topology in all() {
            for host in topology.hosts {
                for (lan, _) in host.at {
                    assert!(format!("{}-{}", host.name, topology.lan(lan).name).len() <= 15);
                }
            }
            for pod in topology.pods {
                let Kind::Node { block } = topology.host(pod.node).kind else {
                    panic!("{} is no node", pod.node)
                };
                assert_eq!(pod.address.octets()[..3], [10, 244, block]);
                assert!(pod.address.octets()[3] < 64, "{} is outside the /26", pod.name);
                assert!(format!("cali{}", pod.name).len() <= 15);
            }
        }
    }

    /// Pods and gateways that stand in the drawing are the ones that the manifests speak of.
    #[test]
    fn manifests_match() {
        for topology in all() {
            let text: String = topology.manifests.iter().map(|(_, text)| *text).collect();
            for pod in topology.pods {
                assert!(text.contains(&format!("podIP: {}", pod.address)), "{} is in no manifest", pod.name);
            }
            if !text.contains("kind: GatewayNode") {
                let shared = ["VRRPAdvertisement", "BGPPeer"].iter().any(|kind| text.contains(kind));
                let alone = topology.gateways().count() <= 1;
                assert!(
                    alone || !shared,
                    "{}: gateways share addresses, and nothing tells them apart",
                    topology.name
                );
                continue;
            }
            for host in topology.gateways() {
                for (lan, _) in host.at {
                    assert!(
                        text.contains(&topology.address(host.name, lan).to_string()),
                        "{} {lan}",
                        host.name
                    );
                }
            }
        }
    }
}
