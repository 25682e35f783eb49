//! Where requests, connections and sessions go: backends and the endpoints of the moment.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tidegate_objects::Key;

use super::{BackendPolicy, BackendTls, Transport};

/// Where a share of the traffic goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// To a backend.
    Backend(Arc<Backend>),
    /// Nowhere: the reference cannot be followed, and Gateway API asks for 500.
    Broken(&'static str),
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Target::Backend(backend) => backend.serialize(serializer),
            Target::Broken(reason) => serializer.collect_str(&format_args!("broken: {reason}")),
        }
    }
}

/// Service and port, and how it is reached: `shop/web:80`; `shop/dns:53/udp`; `shop/web:80 by NodePort`; `shop/web:80 by
/// ServiceImport`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    /// What stands for it.
    pub kind: BackendKind,
    /// The Service, or ServiceImport.
    pub service: Key,
    /// Its port.
    pub port: u16,
    /// TCP or UDP.
    pub transport: Transport,
    /// What its endpoints are.
    pub mode: EndpointMode,
}

impl BackendId {
    /// A TCP port of a Service, whose pods are reached directly.
    pub fn tcp(service: Key, port: u16) -> BackendId {
        BackendId::of_service(service, port, Transport::Tcp, EndpointMode::Pod)
    }

    /// A port of a Service.
    pub fn of_service(service: Key, port: u16, transport: Transport, mode: EndpointMode) -> BackendId {
        BackendId { kind: BackendKind::Service, service, port, transport, mode }
    }

    /// A port of a ServiceImport.
    pub fn of_import(import: Key, port: u16, transport: Transport) -> BackendId {
        let (kind, mode) = (BackendKind::ServiceImport, EndpointMode::Pod);
        BackendId { kind, service: import, port, transport, mode }
    }

    /// The first and the last that a Service can have.
    pub fn all_of(service: &Key) -> std::ops::RangeInclusive<BackendId> {
        let last = (u16::MAX, Transport::Udp, EndpointMode::NodePort);
        let (port, transport, mode) = last;
        let last = BackendId::of_service(service.clone(), port, transport, mode);
        BackendId::tcp(service.clone(), 0)..=last
    }
}

/// What stands for a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendKind {
    /// A Service.
    #[default]
    Service,
    /// A ServiceImport: the Services of its namespace and name that sources export, as one. Its mode says nothing: each of
    /// them has its own.
    ServiceImport,
}

/// What stands for the pods of a Service: where traffic to them is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum EndpointMode {
    /// They themselves, at their own addresses.
    #[default]
    Pod,
    /// The nodes they run on, at the Service's `nodePort`.
    NodePort,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.transport == Transport::Udp { "/udp" } else { "" };
        write!(f, "{}:{}{suffix}", self.service, self.port)?;
        match (self.kind, self.mode) {
            (BackendKind::ServiceImport, _) => f.write_str(" by ServiceImport"),
            (BackendKind::Service, EndpointMode::Pod) => Ok(()),
            (BackendKind::Service, EndpointMode::NodePort) => f.write_str(" by NodePort"),
        }
    }
}

impl Serialize for BackendId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A Service port as a route uses it. Two routes may use one with different settings; they share its endpoints.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Service and port.
    pub id: BackendId,
    /// What is spoken to it.
    pub protocol: BackendProtocol,
    /// TLS towards it; none: in the clear.
    pub tls: Option<Arc<BackendTls>>,
    /// How its endpoints are chosen, watched and spared.
    pub policy: Arc<BackendPolicy>,
    /// Where it runs now.
    pub endpoints: Arc<EndpointCell>,
}

impl Backend {
    /// HTTP/1.1 or TCP in the clear, without a policy.
    pub fn plain(id: BackendId, endpoints: Arc<EndpointCell>) -> Backend {
        Backend { id, protocol: BackendProtocol::default(), tls: None, policy: Arc::default(), endpoints }
    }
}

/// Backends are equal when they share their cell too: one that looks alike would not see the endpoints that come and go.
impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoints, &other.endpoints)
            && (&self.id, self.protocol, &self.tls, &self.policy)
                == (&other.id, other.protocol, &other.tls, &other.policy)
    }
}

impl Serialize for Backend {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let plain = self.protocol == BackendProtocol::Http1
            && self.tls.is_none()
            && *self.policy == BackendPolicy::default();
        if plain {
            return serializer.collect_str(&self.id);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("protocol", &self.protocol)?;
        if let Some(tls) = &self.tls {
            map.serialize_entry("tls", tls)?;
        }
        if *self.policy != BackendPolicy::default() {
            map.serialize_entry("policy", &self.policy)?;
        }
        map.end()
    }
}

/// What is spoken to a backend (`appProtocol` of the Service port; GRPCRoute).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum BackendProtocol {
    /// HTTP/1.1; with TLS, HTTP/2 if the backend offers it.
    #[default]
    Http1,
    /// HTTP/2, without TLS by prior knowledge (`kubernetes.io/h2c`).
    Http2,
}

/// The endpoints of one backend, swapped whole; a reader never waits.
pub struct EndpointCell {
    endpoints: ArcSwap<Endpoints>,
    version: AtomicU64,
}

impl EndpointCell {
    /// A cell that holds these endpoints.
    pub fn new(endpoints: Endpoints) -> Self {
        EndpointCell { endpoints: ArcSwap::from_pointee(endpoints), version: AtomicU64::new(0) }
    }

    /// How often they were replaced; much cheaper to ask than [`load`](EndpointCell::load). Who asks first and loads then has
    /// endpoints that are at least as new.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The endpoints now.
    pub fn load(&self) -> arc_swap::Guard<Arc<Endpoints>> {
        self.endpoints.load()
    }

    /// Replaces them, if they differ.
    pub fn store(&self, endpoints: Endpoints) -> bool {
        let differs = **self.endpoints.load() != endpoints;
        if differs {
            self.endpoints.store(Arc::new(endpoints));
            self.version.fetch_add(1, Ordering::Release);
        }
        differs
    }
}

impl fmt::Debug for EndpointCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

impl Serialize for EndpointCell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.load().usable.serialize(serializer)
    }
}

/// The endpoints of a backend that may get new requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Endpoints {
    /// Sorted by address, without duplicates. Ready ones; where none is ready, those that serve while they terminate.
    pub usable: Vec<Endpoint>,
    /// With endpoints that are nodes: those on which several usable pods share one endpoint, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub crowded: Vec<Arc<str>>,
    /// None is ready: these are on their way out.
    #[serde(skip)]
    pub leaving: bool,
}

impl Endpoints {
    /// Endpoints of equal weight, in no zone.
    pub fn plain(addresses: impl IntoIterator<Item = SocketAddr>) -> Endpoints {
        let mut usable: Vec<_> = addresses.into_iter().map(Endpoint::plain).collect();
        usable.sort();
        usable.dedup();
        Endpoints { usable, ..Endpoints::default() }
    }

    /// Those of several as one; those on their way out only where nobody else is there.
    pub fn union<'e>(parts: impl Iterator<Item = &'e Endpoints> + Clone) -> Endpoints {
        let leaving = parts.clone().all(|part| part.leaving || part.usable.is_empty());
        let counted = parts.filter(|part| part.leaving == leaving || leaving);
        let (mut usable, mut crowded) = (Vec::new(), Vec::new());
        for part in counted {
            usable.extend_from_slice(&part.usable);
            crowded.extend_from_slice(&part.crowded);
        }
        usable.sort();
        usable.dedup_by_key(|endpoint| endpoint.address);
        crowded.sort();
        crowded.dedup();
        let leaving = leaving && !usable.is_empty();
        Endpoints { usable, crowded, leaving }
    }

    /// Whether the address is among them.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.usable.binary_search_by_key(&address, |endpoint| endpoint.address).is_ok()
    }

    /// Their addresses.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.usable.iter().map(|endpoint| endpoint.address)
    }
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    /// Its share relative to the others; never 0.
    pub weight: u32,
    /// Its zone (`topology.kubernetes.io/zone`).
    pub zone: Option<Arc<str>>,
}

impl Endpoint {
    /// Weight 1, in no zone.
    pub fn plain(address: SocketAddr) -> Endpoint {
        Endpoint { address, weight: 1, zone: None }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Endpoint { address, weight, zone } = self;
        match (weight, zone) {
            (1, None) => serializer.collect_str(address),
            (1, Some(zone)) => serializer.collect_str(&format_args!("{address} in {zone}")),
            (weight, None) => serializer.collect_str(&format_args!("{address} x{weight}")),
            (weight, Some(zone)) => serializer.collect_str(&format_args!("{address} x{weight} in {zone}")),
        }
    }
}
