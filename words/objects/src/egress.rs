//! Egress policies of other projects: CiliumEgressGatewayPolicy (`cilium.io/v2`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::LabelSelector;

/// CiliumEgressGatewayPolicy `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CiliumEgressGatewayPolicy {
    /// Which pods; any of these.
    pub selectors: Vec<EgressSelector>,
    /// Which destinations.
    #[serde(rename = "destinationCIDRs")]
    pub destination_cidrs: Vec<IpNet>,
    /// Destinations left out; they win over those above.
    #[serde(rename = "excludedCIDRs", default)]
    pub excluded_cidrs: Vec<IpNet>,
    /// Through which gateway.
    #[serde(default)]
    pub egress_gateway: Option<EgressGateway>,
    /// Through which gateways.
    #[serde(default)]
    pub egress_gateways: Vec<EgressGateway>,
}

/// Pods by namespace, label and node. Selectors that are absent select everything, but one must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressSelector {
    /// Labels of the namespace.
    pub namespace_selector: Option<LabelSelector>,
    /// Labels of the pod; `io.kubernetes.pod.namespace` stands for its namespace.
    pub pod_selector: Option<LabelSelector>,
    /// Labels of the node the pod runs on.
    pub node_selector: Option<LabelSelector>,
}

/// A gateway, and the address with which traffic leaves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressGateway {
    /// Labels of the gateway.
    pub node_selector: LabelSelector,
    /// The interface whose first address is used.
    #[serde(default)]
    pub interface: Option<String>,
    /// The address.
    #[serde(rename = "egressIP", default)]
    pub egress_ip: Option<IpAddr>,
}
