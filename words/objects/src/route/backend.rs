//! Where a rule sends traffic. HTTPRoute and GRPCRoute have references of their own, with filters.

use serde::{Deserialize, Serialize};

/// A backend (Gateway API `BackendObjectReference`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BackendObjectRef {
    /// API group; empty or absent: core.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind; absent: Service.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name.
    pub name: String,
    /// Namespace; absent: the route's. Another one needs a ReferenceGrant there.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Port of the Service, 1 to 65535; required for a Service.
    #[serde(default)]
    pub port: Option<u16>,
}

/// A backend of a TCPRoute, UDPRoute or TLSRoute, and its share of the connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRef {
    /// API group; empty or absent: core.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind; absent: Service.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name.
    pub name: String,
    /// Namespace; absent: the route's. Another one needs a ReferenceGrant there.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Port of the Service, 1 to 65535; required for a Service.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its share, relative to the rule's other backends; 0 to 1,000,000, default 1.
    #[serde(default = "one")]
    pub weight: u32,
}

impl BackendRef {
    /// The reference alone, without the weight.
    pub fn object(&self) -> BackendObjectRef {
        BackendObjectRef {
            group: self.group.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }
}

/// The weight of a backend that names none.
pub(super) fn one() -> u32 {
    1
}
