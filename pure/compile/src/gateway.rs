//! Which Gateways are ours (by class), and what of their `spec` beside listeners and addresses is understood.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tidegate_model::traffic::Certificate;
use tidegate_objects::gateway::{CONTROLLER_NAME, DEFAULT_CLASS, Gateway, Infrastructure};
use tidegate_objects::route::DefaultScope;
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::listener::Listener;
use crate::place::Place;
use crate::verdicts::Verdicts;
use crate::words::meant;

/// A Gateway of ours.
pub(crate) struct OurGateway<'a> {
    pub resource: &'a Resource<Gateway>,
    /// It stands for the Ingresses of this class, and is nobody's object.
    pub ingress_class: Option<&'a Key>,
    /// Every listener as written, those that are refused included: its own, then those of ListenerSets.
    pub listeners: Vec<Listener<'a>>,
    /// Where it listens.
    pub places: Vec<Place>,
    /// The address that a pool gave to it.
    pub given: Option<IpAddr>,
    /// What it shows to backends.
    pub certificate: Option<Arc<Certificate>>,
}

impl<'a> OurGateway<'a> {
    /// The object that is told what becomes of it as a whole.
    pub fn owner(&self) -> (Kind, &'a Key) {
        self.ingress_class.map_or((Kind::Gateway, self.resource.key()), |class| (Kind::IngressClass, class))
    }
}

/// What a Gateway is to us.
pub(crate) enum Ownership {
    Ours,
    /// Another implementation's, or nobody's: left alone.
    Foreign,
}

/// Which classes are ours, by source.
pub(crate) struct Classes<'a> {
    by_key: BTreeMap<&'a Key, bool>,
}

impl<'a> Classes<'a> {
    pub fn new(snapshot: &'a Snapshot, verdicts: &mut Verdicts) -> Self {
        let mut by_key = BTreeMap::new();
        for (key, class) in &snapshot.gateway_classes {
            let ours = class.spec.controller_name == CONTROLLER_NAME;
            if !ours {
                let message = format!(
                    "controllerName is {:?}; GatewayClass {key} is not ours ({CONTROLLER_NAME}) and is left alone",
                    class.spec.controller_name
                );
                verdicts.warn(Kind::GatewayClass, key, "NotOurs", "spec.controllerName", message);
            } else if class.spec.parameters_ref.is_some() {
                let message = "Tidegate has no parameters for a class; remove parametersRef".to_owned();
                verdicts.part(Kind::GatewayClass, key, "InvalidParameters", "spec.parametersRef", message);
            }
            by_key.insert(key, ours);
        }
        Classes { by_key }
    }

    /// Whether a Gateway is ours. The class `tidegate` needs no object.
    pub fn ownership(&self, gateway: &Resource<Gateway>) -> Ownership {
        let name = gateway.spec.gateway_class_name.as_str();
        let ours = match self.by_key.get(&gateway.key().sibling("", name)) {
            Some(ours) => *ours,
            None => name == DEFAULT_CLASS,
        };
        if ours { Ownership::Ours } else { Ownership::Foreign }
    }

    fn note_foreign(&self, gateway: &Resource<Gateway>, verdicts: &mut Verdicts) {
        let name = gateway.spec.gateway_class_name.as_str();
        let known = self.by_key.contains_key(&gateway.key().sibling("", name));
        let message = if known {
            format!("GatewayClass {name} is not ours; left alone")
        } else {
            let ours = self.by_key.iter().filter(|(_, ours)| **ours).map(|(key, _)| &*key.name);
            format!(
                "GatewayClass {name} is not ours; left alone. No such class exists{}; Tidegate serves the class {DEFAULT_CLASS}",
                meant(name, ours.chain([DEFAULT_CLASS]))
            )
        };
        verdicts.warn(Kind::Gateway, gateway.key(), "NotOurs", "spec.gatewayClassName", message);
    }
}

/// Our Gateways, older first; listeners are read, addresses are not given yet.
pub(crate) fn ours<'a>(
    snapshot: &'a Snapshot,
    classes: &Classes<'_>,
    verdicts: &mut Verdicts,
) -> Vec<OurGateway<'a>> {
    let mut gateways = Vec::new();
    for resource in snapshot.gateways.values() {
        match classes.ownership(resource) {
            Ownership::Ours => {
                let owner = (Kind::Gateway, resource.key());
                let mut listeners = crate::listener::read(owner, &resource.spec.listeners, verdicts);
                crate::conflict::among(&mut listeners, verdicts);
                if note_unserved(resource, verdicts) == Served::Nothing {
                    listeners.iter_mut().for_each(|listener| listener.sound = false);
                }
                gateways.push(OurGateway {
                    resource,
                    ingress_class: None,
                    listeners,
                    places: Vec::new(),
                    given: None,
                    certificate: None,
                });
            }
            Ownership::Foreign => classes.note_foreign(resource, verdicts),
        }
    }
    gateways.sort_by_key(|gateway| gateway.resource.metadata.precedence());
    gateways
}

/// What of a Gateway can be served, listeners aside.
#[derive(PartialEq, Eq)]
enum Served {
    Everything,
    Nothing,
}

fn note_unserved(gateway: &Resource<Gateway>, verdicts: &mut Verdicts) -> Served {
    let (spec, key) = (&gateway.spec, gateway.key());
    let mut served = Served::Everything;
    let marks = |asked: &Infrastructure| !asked.labels.is_empty() || !asked.annotations.is_empty();
    // What an API server holds is dated.
    let from_directory = gateway.metadata.created_secs == i64::MAX;
    if from_directory && spec.infrastructure.as_ref().is_some_and(marks) {
        let message =
            "labels and annotations are for what is made for a Gateway in a cluster; where objects come from a directory nothing is made"
                .to_owned();
        verdicts.warn(Kind::Gateway, key, "NoEffect", "spec.infrastructure", message);
    }
    if let Some(asked) = spec.infrastructure.as_ref().and_then(|asked| asked.parameters_ref.as_ref()) {
        let message = format!(
            "{} of group {:?} says nothing to Tidegate, which has no parameters for a Gateway; remove parametersRef",
            asked.kind, asked.group
        );
        verdicts.whole(Kind::Gateway, key, "InvalidParameters", "spec.infrastructure.parametersRef", message);
        served = Served::Nothing;
    }
    if spec.default_scope == Some(DefaultScope::All) {
        verdicts.not_served(
            Kind::Gateway,
            key,
            "spec.defaultScope",
            "only routes that name this Gateway attach",
        );
    }
    served
}
