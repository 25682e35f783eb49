//! How the pods of a Service are reached: its source says, a Gateway may say otherwise, and the Service itself.

use tidegate_model::Machine;
use tidegate_model::traffic::EndpointMode;
use tidegate_objects::core::Service;
use tidegate_objects::{Key, Kind, Metadata, Resource, Snapshot};

use crate::verdicts::Verdicts;

/// The annotation of Gateways and Services.
const ANNOTATION: &str = "tidegate.dev/endpoint-mode";

/// How each Service is reached.
pub(crate) struct Modes<'a> {
    snapshot: &'a Snapshot,
    machine: &'a Machine,
}

impl<'a> Modes<'a> {
    /// Says of annotations what is wrong with them; these count as not written.
    pub fn new(snapshot: &'a Snapshot, machine: &'a Machine, verdicts: &mut Verdicts) -> Self {
        let gateways = snapshot.gateways.values().map(|gateway| (Kind::Gateway, &gateway.metadata));
        let services = snapshot.services.values().map(|service| (Kind::Service, &service.metadata));
        for (kind, metadata) in gateways.chain(services) {
            if let Some(Err(found)) = written(metadata) {
                let message =
                    format!("expected one of `Pod`, `NodePort`, found {found:?}, so this says nothing");
                let field = format!("metadata.annotations[{ANNOTATION}]");
                verdicts.part(kind, &metadata.key, "UnsupportedValue", field, message);
            }
        }
        Modes { snapshot, machine }
    }

    /// The machine it is asked for.
    pub fn machine(&self) -> &'a Machine {
        self.machine
    }

    /// How a Service is reached, by a Gateway or by its own addresses. A Gateway speaks for Services of its own source: it
    /// knows nothing of the ways to another cluster's pods.
    pub fn of(&self, service: &Resource<Service>, gateway: Option<&Key>) -> EndpointMode {
        let near = gateway.filter(|gateway| gateway.source == service.key().source);
        let gateway = near.and_then(|key| self.snapshot.gateways.get(key));
        let annotated = [Some(&service.metadata), gateway.map(|gateway| &gateway.metadata)];
        let annotated = annotated.into_iter().flatten().find_map(|metadata| written(metadata)?.ok());
        annotated.unwrap_or_else(|| {
            let source = &*service.key().source;
            if self.machine.node_port_sources.contains(source) {
                EndpointMode::NodePort
            } else {
                EndpointMode::Pod
            }
        })
    }
}

/// What an object's annotation says, if it has one; else what stands there.
fn written(metadata: &Metadata) -> Option<Result<EndpointMode, &str>> {
    match metadata.annotations.get(ANNOTATION)?.as_str() {
        "Pod" => Some(Ok(EndpointMode::Pod)),
        "NodePort" => Some(Ok(EndpointMode::NodePort)),
        other => Some(Err(other)),
    }
}
