//! Nodes, and where a cluster has its Services and pods.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The label of Nodes that no external load balancer is to send traffic to, whatever its value
/// (Kubernetes, "Well-Known Labels, Annotations and Taints").
pub const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A Node; its labels are in the metadata. Annotations, which agents write all day, are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `status.addresses` of type InternalIP, in the order written.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`: where its pods are, if the cluster's own allocator says so.
    #[serde(default)]
    pub pod_cidrs: Vec<IpNet>,
}

/// Where the cluster's Services have their addresses (networking.k8s.io/v1 `ServiceCIDR`; Kubernetes makes one named
/// `kubernetes` of what the API server was started with).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCidr {
    /// One or two ranges.
    #[serde(default)]
    pub cidrs: Vec<IpNet>,
}

impl Node {
    /// Its first address of a family.
    pub fn address(&self, is_ipv4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == is_ipv4)
    }
}
