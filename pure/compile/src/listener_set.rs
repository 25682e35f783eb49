//! ListenerSets: to which Gateway each belongs, and whether that takes it. Their listeners come after the Gateway's own,
//! those of older ListenerSets first.

use std::collections::BTreeMap;

use tidegate_objects::gateway::ListenerSet;
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::gateway::OurGateway;
use crate::grants::GATEWAY_GROUP;
use crate::verdicts::Verdicts;
use crate::words::meant;
use crate::{conflict, listener};

/// Why a ListenerSet takes no part: Gateway API's reason, the field, a sentence.
type Refusal = (&'static str, &'static str, String);

/// Adds the listeners of every ListenerSet to its Gateway. What comes back are those whose Gateway is ours, taken or not.
pub(crate) fn join<'a>(
    snapshot: &'a Snapshot,
    gateways: &mut [OurGateway<'a>],
    verdicts: &mut Verdicts,
) -> BTreeMap<Key, Key> {
    let mut of_ours = BTreeMap::new();
    let ours: BTreeMap<Key, usize> = gateways
        .iter()
        .enumerate()
        .map(|(number, gateway)| (gateway.resource.key().clone(), number))
        .collect();
    let mut sets: Vec<&'a Resource<ListenerSet>> =
        snapshot.listener_sets.values().map(|set| &**set).collect();
    sets.sort_by_key(|set| set.metadata.precedence());
    for set in sets {
        let gateway = match parent(set, &ours, snapshot) {
            Ok(Some(number)) => &mut gateways[number],
            Ok(None) => {
                let message = "its parent is no Gateway of ours; the ListenerSet is left alone".to_owned();
                verdicts.warn(Kind::ListenerSet, set.key(), "NotOurs", "spec.parentRef", message);
                continue;
            }
            Err((reason, field, message)) => {
                verdicts.whole(Kind::ListenerSet, set.key(), reason, field, message);
                continue;
            }
        };
        of_ours.insert(set.key().clone(), gateway.resource.key().clone());
        if let Some(message) = refusal(gateway, set, snapshot) {
            verdicts.whole(Kind::ListenerSet, set.key(), "NotAllowed", "spec.parentRef", message);
            continue;
        }
        if verdicts.is_rejected(Kind::Gateway, gateway.resource.key()) {
            let message = format!("Gateway {} is not accepted; see its verdict", gateway.resource.key());
            verdicts.whole(Kind::ListenerSet, set.key(), "ParentNotAccepted", "spec.parentRef", message);
            continue;
        }
        let mut listeners = listener::read((Kind::ListenerSet, set.key()), &set.spec.listeners, verdicts);
        // What an earlier object has is lost first: it is no rival any more of the set's other listeners.
        let lost = conflict::behind(&gateway.listeners, &mut listeners, verdicts);
        let (lost, mut rivals): (Vec<_>, Vec<_>) =
            listeners.into_iter().partition(|listener| lost.contains(&listener.index));
        conflict::among(&mut rivals, verdicts);
        rivals.extend(lost);
        rivals.sort_by_key(|listener| listener.index);
        gateway.listeners.extend(rivals);
    }
    of_ours
}

/// The Gateway it belongs to; none when that is somebody else's.
fn parent(
    set: &Resource<ListenerSet>,
    ours: &BTreeMap<Key, usize>,
    snapshot: &Snapshot,
) -> Result<Option<usize>, Refusal> {
    let (parent, own) = (&set.spec.parent_ref, set.key());
    let kind = parent.kind.as_deref().unwrap_or(Kind::Gateway.name());
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    if Kind::find(group, kind) != Some(Kind::Gateway) {
        let message = format!("{kind} of group {group:?} takes no ListenerSet; a Gateway does");
        return Err(("Invalid", "spec.parentRef.kind", message));
    }
    let key = own.sibling(parent.namespace.as_deref().unwrap_or(&own.namespace), &parent.name);
    if let Some(number) = ours.get(&key) {
        return Ok(Some(*number));
    }
    if snapshot.gateways.contains_key(&key) {
        return Ok(None);
    }
    let names = snapshot.gateways.keys();
    let names = names.filter(|other| (&other.source, &other.namespace) == (&key.source, &key.namespace));
    let message = format!(
        "Gateway {key} does not exist; create it or correct the reference{}",
        meant(&key.name, names.map(|other| &*other.name))
    );
    Err(("ParentNotAccepted", "spec.parentRef.name", message))
}

/// Why the Gateway does not take it.
fn refusal(gateway: &OurGateway<'_>, set: &Resource<ListenerSet>, snapshot: &Snapshot) -> Option<String> {
    let (key, spec) = (gateway.resource.key(), &gateway.resource.spec);
    let Some(allowed) = &spec.allowed_listeners else {
        return Some(format!("Gateway {key} takes no ListenerSets; set allowedListeners there"));
    };
    let chosen = (allowed.namespaces.from, allowed.namespaces.selector.as_ref());
    let admitted = listener::admits(chosen, key, set.key(), snapshot);
    (!admitted).then(|| {
        format!(
            "Gateway {key} takes no ListenerSets of namespace {}; change allowedListeners there",
            set.key().namespace
        )
    })
}
