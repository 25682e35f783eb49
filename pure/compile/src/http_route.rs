//! HTTPRoutes and GRPCRoutes on their listeners. Where they attach is found in [`attach`](crate::attach), what they do
//! in [`http_rule`](crate::http_rule) and [`grpc_rule`](crate::grpc_rule).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_model::traffic::{HostPattern, HttpRoute, HttpRule, RouteKind};
use tidegate_objects::route::{GrpcRoute, HttpRoute as HttpSpec};
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::attach::{Parents, Reach, Route};
use crate::backend::{Backends, Context};
use crate::backend_policy::Through;
use crate::entrance::{Attached, ListenerId};
use crate::gateway::OurGateway;
use crate::verdicts::Verdicts;
use crate::{grpc_rule, http_rule};

/// Attaches every HTTPRoute and GRPCRoute, in order of precedence. A listener that an older route of the other kind
/// serves for one of its hosts does not take a route: a host belongs to one kind.
pub(crate) fn attach(
    snapshot: &Snapshot,
    parents: &Parents<'_>,
    backends: &mut Backends<'_>,
    attached: &mut Attached,
    verdicts: &mut Verdicts,
) {
    let http = snapshot.http_routes.values().map(|route| Written::Http(route));
    let grpc = snapshot.grpc_routes.values().map(|route| Written::Grpc(route));
    let mut routes: Vec<Written<'_>> = http.chain(grpc).collect();
    routes.sort_by_key(|route| (route.precedence(), route.kind()));
    let mut hosts = Hosts::default();
    for written in routes {
        let mut reach = parents.find(&written.route(), verdicts);
        hosts.settle(&written, &mut reach, parents, verdicts);
        if let Some(gateway) = reach.unserved.and_then(|number| parents.gateway(number)) {
            let through = Through { gateway: gateway.resource.key(), listener: None };
            written.rules(&context(gateway, through), backends, verdicts);
        }
        attached.stand(written.kind(), written.route().key, reach.parents);
        // What goes to a backend may differ by Gateway and listener, so rules are built for each that differs.
        let mut built: Vec<(Through<'_>, Vec<Arc<HttpRule>>)> = Vec::new();
        for (id, hostnames) in reach.found {
            let Some(gateway) = parents.gateway(id.0) else { continue };
            let through = backends.through(gateway, id.1);
            let rules = match built.iter().find(|(known, _)| *known == through) {
                Some((_, rules)) => rules.clone(),
                None => {
                    let rules = written.rules(&context(gateway, through), backends, verdicts);
                    built.push((through, rules.clone()));
                    rules
                }
            };
            if !rules.is_empty() {
                let (name, kind) = (written.route().key.clone(), written.model_kind());
                let route = HttpRoute { name, kind, hostnames, rules };
                attached.http.entry(id).or_default().push(Arc::new(route));
            }
        }
    }
}

fn context<'g>(gateway: &OurGateway<'_>, through: Through<'g>) -> Context<'g> {
    Context { through, certificate: gateway.certificate.clone(), passthrough: false, spoken: None }
}

/// A route of either kind.
enum Written<'a> {
    Http(&'a Resource<HttpSpec>),
    Grpc(&'a Resource<GrpcRoute>),
}

impl<'a> Written<'a> {
    fn precedence(&self) -> (i64, &'a Key) {
        match self {
            Written::Http(route) => route.metadata.precedence(),
            Written::Grpc(route) => route.metadata.precedence(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Written::Http(_) => Kind::HTTPRoute,
            Written::Grpc(_) => Kind::GRPCRoute,
        }
    }

    fn model_kind(&self) -> RouteKind {
        match self {
            Written::Http(_) => RouteKind::Http,
            Written::Grpc(_) => RouteKind::Grpc,
        }
    }

    fn route(&self) -> Route<'a> {
        match self {
            Written::Http(route) => Route {
                kind: Kind::HTTPRoute,
                key: route.key(),
                parents: &route.spec.parent_refs,
                hostnames: &route.spec.hostnames,
                default_gateways: route.spec.use_default_gateways,
            },
            Written::Grpc(route) => Route {
                kind: Kind::GRPCRoute,
                key: route.key(),
                parents: &route.spec.parent_refs,
                hostnames: &route.spec.hostnames,
                default_gateways: route.spec.use_default_gateways,
            },
        }
    }

    fn rules(
        &self,
        context: &Context<'_>,
        backends: &mut Backends<'_>,
        verdicts: &mut Verdicts,
    ) -> Vec<Arc<HttpRule>> {
        match self {
            Written::Http(route) => http_rule::build(route, context, backends, verdicts),
            Written::Grpc(route) => grpc_rule::build(route, context, backends, verdicts),
        }
    }
}

/// Which kind has which hosts on each listener.
#[derive(Default)]
struct Hosts(BTreeMap<(ListenerId, Kind), HostSet>);

impl Hosts {
    /// Takes out of `reach` the listeners where an older route of the other kind has a host in common, and keeps in
    /// mind the hosts of the others.
    fn settle(
        &mut self,
        written: &Written<'_>,
        reach: &mut Reach,
        parents: &Parents<'_>,
        verdicts: &mut Verdicts,
    ) {
        let kind = written.kind();
        let other = if kind == Kind::HTTPRoute { Kind::GRPCRoute } else { Kind::HTTPRoute };
        let mut lost = Vec::new();
        reach.found.retain(|id, hostnames| {
            let effective = effective(hostnames, parents.hostname(*id));
            let taken =
                self.0.get(&(*id, other)).is_some_and(|set| effective.iter().any(|host| set.meets(host)));
            match taken {
                true => lost.push(*id),
                false => self.0.entry((*id, kind)).or_default().extend(effective),
            }
            !taken
        });
        for id in lost {
            let message = format!(
                "on listener {} an older {other} serves one of the hosts of this route; give them hosts of their own",
                parents.name(id)
            );
            let key = written.route().key;
            if let Some(listener) = parents.listener_ref(id) {
                reach.lose(id, &listener, "HostnameConflict", &message);
            }
            match reach.found.is_empty() {
                true => verdicts.whole(kind, key, "HostnameConflict", "spec.hostnames", message),
                false => verdicts.part(kind, key, "HostnameConflict", "spec.hostnames", message),
            }
        }
    }
}

/// The hosts that a route serves on a listener; `None` among them: every one.
fn effective(hostnames: &[HostPattern], listener: Option<&HostPattern>) -> Vec<Option<HostPattern>> {
    match hostnames.is_empty() {
        true => vec![listener.cloned()],
        false => hostnames.iter().cloned().map(Some).collect(),
    }
}

/// A set of host patterns that knows quickly whether another has a name in common with it.
#[derive(Default)]
struct HostSet {
    all: bool,
    /// Names backwards, each label with a dot behind it: `example.shop.`; so what is under a name begins like it.
    exact: BTreeSet<String>,
    under: BTreeSet<String>,
}

impl HostSet {
    fn extend(&mut self, hosts: impl IntoIterator<Item = Option<HostPattern>>) {
        for host in hosts {
            match host {
                None => self.all = true,
                Some(HostPattern::Exact(name)) => drop(self.exact.insert(backwards(&name))),
                Some(HostPattern::Under(parent)) => drop(self.under.insert(backwards(&parent))),
            }
        }
    }

    fn meets(&self, host: &Option<HostPattern>) -> bool {
        let beginnings = |name: &str| {
            let name = name.to_owned();
            name.match_indices('.').map(|(dot, _)| name[..=dot].to_owned()).collect::<Vec<_>>()
        };
        match host {
            _ if self.all => true,
            None => !self.exact.is_empty() || !self.under.is_empty(),
            Some(HostPattern::Exact(name)) => {
                let name = backwards(name);
                let above = beginnings(&name).into_iter().filter(|parent| *parent != name);
                self.exact.contains(&name) || above.into_iter().any(|parent| self.under.contains(&parent))
            }
            Some(HostPattern::Under(parent)) => {
                let parent = backwards(parent);
                let below = |set: &BTreeSet<String>, itself: bool| {
                    let mut rest = set.range(parent.clone()..).filter(|name| itself || **name != parent);
                    rest.next().is_some_and(|name| name.starts_with(&parent))
                };
                beginnings(&parent).iter().any(|above| self.under.contains(above))
                    || below(&self.under, true)
                    || below(&self.exact, false)
            }
        }
    }
}

fn backwards(name: &str) -> String {
    name.rsplit('.').flat_map(|label| [label, "."]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        match text.strip_prefix("*.") {
            Some(parent) => HostPattern::Under(parent.into()),
            None => HostPattern::Exact(text.into()),
        }
    }

    /// A set meets a pattern exactly when one of its members has a name in common with it.
    #[test]
    fn sets_meet_what_their_members_meet() {
        let names = [
            "a.example",
            "*.example",
            "example",
            "b.a.example",
            "*.a.example",
            "other",
            "*.other",
            "aa.example",
            "*.c.other",
            "c.other",
        ];
        for members in (0..names.len()).flat_map(|a| (0..names.len()).map(move |b| [a, b])) {
            let members = members.map(|place| pattern(names[place]));
            let mut set = HostSet::default();
            set.extend(members.iter().cloned().map(Some));
            for asked in names.map(pattern) {
                let expected = members.iter().any(|member| member.intersect(&asked).is_some());
                assert_eq!(set.meets(&Some(asked.clone())), expected, "{members:?} {asked}");
            }
        }
    }

    /// Every host meets whatever there is, and nothing meets an empty set.
    #[test]
    fn every_host() {
        let (mut set, empty) = (HostSet::default(), HostSet::default());
        set.extend([None]);
        for asked in [None, Some(pattern("a.example")), Some(pattern("*.example"))] {
            assert!(set.meets(&asked) && !empty.meets(&asked));
        }
    }
}
