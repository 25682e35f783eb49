//! Backends: Services that routes point to, and the endpoints behind a Service's port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_model::traffic::{Backend, BackendId, Endpoint, EndpointCell, Endpoints, Target};
use tidegate_objects::core::{EndpointSlice, Protocol, Service, ServicePort, ServiceType};
use tidegate_objects::route::HttpBackendRef;
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::grants::Grants;
use crate::words::{list, meant};

/// EndpointSlices by Service.
pub(crate) type SlicesOf<'a> = BTreeMap<Key, Vec<&'a Resource<EndpointSlice>>>;

/// Makes backends. The cells of the previous Model are used again, so that live routes share them.
pub(crate) struct Backends<'a> {
    snapshot: &'a Snapshot,
    grants: Grants<'a>,
    slices: SlicesOf<'a>,
    previous: &'a BTreeMap<BackendId, Arc<EndpointCell>>,
    cells: BTreeMap<BackendId, Arc<EndpointCell>>,
}

/// A reference that cannot be followed.
pub(crate) struct Broken {
    /// For the access log and `explain`.
    pub short: &'static str,
    /// Gateway API's reason for `ResolvedRefs: False`.
    pub reason: &'static str,
    /// Below the reference; empty for all of it.
    pub field: &'static str,
    pub message: String,
}

impl<'a> Backends<'a> {
    pub fn new(snapshot: &'a Snapshot, previous: &'a BTreeMap<BackendId, Arc<EndpointCell>>) -> Self {
        let (grants, slices) = (Grants::new(snapshot), slices_of(snapshot));
        Backends { snapshot, grants, slices, previous, cells: BTreeMap::new() }
    }

    /// The cells of every backend that was made.
    pub fn finish(self) -> BTreeMap<BackendId, Arc<EndpointCell>> {
        self.cells
    }

    /// Follows a reference of an HTTPRoute.
    pub fn resolve(&mut self, route: &Key, to: &HttpBackendRef) -> Result<Target, Broken> {
        let (kind, group) =
            (to.kind.as_deref().unwrap_or("Service"), to.group.as_deref().unwrap_or_default());
        if kind != Kind::Service.name() || !group.is_empty() {
            let message =
                format!("{kind} of group {group:?} is no backend in this version; a backend is a Service");
            return Err(Broken {
                short: "backend is not a Service",
                reason: "InvalidKind",
                field: "kind",
                message,
            });
        }
        let key = route.sibling(to.namespace.as_deref().unwrap_or(&route.namespace), &to.name);
        if !self.grants.allow(route, &key) {
            let message = format!(
                "Service {key} is in another namespace and no ReferenceGrant there allows this; add one in namespace {} from HTTPRoute in namespace {} to Service",
                key.namespace, route.namespace
            );
            return Err(Broken {
                short: "reference not permitted",
                reason: "RefNotPermitted",
                field: "namespace",
                message,
            });
        }
        let Some(service) = self.snapshot.services.get(&key) else {
            return Err(self.missing(&key));
        };
        let port = port(&key, service, to.port)?;
        let id = BackendId::tcp(key, port.port);
        let cell = self.cell(&id, port);
        Ok(Target::Backend(Arc::new(Backend::plain(id, cell))))
    }

    fn missing(&self, key: &Key) -> Broken {
        let first = key.sibling(&key.namespace, "");
        let siblings = self.snapshot.services.range(first..).map(|(key, _)| key);
        let siblings =
            siblings.take_while(|other| other.source == key.source && other.namespace == key.namespace);
        let message = format!(
            "Service {key} does not exist; create it or correct the name{}",
            meant(&key.name, siblings.map(|other| &*other.name))
        );
        Broken { short: "backend not found", reason: "BackendNotFound", field: "name", message }
    }

    fn cell(&mut self, id: &BackendId, port: &ServicePort) -> Arc<EndpointCell> {
        if let Some(cell) = self.cells.get(id) {
            return cell.clone();
        }
        let slices = self.slices.get(&id.service).map_or(&[][..], Vec::as_slice);
        let endpoints = endpoints(port, slices.iter().map(|slice| &slice.spec));
        let cell = match self.previous.get(id) {
            Some(cell) => {
                cell.store(endpoints);
                cell.clone()
            }
            None => Arc::new(EndpointCell::new(endpoints)),
        };
        self.cells.insert(id.clone(), cell.clone());
        cell
    }
}

fn port<'s>(
    key: &Key,
    service: &'s Resource<Service>,
    asked: Option<u16>,
) -> Result<&'s ServicePort, Broken> {
    let broken = |short, reason, field, message| Err(Broken { short, reason, field, message });
    if service.spec.service_type == ServiceType::ExternalName {
        let message = format!("Service {key} is of type ExternalName, which is not served by this version");
        return broken("ExternalName is not served", "UnsupportedValue", "name", message);
    }
    let ports = || list(service.spec.ports.iter().map(|port| port.port));
    let Some(asked) = asked else {
        let message = format!("a reference to a Service needs a port; Service {key} has {}", ports());
        return broken("backend port missing", "BackendNotFound", "port", message);
    };
    let Some(port) = served_port(&service.spec, asked) else {
        let message = match service.spec.ports.iter().find(|port| port.port == asked) {
            Some(_) => format!("port {asked} of Service {key} is not TCP; an HTTPRoute needs a TCP port"),
            None => format!("Service {key} has no port {asked}; it has {}", ports()),
        };
        return broken("backend port not found", "BackendNotFound", "port", message);
    };
    match port.app_protocol.as_deref() {
        Some(protocol @ ("kubernetes.io/h2c" | "kubernetes.io/wss" | "https")) => {
            let message = format!(
                "appProtocol {protocol} of Service {key} is not served by this version; it speaks HTTP/1.1 in the clear"
            );
            broken("backend protocol is not served", "UnsupportedProtocol", "port", message)
        }
        _ => Ok(port),
    }
}

/// The TCP port of a Service with this number.
pub(crate) fn served_port(service: &Service, number: u16) -> Option<&ServicePort> {
    service.ports.iter().find(|port| port.port == number && port.protocol == Protocol::Tcp)
}

fn slices_of(snapshot: &Snapshot) -> SlicesOf<'_> {
    let mut slices = SlicesOf::new();
    for (key, slice) in &snapshot.endpoint_slices {
        if let Some(service) = &slice.spec.service {
            slices.entry(key.sibling(&key.namespace, service)).or_default().push(slice);
        }
    }
    slices
}

/// The endpoints of a port: ready ones, or where none is ready those that serve while they terminate.
pub(crate) fn endpoints<'s>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'s EndpointSlice>,
) -> Endpoints {
    let (mut ready, mut terminating) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        let ports = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
        for number in ports.filter_map(|port| port.port) {
            for endpoint in &slice.endpoints {
                let address = SocketAddr::new(endpoint.address, number);
                if endpoint.ready {
                    ready.insert(address);
                } else if endpoint.serving && endpoint.terminating {
                    terminating.insert(address);
                }
            }
        }
    }
    let usable = if ready.is_empty() { terminating } else { ready };
    Endpoints { usable: usable.into_iter().map(Endpoint::plain).collect() }
}
