//! What really is: each shell publishes its part; `tidegate status -o json` is these, serialised.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::DrainedEndpoints;

/// `tidegate status -o json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Name of this gateway.
    pub node: String,
    /// Whether the first Snapshot is applied to proxy and kernel.
    pub ready: bool,
    /// Where objects come from.
    pub sources: Vec<SourceStatus>,
    /// Every object that states an intent.
    pub objects: Vec<ObjectStatus>,
    /// Sockets and their listeners.
    pub listeners: Vec<ListenerStatus>,
    /// Addresses, and who holds them.
    pub addresses: Vec<AddressStatus>,
    /// BGP sessions.
    pub bgp: Vec<BgpStatus>,
    /// BFD sessions; none until BFD is built.
    pub bfd: Vec<serde_json::Value>,
    /// Elections.
    pub vrrp: Vec<VrrpStatus>,
    /// Learned routes.
    pub routes: Vec<RouteStatus>,
    /// Egress policies.
    pub egress: Vec<EgressStatus>,
    /// Services in use.
    pub services: Vec<ServiceStatus>,
    /// Services of type LoadBalancer that are ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancers: Vec<BalancedStatus>,
    /// The kernel.
    pub kernel: KernelStatus,
    /// Processes that this one, or one before it, took over from, and that still hold connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<DrainingStatus>,
    /// Endpoints that somebody drained by hand, whether a Service has them now or not.
    #[serde(default, skip_serializing_if = "DrainedEndpoints::is_empty")]
    pub drained: DrainedEndpoints,
    /// Links to the other gateways; absent where no secret is shared, or there are none.
    #[serde(default, skip_serializing_if = "PeersStatus::is_empty")]
    pub peers: PeersStatus,
}

/// The other gateways of the set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersStatus {
    /// What is wrong with the secret, or with the own sockets; empty: nothing.
    pub message: String,
    /// The gateways.
    pub gateways: Vec<PeerStatus>,
}

/// Another gateway of the set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Where it was met last.
    pub address: Option<SocketAddr>,
    /// Whether there is a link to it.
    pub connected: bool,
    /// How long there is.
    pub since_secs: u64,
    /// Whether this gateway calls it, or waits to be called.
    pub called: bool,
    /// Why there is no link; empty if nothing went wrong.
    pub last_error: String,
}

impl PeersStatus {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.message.is_empty() && self.gateways.is_empty()
    }
}

/// A process that was taken over from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingStatus {
    /// Its id.
    pub pid: u32,
    /// Client connections that it still holds.
    pub connections: u64,
}

/// A source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// `manifests` or `kubernetes`.
    #[serde(rename = "type")]
    pub source_type: String,
    /// Directory or server.
    pub location: String,
    /// Whether all of it was read once, or stands as it was on disk.
    pub synced: bool,
    /// While what is in force is the snapshot that a start found on disk, since the source has not been read yet: when that was
    /// written (RFC 3339). Else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from_disk: String,
    /// How many objects it gave.
    pub objects: usize,
    /// What in it could not be read; the last good objects stay in force.
    pub errors: Vec<SourceError>,
    /// What would go at one blow, and stays until a second look agrees or somebody confirms it; a sentence for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// What in it has no effect: unknown fields, kinds that are left alone.
    pub warnings: Vec<SourceError>,
}

/// Something in a source that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 when it is the file as a whole.
    pub line: usize,
    /// The object, as far as it could be told.
    pub object: String,
    /// The field, as `spec.listeners[0].port`.
    pub field: String,
    /// What was found and what would be right.
    pub message: String,
}

/// An object and its verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectStatus {
    /// Kind.
    pub kind: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Source.
    pub source: String,
    /// Accepted, Partially, Rejected.
    pub verdict: String,
    /// CamelCase reason.
    pub reason: String,
    /// What to change, as a sentence.
    pub message: String,
    /// The field, as `spec.listeners[0].port`.
    pub path: String,
    /// File and line, for a source of files.
    pub location: String,
}

/// A socket and a listener behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `namespace/gateway/listener`.
    pub listener: String,
    /// Where.
    pub address: Option<SocketAddr>,
    /// Its host name, or `*`.
    pub hostname: String,
    /// How many routes are attached.
    pub routes: usize,
    /// Whether the socket is open.
    pub listening: bool,
    /// Why not.
    pub error: String,
}

/// An address of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// The address.
    pub address: IpAddr,
    /// `Vip`, `NextHop`, `Egress`, several joined by `,`.
    #[serde(rename = "use")]
    pub usage: String,
    /// The gateway that holds it, as far as this one knows: a name, an address, or empty.
    pub holder: String,
    /// Whether this gateway holds it.
    pub here: bool,
    /// `vrrp` or `bgp`.
    pub protocol: String,
}

/// A BGP session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BgpStatus {
    /// BGPPeer.
    pub peer: String,
    /// Its address.
    pub address: String,
    /// Our AS.
    pub local_as: u32,
    /// Its AS, once known.
    pub remote_as: u32,
    /// State of the session's machine (RFC 4271 section 8).
    pub state: String,
    /// How long it has been in that state, in seconds.
    pub since_secs: u64,
    /// Prefixes received and accepted.
    pub received: usize,
    /// Prefixes received and refused by import.
    pub refused: usize,
    /// Prefixes announced.
    pub announced: usize,
    /// What ended the last session.
    pub last_error: String,
}

/// An election.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VrrpStatus {
    /// Its name.
    pub group: String,
    /// `Initialize`, `Backup`, `Master`.
    pub state: String,
    /// How long it has been in that state, in milliseconds.
    pub since_ms: u64,
    /// This gateway's priority now.
    pub priority: u8,
    /// The master's address as heard on the first leg, or our own.
    pub master: String,
    /// Interface and virtual router id of each leg: `eth0/51`.
    pub legs: Vec<String>,
    /// Addresses it moves.
    pub addresses: Vec<IpAddr>,
    /// Why it came to be in that state.
    pub reason: String,
    /// How often it became Master.
    pub transitions: u64,
}

/// A learned prefix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The prefix.
    pub prefix: String,
    /// The next hops in use.
    pub next_hops: Vec<String>,
    /// Who told us.
    pub peers: Vec<String>,
    /// Kept from a session that is down.
    pub stale: bool,
}

/// An egress policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EgressStatus {
    /// `Kind namespace/name`.
    pub policy: String,
    /// The address it gives, or empty.
    pub address: String,
    /// Whether this gateway holds that address.
    pub here: bool,
    /// How many pods it selects.
    pub pods: usize,
    /// Why what it selects is dropped, or empty.
    pub dropped: String,
}

/// A Service port in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `namespace/name:port`.
    pub service: String,
    /// The source that it is of; with a ServiceImport, the import.
    #[serde(default)]
    pub source: String,
    /// Of a ServiceImport: the sources whose Services it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Endpoints that are ready, as their EndpointSlices have it.
    pub endpoints: Vec<SocketAddr>,
    /// Where endpoints are nodes: those on which several pods share one. kube-proxy chooses among them once for each
    /// connection, so that one that is kept open burdens one pod alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crowded: Vec<String>,
    /// Those of them that this gateway leaves out, or sends less than their share, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub impaired: Vec<EndpointStatus>,
}

/// A Service of type LoadBalancer that is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancedStatus {
    /// `namespace/name`.
    pub service: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Names of the pools they are from, each once.
    pub pools: Vec<String>,
    /// Whether clients are served, as far as this gateway can tell.
    pub served: bool,
    /// Why not: a reason and a sentence; else empty.
    pub message: String,
}

/// An endpoint that does not get its share of requests. Where routes treat a Service differently, it is told as for the route
/// that gives it least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Where.
    pub address: SocketAddr,
    /// Whether a health check finds it healthy; true without one.
    pub healthy: bool,
    /// It is left out for so many seconds more because requests to it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_secs: Option<u64>,
    /// It is left out by hand.
    pub draining: bool,
    /// Requests, connections and UDP sessions under way to it.
    #[serde(default)]
    pub under_way: u32,
    /// It is new, and gets so much of a hundred of its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_percent: Option<u32>,
}

/// The kernel, as declared and as found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelStatus {
    /// Whether the kernel can be programmed by this process.
    pub programmable: bool,
    /// Why not, and what would make it so.
    pub message: String,
    /// Addresses of ours that stand.
    pub addresses: usize,
    /// Routes of ours that stand.
    pub routes: usize,
    /// Times that something of ours was put back after a stranger took it away.
    pub repairs: u64,
    /// Operations that failed last time.
    pub errors: Vec<String>,
}
