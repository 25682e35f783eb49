//! ClusterServices: Services of other sources, for routes to name as backends. What such a Service's owner allows stands beside
//! it, as a ReferenceGrant for ClusterServices: one for routes speaks of routes of its own source.

use std::collections::BTreeSet;

use tidegate_model::Machine;
use tidegate_objects::core::Service;
use tidegate_objects::ours::ClusterService;
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::grants::Grants;
use crate::verdicts::Verdicts;
use crate::words::{list, meant};

/// Why one leads nowhere: a reason, a field of it, a sentence.
pub(crate) struct Lost {
    pub reason: &'static str,
    pub field: &'static str,
    pub message: String,
    /// Nobody has said which sources there are, so that nobody is to blame.
    pub unseen: bool,
}

/// The Service that a ClusterService stands for.
pub(crate) fn service<'a>(
    snapshot: &'a Snapshot,
    machine: &Machine,
    grants: &Grants<'_>,
    from: &Resource<ClusterService>,
) -> Result<(Key, &'a Resource<Service>), Lost> {
    let ClusterService { source, namespace, service } = &from.spec;
    let lost = |reason, field, message| Lost { reason, field, message, unseen: false };
    let key = Key::new(source, namespace, service);
    let is_known = machine.sources.contains(source) || **source == *from.key().source;
    if !is_known && machine.sources.is_empty() {
        let message = format!("the objects of source {source} are not looked at here, nor is Service {key}");
        return Err(Lost { unseen: true, ..lost("NotLookedAt", "spec.source", message) });
    }
    if !is_known {
        let message = format!(
            "this gateway reads no source named {source:?}{}; it reads {}",
            meant(source, machine.sources.iter().map(String::as_str)),
            list(&machine.sources)
        );
        return Err(lost("BackendNotFound", "spec.source", message));
    }
    if !grants.allow((Kind::ClusterService, from.key()), (Kind::Service, &key)) {
        let message = format!(
            "Service {key} of source {source} is in another namespace and no ReferenceGrant there allows this; add one in namespace {namespace} of source {source} from ClusterService (group tidegate.dev) in namespace {} to Service",
            from.key().namespace
        );
        return Err(lost("RefNotPermitted", "spec.namespace", message));
    }
    snapshot.services.get(&key).map(|found| (key.clone(), &**found)).ok_or_else(|| {
        let names = siblings(snapshot, &key);
        let message = format!(
            "source {source} has no Service {key}; create it there or correct the name{}",
            meant(service, names.iter().map(|name| &**name))
        );
        lost("BackendNotFound", "spec.service", message)
    })
}

/// The names of the Services in the namespace of this one.
fn siblings<'s>(snapshot: &'s Snapshot, key: &Key) -> BTreeSet<&'s str> {
    let from = snapshot.services.range(key.sibling(&key.namespace, "")..).map(|(key, _)| key);
    let near = from.take_while(|other| other.source == key.source && other.namespace == key.namespace);
    near.map(|key| &*key.name).collect()
}

/// Says of each that leads nowhere why.
pub(crate) fn note_mistakes(
    snapshot: &Snapshot,
    machine: &Machine,
    grants: &Grants<'_>,
    verdicts: &mut Verdicts,
) {
    for (key, object) in &snapshot.cluster_services {
        match service(snapshot, machine, grants, object) {
            Ok(_) => {}
            Err(Lost { reason, field, message, unseen: true }) => {
                verdicts.warn(Kind::ClusterService, key, reason, field, message);
            }
            Err(Lost { reason, field, message, .. }) => {
                verdicts.whole(Kind::ClusterService, key, reason, field, message);
            }
        }
    }
}
