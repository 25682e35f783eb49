//! Topologies of one address: a gateway and a stranger that compete for it, and two gateways that share it.

use std::net::Ipv4Addr;

use crate::topology::{Host, Kind, Lan, Topology};

/// The address they compete for.
pub const CONTESTED: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 100);

/// The drawing.
pub const ELECTION: Topology = Topology {
    name: "election",
    about: "one gateway and one keepalived that compete for an address, and a client that uses it",
    lans: &[Lan { name: "outside", net: [10, 10, 0] }],
    hosts: &[
        Host { name: "client", kind: Kind::Client, at: &[("outside", 2)], via: None },
        Host { name: "gw1", kind: Kind::Gateway, at: &[("outside", 11)], via: None },
        Host { name: "other", kind: Kind::Keepalived, at: &[("outside", 12)], via: None },
    ],
    pods: &[],
    manifests: &[("vrrp.yaml", include_str!("../manifests/election/vrrp.yaml"))],
};

/// The drawing for what two gateways share.
pub const PAIR: Topology = Topology {
    name: "pair",
    about: "two gateways, an address with TLS that moves between them, and a client that uses it",
    lans: &[Lan { name: "outside", net: [10, 10, 0] }],
    hosts: &[
        Host { name: "client", kind: Kind::Client, at: &[("outside", 2)], via: None },
        Host { name: "gw1", kind: Kind::Gateway, at: &[("outside", 11)], via: None },
        Host { name: "gw2", kind: Kind::Gateway, at: &[("outside", 12)], via: None },
    ],
    pods: &[],
    manifests: &[("gateway.yaml", include_str!("../manifests/pair/gateway.yaml"))],
};

/// The drawing for hand-overs: the same, with a server behind the gateway.
pub const HANDOVER: Topology = Topology {
    name: "handover",
    about: "one gateway before a server, a keepalived that waits for its address, and a client that uses it",
    lans: &[Lan { name: "outside", net: [10, 10, 0] }],
    hosts: &[
        Host { name: "client", kind: Kind::Client, at: &[("outside", 2)], via: None },
        Host { name: "server", kind: Kind::Client, at: &[("outside", 3)], via: None },
        Host { name: "gw1", kind: Kind::Gateway, at: &[("outside", 11)], via: None },
        Host { name: "other", kind: Kind::Keepalived, at: &[("outside", 12)], via: None },
    ],
    pods: &[],
    manifests: &[
        ("base.yaml", include_str!("../manifests/handover/base.yaml")),
        ("dns.yaml", include_str!("../manifests/handover/dns.yaml")),
        ("endpoints-dns.yaml", include_str!("../manifests/handover/endpoints-dns.yaml")),
        ("endpoints-web-b.yaml", include_str!("../manifests/handover/endpoints-web-b.yaml")),
        ("endpoints-web.yaml", include_str!("../manifests/handover/endpoints-web.yaml")),
        ("gateway.yaml", include_str!("../manifests/handover/gateway.yaml")),
        ("web.yaml", include_str!("../manifests/handover/web.yaml")),
    ],
};
