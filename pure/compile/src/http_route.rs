//! HTTPRoutes: to which listeners they attach, and for which hosts. What they do is in [`http_rule`](crate::http_rule).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_model::traffic::{HostPattern, HttpRoute, RouteKind};
use tidegate_objects::route::{HttpRoute as Spec, ParentRef};
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::backend::Backends;
use crate::entrance::Attached;
use crate::gateway::OurGateway;
use crate::grants::GATEWAY_GROUP;
use crate::listener::{Listener, parse_hostname};
use crate::verdicts::Verdicts;
use crate::words::{asks, list, meant};

/// Attaches every HTTPRoute, in order of precedence.
pub(crate) fn attach(
    snapshot: &Snapshot,
    gateways: &[OurGateway<'_>],
    backends: &mut Backends<'_>,
    verdicts: &mut Verdicts,
) -> Attached {
    let ours: BTreeMap<&Key, usize> =
        gateways.iter().enumerate().map(|(number, gateway)| (gateway.resource.key(), number)).collect();
    let mut routes: Vec<_> = snapshot.http_routes.values().collect();
    routes.sort_by_key(|route| route.metadata.precedence());
    let mut attached = Attached::new();
    for route in routes {
        let mut attach = Attach { snapshot, gateways, ours: &ours, route, verdicts };
        let Some(found) = attach.parents() else { continue };
        let rules = crate::http_rule::build(route, backends, verdicts);
        if rules.is_empty() {
            continue;
        }
        for (id, hostnames) in found {
            let rules = rules.clone();
            let route = HttpRoute { name: route.key().clone(), kind: RouteKind::Http, hostnames, rules };
            attached.entry(id).or_default().push(Arc::new(route));
        }
    }
    attached
}

struct Attach<'a, 'b> {
    snapshot: &'a Snapshot,
    gateways: &'a [OurGateway<'a>],
    ours: &'a BTreeMap<&'a Key, usize>,
    route: &'a Resource<Spec>,
    verdicts: &'b mut Verdicts,
}

/// Listeners that a route attaches to, with the hosts it serves there.
type Found = BTreeMap<(usize, usize), Vec<HostPattern>>;

/// Why a parent does not take a route: Gateway API's reason, the field below the parent, a sentence.
type Refusal = (&'static str, &'static str, String);

impl Attach<'_, '_> {
    /// Where the route attaches. None when there is nothing to build: no parent takes it, or its hosts are all wrong.
    fn parents(&mut self) -> Option<Found> {
        let hostnames = self.hostnames()?;
        if asks(&self.route.spec.use_default_gateways) {
            let consequence = "the route attaches only to the parents it names";
            self.verdicts.not_served(
                Kind::HTTPRoute,
                self.route.key(),
                "spec.useDefaultGateways",
                consequence,
            );
        }
        let (mut found, mut foreign) = (Found::new(), 0);
        let mut refusals = Vec::new();
        for (index, parent) in self.route.spec.parent_refs.iter().enumerate() {
            match self.parent(parent, &hostnames) {
                Ok(Some(listeners)) => found.extend(listeners),
                Ok(None) => foreign += 1,
                Err((reason, field, message)) => {
                    let dot = if field.is_empty() { "" } else { "." };
                    refusals.push((reason, format!("spec.parentRefs[{index}]{dot}{field}"), message));
                }
            }
        }
        self.note(&found, foreign, refusals);
        (!found.is_empty()).then_some(found)
    }

    fn note(&mut self, found: &Found, foreign: usize, refusals: Vec<(&'static str, String, String)>) {
        let key = self.route.key();
        if self.route.spec.parent_refs.is_empty() {
            let message = "the route names no parent, so nothing serves it; add a Gateway to spec.parentRefs"
                .to_owned();
            self.verdicts.whole(Kind::HTTPRoute, key, "NoMatchingParent", "spec.parentRefs", message);
        }
        let all_refused = found.is_empty() && foreign == 0;
        for (reason, field, message) in refusals {
            match all_refused {
                true => self.verdicts.whole(Kind::HTTPRoute, key, reason, field, message),
                false => self.verdicts.part(Kind::HTTPRoute, key, reason, field, message),
            }
        }
        if found.is_empty() && foreign > 0 {
            let message = "no parent is a Gateway of ours; the route is left alone".to_owned();
            self.verdicts.warn(Kind::HTTPRoute, key, "NotOurs", "spec.parentRefs", message);
        }
    }

    fn hostnames(&mut self) -> Option<Vec<HostPattern>> {
        let key = self.route.key();
        let mut patterns = BTreeSet::new();
        for (index, text) in self.route.spec.hostnames.iter().enumerate() {
            match parse_hostname(text) {
                Ok(pattern) => {
                    patterns.insert(pattern);
                }
                Err(message) => {
                    self.verdicts.part(
                        Kind::HTTPRoute,
                        key,
                        "UnsupportedValue",
                        format!("spec.hostnames[{index}]"),
                        message,
                    );
                }
            }
        }
        if patterns.is_empty() && !self.route.spec.hostnames.is_empty() {
            // Without any host left the route would serve every host, which nobody asked for.
            let message = "none of the hostnames can be served".to_owned();
            self.verdicts.whole(Kind::HTTPRoute, key, "UnsupportedValue", "spec.hostnames", message);
            return None;
        }
        Some(patterns.into_iter().collect())
    }

    /// The listeners of a parent that take the route; none when the parent is somebody else's.
    fn parent(&self, parent: &ParentRef, hostnames: &[HostPattern]) -> Result<Option<Found>, Refusal> {
        let gateway_kind = parent.kind.as_deref().is_none_or(|kind| kind == Kind::Gateway.name());
        if !gateway_kind || parent.group.as_deref().is_some_and(|group| group != GATEWAY_GROUP) {
            return Ok(None);
        }
        let route = self.route.key();
        let key = route.sibling(parent.namespace.as_deref().unwrap_or(&route.namespace), &parent.name);
        let Some(number) = self.ours.get(&key) else {
            if self.snapshot.gateways.contains_key(&key) {
                return Ok(None);
            }
            let names = self.snapshot.gateways.keys();
            let names =
                names.filter(|other| (&other.source, &other.namespace) == (&key.source, &key.namespace));
            let message = format!(
                "Gateway {key} does not exist; create it or correct the reference{}",
                meant(&key.name, names.map(|other| &*other.name))
            );
            return Err(("NoMatchingParent", "name", message));
        };
        let Some(gateway) = self.gateways.get(*number) else { return Ok(None) };
        let named = self.named_listeners(&key, gateway, parent)?;
        self.narrow(&key, *number, named, hostnames).map(Some)
    }

    /// The listeners that a parentRef means, before their own rules are asked.
    fn named_listeners<'g>(
        &self,
        key: &Key,
        gateway: &'g OurGateway<'_>,
        parent: &ParentRef,
    ) -> Result<Vec<(usize, &'g Listener<'g>)>, Refusal> {
        let named = gateway.listeners.iter().enumerate().filter(|(_, listener)| {
            parent.section_name.as_deref().is_none_or(|name| name == listener.spec.name)
                && parent.port.is_none_or(|port| port == listener.spec.port)
        });
        let named: Vec<_> = named.collect();
        let names = || gateway.listeners.iter().map(|listener| listener.spec.name.as_str());
        if named.is_empty() {
            let (field, what) = match (&parent.section_name, parent.port) {
                (Some(name), None) => {
                    ("sectionName", format!("no listener {name:?}{}", meant(name, names())))
                }
                (Some(name), Some(port)) => ("sectionName", format!("no listener {name:?} on port {port}")),
                (None, Some(port)) => ("port", format!("no listener on port {port}")),
                (None, None) => ("", "no listener".to_owned()),
            };
            let message = format!("Gateway {key} has {what}; it has {}", list(names()));
            return Err(("NoMatchingParent", field, message));
        }
        let sound: Vec<_> = named.into_iter().filter(|(_, listener)| listener.sound).collect();
        if sound.is_empty() {
            let message =
                format!("the listeners meant here are not served; see Gateway {key} for the reason");
            return Err(("NoMatchingParent", "", message));
        }
        Ok(sound)
    }

    fn narrow(
        &self,
        key: &Key,
        number: usize,
        listeners: Vec<(usize, &Listener<'_>)>,
        hostnames: &[HostPattern],
    ) -> Result<Found, Refusal> {
        let route = self.route.key();
        let admitting = |listener: &Listener<'_>| {
            listener.takes_http_routes && listener.admits(key, route, self.snapshot)
        };
        let allowed: Vec<_> = listeners.into_iter().filter(|(_, listener)| admitting(listener)).collect();
        if allowed.is_empty() {
            let message = format!(
                "no listener of Gateway {key} takes HTTPRoutes of namespace {}; change allowedRoutes there",
                route.namespace
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
                "the route serves {}, but the listeners of Gateway {key} serve {}; they have no host in common",
                list(hostnames),
                list(theirs)
            );
            return Err(("NoMatchingListenerHostname", "", message));
        }
        Ok(found)
    }
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
