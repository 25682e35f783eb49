//! Routes of every kind.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_model::StatusOf;
use tidegate_model::standing::{ListenerRef, ParentStanding};
use tidegate_model::status::{Condition, ParentStatus, RouteStatus, StatusBody};
use tidegate_objects::gateway::CONTROLLER_NAME;
use tidegate_objects::route::ParentRef;
use tidegate_objects::{Kind, Metadata, ObjectRef, Snapshot};

use super::Facts;
use super::condition::{Conditions, Why};
use super::problems::{Problems, why};

/// Reasons that say of a route that a reference of it cannot be followed.
const UNRESOLVED: [&str; 5] =
    ["RefNotPermitted", "InvalidKind", "BackendNotFound", "UnsupportedProtocol", "FilterNotFound"];

/// Reasons that do not speak against a route itself: another one came first.
const SECOND: [&str; 2] = ["Conflicted", "HostnameConflict"];

/// What of a route is the same for all kinds.
struct Written<'a> {
    kind: Kind,
    metadata: &'a Metadata,
    parents: &'a [ParentRef],
    rules: usize,
}

fn written(snapshot: &Snapshot) -> Vec<Written<'_>> {
    let mut all = Vec::new();
    macro_rules! add {
        ($objects:ident, $kind:ident) => {
            all.extend(snapshot.$objects.values().map(|route| Written {
                kind: Kind::$kind,
                metadata: &route.metadata,
                parents: &route.spec.parent_refs,
                rules: route.spec.rules.len(),
            }));
        };
    }
    add!(http_routes, HTTPRoute);
    add!(grpc_routes, GRPCRoute);
    add!(tls_routes, TLSRoute);
    add!(tcp_routes, TCPRoute);
    add!(udp_routes, UDPRoute);
    all
}

/// The status of every route that names a parent of ours.
pub(super) fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let each = written(facts.snapshot).into_iter().filter_map(|route| {
        let key = &route.metadata.key;
        let standing = facts.standing.routes.get(&ObjectRef { kind: route.kind, key: key.clone() })?;
        let problems = Problems::of(facts.verdicts, route.kind, key);
        let judged = Judged::of(&problems, route.rules);
        let conditions = Conditions(route.metadata.generation);
        let ours =
            route.parents.iter().zip(standing).filter(|(_, parent)| **parent != ParentStanding::Foreign);
        let parents: Vec<ParentStatus> = ours
            .map(|(parent_ref, parent)| ParentStatus {
                parent_ref: parent_ref.clone(),
                controller_name: CONTROLLER_NAME,
                conditions: judged.conditions(parent, conditions),
            })
            .collect();
        let status = StatusBody::Route(RouteStatus { parents });
        Some(StatusOf::new(route.kind, key, status))
    });
    each.collect()
}

/// How many accepted routes each listener has.
pub(super) fn attached(facts: &Facts<'_>) -> BTreeMap<ListenerRef, usize> {
    let mut counts = BTreeMap::new();
    for route in written(facts.snapshot) {
        let object = ObjectRef { kind: route.kind, key: route.metadata.key.clone() };
        let Some(standing) = facts.standing.routes.get(&object) else { continue };
        let problems = Problems::of(facts.verdicts, route.kind, &object.key);
        if Judged::of(&problems, route.rules).refused.is_some() {
            continue;
        }
        let listeners: BTreeSet<&ListenerRef> = standing
            .iter()
            .filter_map(|parent| match parent {
                ParentStanding::Attached(listeners) => Some(listeners),
                ParentStanding::Foreign | ParentStanding::Refused { .. } => None,
            })
            .flatten()
            .collect();
        for listener in listeners {
            *counts.entry(listener.clone()).or_default() += 1;
        }
    }
    counts
}

/// What the verdict says of a route, whatever its parents.
struct Judged {
    /// Why nothing of it can be served.
    refused: Option<Why>,
    /// Why a reference cannot be followed.
    unresolved: Option<Why>,
    /// What is left out.
    dropped: Option<Why>,
}

impl Judged {
    fn of(problems: &Problems<'_>, rules: usize) -> Judged {
        let outside = |field: &str| !field.starts_with("spec.parentRefs");
        let whole = problems.whole();
        let mut whole = whole
            .iter()
            .filter(|problem| outside(&problem.field) && !SECOND.contains(&problem.reason))
            .map(why);
        let of_rules = problems.at("spec.rules");
        let left_out: Vec<_> = of_rules
            .iter()
            .filter(|problem| !UNRESOLVED.contains(&problem.reason) && problem.reason != "PartiallyInvalid")
            .collect();
        let refusing: BTreeSet<&str> =
            left_out.iter().filter_map(|problem| rule_of_filter(&problem.field)).collect();
        let all = rules > 0 && refusing.len() == rules;
        let first = left_out.first().map(|problem| why(problem));
        let refused = whole.next().or_else(|| first.clone().filter(|_| all));
        let dropped = first
            .filter(|_| refused.is_none())
            .map(|first| Why::new("UnsupportedValue", format!("Dropped Rule: {}", first.message)));
        Judged { refused, unresolved: of_rules.with(&UNRESOLVED), dropped }
    }

    fn conditions(&self, parent: &ParentStanding, conditions: Conditions) -> Vec<Condition> {
        let refused = match parent {
            ParentStanding::Refused { reason, message } => Some(Why::new(reason, message.clone())),
            ParentStanding::Attached(_) | ParentStanding::Foreign => self.refused.clone(),
        };
        let mut all = vec![
            conditions.unless("Accepted", refused.as_ref()),
            conditions.unless("ResolvedRefs", self.unresolved.as_ref()),
        ];
        if let Some(why) = self.dropped.as_ref().filter(|_| refused.is_none()) {
            all.push(conditions.holds("PartiallyInvalid", why.reason, &why.message));
        }
        all
    }
}

/// The rule that a filter stands in, if the field is about a filter of a rule: such a rule answers 500.
fn rule_of_filter(field: &str) -> Option<&str> {
    let (rule, rest) = field.strip_prefix("spec.rules[")?.split_once(']')?;
    rest.starts_with(".filters[").then_some(rule)
}
