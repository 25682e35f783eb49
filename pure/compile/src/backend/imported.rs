//! ServiceImports as backends: made of a cell for each source's part, and one for all of them together.

use std::sync::Arc;

use tidegate_model::traffic::{
    Backend, BackendId, BackendPolicy, EndpointCell, EndpointMode, Target, Transport,
};
use tidegate_objects::core::{Protocol, ServicePort};
use tidegate_objects::multicluster::ServiceImport;
use tidegate_objects::route::BackendObjectRef;
use tidegate_objects::{Kind, Resource};

use super::{Backends, Broken, Context, From, NODE_REPEATS, missing, protocol};
use crate::endpoints::union;
use crate::import::{Part, shown};
use crate::words::list;

impl Backends<'_> {
    /// Follows a reference to a ServiceImport. Whether any source exports something for it is no affair of the route's: without
    /// endpoints it is answered 503.
    pub(super) fn imported(
        &mut self,
        from: &From<'_>,
        to: &BackendObjectRef,
        transport: Transport,
        context: &Context<'_>,
    ) -> Result<Target, Broken> {
        let key = self.permitted(from, to, Kind::ServiceImport)?;
        let Some(import) = self.snapshot.service_imports.get(&key) else {
            let names = self.snapshot.service_imports.range(key.sibling(&key.namespace, "")..);
            return Err(missing(Kind::ServiceImport, &key, names.map(|(key, _)| key)));
        };
        let port = self.port_of(import, to.port, transport)?;
        let parts = self.exports.parts(&key, &port, self.modes);
        // One policy for all of them: whatever asks for TLS is never spoken to in the clear.
        let asked = parts.iter().find_map(|part| self.tls(part.service.key(), part.port, transport, context));
        let tls = match asked {
            Some(Ok(tls)) => Some(tls),
            Some(Err(short)) => return Ok(Target::Broken(short)),
            None => None,
        };
        let protocol = protocol(from, &key, &port, tls.is_some())?;
        let policy = self.policy_of(from, parts.first(), context);
        let policy = match parts.iter().any(|part| part.mode == EndpointMode::NodePort) {
            true => repeated(policy),
            false => policy,
        };
        let id = BackendId::of_import(key, port.port, transport);
        let endpoints = self.union_cell(&id, &parts);
        Ok(Target::Backend(self.shared(Backend { id, protocol, tls, policy, endpoints })))
    }

    /// The policy that holds, as for the Service whose export is the oldest.
    fn policy_of(
        &mut self,
        from: &From<'_>,
        oldest: Option<&Part<'_>>,
        context: &Context<'_>,
    ) -> Arc<BackendPolicy> {
        match oldest {
            Some(Part { service, port, .. }) => {
                self.policy(from, service.key(), &service.spec, port, context)
            }
            None => self.policies.of(from, None, context.through),
        }
    }

    fn port_of(
        &self,
        import: &Resource<ServiceImport>,
        asked: Option<u16>,
        transport: Transport,
    ) -> Result<ServicePort, Broken> {
        let key = import.key();
        let broken =
            |short, message| Err(Broken { short, reason: "BackendNotFound", field: "port", message });
        let ports = self.exports.ports(import);
        let numbers = || list(ports.iter().map(shown));
        let Some(asked) = asked else {
            let message =
                format!("a reference to a ServiceImport needs a port; ServiceImport {key} has {}", numbers());
            return broken("backend port missing", message);
        };
        let (wanted, word) = match transport {
            Transport::Tcp => (Protocol::Tcp, "TCP"),
            Transport::Udp => (Protocol::Udp, "UDP"),
        };
        match ports.iter().find(|port| port.port == asked && port.protocol == wanted) {
            Some(port) => Ok(port.clone()),
            // Nobody has filled it in yet, nor exports anything: so far it is without endpoints, and no mistake.
            None if ports.is_empty() => Ok(ServicePort {
                name: String::new(),
                port: asked,
                protocol: wanted,
                node_port: None,
                target_port: None,
                app_protocol: None,
            }),
            None => {
                let message = format!("ServiceImport {key} has no {word} port {asked}; it has {}", numbers());
                broken("backend port not found", message)
            }
        }
    }

    /// The cell of all parts together, and one for each.
    fn union_cell(&mut self, id: &BackendId, parts: &[Part<'_>]) -> Arc<EndpointCell> {
        if let Some(cell) = self.cells.get(id) {
            return Arc::clone(cell);
        }
        let (mut ids, mut cells) = (Vec::new(), Vec::new());
        for part in parts {
            let key = part.service.key().clone();
            let of_part = BackendId::of_service(key, part.port.port, id.transport, part.mode);
            cells.push(self.cell(&of_part, part.service, part.port));
            ids.push(of_part);
        }
        self.unions.insert(id.clone(), ids);
        let endpoints = union(cells.iter());
        let cell = match self.previous.get(id) {
            Some(cell) => {
                cell.store(endpoints);
                Arc::clone(cell)
            }
            None => Arc::new(EndpointCell::new(endpoints)),
        };
        self.cells.insert(id.clone(), Arc::clone(&cell));
        cell
    }
}

/// The policy, with repeats where it says nothing of them: the next connection to a node leads to another pod. Nodes are not
/// asked whether they have pods, as endpoints that are none may be among them.
fn repeated(policy: Arc<BackendPolicy>) -> Arc<BackendPolicy> {
    if policy.retry.is_some() {
        return policy;
    }
    Arc::new(BackendPolicy { retry: Some(NODE_REPEATS), ..(*policy).clone() })
}
