//! Core kinds, reduced to what Tidegate uses: Namespace, Pod, EndpointSlice; Node, Service, Secret and ConfigMap in files of
//! their own.
//!
//! What serde makes of them is for our own snapshot on disk; Kubernetes' form of them is read in `pure/decode`.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod node;
mod secret;
mod service;

pub use node::{EXCLUDE, Node, ServiceCidr};
pub use secret::{ConfigMap, Secret, SecretBytes};
pub use service::{
    ASSIGNED, IpFamily, IpFamilyPolicy, POOL_ANNOTATIONS, Service, ServiceAddress, ServicePort, ServiceType,
    SessionAffinity, TrafficDistribution, assigned, read_assigned,
};

/// A Namespace; its labels are in the metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {}

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
