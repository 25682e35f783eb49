//! Gateway API v1.6, standard and experimental channel: GatewayClass, Gateway, ListenerSet, ReferenceGrant.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::LabelSelector;
use crate::reference::{LocalRef, NamespacedRef};
use crate::route::DefaultScope;

mod listener_set;
mod tls;

pub use listener_set::{ListenerSet, ParentGatewayRef};
pub use tls::{
    FrontendTls, FrontendTlsConfig, FrontendTlsPort, FrontendValidation, FrontendValidationMode,
    GatewayBackendTls, GatewayTls, ListenerTls, TlsMode,
};

/// The name by which a GatewayClass chooses Tidegate.
pub const CONTROLLER_NAME: &str = "tidegate.dev/gateway-controller";

/// The class that needs no GatewayClass object when Tidegate reads a directory.
pub const DEFAULT_CLASS: &str = "tidegate";

/// GatewayClass `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClass {
    /// Who serves Gateways of this class.
    pub controller_name: String,
    /// Parameters of the implementation; Tidegate has none.
    #[serde(default)]
    pub parameters_ref: Option<NamespacedRef>,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
}

/// Gateway `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Its class.
    pub gateway_class_name: String,
    /// Where it listens; empty: an address from a pool, or every local address.
    #[serde(default)]
    pub addresses: Vec<GatewayAddress>,
    /// What it listens for.
    pub listeners: Vec<Listener>,
    /// Labels and annotations for what an implementation creates; Tidegate creates nothing.
    #[serde(default)]
    pub infrastructure: Option<Infrastructure>,
    /// Which ListenerSets may attach; absent: none.
    #[serde(default)]
    pub allowed_listeners: Option<AllowedListeners>,
    /// TLS towards backends and clients.
    #[serde(default)]
    pub tls: Option<GatewayTls>,
    /// Whether routes without a parent attach here (experimental channel).
    #[serde(default)]
    pub default_scope: Option<DefaultScope>,
    /// `status.addresses`, IP addresses alone: where it listened when its status was last written. A pool that may still give
    /// one of them gives it again, so every gateway that reads the status agrees, and so does the same one after a restart.
    #[serde(skip)]
    pub listened_on: Vec<IpAddr>,
}

/// What every object made for a Gateway carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Infrastructure {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Parameters of the implementation; Tidegate has none.
    pub parameters_ref: Option<LocalRef>,
}

/// Which ListenerSets may attach to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedListeners {
    /// From which namespaces.
    pub namespaces: ListenerNamespaces,
}

/// Namespaces from which ListenerSets may attach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerNamespaces {
    /// Which; absent: none.
    pub from: FromNamespaces,
    /// With `from: Selector`, the labels a namespace must have.
    pub selector: Option<LabelSelector>,
}

impl Default for ListenerNamespaces {
    fn default() -> Self {
        ListenerNamespaces { from: FromNamespaces::None, selector: None }
    }
}

/// An address that a Gateway asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayAddress {
    /// `IPAddress` (the default), `Hostname`, or an implementation's own.
    #[serde(rename = "type", default = "ip_address")]
    pub address_type: String,
    /// The address; absent: any of that type.
    #[serde(default)]
    pub value: Option<String>,
}

fn ip_address() -> String {
    "IPAddress".into()
}

/// A listener of a Gateway or a ListenerSet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name, unique in the Gateway or ListenerSet.
    pub name: String,
    /// The host it serves; absent: every host. May begin with `*.`.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The port, 1 to 65535.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP`.
    pub protocol: String,
    /// Certificates and mode; only for protocols HTTPS and TLS.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// Which routes may attach; absent: HTTPRoutes of the Gateway's namespace.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    /// From which namespaces.
    pub namespaces: RouteNamespaces,
    /// Of which kinds; empty: those that fit the protocol.
    pub kinds: Vec<RouteGroupKind>,
}

/// Namespaces from which routes may attach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteNamespaces {
    /// Which.
    pub from: FromNamespaces,
    /// With `from: Selector`, the labels a namespace must have.
    pub selector: Option<LabelSelector>,
}

/// Which namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNamespaces {
    /// All.
    All,
    /// The Gateway's own.
    #[default]
    Same,
    /// Those that the selector selects.
    Selector,
    /// None.
    None,
}

/// A kind of route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteGroupKind {
    /// API group; absent: Gateway API's.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind.
    pub kind: String,
}

/// ReferenceGrant `spec`: who may refer to what in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceGrant {
    /// Who may refer.
    pub from: Vec<GrantFrom>,
    /// To what.
    pub to: Vec<GrantTo>,
}

/// Objects that may refer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantFrom {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// Objects that may be referred to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTo {
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name; absent: all of the kind.
    #[serde(default)]
    pub name: Option<String>,
}
