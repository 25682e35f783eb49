//! Core kinds, reduced to what Tidegate uses: Namespace, Service, Pod, EndpointSlice, Secret, ConfigMap.
//!
//! What serde makes of them is for our own snapshot on disk; Kubernetes' form of them is read in `pure/decode`.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod node;
mod secret;

pub use node::{EXCLUDE, Node};
pub use secret::{ConfigMap, Secret, SecretBytes};

/// A Namespace; its labels are in the metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// `spec.externalName`: with type ExternalName, the DNS name that the Service stands for. A route that refers to such a
    /// Service is told that it is not served.
    pub external_name: Option<String>,
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
    /// `appProtocol`: what is spoken behind it, as `kubernetes.io/h2c`, `kubernetes.io/ws`, `https`.
    pub app_protocol: Option<String>,
}

/// A transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A Pod: its labels are in the metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// `spec.nodeName`.
    pub node_name: Option<String>,
    /// `status.podIPs` (or `podIP`).
    pub addresses: Vec<IpAddr>,
    /// Shares the node's addresses, so that its traffic cannot be told from the node's.
    pub host_network: bool,
    /// Phase Succeeded or Failed: its address may already be another's.
    pub finished: bool,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Name of the Service it belongs to (label `kubernetes.io/service-name`), in its own namespace.
    pub service: Option<String>,
    /// Its ports; `name` matches a Service port's.
    pub ports: Vec<EndpointPort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// Its name; empty when it has none.
    pub name: String,
    /// The port; absent means every port, which no proxy can dial.
    pub port: Option<u16>,
    /// The transport.
    pub protocol: Protocol,
}

/// An endpoint and its conditions, with the defaults that the API documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its first address; the API says that consumers use only that one.
    pub address: IpAddr,
    /// May get new connections.
    pub ready: bool,
    /// Answers, whether terminating or not.
    pub serving: bool,
    /// Is going away.
    pub terminating: bool,
    /// The node it runs on.
    pub node_name: Option<String>,
    /// The zone it runs in.
    pub zone: Option<Arc<str>>,
    /// `hints.forZones`: the zones that should use it; empty: no hint. Routes weigh zones themselves, where the Service's
    /// `trafficDistribution` or a policy asks for it, and do not go by hints.
    pub for_zones: Vec<Arc<str>>,
}
