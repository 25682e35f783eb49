//! TLSRoutes, TCPRoutes and UDPRoutes: connections and datagrams to backends by weight.

use std::sync::Arc;

use tidegate_model::traffic::{StreamRoute, Target, TlsRoute, Transport, WeightedBackend};
use tidegate_objects::route::{BackendRef, L4RouteRule};
use tidegate_objects::{Key, Kind, Snapshot};

use crate::attach::{Parents, Route};
use crate::backend::{Backends, Context, From};
use crate::backend_policy::Through;
use crate::entrance::{Attached, ListenerId};
use crate::gateway::OurGateway;
use crate::report::Report;
use crate::verdicts::Verdicts;

/// Gateway API's bound on a weight.
const WEIGHT_MAX: u32 = 1_000_000;

/// Attaches every TLSRoute, TCPRoute and UDPRoute, in order of precedence. A TCP or UDP listener serves one route.
pub(crate) fn attach(
    snapshot: &Snapshot,
    parents: &Parents<'_>,
    backends: &mut Backends<'_>,
    attached: &mut Attached,
    verdicts: &mut Verdicts,
) {
    for written in written(snapshot) {
        let reach = parents.find(&written.route, verdicts);
        // A younger route that finds its listener taken is accepted all the same, and gets nothing: so Gateway API.
        attached.stand(written.route.kind, written.route.key, reach.parents);
        if let Some(gateway) = reach.unserved.and_then(|number| parents.gateway(number))
            && let Some(rule) = written.rule(verdicts)
        {
            let through = Through { gateway: gateway.resource.key(), listener: None };
            written.build(rule, &context(gateway, through, false), backends, verdicts);
        }
        let mut served: Vec<(ListenerId, Vec<_>)> = reach.found.into_iter().collect();
        if served.is_empty() {
            continue;
        }
        if written.route.kind != Kind::TLSRoute {
            served = free(&written.route, served, attached, parents, verdicts);
        }
        let Some(rule) = written.rule(verdicts) else { continue };
        // A Gateway's listeners that pass TLS through and those that end it are served apart, and those with a policy of
        // their own.
        let mut built: Vec<((Through<'_>, bool), Arc<StreamRoute>)> = Vec::new();
        for (id, hostnames) in served {
            let passthrough = written.route.kind == Kind::TLSRoute && !parents.ends_tls(id);
            let Some(gateway) = parents.gateway(id.0) else { continue };
            let through = backends.through(gateway, id.1);
            let place = (through, passthrough);
            let route = match built.iter().find(|(known, _)| *known == place) {
                Some((_, route)) => Arc::clone(route),
                None => {
                    let context = context(gateway, through, passthrough);
                    let route = Arc::new(written.build(rule, &context, backends, verdicts));
                    built.push((place, Arc::clone(&route)));
                    route
                }
            };
            if written.route.kind == Kind::TLSRoute {
                attached.tls.entry(id).or_default().push(Arc::new(TlsRoute { hostnames, route }));
            } else {
                attached.stream.insert(id, route);
            }
        }
    }
}

fn context<'g>(gateway: &OurGateway<'_>, through: Through<'g>, passthrough: bool) -> Context<'g> {
    Context { through, certificate: gateway.certificate.clone(), passthrough, spoken: None }
}

/// A route of any of the three kinds.
struct Written<'a> {
    age: (i64, &'a Key),
    route: Route<'a>,
    rules: &'a [L4RouteRule],
}

/// All of them, older first.
fn written(snapshot: &Snapshot) -> Vec<Written<'_>> {
    let mut all = Vec::new();
    macro_rules! add {
        ($objects:ident, $kind:ident, $object:ident => $hostnames:expr) => {
            all.extend(snapshot.$objects.values().map(|$object| Written {
                age: $object.metadata.precedence(),
                route: Route {
                    kind: Kind::$kind,
                    key: $object.key(),
                    parents: &$object.spec.parent_refs,
                    hostnames: $hostnames,
                    default_gateways: $object.spec.use_default_gateways,
                },
                rules: &$object.spec.rules,
            }));
        };
    }
    add!(tls_routes, TLSRoute, object => &object.spec.hostnames);
    add!(tcp_routes, TCPRoute, object => &[]);
    add!(udp_routes, UDPRoute, object => &[]);
    all.sort_by_key(|written| (written.age, written.route.kind));
    all
}

/// The listeners that serve no older route; says where one does.
fn free<H>(
    route: &Route<'_>,
    found: Vec<(ListenerId, H)>,
    attached: &Attached,
    parents: &Parents<'_>,
    verdicts: &mut Verdicts,
) -> Vec<(ListenerId, H)> {
    let (free, lost): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(id, _)| !attached.stream.contains_key(id));
    for (id, _) in &lost {
        let winner = attached.stream.get(id).map(|route| route.name.to_string()).unwrap_or_default();
        let message = format!(
            "listener {} serves {} {winner}, which is older; a listener of this protocol serves one route",
            parents.name(*id),
            route.kind
        );
        match free.is_empty() {
            true => verdicts.whole(route.kind, route.key, "Conflicted", "spec.parentRefs", message),
            false => verdicts.part(route.kind, route.key, "Conflicted", "spec.parentRefs", message),
        }
    }
    free
}

impl Written<'_> {
    /// The one rule.
    fn rule(&self, verdicts: &mut Verdicts) -> Option<&L4RouteRule> {
        let (kind, key) = (self.route.kind, self.route.key);
        match self.rules {
            [] => {
                let message = "the route has no rule, so there is nowhere to go; add one".to_owned();
                verdicts.whole(kind, key, "UnsupportedValue", "spec.rules", message);
                None
            }
            [rule] => Some(rule),
            [first, ..] => {
                let message =
                    format!("a {kind} has one rule, as nothing tells several apart; the first counts");
                verdicts.part(kind, key, "UnsupportedValue", "spec.rules[1]", message);
                Some(first)
            }
        }
    }

    fn build(
        &self,
        rule: &L4RouteRule,
        context: &Context<'_>,
        backends: &mut Backends<'_>,
        verdicts: &mut Verdicts,
    ) -> StreamRoute {
        let mut report = Report::new(self.route.kind, self.route.key, "spec.rules[0]", verdicts);
        if rule.backend_refs.is_empty() {
            let message = "the rule has no backend, so nothing that comes in is served; add one".to_owned();
            report.part("PartiallyInvalid", "backendRefs", message);
        }
        let from = From { kind: self.route.kind, key: self.route.key, rule: rule.name.as_deref() };
        let shares = rule.backend_refs.iter().enumerate().map(|(index, to)| {
            let mut report = report.at(&format!("backendRefs[{index}]"));
            share(&from, to, context, backends, &mut report)
        });
        StreamRoute { name: self.route.key.clone(), backends: shares.collect() }
    }
}

fn share(
    from: &From<'_>,
    to: &BackendRef,
    context: &Context<'_>,
    backends: &mut Backends<'_>,
    report: &mut Report<'_>,
) -> WeightedBackend {
    let weight = to.weight.min(WEIGHT_MAX);
    if weight != to.weight {
        let message = format!("{} is above {WEIGHT_MAX}, which counts", to.weight);
        report.part("UnsupportedValue", "weight", message);
    }
    let transport = if from.kind == Kind::UDPRoute { Transport::Udp } else { Transport::Tcp };
    let target = backends.resolve(from, &to.object(), transport, context).unwrap_or_else(|broken| {
        report.part(broken.reason, broken.field, broken.message);
        Target::Broken(broken.short)
    });
    WeightedBackend::plain(weight, target)
}
