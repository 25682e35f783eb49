//! ServiceImports (KEP-1645): the Services of one namespace and name that sources export, as one. A namespace is the same in
//! every source. Where Services differ about what is common to them, the oldest export counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_model::traffic::{EndpointMode, Transport};
use tidegate_objects::core::{Protocol, Service, ServicePort, ServiceType};
use tidegate_objects::multicluster::{ImportPort, ServiceExport, ServiceImport};
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::endpoint_mode::Modes;
use crate::outside::listed_port;
use crate::verdicts::Verdicts;

/// Namespace and name.
type Name = (Arc<str>, Arc<str>);

/// The Services that are exported, by namespace and name; of each name those with the older export first.
pub(crate) struct Exports<'a>(BTreeMap<Name, Vec<&'a Resource<Service>>>);

/// A Service exported that has a port of an import, and how it is reached.
pub(crate) struct Part<'a> {
    pub service: &'a Resource<Service>,
    pub port: &'a ServicePort,
    pub mode: EndpointMode,
}

impl<'a> Exports<'a> {
    /// Says of exports what is wrong with them; and of imports that nothing is exported for them.
    pub fn new(snapshot: &'a Snapshot, modes: &Modes<'_>, verdicts: &mut Verdicts) -> Self {
        let mut exports: Vec<&'a Resource<ServiceExport>> =
            snapshot.service_exports.values().map(|export| &**export).collect();
        exports.sort_by_key(|export| export.metadata.precedence());
        let mut found: BTreeMap<Name, Vec<&'a Resource<Service>>> = BTreeMap::new();
        for export in exports {
            let key = export.key();
            match exported(snapshot, key) {
                Ok(service) => {
                    let known = found.entry(name(key)).or_default();
                    note_conflicts(service, known, verdicts);
                    note_unreachable(service, modes, verdicts);
                    known.push(service);
                }
                Err((reason, message)) => {
                    verdicts.whole(Kind::ServiceExport, key, reason, "metadata.name", message);
                }
            }
        }
        for key in snapshot.service_imports.keys() {
            if !found.contains_key(&name(key)) {
                let message = format!(
                    "no source exports a Service {key}, so it has no endpoints; add a ServiceExport of that name beside the Service"
                );
                verdicts.warn(Kind::ServiceImport, key, "NoExport", "metadata.name", message);
            }
        }
        Exports(found)
    }

    /// The ports of an import: its own, or where nobody has filled them in those of all Services exported.
    pub fn ports(&self, import: &Resource<ServiceImport>) -> Vec<ServicePort> {
        if !import.spec.ports.is_empty() {
            return import.spec.ports.iter().map(written).collect();
        }
        let mut ports: Vec<ServicePort> = Vec::new();
        for port in self.services(import.key()).iter().flat_map(|service| &service.spec.ports) {
            if !ports.iter().any(|known| is_same(known, port)) {
                ports.push(ServicePort { node_port: None, ..port.clone() });
            }
        }
        ports
    }

    /// The Services that have a port of an import, and can be reached there; those with the older export first.
    pub fn parts(&self, import: &Key, port: &ServicePort, modes: &Modes<'_>) -> Vec<Part<'a>> {
        let parts = self.services(import).iter().copied().filter_map(|service| {
            let part = Part { service, port: own(&service.spec, port)?, mode: modes.of(service, None) };
            (part.mode == EndpointMode::Pod || part.port.node_port.is_some()).then_some(part)
        });
        parts.collect()
    }

    fn services(&self, import: &Key) -> &[&'a Resource<Service>] {
        self.0.get(&name(import)).map_or(&[], Vec::as_slice)
    }
}

fn name(key: &Key) -> Name {
    (Arc::clone(&key.namespace), Arc::clone(&key.name))
}

/// The Service of an export, or why there is none.
fn exported<'a>(snapshot: &'a Snapshot, key: &Key) -> Result<&'a Resource<Service>, (&'static str, String)> {
    match snapshot.services.get(key) {
        None => Err(("NoService", format!("there is no Service {key}; create it or correct the name"))),
        Some(service) if service.spec.service_type == ServiceType::ExternalName => {
            let message = format!(
                "Service {key} is of type ExternalName, which is no Service of this cluster to export; export one with pods"
            );
            Err(("InvalidServiceType", message))
        }
        Some(service) => Ok(service),
    }
}

/// What the API says of conflicts: the oldest export counts, and the others are told.
fn note_conflicts(service: &Resource<Service>, older: &[&Resource<Service>], verdicts: &mut Verdicts) {
    let ports = |service: &'_ Resource<Service>| service.spec.ports.clone();
    for (index, port) in service.spec.ports.iter().enumerate() {
        let differs = |known: &ServicePort| {
            is_same(known, port)
                && (known.port, known.protocol, &known.name, &known.app_protocol)
                    != (port.port, port.protocol, &port.name, &port.app_protocol)
        };
        let other =
            older.iter().find_map(|older| Some((*older, ports(older).into_iter().find(|it| differs(it))?)));
        if let Some((older, known)) = other {
            let message = format!(
                "port {} of this Service (spec.ports[{index}]) is {} in source {}, whose export is older and counts; make them alike",
                shown(port),
                shown(&known),
                older.key().source
            );
            verdicts.warn(Kind::ServiceExport, service.key(), "Conflict", "metadata.name", message);
        }
    }
}

/// A Service whose nodes are to be asked, and have no port for it.
fn note_unreachable(service: &Resource<Service>, modes: &Modes<'_>, verdicts: &mut Verdicts) {
    let key = service.key();
    let without = service.spec.ports.iter().find(|port| port.node_port.is_none());
    if let (EndpointMode::NodePort, Some(port)) = (modes.of(service, None), without) {
        let message = format!(
            "port {} has no nodePort, and pods of source {} are to be reached by it, so this source adds no endpoint there; make the Service one of type NodePort",
            shown(port),
            key.source
        );
        verdicts.part(Kind::ServiceExport, key, "UnsupportedValue", "metadata.name", message);
    }
}

/// A port for people: `80/TCP named "http"`.
pub(crate) fn shown(port: &ServicePort) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    };
    let name = if port.name.is_empty() { String::new() } else { format!(" named {:?}", port.name) };
    let spoken = port.app_protocol.as_ref().map(|spoken| format!(" with appProtocol {spoken}"));
    format!("{}/{protocol}{name}{}", port.port, spoken.unwrap_or_default())
}

/// Whether two ports of Services of one name are the same: they have one name, or one number.
fn is_same(a: &ServicePort, b: &ServicePort) -> bool {
    let named = !a.name.is_empty() && a.name == b.name;
    named || (a.port, a.protocol) == (b.port, b.protocol)
}

/// A Service's own port that is the same as an import's: by name, else by number.
fn own<'s>(service: &'s Service, port: &ServicePort) -> Option<&'s ServicePort> {
    let transport = match port.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => return None,
    };
    let named = service
        .ports
        .iter()
        .find(|own| !port.name.is_empty() && own.name == port.name && own.protocol == port.protocol);
    named.or_else(|| listed_port(service, port.port, transport))
}

fn written(port: &ImportPort) -> ServicePort {
    ServicePort {
        name: port.name.clone(),
        port: port.port,
        protocol: port.protocol.into(),
        target_port: None,
        node_port: None,
        app_protocol: port.app_protocol.clone(),
    }
}
