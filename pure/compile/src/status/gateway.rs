//! Gateways and ListenerSets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tidegate_model::StatusOf;
use tidegate_model::standing::{GatewayStanding, ListenerRef, ListenerStanding, SetStanding};
use tidegate_model::status::{
    Condition, GatewayStatus, ListenerSetStatus, ListenerStatus, StatusAddress, StatusBody,
};
use tidegate_objects::gateway::{FrontendValidationMode, Gateway, GatewayTls};
use tidegate_objects::{Key, Kind, ObjectRef, Resource};

use super::condition::{Conditions, Why};
use super::listener::{Judged, Question, authorities_field};
use super::problems::Problems;
use super::{Facts, route};

pub(super) fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let attached = route::attached(facts);
    let standing = &facts.standing;
    let mut all = Vec::new();
    for (key, gateway) in &standing.gateways {
        let Some(resource) = facts.snapshot.gateways.get(key) else { continue };
        let one = One { facts, attached: &attached, key, resource, gateway };
        all.extend(one.statuses());
    }
    all
}

/// A Gateway with its ListenerSets.
struct One<'o> {
    facts: &'o Facts<'o>,
    attached: &'o BTreeMap<ListenerRef, usize>,
    key: &'o Key,
    resource: &'o Resource<Gateway>,
    gateway: &'o GatewayStanding,
}

impl One<'_> {
    fn statuses(&self) -> Vec<StatusOf> {
        let problems = self.problems();
        let sets = self.facts.standing.listener_sets.iter().filter(|(_, set)| set.gateway == *self.key);
        let sets: Vec<_> = sets.collect();
        let any_served = {
            let listeners = sets.iter().flat_map(|(_, set)| &set.listeners);
            self.gateway.listeners.iter().chain(listeners).any(|listener| listener.served)
        };
        let refused = self.refusal(&problems, any_served);
        let own = self.listeners((Kind::Gateway, self.key), &self.gateway.listeners, refused.as_ref());
        let mut all = Vec::new();
        let (mut accepted_sets, mut judged_sets) = (0, Vec::new());
        for (key, set) in sets {
            let (status, accepted, judged) = self.set(key, set, refused.as_ref());
            all.push(status);
            accepted_sets += usize::from(accepted);
            judged_sets.extend(judged);
        }
        let conditions = self.conditions(&problems, refused.as_ref(), &own, &judged_sets);
        let status = GatewayStatus {
            addresses: self.addresses(),
            conditions,
            listeners: own.into_iter().map(|judged| judged.status).collect(),
            attached_listener_sets: accepted_sets,
        };
        all.insert(0, StatusOf::new(Kind::Gateway, self.key, StatusBody::Gateway(status)));
        all
    }

    fn problems(&self) -> Problems<'_> {
        Problems::of(self.facts.verdicts, Kind::Gateway, self.key)
    }

    /// Why the Gateway is not accepted.
    fn refusal(&self, problems: &Problems<'_>, any_served: bool) -> Option<Why> {
        let fatal = ["InvalidParameters", "UnsupportedAddress"];
        problems.with(&fatal).or_else(|| {
            let none = !any_served && !self.gateway.places.is_empty() && !self.gateway.listeners.is_empty();
            none.then(|| Why::new("ListenersNotValid", "none of the listeners can be served; see theirs"))
        })
    }

    fn conditions(
        &self,
        problems: &Problems<'_>,
        refused: Option<&Why>,
        own: &[Judged],
        sets: &[Judged],
    ) -> Vec<Condition> {
        let conditions = Conditions(self.resource.metadata.generation);
        let accepted = match refused {
            Some(why) => conditions.fails("Accepted", why),
            None => partly(conditions, own),
        };
        let resolved = problems.at("spec.tls.backend").first().or_else(|| {
            let unresolved = own.iter().find(|judged| !judged.resolved)?;
            let message =
                format!("listener {} has references that cannot be followed", unresolved.status.name);
            Some(Why::new("ListenersNotResolved", message))
        });
        let programmed =
            conditions.unless("Programmed", self.hindrance(problems, refused, own, sets).as_ref());
        let mut all = vec![accepted, programmed, conditions.unless("ResolvedRefs", resolved.as_ref())];
        if insecure(self.resource.spec.tls.as_ref()) {
            let message = "clients without a valid certificate are served too; backends must tell them apart";
            all.push(conditions.holds("InsecureFrontendValidationMode", "ConfigurationChanged", message));
        }
        all
    }

    /// Why the Gateway is not programmed.
    fn hindrance(
        &self,
        problems: &Problems<'_>,
        refused: Option<&Why>,
        own: &[Judged],
        sets: &[Judged],
    ) -> Option<Why> {
        if let Some(why) = refused {
            return Some(Why::new("Invalid", why.message.clone()));
        }
        if let Some(notice) = self.facts.notice {
            return Some(Why::new("NoResources", notice));
        }
        if let Some(why) = problems.with(&["AddressNotUsable", "AddressNotAssigned"]) {
            return Some(why);
        }
        if self.gateway.places.is_empty() {
            return Some(Why::new("AddressNotAssigned", "there is no address to listen on"));
        }
        let all = || own.iter().chain(sets).filter(|judged| judged.served);
        if let Some(why) = all().find_map(|judged| judged.closed.as_ref()) {
            return Some(Why::new("AddressNotUsable", why.message.clone()));
        }
        let waiting = all().find(|judged| !judged.programmed)?;
        Some(Why::new("Pending", format!("listener {} is not open yet", waiting.status.name)))
    }

    fn listeners(
        &self,
        owner: (Kind, &Key),
        listeners: &[ListenerStanding],
        refused: Option<&Why>,
    ) -> Vec<Judged> {
        let (of_owner, of_gateway) = (Problems::of(self.facts.verdicts, owner.0, owner.1), self.problems());
        let owner_ref = ObjectRef { kind: owner.0, key: owner.1.clone() };
        let frontend = self.resource.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
        let generation = match owner.0 {
            Kind::ListenerSet => self.facts.snapshot.listener_sets.get(owner.1).map(|set| &set.metadata),
            _ => Some(&self.resource.metadata),
        };
        let conditions = Conditions(generation.map_or(0, |metadata| metadata.generation));
        let each = listeners.iter().enumerate().map(|(index, listener)| {
            let id = ListenerRef { owner: owner_ref.clone(), index };
            let authorities = match listener.asks_clients {
                true => authorities_field(frontend, listener.port),
                // No problem stands there.
                false => "-".to_owned(),
            };
            let question = Question {
                facts: self.facts,
                listener,
                problems: of_owner.at(&format!("spec.listeners[{index}]")),
                authorities: of_gateway.at(&authorities),
                places: &self.gateway.places,
                refused,
                attached_routes: self.attached.get(&id).copied().unwrap_or_default(),
                conditions,
            };
            question.judge()
        });
        each.collect()
    }

    /// A ListenerSet: its status, whether it is accepted, and its listeners.
    fn set(&self, key: &Key, set: &SetStanding, parent: Option<&Why>) -> (StatusOf, bool, Vec<Judged>) {
        let problems = Problems::of(self.facts.verdicts, Kind::ListenerSet, key);
        let metadata = self.facts.snapshot.listener_sets.get(key).map(|set| &set.metadata);
        let conditions = Conditions(metadata.map_or(0, |metadata| metadata.generation));
        let refused = problems.whole().first().filter(|_| set.listeners.is_empty()).or_else(|| {
            let message = format!("Gateway {} is not accepted", self.key);
            parent
                .filter(|why| why.reason != "ListenersNotValid")
                .map(|_| Why::new("ParentNotAccepted", message))
        });
        let judged = self.listeners((Kind::ListenerSet, key), &set.listeners, refused.as_ref());
        let refused = refused.or_else(|| {
            let none = !judged.iter().any(|judged| judged.served) && !self.gateway.places.is_empty();
            none.then(|| Why::new("ListenersNotValid", "none of the listeners can be served; see theirs"))
        });
        let programmed = refused.clone().or_else(|| {
            let waiting = judged.iter().find(|judged| judged.served && !judged.programmed);
            waiting.map(|judged| {
                let closed =
                    judged.closed.as_ref().map(|why| Why::new("PortUnavailable", why.message.clone()));
                closed.unwrap_or_else(|| {
                    Why::new("Pending", format!("listener {} is not open yet", judged.status.name))
                })
            })
        });
        let accepted = match &refused {
            Some(why) => conditions.fails("Accepted", why),
            None => partly(conditions, &judged),
        };
        let status = ListenerSetStatus {
            conditions: vec![accepted, conditions.unless("Programmed", programmed.as_ref())],
            listeners: judged.iter().map(|judged| judged.status.clone()).collect::<Vec<ListenerStatus>>(),
        };
        let status = StatusOf::new(Kind::ListenerSet, key, StatusBody::ListenerSet(status));
        (status, refused.is_none(), judged)
    }

    fn addresses(&self) -> Vec<StatusAddress> {
        let places = self.gateway.places.iter().flat_map(|place| self.facts.addresses(*place));
        let distinct: BTreeSet<IpAddr> = places.collect();
        let shown = distinct.into_iter().take(ADDRESSES_MAX);
        shown.map(|address| StatusAddress { address_type: "IPAddress", value: address.to_string() }).collect()
    }
}

/// Gateway API's bound on `status.addresses`.
const ADDRESSES_MAX: usize = 16;

/// Accepted, perhaps without some of the listeners.
fn partly(conditions: Conditions, listeners: &[Judged]) -> Condition {
    let unserved: Vec<&str> =
        listeners.iter().filter(|judged| !judged.served).map(|judged| judged.status.name.as_str()).collect();
    match unserved.is_empty() {
        true => conditions.holds("Accepted", "Accepted", ""),
        false => {
            let message = format!("not served are the listeners {}; see theirs", unserved.join(", "));
            conditions.holds("Accepted", "ListenersNotValid", &message)
        }
    }
}

fn insecure(tls: Option<&GatewayTls>) -> bool {
    let frontend = tls.and_then(|tls| tls.frontend.as_ref());
    let configs = frontend.into_iter().flat_map(|frontend| {
        let ports = frontend.per_port.iter().map(|asked| &asked.tls);
        ports.chain([&frontend.default])
    });
    let mut validations = configs.filter_map(|config| config.validation.as_ref());
    validations.any(|validation| validation.mode == FrontendValidationMode::AllowInsecureFallback)
}
