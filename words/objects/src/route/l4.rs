//! TLSRoute, TCPRoute, UDPRoute: connections and datagrams to backends, without a look inside.

use serde::{Deserialize, Serialize};

use super::{BackendRef, DefaultScope, ParentRef};

/// TLSRoute `spec`: connections chosen by the server name that the client asks for (SNI).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsRoute {
    /// The Gateways and listeners it attaches to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Whether it attaches to default Gateways (experimental channel).
    #[serde(default)]
    pub use_default_gateways: Option<DefaultScope>,
    /// The server names it serves, no IP addresses, perhaps beginning with `*.`. v1 and v1alpha3 require one; empty
    /// (v1alpha2): every name of the listener.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// Its rules, exactly one (v1alpha2: up to 16).
    pub rules: Vec<L4RouteRule>,
}

/// TCPRoute `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpRoute {
    /// The Gateways and listeners it attaches to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Whether it attaches to default Gateways (experimental channel).
    #[serde(default)]
    pub use_default_gateways: Option<DefaultScope>,
    /// Its rules, exactly one.
    pub rules: Vec<L4RouteRule>,
}

/// UDPRoute `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UdpRoute {
    /// The Gateways and listeners it attaches to.
    #[serde(default)]
    pub parent_refs: Vec<ParentRef>,
    /// Whether it attaches to default Gateways (experimental channel).
    #[serde(default)]
    pub use_default_gateways: Option<DefaultScope>,
    /// Its rules, exactly one.
    pub rules: Vec<L4RouteRule>,
}

/// A rule: a backend is chosen by weight for each connection, or each UDP session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct L4RouteRule {
    /// Its name.
    pub name: Option<String>,
    /// Where it goes, 1 to 16.
    pub backend_refs: Vec<BackendRef>,
}
