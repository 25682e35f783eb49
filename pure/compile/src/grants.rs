//! ReferenceGrants: who may refer to what across namespaces.

use std::collections::BTreeMap;

use tidegate_objects::gateway::GrantTo;
use tidegate_objects::{Key, Kind, Snapshot};

/// Group of Gateway API's kinds.
pub(crate) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Grants by (source, namespace granting, namespace granted).
pub(crate) struct Grants<'a>(BTreeMap<(&'a str, &'a str, &'a str), Vec<&'a GrantTo>>);

impl<'a> Grants<'a> {
    /// Grants for HTTPRoutes; those for other kinds concern others.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut grants: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, grant) in &snapshot.reference_grants {
            for from in &grant.spec.from {
                if from.group == GATEWAY_GROUP && from.kind == Kind::HTTPRoute.name() {
                    let place = (&*key.source, &*key.namespace, from.namespace.as_str());
                    grants.entry(place).or_default().extend(&grant.spec.to);
                }
            }
        }
        Grants(grants)
    }

    /// Whether an HTTPRoute may refer to a Service.
    pub fn allow(&self, route: &Key, service: &Key) -> bool {
        route.namespace == service.namespace
            || self.0.get(&(&*service.source, &*service.namespace, &*route.namespace)).is_some_and(|to| {
                to.iter().any(|to| {
                    to.group.is_empty()
                        && to.kind == Kind::Service.name()
                        && to.name.as_deref().is_none_or(|name| name == &*service.name)
                })
            })
    }
}
