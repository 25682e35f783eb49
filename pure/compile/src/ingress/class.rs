//! Which IngressClasses are ours, and which of them an Ingress means.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tidegate_objects::gateway::GatewayAddress;
use tidegate_objects::ingress::{
    CLASS_ANNOTATION, CONTROLLER_NAME, DEFAULT_CLASS, IS_DEFAULT_CLASS, Ingress, IngressClass,
    NGINX_CONTROLLER_NAME,
};
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::verdicts::Verdicts;
use crate::words::meant;

/// The annotation of an IngressClass that says where its Ingresses are served: addresses, with commas between.
pub(super) const ADDRESSES: &str = "tidegate.dev/addresses";

/// The IngressClasses of every source.
pub(super) struct Classes<'a> {
    /// Whether each is ours.
    by_key: BTreeMap<&'a Key, bool>,
    /// The one of each source that is meant where none is named.
    default: BTreeMap<&'a str, &'a Key>,
    /// The class of ingress-nginx that is served; empty: none.
    nginx: &'a str,
}

impl<'a> Classes<'a> {
    pub fn new(snapshot: &'a Snapshot, nginx: &'a str, verdicts: &mut Verdicts) -> Self {
        let mut classes = Classes { by_key: BTreeMap::new(), default: BTreeMap::new(), nginx };
        for (key, class) in &snapshot.ingress_classes {
            let ours = classes.is_ours(class);
            classes.by_key.insert(key, ours);
            if !ours {
                let found = class.spec.controller.as_deref().unwrap_or_default();
                let message = match found == NGINX_CONTROLLER_NAME {
                    true => format!(
                        "controller {found:?} is served only for the class that ingressNginx.class of the bootstrap file names; the class is left alone"
                    ),
                    false => format!(
                        "controller is {found:?}; IngressClass {key} is not ours ({CONTROLLER_NAME}) and is left alone"
                    ),
                };
                verdicts.warn(Kind::IngressClass, key, "NotOurs", "spec.controller", message);
                continue;
            }
            if class.spec.parameters.is_some() {
                let message = format!(
                    "Tidegate has no parameters for a class; remove them (addresses are named by the annotation {ADDRESSES})"
                );
                verdicts.part(Kind::IngressClass, key, "InvalidParameters", "spec.parameters", message);
            }
        }
        classes.find_defaults(snapshot, verdicts);
        classes
    }

    fn is_ours(&self, class: &Resource<IngressClass>) -> bool {
        match class.spec.controller.as_deref() {
            Some(CONTROLLER_NAME) => true,
            Some(NGINX_CONTROLLER_NAME) => !self.nginx.is_empty() && *class.key().name == *self.nginx,
            _ => false,
        }
    }

    /// Of several default classes the oldest counts.
    fn find_defaults(&mut self, snapshot: &'a Snapshot, verdicts: &mut Verdicts) {
        let is_default = |class: &&Resource<IngressClass>| {
            class.metadata.annotations.get(IS_DEFAULT_CLASS).is_some_and(|value| value == "true")
        };
        let classes = snapshot.ingress_classes.values().map(|class| &**class);
        let mut defaults: Vec<&Resource<IngressClass>> = classes.filter(is_default).collect();
        defaults.sort_by_key(|class| class.metadata.precedence());
        for class in defaults {
            let first = *self.default.entry(&class.key().source).or_insert(class.key());
            if first != class.key() && self.by_key.get(class.key()) == Some(&true) {
                let field = format!("metadata.annotations[{IS_DEFAULT_CLASS}]");
                let message =
                    format!("IngressClass {first}, which is older, is the default class; it counts");
                verdicts.part(Kind::IngressClass, class.key(), "Conflicted", field, message);
            }
        }
    }

    /// The class of ours that an Ingress means; none: it is left alone, and told so.
    pub fn of(&self, ingress: &Resource<Ingress>, verdicts: &mut Verdicts) -> Option<Key> {
        let key = ingress.key();
        let by_annotation = ingress.metadata.annotations.get(CLASS_ANNOTATION);
        let (name, field) = match (&ingress.spec.ingress_class_name, by_annotation) {
            (Some(name), _) => (name.as_str(), "spec.ingressClassName".to_owned()),
            (None, Some(name)) => (name.as_str(), format!("metadata.annotations[{CLASS_ANNOTATION}]")),
            (None, None) => return self.unnamed(key, verdicts),
        };
        let class = key.sibling("", name);
        let ours = match self.by_key.get(&class) {
            Some(ours) => *ours,
            None => name == DEFAULT_CLASS || (!self.nginx.is_empty() && name == self.nginx),
        };
        if ours {
            return Some(class);
        }
        let message = match self.by_key.contains_key(&class) {
            true => format!("IngressClass {name} is not ours; left alone"),
            false => {
                let known = self.by_key.iter().filter(|(_, ours)| **ours).map(|(key, _)| &*key.name);
                let known = known.chain([DEFAULT_CLASS, self.nginx]).filter(|name| !name.is_empty());
                format!(
                    "IngressClass {name} is not ours; left alone. No such class exists{}; Tidegate serves the class {DEFAULT_CLASS}",
                    meant(name, known)
                )
            }
        };
        verdicts.warn(Kind::Ingress, key, "NotOurs", field, message);
        None
    }

    fn unnamed(&self, key: &Key, verdicts: &mut Verdicts) -> Option<Key> {
        let default = self.default.get(&*key.source).copied();
        if let Some(class) = default.filter(|class| self.by_key.get(class) == Some(&true)) {
            return Some(class.clone());
        }
        let message = match default {
            Some(class) => {
                format!("it names no class, and the default class {class} is not ours; left alone")
            }
            None => format!(
                "it names no class, and no IngressClass is the default ({IS_DEFAULT_CLASS}); left alone. Tidegate serves the class {DEFAULT_CLASS}"
            ),
        };
        verdicts.warn(Kind::Ingress, key, "NotOurs", "spec.ingressClassName", message);
        None
    }
}

/// The addresses that a class names.
pub(super) fn addresses(class: &Resource<IngressClass>, verdicts: &mut Verdicts) -> Vec<GatewayAddress> {
    let Some(text) = class.metadata.annotations.get(ADDRESSES) else { return Vec::new() };
    let mut addresses = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match item.parse::<IpAddr>() {
            Ok(_) => addresses
                .push(GatewayAddress { address_type: "IPAddress".into(), value: Some(item.to_owned()) }),
            Err(_) => {
                let field = format!("metadata.annotations[{ADDRESSES}]");
                let message = format!("{item:?} is no IP address; write one such as 10.0.50.10");
                verdicts.part(Kind::IngressClass, class.key(), "UnsupportedAddress", field, message);
            }
        }
    }
    addresses
}
