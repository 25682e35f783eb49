//! To which listeners a route attaches, and for which hosts; the same for routes of every kind.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_model::standing::{ListenerRef, ParentStanding};
use tidegate_model::traffic::HostPattern;
use tidegate_objects::route::{DefaultScope, ParentRef};
use tidegate_objects::{Key, Kind, Snapshot};

use crate::entrance::ListenerId;
use crate::gateway::OurGateway;
use crate::grants::GATEWAY_GROUP;
use crate::listener::{Listener, parse_hostname};
use crate::standing::listener_ref;
use crate::verdicts::Verdicts;
use crate::words::{list, meant};

/// What of a route is about attachment.
#[derive(Clone, Copy)]
pub(crate) struct Route<'r> {
    pub kind: Kind,
    pub key: &'r Key,
    pub parents: &'r [ParentRef],
    /// Empty for kinds that have none.
    pub hostnames: &'r [String],
    pub default_gateways: Option<DefaultScope>,
}

/// Listeners that a route attaches to, with the hosts it serves there; without any: all of the listener.
pub(crate) type Found = BTreeMap<ListenerId, Vec<HostPattern>>;

/// Why a parent does not take a route: Gateway API's reason, the field below the parent, a sentence.
type Refusal = (&'static str, &'static str, String);

/// Where a route attaches, and what it is to each of its parents.
#[derive(Default)]
pub(crate) struct Reach {
    /// Listeners that are served; empty when there is nothing to serve.
    pub found: Found,
    /// One of ours takes it, but none of its listeners there is served: what it refers to is followed all the same, so
    /// that its status says everything.
    pub unserved: Option<usize>,
    /// One for each parent, in their order.
    pub parents: Vec<ParentStanding>,
}

impl Reach {
    /// Takes a listener away from the route, because of another one; a parent without listeners left refuses it.
    pub fn lose(&mut self, id: ListenerId, listener: &ListenerRef, reason: &'static str, message: &str) {
        self.found.remove(&id);
        for parent in &mut self.parents {
            if let ParentStanding::Attached(listeners) = parent {
                listeners.retain(|other| other != listener);
                if listeners.is_empty() {
                    *parent = ParentStanding::Refused { reason, message: message.to_owned() };
                }
            }
        }
    }
}

/// All that routes may attach to.
pub(crate) struct Parents<'a> {
    snapshot: &'a Snapshot,
    gateways: &'a [OurGateway<'a>],
    /// Our Gateways, and the ListenerSets that one of them took: the Gateway's place.
    ours: BTreeMap<(Kind, &'a Key), usize>,
}

impl<'a> Parents<'a> {
    pub fn new(snapshot: &'a Snapshot, gateways: &'a [OurGateway<'a>]) -> Self {
        let mut ours = BTreeMap::new();
        for (number, gateway) in gateways.iter().enumerate() {
            // No route attaches to what stands for Ingresses.
            if gateway.ingress_class.is_some() {
                continue;
            }
            ours.insert((Kind::Gateway, gateway.resource.key()), number);
            ours.extend(gateway.listeners.iter().map(|listener| (listener.owner, number)));
        }
        Parents { snapshot, gateways, ours }
    }

    pub fn gateway(&self, number: usize) -> Option<&'a OurGateway<'a>> {
        self.gateways.get(number)
    }

    /// The hosts that a listener serves; none: all.
    pub fn hostname(&self, (gateway, place): ListenerId) -> Option<&'a HostPattern> {
        self.gateways.get(gateway)?.listeners.get(place)?.hostname.as_ref()
    }

    /// Whether TLS ends at a listener.
    pub fn ends_tls(&self, (gateway, place): ListenerId) -> bool {
        let listener = self.gateways.get(gateway).and_then(|gateway| gateway.listeners.get(place));
        listener.is_some_and(|listener| listener.tls.is_some())
    }

    /// What a listener is called.
    pub fn name(&self, (gateway, place): ListenerId) -> String {
        let Some(gateway) = self.gateways.get(gateway) else { return String::new() };
        let section = gateway.listeners.get(place).map(Listener::section).unwrap_or_default();
        format!("{}/{section}", gateway.resource.key())
    }

    /// What standing calls a listener.
    pub fn listener_ref(&self, id: ListenerId) -> Option<ListenerRef> {
        listener_ref(self.gateways, id)
    }

    /// Where the route attaches.
    pub fn find(&self, route: &Route<'_>, verdicts: &mut Verdicts) -> Reach {
        let Some(hostnames) = hostnames(route, verdicts) else {
            let refused = |parent| match self.is_ours(route, parent) {
                true => ParentStanding::Refused {
                    reason: "UnsupportedValue",
                    message: "spec.hostnames: none of the hostnames can be served".to_owned(),
                },
                false => ParentStanding::Foreign,
            };
            return Reach { parents: route.parents.iter().map(refused).collect(), ..Reach::default() };
        };
        if route.default_gateways == Some(DefaultScope::All) {
            let consequence = "the route attaches only to the parents it names";
            verdicts.not_served(route.kind, route.key, "spec.useDefaultGateways", consequence);
        }
        let (mut reach, mut foreign) = (Reach::default(), 0);
        let mut refusals = Vec::new();
        for (index, parent) in route.parents.iter().enumerate() {
            let mut refuse = |(reason, field, message): Refusal| {
                let dot = if field.is_empty() { "" } else { "." };
                refusals.push((reason, format!("spec.parentRefs[{index}]{dot}{field}"), message));
            };
            reach.parents.push(match self.parent(route, parent, &hostnames) {
                Ok(Some(listeners)) => {
                    let attached = listeners.keys().filter_map(|id| self.listener_ref(*id)).collect();
                    let gateway = listeners.keys().next().map(|id| id.0);
                    let served: Found = listeners.into_iter().filter(|(id, _)| self.is_served(*id)).collect();
                    if served.is_empty() {
                        reach.unserved = reach.unserved.or(gateway);
                        refuse(self.unserved(route, parent));
                    }
                    reach.found.extend(served);
                    ParentStanding::Attached(attached)
                }
                Ok(None) => {
                    foreign += 1;
                    ParentStanding::Foreign
                }
                Err((reason, field, message)) => {
                    refuse((reason, field, message.clone()));
                    match self.is_ours(route, parent) {
                        true => ParentStanding::Refused { reason, message },
                        // What does not exist has no controller that could tell the route.
                        false => ParentStanding::Foreign,
                    }
                }
            });
        }
        note(route, !reach.found.is_empty(), foreign, refusals, verdicts);
        if !reach.found.is_empty() {
            reach.unserved = None;
        }
        reach
    }

    fn is_served(&self, (gateway, place): ListenerId) -> bool {
        let listener = self.gateways.get(gateway).and_then(|gateway| gateway.listeners.get(place));
        listener.is_some_and(|listener| listener.sound)
    }

    fn unserved(&self, route: &Route<'_>, parent: &ParentRef) -> Refusal {
        let kind = parent.kind.as_deref().unwrap_or(Kind::Gateway.name());
        let namespace = parent.namespace.as_deref().unwrap_or(&route.key.namespace);
        let key = route.key.sibling(namespace, &parent.name);
        let message = format!("the listeners meant here are not served; see {kind} {key} for the reason");
        ("NoMatchingParent", "", message)
    }

    /// Whether a parent is a Gateway of ours, or a ListenerSet of one.
    fn is_ours(&self, route: &Route<'_>, parent: &ParentRef) -> bool {
        let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let kind = Kind::find(group, parent.kind.as_deref().unwrap_or(Kind::Gateway.name()));
        let namespace = parent.namespace.as_deref().unwrap_or(&route.key.namespace);
        let key = route.key.sibling(namespace, &parent.name);
        kind.is_some_and(|kind| self.ours.contains_key(&(kind, &key)))
    }

    /// The listeners of a parent that take the route, served or not; none when the parent is somebody else's.
    fn parent(
        &self,
        route: &Route<'_>,
        parent: &ParentRef,
        hostnames: &[HostPattern],
    ) -> Result<Option<Found>, Refusal> {
        let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let kind = parent.kind.as_deref().unwrap_or(Kind::Gateway.name());
        let kind = match Kind::find(group, kind) {
            Some(kind @ (Kind::Gateway | Kind::ListenerSet)) => kind,
            _ => return Ok(None),
        };
        let namespace = parent.namespace.as_deref().unwrap_or(&route.key.namespace);
        let key = route.key.sibling(namespace, &parent.name);
        let Some(number) = self.ours.get(&(kind, &key)) else { return self.stranger(kind, &key) };
        let Some(gateway) = self.gateways.get(*number) else { return Ok(None) };
        let named = named_listeners((kind, &key), gateway, parent)?;
        self.narrow(route, (kind, &key), *number, named, hostnames).map(Some)
    }

    /// A parent that is not one of ours.
    fn stranger(&self, kind: Kind, key: &Key) -> Result<Option<Found>, Refusal> {
        let names: Vec<&Key> = match kind {
            Kind::ListenerSet => {
                if let Some(set) = self.snapshot.listener_sets.get(key) {
                    let parent = &set.spec.parent_ref;
                    let gateway =
                        key.sibling(parent.namespace.as_deref().unwrap_or(&key.namespace), &parent.name);
                    let ours = self.ours.contains_key(&(Kind::Gateway, &gateway));
                    if !ours && self.snapshot.gateways.contains_key(&gateway) {
                        return Ok(None);
                    }
                    let message =
                        format!("ListenerSet {key} is part of no Gateway; see its verdict for the reason");
                    return Err(("NoMatchingParent", "name", message));
                }
                self.snapshot.listener_sets.keys().collect()
            }
            _ if self.snapshot.gateways.contains_key(key) => return Ok(None),
            _ => self.snapshot.gateways.keys().collect(),
        };
        let alike = names
            .into_iter()
            .filter(|other| (&other.source, &other.namespace) == (&key.source, &key.namespace));
        let message = format!(
            "{kind} {key} does not exist; create it or correct the reference{}",
            meant(&key.name, alike.map(|other| &*other.name))
        );
        Err(("NoMatchingParent", "name", message))
    }

    fn narrow(
        &self,
        route: &Route<'_>,
        (kind, key): (Kind, &Key),
        number: usize,
        listeners: Vec<(usize, &Listener<'_>)>,
        hostnames: &[HostPattern],
    ) -> Result<Found, Refusal> {
        let admitting = |listener: &Listener<'_>| {
            listener.kinds.contains(&route.kind) && listener.admits(route.key, self.snapshot)
        };
        let allowed: Vec<_> = listeners.into_iter().filter(|(_, listener)| admitting(listener)).collect();
        if allowed.is_empty() {
            let message = format!(
                "no listener of {kind} {key} takes {}s of namespace {}; change protocol or allowedRoutes there",
                route.kind, route.key.namespace
            );
            return Err(("NotAllowedByListeners", "", message));
        }
        let common = |listener: &Listener<'_>| common_hosts(hostnames, listener.hostname.as_ref());
        let found: Found = allowed
            .iter()
            .filter_map(|(place, listener)| Some(((number, *place), common(listener)?)))
            .collect();
        if found.is_empty() {
            let theirs = allowed.iter().filter_map(|(_, listener)| listener.hostname.as_ref());
            let message = format!(
                "the route serves {}, but the listeners of {kind} {key} serve {}; they have no host in common",
                list(hostnames),
                list(theirs)
            );
            return Err(("NoMatchingListenerHostname", "", message));
        }
        Ok(found)
    }
}

fn note(
    route: &Route<'_>,
    attached: bool,
    foreign: usize,
    refusals: Vec<(&'static str, String, String)>,
    verdicts: &mut Verdicts,
) {
    let (kind, key) = (route.kind, route.key);
    if route.parents.is_empty() {
        let message =
            "the route names no parent, so nothing serves it; add a Gateway to spec.parentRefs".to_owned();
        verdicts.whole(kind, key, "NoMatchingParent", "spec.parentRefs", message);
    }
    let all_refused = !attached && foreign == 0;
    for (reason, field, message) in refusals {
        match all_refused {
            true => verdicts.whole(kind, key, reason, field, message),
            false => verdicts.part(kind, key, reason, field, message),
        }
    }
    if !attached && foreign > 0 {
        let message = "no parent is a Gateway of ours; the route is left alone".to_owned();
        verdicts.warn(kind, key, "NotOurs", "spec.parentRefs", message);
    }
}

fn hostnames(route: &Route<'_>, verdicts: &mut Verdicts) -> Option<Vec<HostPattern>> {
    let (kind, key) = (route.kind, route.key);
    let mut patterns = BTreeSet::new();
    for (index, text) in route.hostnames.iter().enumerate() {
        match parse_hostname(text) {
            Ok(pattern) => {
                patterns.insert(pattern);
            }
            Err(message) => {
                let field = format!("spec.hostnames[{index}]");
                verdicts.part(kind, key, "UnsupportedValue", field, message);
            }
        }
    }
    if patterns.is_empty() && !route.hostnames.is_empty() {
        // Without any host left the route would serve every host, which nobody asked for.
        let message = "none of the hostnames can be served".to_owned();
        verdicts.whole(kind, key, "UnsupportedValue", "spec.hostnames", message);
        return None;
    }
    Some(patterns.into_iter().collect())
}

/// The listeners that a parentRef means, before their own rules are asked.
fn named_listeners<'g>(
    (kind, key): (Kind, &Key),
    gateway: &'g OurGateway<'_>,
    parent: &ParentRef,
) -> Result<Vec<(usize, &'g Listener<'g>)>, Refusal> {
    let own: Vec<_> =
        gateway.listeners.iter().enumerate().filter(|(_, listener)| listener.owner == (kind, key)).collect();
    let meant_here = |listener: &Listener<'_>| {
        parent.section_name.as_deref().is_none_or(|name| name == listener.spec.name)
            && parent.port.is_none_or(|port| port == listener.spec.port)
    };
    let named: Vec<_> = own.iter().filter(|(_, listener)| meant_here(listener)).copied().collect();
    let names = || own.iter().map(|(_, listener)| listener.spec.name.as_str());
    if named.is_empty() {
        let (field, what) = match (&parent.section_name, parent.port) {
            (Some(name), None) => ("sectionName", format!("no listener {name:?}{}", meant(name, names()))),
            (Some(name), Some(port)) => ("sectionName", format!("no listener {name:?} on port {port}")),
            (None, Some(port)) => ("port", format!("no listener on port {port}")),
            (None, None) => ("", "no listener".to_owned()),
        };
        let message = format!("{kind} {key} has {what}; it has {}", list(names()));
        return Err(("NoMatchingParent", field, message));
    }
    Ok(named)
}

/// The hosts that a route and a listener have in common; none if there are none, empty if both serve every host or the
/// route leaves the choice to the listener.
fn common_hosts(route: &[HostPattern], listener: Option<&HostPattern>) -> Option<Vec<HostPattern>> {
    let Some(listener) = listener else { return Some(route.to_vec()) };
    if route.is_empty() {
        return Some(Vec::new());
    }
    let common: BTreeSet<_> = route.iter().filter_map(|host| host.intersect(listener)).collect();
    (!common.is_empty()).then(|| common.into_iter().collect())
}
