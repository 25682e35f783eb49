//! Nodes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The label of Nodes that no external load balancer is to send traffic to, whatever its value
/// (Kubernetes, "Well-Known Labels, Annotations and Taints").
pub const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A Node; its labels are in the metadata. Annotations, which agents write all day, are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `status.addresses` of type InternalIP, in the order written.
    pub addresses: Vec<IpAddr>,
}

impl Node {
    /// Its first address of a family.
    pub fn address(&self, is_ipv4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == is_ipv4)
    }
}
