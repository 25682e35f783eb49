//! MetalLB's kinds, as MetalLB documents them: IPAddressPool, BGPPeer, BGPAdvertisement.
//!
//! A field whose feature is not built yet is held as raw JSON, so that it is known and can be named in the verdict.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::LabelSelector;

/// IPAddressPool `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpAddressPool {
    /// CIDRs, or ranges `first-last`.
    pub addresses: Vec<String>,
    /// Whether addresses may be given to who did not ask for this pool.
    #[serde(default = "yes")]
    pub auto_assign: bool,
    /// Leave out addresses that end in .0 and .255.
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,
    /// Who may have addresses, and in which order pools are asked.
    #[serde(default)]
    pub service_allocation: Option<ServiceAllocation>,
}

/// Who may have addresses of a pool without naming it, and when it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAllocation {
    /// Pools with a lower number are asked first; 0: after all that have one.
    pub priority: u32,
    /// Namespaces whose Services may; together with the selectors: any of them. None of either: all.
    pub namespaces: Vec<String>,
    /// Namespaces by label.
    pub namespace_selectors: Vec<LabelSelector>,
    /// Services by label, any of these; none: all.
    pub service_selectors: Vec<LabelSelector>,
}

fn yes() -> bool {
    true
}

/// BGPPeer (v1beta2) `spec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeer {
    /// Our AS number.
    #[serde(rename = "myASN")]
    pub my_asn: u32,
    /// The peer's AS number; 0 when `dynamicASN` is set.
    #[serde(rename = "peerASN", default)]
    pub peer_asn: u32,
    /// `internal` or `external` instead of a number.
    #[serde(rename = "dynamicASN", default)]
    pub dynamic_asn: Option<DynamicAsn>,
    /// The peer's address.
    #[serde(default)]
    pub peer_address: Option<IpAddr>,
    /// Its port.
    #[serde(default = "bgp_port")]
    pub peer_port: u16,
    /// An unnumbered peer's interface.
    #[serde(default)]
    pub interface: Option<String>,
    /// The address we speak from.
    #[serde(default)]
    pub source_address: Option<IpAddr>,
    /// Hold time, as Go writes durations (`90s`); at least 3 s, or 0 for none.
    #[serde(default)]
    pub hold_time: Option<String>,
    /// Keepalive interval.
    #[serde(default)]
    pub keepalive_time: Option<String>,
    /// How long to wait between attempts to connect, 1 s to 65,535 s.
    #[serde(default)]
    pub connect_time: Option<String>,
    /// Our router id; absent: made from our address.
    #[serde(rename = "routerID", default)]
    pub router_id: Option<std::net::Ipv4Addr>,
    /// Which gateways or nodes speak to this peer; empty: all.
    #[serde(default)]
    pub node_selectors: Vec<LabelSelector>,
    /// Password in the clear.
    #[serde(default)]
    pub password: Option<Value>,
    /// Password in a Secret.
    #[serde(default)]
    pub password_secret: Option<Value>,
    /// BFDProfile to use.
    #[serde(default)]
    pub bfd_profile: Option<Value>,
    /// Whether the peer may be several hops away.
    #[serde(default)]
    pub ebgp_multi_hop: bool,
    /// VRF to speak in.
    #[serde(default)]
    pub vrf: Option<Value>,
    /// Graceful restart.
    #[serde(default)]
    pub enable_graceful_restart: Option<Value>,
    /// Deprecated spelling of address families.
    #[serde(rename = "disableMP", default)]
    pub disable_mp: Option<Value>,
    /// Both families over one session.
    #[serde(default)]
    pub dual_stack_address_family: Option<Value>,
}

fn bgp_port() -> u16 {
    179
}

/// The peer's AS relative to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DynamicAsn {
    /// The same AS.
    Internal,
    /// Any other AS.
    External,
}

/// BGPAdvertisement `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BgpAdvertisement {
    /// Length of the IPv4 prefixes announced; 32 announces each address.
    pub aggregation_length: Option<u8>,
    /// Length of the IPv6 prefixes announced.
    #[serde(rename = "aggregationLengthV6")]
    pub aggregation_length_v6: Option<u8>,
    /// LOCAL_PREF towards iBGP peers.
    pub local_pref: Option<u32>,
    /// Communities, by number or by name of a Community object.
    pub communities: Vec<String>,
    /// Pools whose addresses are announced; empty together with the selectors: all.
    pub ip_address_pools: Vec<String>,
    /// Pools by label.
    pub ip_address_pool_selectors: Vec<LabelSelector>,
    /// Which gateways announce; empty: all.
    pub node_selectors: Vec<LabelSelector>,
    /// To which peers; empty: all.
    pub peers: Vec<String>,
    /// Only addresses of Services with these labels; empty: all.
    pub service_selectors: Vec<LabelSelector>,
}
