//! Services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Protocol;

/// Annotations in which MetalLB writes from which pool a Service's addresses are, its newer spelling first.
pub const POOL_ANNOTATIONS: [&str; 2] =
    ["metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool"];

/// Type of the condition of a Service whose message says from which IPAddressPools its addresses are. So every gateway
/// knows it, also of a pool that has changed since or is gone.
pub const ASSIGNED: &str = "tidegate.dev/Assigned";

/// What stands between an address and its pool.
const FROM: &str = " from IPAddressPool ";

/// The message of the condition [`ASSIGNED`].
pub fn assigned<'a>(addresses: impl IntoIterator<Item = (IpAddr, &'a str)>) -> String {
    let each = addresses.into_iter().map(|(ip, pool)| format!("{ip}{FROM}{pool}"));
    each.collect::<Vec<_>>().join(", ")
}

/// The pool of an address, as the message of that condition has it.
pub fn read_assigned(message: &str, ip: IpAddr) -> Option<&str> {
    let pairs = message.split(", ").filter_map(|each| each.split_once(FROM));
    pairs.filter(|(address, _)| address.parse() == Ok(ip)).map(|(_, pool)| pool).next()
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// `spec.sessionAffinity`; it is about the Service's own address: routes have `sessionPersistence`, do not go by this, and
    /// the Service's verdict says so.
    pub session_affinity: SessionAffinity,
    /// `spec.trafficDistribution`; absent: endpoints are chosen without regard to where they run.
    pub traffic_distribution: Option<TrafficDistribution>,
    /// `spec.externalName`, as written: with type ExternalName, the DNS name (or address) that the Service stands for.
    pub external_name: Option<String>,
    /// `spec.selector`: which pods it leads to.
    pub selector: BTreeMap<String, String>,
    /// `spec.clusterIPs`, or `clusterIP`; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ipFamilies`; an API server fills it in.
    pub ip_families: Vec<IpFamily>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: IpFamilyPolicy,
    /// `spec.externalTrafficPolicy: Local`: traffic from outside stays on the node that it came to.
    pub local_traffic_only: bool,
    /// `spec.healthCheckNodePort`: where each node says whether it has pods of the Service; only with
    /// `externalTrafficPolicy: Local`, and an API server fills it in.
    pub health_check_node_port: Option<u16>,
    /// `spec.loadBalancerIP`, as written: the address that is wished for.
    pub load_balancer_ip: Option<String>,
    /// `spec.externalIPs`, as written: addresses that its user names, and brings traffic for.
    pub external_ips: Vec<String>,
    /// `spec.loadBalancerSourceRanges`, as written: the only clients that are let in; empty: all.
    pub source_ranges: Vec<String>,
    /// `spec.publishNotReadyAddresses`: endpoints count as ready, whatever they say.
    pub publish_not_ready: bool,
    /// `status.loadBalancer.ingress`: the addresses it was given, by whomever; at most 16 are read.
    pub given: Vec<ServiceAddress>,
}

/// An address in the status of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAddress {
    /// The address.
    pub ip: IpAddr,
    /// Name of the IPAddressPool it was given from, if the status or an annotation of MetalLB says so.
    pub pool: Option<String>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamily {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

/// `spec.ipFamilyPolicy` of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamilyPolicy {
    /// One family.
    #[default]
    SingleStack,
    /// Both, or one where both cannot be had.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

/// `spec.sessionAffinity` of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionAffinity {
    /// Any endpoint.
    #[default]
    None,
    /// The same endpoint for the same client address.
    ClientIp {
        /// For how long after the last connection, in seconds, 1 to 86,400; Kubernetes' default is 10,800.
        timeout_secs: u32,
    },
}

/// `spec.trafficDistribution` of a Service: which endpoints are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficDistribution {
    /// Those of the same zone (`PreferSameZone`, and `PreferClose`, its older name).
    PreferSameZone,
    /// Those of the same node.
    PreferSameNode,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// Reached inside the cluster.
    #[default]
    ClusterIp,
    /// Reached on a port of every node too.
    NodePort,
    /// Reached on an address of its own too.
    LoadBalancer,
    /// A name elsewhere.
    ExternalName,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its name; empty when it is the only one and has none. EndpointSlice ports carry the same name.
    pub name: String,
    /// The port of the Service.
    pub port: u16,
    /// The transport.
    pub protocol: Protocol,
    /// `nodePort`: where every node takes traffic for it; none: nodes do not.
    #[serde(default)]
    pub node_port: Option<u16>,
    /// `targetPort`, if it is a number: only with type ExternalName does it say where connections go, elsewhere
    /// EndpointSlices do.
    #[serde(default)]
    pub target_port: Option<u16>,
    /// `appProtocol`: what is spoken behind it, as `kubernetes.io/h2c`, `kubernetes.io/ws`, `https`.
    pub app_protocol: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a status says of pools is read as it was written, and nothing else is.
    #[test]
    fn pools_come_back() {
        let addresses: Vec<IpAddr> = ["10.0.0.1", "fd00::1"].map(|text| text.parse().expect("one")).into();
        let message = assigned([(addresses[0], "cheap"), (addresses[1], "six")]);
        assert_eq!(message, "10.0.0.1 from IPAddressPool cheap, fd00::1 from IPAddressPool six");
        assert_eq!(read_assigned(&message, addresses[0]), Some("cheap"));
        assert_eq!(read_assigned(&message, addresses[1]), Some("six"));
        assert_eq!(read_assigned("10.0.0.10 from IPAddressPool x", addresses[0]), None);
        assert_eq!(read_assigned("", addresses[0]), None);
    }
}
