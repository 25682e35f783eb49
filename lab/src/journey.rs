//! The topology of the first journey: a cluster's traffic in and out through three gateways.
//!
//! ```text
//!  client ── outside LAN ── ToR (FRR) ── gw1 gw2 gw3 (tidegate) ── cluster LAN ── node1 node2 node3 (BIRD) ── pods
//!                             └── legacy network: a server that logs who calls it
//! ```

use std::net::Ipv4Addr;

use crate::topology::{Host, Kind, Lan, Pod, Topology};

const fn ip(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

/// The address that VRRP moves on the outside LAN: NEXT_HOP of the VIPs and of the pods.
pub const OUTSIDE_NEXT_HOP: Ipv4Addr = ip(10, 10, 0, 100);
/// The address that VRRP moves on the cluster LAN: NEXT_HOP of the nodes' default route.
pub const CLUSTER_NEXT_HOP: Ipv4Addr = ip(10, 20, 0, 100);
/// The address with which pods of `app: worker` reach the legacy network.
pub const EGRESS_ADDRESS: Ipv4Addr = ip(10, 10, 0, 50);
/// Where the legacy servers listen: one port for selected pods, one for the others, so that a capture can tell them apart.
pub const LEGACY_PORTS: [u16; 2] = [8080, 8081];
/// Where servers in pods listen.
pub const POD_PORT: u16 = 8080;
/// The host name that the routes match.
pub const SHOP: &str = "shop.example";

const TOR_OUTSIDE: Option<Ipv4Addr> = Some(ip(10, 10, 0, 1));

/// The drawing.
pub const JOURNEY: Topology = Topology {
    name: "journey",
    about: "client, ToR (FRR), three gateways, three nodes (BIRD as Calico renders it), pods, a legacy network",
    lans: &[
        Lan { name: "client", net: [198, 51, 100] },
        Lan { name: "outside", net: [10, 10, 0] },
        Lan { name: "legacy", net: [172, 16, 0] },
        Lan { name: "cluster", net: [10, 20, 0] },
    ],
    hosts: &[
        Host { name: "client", kind: Kind::Client, at: &[("client", 10)], via: Some(ip(198, 51, 100, 1)) },
        Host {
            name: "tor",
            kind: Kind::Router { asn: 65000 },
            at: &[("client", 1), ("outside", 1), ("legacy", 1)],
            via: None,
        },
        Host { name: "legacy", kind: Kind::Legacy, at: &[("legacy", 10)], via: Some(ip(172, 16, 0, 1)) },
        Host { name: "gw1", kind: Kind::Gateway, at: &[("outside", 11), ("cluster", 11)], via: TOR_OUTSIDE },
        Host { name: "gw2", kind: Kind::Gateway, at: &[("outside", 12), ("cluster", 12)], via: TOR_OUTSIDE },
        Host { name: "gw3", kind: Kind::Gateway, at: &[("outside", 13), ("cluster", 13)], via: TOR_OUTSIDE },
        Host { name: "node1", kind: Kind::Node { block: 1 }, at: &[("cluster", 21)], via: None },
        Host { name: "node2", kind: Kind::Node { block: 2 }, at: &[("cluster", 22)], via: None },
        Host { name: "node3", kind: Kind::Node { block: 3 }, at: &[("cluster", 23)], via: None },
    ],
    pods: &[
        Pod { name: "web-a1", node: "node1", address: ip(10, 244, 1, 10) },
        Pod { name: "web-a2", node: "node2", address: ip(10, 244, 2, 10) },
        Pod { name: "web-b1", node: "node2", address: ip(10, 244, 2, 11) },
        Pod { name: "web-b2", node: "node3", address: ip(10, 244, 3, 11) },
        Pod { name: "admin-1", node: "node3", address: ip(10, 244, 3, 12) },
        Pod { name: "worker-1", node: "node1", address: ip(10, 244, 1, 20) },
        Pod { name: "plain-1", node: "node1", address: ip(10, 244, 1, 30) },
    ],
    manifests: &[
        ("addresses.yaml", include_str!("../manifests/journey/addresses.yaml")),
        ("bgp.yaml", include_str!("../manifests/journey/bgp.yaml")),
        ("egress.yaml", include_str!("../manifests/journey/egress.yaml")),
        ("endpoints-admin.yaml", include_str!("../manifests/journey/endpoints-admin.yaml")),
        ("endpoints-web-a.yaml", include_str!("../manifests/journey/endpoints-web-a.yaml")),
        ("endpoints-web-b.yaml", include_str!("../manifests/journey/endpoints-web-b.yaml")),
        ("gateways.yaml", include_str!("../manifests/journey/gateways.yaml")),
        ("pods.yaml", include_str!("../manifests/journey/pods.yaml")),
        ("shop.yaml", include_str!("../manifests/journey/shop.yaml")),
    ],
};

/// A pod that is not there at first: the `scaling` scenario brings it.
pub const NEWCOMER: Pod = Pod { name: "web-a3", node: "node3", address: ip(10, 244, 3, 10) };
