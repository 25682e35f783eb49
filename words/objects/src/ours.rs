//! Our own kinds, `tidegate.dev/v1alpha1`: GatewayNode, VRRPAdvertisement, RouteImport, RouteAdvertisement,
//! ClusterService.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::LabelSelector;
use crate::schema;

/// GatewayNode `spec`: a machine of an external gateway cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GatewayNode {
    /// One address for each network that the gateways share, of each family.
    #[schemars(with = "Vec<schema::Address>")]
    pub addresses: Vec<IpAddr>,
    /// Whether it shall serve nothing new.
    pub drain: bool,
}

/// VRRPAdvertisement `spec`: VRRP (RFC 9568) moves these addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VrrpAdvertisement {
    /// The addresses in use from these pools.
    pub ip_address_pools: Vec<String>,
    /// Fixed addresses: a control-plane VIP, a floating next hop, an egress address.
    #[schemars(with = "Vec<schema::Address>")]
    pub addresses: Vec<IpAddr>,
    /// Who may hold them; empty: every gateway.
    pub node_selectors: Vec<LabelSelector>,
    /// On which interfaces; empty: the one on the route to the address.
    pub interfaces: Vec<String>,
    /// 1 to 255; absent: ids follow from the advertisement's name.
    #[serde(rename = "virtualRouterID")]
    #[schemars(range(min = 1))]
    pub virtual_router_id: Option<u8>,
    /// 3 (2 is not built yet).
    #[schemars(range(min = 3, max = 3))]
    pub version: u8,
    /// 10ms to 40s.
    #[schemars(with = "schema::AdvertInterval")]
    pub advertisement_interval: String,
    /// Whether a returning gateway takes back what it would hold by priority.
    pub preempt: bool,
    /// How long it waits before it does.
    #[schemars(with = "schema::GoTime")]
    pub preempt_delay: String,
    /// Gateway name to priority, 1 to 254; others are spread.
    #[schemars(with = "BTreeMap<String, schema::Priority>")]
    pub priorities: BTreeMap<String, u8>,
    /// Adverts to each gateway's address instead of the multicast group.
    pub unicast_peers: bool,
    /// `Real` or `Virtual`.
    pub mac_mode: MacMode,
    /// Addresses of one group move together, whatever their interfaces.
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]{0,63}$"))]
    pub sync_group: String,
    /// What else must hold for a gateway to compete.
    pub track: Track,
    /// A URL told of every change of state.
    pub notify: String,
}

impl Default for VrrpAdvertisement {
    fn default() -> Self {
        VrrpAdvertisement {
            ip_address_pools: Vec::new(),
            addresses: Vec::new(),
            node_selectors: Vec::new(),
            interfaces: Vec::new(),
            virtual_router_id: None,
            version: 3,
            advertisement_interval: "100ms".into(),
            preempt: false,
            preempt_delay: "0s".into(),
            priorities: BTreeMap::new(),
            unicast_peers: false,
            mac_mode: MacMode::Real,
            sync_group: String::new(),
            track: Track::default(),
            notify: String::new(),
        }
    }
}

/// Which MAC address answers for a virtual address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MacMode {
    /// The interface's own.
    #[default]
    Real,
    /// The virtual router's, on a macvlan.
    Virtual,
}

/// What else must hold for a gateway to compete for an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Track {
    /// Interfaces that must be up beside the group's own.
    pub interfaces: Vec<String>,
    /// BFD sessions that must be up.
    #[schemars(with = "Option<Vec<String>>")]
    pub bfd: Option<Value>,
    /// A URL that must answer 2xx.
    #[schemars(with = "Option<String>")]
    pub url: Option<Value>,
    /// Whether the gateway itself must be ready.
    pub ready: bool,
}

impl Default for Track {
    fn default() -> Self {
        Track { interfaces: Vec::new(), bfd: None, url: None, ready: true }
    }
}

/// RouteImport `spec`: what may be learned over BGP and installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteImport {
    /// BGPPeer names; empty: all.
    #[serde(default)]
    pub peers: Vec<String>,
    /// What may be learned.
    pub prefixes: Vec<ImportPrefix>,
    /// How many prefixes each peer may send, 1 to 1,000,000.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub maximum_prefixes: u32,
    /// How many next hops a prefix may have, 1 to 128.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1, max = 128))]
    pub multipath: u8,
}

fn ten_thousand() -> u32 {
    10_000
}

fn sixteen() -> u8 {
    16
}

/// A prefix and the lengths accepted inside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("!isCIDR(self.cidr) || !has(self.minLength) || self.minLength >= cidr(self.cidr).prefixLength()", "minLength must not be below the prefix's own length"),
    ("!isCIDR(self.cidr) || !has(self.maxLength) || self.maxLength <= (cidr(self.cidr).ip().family() == 4 ? 32 : 128)", "maxLength must fit the address family"),
    ("!isCIDR(self.cidr) || !has(self.maxLength) || self.maxLength >= (has(self.minLength) ? self.minLength : cidr(self.cidr).prefixLength())", "maxLength must not be below minLength, nor below the prefix's own length"),
])))]
pub struct ImportPrefix {
    /// The covering prefix.
    #[schemars(with = "schema::Prefix")]
    pub cidr: IpNet,
    /// Shortest length; absent: the covering prefix's.
    #[serde(default)]
    #[schemars(range(max = 128))]
    pub min_length: Option<u8>,
    /// Longest length; absent: the covering prefix's.
    #[serde(default)]
    #[schemars(range(max = 128))]
    pub max_length: Option<u8>,
}

/// RouteAdvertisement `spec`: what is announced beside service addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::rules(&[
    ("self.nextHop != 'Floating' || (has(self.floatingAddresses) && size(self.floatingAddresses) > 0)", "nextHop: Floating needs floatingAddresses that a VRRPAdvertisement moves"),
])))]
pub struct RouteAdvertisement {
    /// What is announced.
    #[schemars(with = "Vec<schema::Prefix>")]
    pub prefixes: Vec<IpNet>,
    /// BGPPeer names; empty: all.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Who attracts the traffic.
    #[serde(default)]
    pub active: Active,
    /// The NEXT_HOP announced.
    #[serde(default)]
    pub next_hop: NextHop,
    /// With `nextHop: Floating`, the addresses that VRRP moves.
    #[serde(default)]
    #[schemars(with = "Vec<schema::AddressV4>")]
    pub floating_addresses: Vec<Ipv4Addr>,
    /// LOCAL_PREF towards iBGP peers.
    #[serde(default = "hundred")]
    pub local_preference: u32,
    /// Communities `AS:value` or `AS:value:value`.
    #[serde(default)]
    #[schemars(with = "Vec<schema::Community>")]
    pub communities: Vec<String>,
}

fn hundred() -> u32 {
    100
}

/// How many gateways attract the traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Active {
    /// Every gateway.
    #[default]
    All,
    /// One at a time.
    One,
}

/// The NEXT_HOP announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(clippy::enum_variant_names)]
pub enum NextHop {
    /// The gateway's own address.
    #[default]
    #[serde(rename = "Self")]
    Own,
    /// An address that VRRP moves.
    Floating,
}

/// ClusterService `spec`: a Service of another source, for routes to name as a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterService {
    /// Name of the source, as the gateway's bootstrap file has it.
    #[schemars(with = "schema::SourceName")]
    pub source: String,
    /// Namespace of the Service there. Another one than the ClusterService's needs a ReferenceGrant in it, there.
    #[schemars(with = "schema::NamespaceName")]
    pub namespace: String,
    /// Its name.
    #[schemars(with = "schema::ServiceName")]
    pub service: String,
}
