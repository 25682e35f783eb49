//! The Multi-Cluster Services API (KEP-1645, `multicluster.x-k8s.io/v1alpha1`): ServiceImport and ServiceExport.
//!
//! What a controller of that API fills in is read as if a person had written it; what it puts into `status` is not looked at.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::Protocol;

/// ServiceImport `spec`: the Services of its namespace and name that are exported, as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceImport {
    /// Its ports; empty where nobody has filled them in: those of the Services exported.
    pub ports: Vec<ImportPort>,
    /// Whether it has an address of its own. Routes go to endpoints, so that both are the same to them.
    #[serde(rename = "type")]
    pub import_type: ImportType,
    /// Addresses by which pods of the cluster reach it; nothing is sent there.
    pub ips: Vec<String>,
    /// About `ips`; without a meaning here.
    pub ip_families: Vec<String>,
    /// About `ips`; without a meaning here.
    pub session_affinity: Option<String>,
    /// About `ips`; without a meaning here.
    pub session_affinity_config: Option<Value>,
    /// About `ips`; without a meaning here.
    pub internal_traffic_policy: Option<String>,
    /// About `ips`; that of the oldest Service exported is what counts.
    pub traffic_distribution: Option<String>,
}

/// `spec.type` of a ServiceImport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportType {
    /// One address for all clusters.
    #[default]
    #[serde(rename = "ClusterSetIP")]
    ClusterSetIp,
    /// None.
    Headless,
}

/// A port of a ServiceImport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportPort {
    /// Its name; empty when it has none.
    #[serde(default)]
    pub name: String,
    /// The port, 1 to 65535.
    pub port: u16,
    /// The transport; absent: TCP.
    #[serde(default)]
    pub protocol: ImportProtocol,
    /// What is spoken (KEP-3726).
    #[serde(default)]
    pub app_protocol: Option<String>,
}

/// A transport as Kubernetes spells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ImportProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl From<ImportProtocol> for Protocol {
    fn from(written: ImportProtocol) -> Protocol {
        match written {
            ImportProtocol::Tcp => Protocol::Tcp,
            ImportProtocol::Udp => Protocol::Udp,
            ImportProtocol::Sctp => Protocol::Sctp,
        }
    }
}

/// ServiceExport: the Service of its namespace and name is there for all clusters. Usually it has no `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceExport {
    /// Labels for the ServiceImport, which others make.
    pub exported_labels: Option<Value>,
    /// Annotations for the ServiceImport, which others make.
    pub exported_annotations: Option<Value>,
}
