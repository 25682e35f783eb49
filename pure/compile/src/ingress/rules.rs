//! The rules of a host, as routes of each Ingress that has paths there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::traffic::filter::Piece;
use tidegate_model::traffic::{
    Action, BackendProtocol, CookieAttributes, Expansion, Filters, Guard, HttpRoute, HttpRule, PathMatch,
    PathRewrite, Redirect, RequestMatch, Respond, Retry, Rewrite, RouteKind, SessionCarrier,
    SessionPersistence, StreamRoute, Target, Timeouts, TlsRoute, Transport, ValueMatch, WeightedBackend,
};
use tidegate_objects::Kind;
use tidegate_objects::ingress::IngressBackend;
use tidegate_objects::route::BackendObjectRef;

use super::annotation::{Cookie, Location, PREFIX, Protocol, Settings};
use super::site::{Entry, Site, To};
use super::{Class, Member};
use crate::backend::{Backends, Context, From, Spoken};
use crate::backend_policy::Through;
use crate::entrance::Attached;
use crate::filter;
use crate::gateway::OurGateway;
use crate::listener::Protocol as Listens;
use crate::verdicts::Verdicts;

/// What certificates are proved to be wanted under: it is asked for in the clear, also where all else is sent to TLS.
const ACME: &str = "/.well-known/acme-challenge";
/// The cookie of ingress-nginx.
const COOKIE: &str = "INGRESSCOOKIE";
/// Endpoints that are tried where something is said of it at all.
const TRIES: u32 = 3;
/// The least pause before a repeat.
const BACKOFF: Duration = Duration::from_millis(25);
/// Repeats a second that are always allowed.
const BUDGET_MIN_PER_SEC: u32 = 10;

/// Attaches the rules of every site of a class to the listeners made for it.
pub(super) fn attach(
    class: &Class<'_>,
    (number, gateway): (usize, &OurGateway<'_>),
    backends: &mut Backends<'_>,
    attached: &mut Attached,
    verdicts: &mut Verdicts,
) {
    let through = Through { gateway: gateway.resource.key(), listener: None };
    let mut builder = Builder { members: &class.members, through, backends, verdicts };
    let mut built: BTreeMap<usize, Vec<Built<'_, '_>>> = BTreeMap::new();
    for (place, listening) in class.listeners.iter().enumerate() {
        let site = &class.sites.all[listening.site];
        let rules = built.entry(listening.site).or_insert_with(|| builder.site(site));
        if !gateway.listeners[place].sound {
            continue;
        }
        if listening.protocol == Listens::Tls {
            if let Some(route) = builder.passed_through(site) {
                attached.tls.entry((number, place)).or_default().push(Arc::new(route));
            }
            continue;
        }
        let secure = listening.protocol == Listens::Https;
        attached.http.insert((number, place), routes(&class.members, site, rules, secure));
    }
}

/// The rules of a path.
struct Built<'s, 'a> {
    entry: &'s Entry<'a>,
    rules: Vec<HttpRule>,
}

/// The routes of a host: one of each Ingress that has paths there.
fn routes(
    members: &[Member<'_>],
    site: &Site<'_>,
    built: &[Built<'_, '_>],
    secure: bool,
) -> Vec<Arc<HttpRoute>> {
    let mut rules: BTreeMap<usize, Vec<HttpRule>> = BTreeMap::new();
    if let Some(host) = &site.redirect {
        let redirect =
            Redirect { scheme: None, host: Some(host.clone()), port: None, path: None, status: 308 };
        let everything = vec![matching(PathMatch::Prefix(String::new()))];
        let rule = HttpRule::plain(0, everything, Action::Redirect(Arc::new(redirect)));
        rules.entry(site.owner.0).or_default().push(rule);
    }
    for Built { entry, rules: own } in built {
        let settings = &members[entry.member].settings;
        let into = rules.entry(entry.member).or_default();
        if !secure && to_tls(settings, site, entry) {
            let redirect =
                Redirect { scheme: Some("https"), host: None, port: None, path: None, status: 308 };
            let action = Action::Redirect(Arc::new(redirect));
            into.push(HttpRule::plain(0, vec![matching(entry.matched.clone())], action));
        } else {
            into.extend(own.iter().cloned());
        }
    }
    let route = |(member, rules): (usize, Vec<HttpRule>)| {
        let numbered =
            rules.into_iter().enumerate().map(|(index, rule)| Arc::new(HttpRule { index, ..rule }));
        let name = members[member].key().clone();
        let rules = numbered.collect();
        Arc::new(HttpRoute { name, kind: RouteKind::Ingress, hostnames: Vec::new(), rules })
    };
    rules.into_iter().map(route).collect()
}

/// Whether requests in the clear are sent to TLS.
fn to_tls(settings: &Settings, site: &Site<'_>, entry: &Entry<'_>) -> bool {
    let wanted = settings.force_ssl_redirect || (site.tls.is_some() && settings.ssl_redirect.unwrap_or(true));
    wanted && settings.closed.is_none() && !entry.text.starts_with(ACME)
}

fn matching(path: PathMatch) -> RequestMatch {
    RequestMatch { path, method: None, headers: Vec::new(), query: Vec::new() }
}

struct Builder<'b, 'a> {
    members: &'b [Member<'b>],
    through: Through<'b>,
    backends: &'b mut Backends<'a>,
    verdicts: &'b mut Verdicts,
}

impl Builder<'_, '_> {
    fn site<'s, 'e>(&mut self, site: &'s Site<'e>) -> Vec<Built<'s, 'e>> {
        site.entries.iter().map(|entry| Built { entry, rules: self.entry(entry) }).collect()
    }

    /// The rules of a path: those by which a canary is chosen, then all other requests.
    fn entry(&mut self, entry: &Entry<'_>) -> Vec<HttpRule> {
        let member = &self.members[entry.member];
        let base = self.base(member, entry);
        let backend = match &entry.to {
            To::Backend(backend) if base.action == Action::Forward(Vec::new()) => *backend,
            _ => return vec![base],
        };
        let main = self.share(entry.member, &member.settings, backend, &entry.at);
        let Some(canary) = &entry.canary else {
            return vec![HttpRule { action: Action::Forward(vec![main]), ..base }];
        };
        let other = self.share(canary.member, &member.settings, canary.backend, &canary.at);
        let by = &self.members[canary.member].settings.canary_by;
        let to = |share: &WeightedBackend| Action::Forward(vec![share.clone()]);
        let mut rules: Vec<HttpRule> = Vec::new();
        let mut chosen = |header: &str, value: ValueMatch, share: &WeightedBackend| {
            let headers = vec![(header.to_owned(), value)];
            let matches =
                base.matches.iter().map(|one| RequestMatch { headers: headers.clone(), ..one.clone() });
            rules.push(HttpRule { matches: matches.collect(), action: to(share), ..base.clone() });
        };
        if let Some(header) = &by.header {
            match (&by.value, &by.pattern) {
                (Some(value), _) => chosen(header, ValueMatch::Exact(value.clone()), &other),
                (None, Some(pattern)) => chosen(header, ValueMatch::Regex(pattern.clone()), &other),
                (None, None) => {
                    chosen(header, ValueMatch::Exact("always".into()), &other);
                    chosen(header, ValueMatch::Exact("never".into()), &main);
                }
            }
        }
        if let Some(cookie) = &by.cookie {
            chosen("cookie", cookie_with(cookie, "always"), &other);
            chosen("cookie", cookie_with(cookie, "never"), &main);
        }
        let total = by.total.unwrap_or(100);
        let weight = by.weight.min(total);
        let shares =
            vec![WeightedBackend { weight: total - weight, ..main }, WeightedBackend { weight, ..other }];
        rules.push(HttpRule { action: Action::Forward(shares), ..base });
        rules
    }

    /// All of a rule but its backends; the action says whether there are to be some.
    fn base(&mut self, member: &Member<'_>, entry: &Entry<'_>) -> HttpRule {
        let settings = &member.settings;
        let mut filters = self.filters(member, entry);
        let location = |location: &Location, status: u16, filters: &mut Filters| match location {
            Location::Fixed(url) => {
                filters.response_headers.set.push(("location".to_owned(), url.clone()));
                Action::Respond(Arc::new(Respond { status, content_type: None, body: Arc::from([]) }))
            }
            Location::Origin { scheme, host, port } => {
                let (scheme, host) = (Some(*scheme), Some(host.clone()));
                Action::Redirect(Arc::new(Redirect { scheme, host, port: *port, path: None, status }))
            }
        };
        let action = match (settings.closed, &settings.temporal, &settings.permanent, &entry.to) {
            (Some(reason), ..) => Action::Refuse { status: 503, reason },
            (_, Some(to), ..) => location(to, settings.temporal_code.unwrap_or(302), &mut filters),
            (_, _, Some(to), _) => location(to, settings.permanent_code.unwrap_or(301), &mut filters),
            (.., To::AppRoot) => {
                let path = settings.app_root.clone().map(PathRewrite::Full);
                Action::Redirect(Arc::new(Redirect {
                    scheme: None,
                    host: None,
                    port: None,
                    path,
                    status: 302,
                }))
            }
            (.., To::Backend(_)) => Action::Forward(Vec::new()),
        };
        let from = From { kind: Kind::Ingress, key: member.key(), rule: None };
        let context = self.context(None, false);
        let guard = Guard {
            allow: settings.allow.clone(),
            deny: settings.deny.clone(),
            body_bytes: settings.body_bytes,
        };
        let timeouts = Timeouts {
            response_head: settings.read,
            stall: settings.read.max(settings.send),
            ..Timeouts::default()
        };
        HttpRule {
            index: 0,
            name: None,
            matches: vec![matching(entry.matched.clone())],
            filters: filters.into(),
            guard: guard.into(),
            timeouts: timeouts.into(),
            retry: retry(settings).map(Arc::new),
            session: settings.affinity.then(|| Arc::new(session(&settings.cookie, &entry.matched))),
            responses: self.backends.responses(&from, None, &context),
            action,
        }
    }

    fn filters(&mut self, member: &Member<'_>, entry: &Entry<'_>) -> Filters {
        let settings = &member.settings;
        let mut filters = Filters::default();
        if let Some(prefix) = &settings.prefix {
            filters.request_headers.set.push(("x-forwarded-prefix".to_owned(), prefix.clone()));
        }
        let path = settings.rewrite.as_ref().and_then(|pieces| rewritten(pieces, &entry.matched));
        if path.is_some() || settings.vhost.is_some() {
            filters.rewrite = Some(Rewrite { host: settings.vhost.clone(), path });
        }
        if settings.cors {
            match filter::cors(&settings.cors_asked.settled()) {
                Ok(cors) => filters.cors = Some(Arc::new(cors)),
                Err(why) => {
                    let field = format!("metadata.annotations[{PREFIX}enable-cors]");
                    let message = format!("{why}; browsers may not use it from other origins");
                    member.part("UnsupportedValue", field, message, self.verdicts);
                }
            }
        }
        filters
    }

    /// A share of what goes to a backend; `settings` are those of the Ingress whose path it is.
    fn share(
        &mut self,
        member: usize,
        settings: &Settings,
        backend: &IngressBackend,
        at: &str,
    ) -> WeightedBackend {
        let spoken = settings.protocol.map(|protocol| Spoken {
            protocol: match protocol {
                Protocol::Http | Protocol::Https => BackendProtocol::Http1,
                Protocol::Grpc | Protocol::Grpcs => BackendProtocol::Http2,
            },
            tls: protocol.is_tls(),
        });
        let context = self.context(spoken, false);
        let member = &self.members[member];
        let target = self.target(member, backend, at, &context);
        let target = match &target {
            Target::Backend(made) if made.tls.as_ref().is_some_and(|tls| tls.is_unverified()) => {
                let field = format!("metadata.annotations[{PREFIX}backend-protocol]");
                let message = format!(
                    "the certificate of Service {} is not verified, as in ingress-nginx: who stands between can read and change everything; a BackendTLSPolicy for it has it verified",
                    made.id.service
                );
                self.verdicts.warn(Kind::Ingress, member.key(), "Unverified", field, message);
                target
            }
            _ => target,
        };
        let balancing = settings.hash.as_ref().or(settings.balancing.as_ref());
        let target = self.backends.adapted(target, |policy| {
            policy.balancing = balancing.cloned().unwrap_or_else(|| policy.balancing.clone());
            policy.connect_timeout = settings.connect.or(policy.connect_timeout);
        });
        let from = From { kind: Kind::Ingress, key: member.key(), rule: None };
        let responses = self.backends.responses(&from, Some(&target), &context);
        WeightedBackend { responses, ..WeightedBackend::plain(1, target) }
    }

    /// Where a backend leads; says why where it leads nowhere.
    fn target(
        &mut self,
        member: &Member<'_>,
        backend: &IngressBackend,
        at: &str,
        context: &Context<'_>,
    ) -> Target {
        let key = member.key();
        let Some(service) = &backend.service else {
            let (field, message) = match &backend.resource {
                Some(resource) => (
                    "resource",
                    format!(
                        "{} {} is no backend in this version; a backend is a Service",
                        resource.kind, resource.name
                    ),
                ),
                None => ("service", "the backend names no Service; add one".to_owned()),
            };
            let message = format!("{message}; requests are answered with 500");
            member.part("InvalidKind", format!("{at}.{field}"), message, self.verdicts);
            return Target::Broken("backend is not a Service");
        };
        let mut port = service.port.number;
        if let (None, Some(name)) = (port, &service.port.name) {
            match self.backends.port_named(&key.sibling(&key.namespace, &service.name), name) {
                // Where there is no such Service, that is what is told.
                Ok(number) => port = number,
                Err(message) => {
                    let field = format!("{at}.service.port.name");
                    let message = format!("{message}; requests are answered with 500");
                    member.part("BackendNotFound", field, message, self.verdicts);
                    return Target::Broken("backend port not found");
                }
            }
        }
        let (name, namespace) = (service.name.clone(), None);
        let to = BackendObjectRef { group: None, kind: None, name, namespace, port };
        let from = From { kind: Kind::Ingress, key, rule: None };
        match self.backends.resolve(&from, &to, Transport::Tcp, context) {
            Ok(target) => {
                if let Target::Broken(short) = target {
                    let message =
                        format!("{short}, so requests are answered with 500; see the policy's verdict");
                    self.verdicts.warn(Kind::Ingress, key, "PolicyInvalid", at, message);
                }
                target
            }
            Err(broken) => {
                let field = format!("{at}.service.{}", broken.field);
                let message = format!("{}; requests are answered with 500", broken.message);
                member.part(broken.reason, field, message, self.verdicts);
                Target::Broken(broken.short)
            }
        }
    }

    /// Where connections of a host go whose TLS is passed through: to the backend of its path `/`.
    fn passed_through(&mut self, site: &Site<'_>) -> Option<TlsRoute> {
        let member = &self.members[site.passthrough?];
        let everything = PathMatch::Prefix(String::new());
        let entry = site.entries.iter().find(|entry| entry.matched == everything)?;
        let To::Backend(backend) = entry.to else { return None };
        let spoken = Spoken { protocol: BackendProtocol::Http1, tls: false };
        let target = self.target(member, backend, &entry.at, &self.context(Some(spoken), true));
        let backends = vec![WeightedBackend::plain(1, target)];
        let route = StreamRoute { name: member.key().clone(), backends };
        Some(TlsRoute { hostnames: Vec::new(), route: Arc::new(route) })
    }
}

impl<'b> Builder<'b, '_> {
    fn context(&self, spoken: Option<Spoken>, passthrough: bool) -> Context<'b> {
        Context { through: self.through, certificate: None, passthrough, spoken }
    }
}

/// A cookie of this name and value, whichever others stand beside it; HTTP/2 may bring each in a line of its own, which are
/// read as one list with commas.
fn cookie_with(name: &str, value: &str) -> ValueMatch {
    ValueMatch::Regex(format!("(?:.*[;,][ \\t]*)?{}={value}(?:[ \\t]*[;,].*)?", regex::escape(name)))
}

/// How the path changes; none where it stays.
fn rewritten(pieces: &[Piece], matched: &PathMatch) -> Option<PathRewrite> {
    let has_groups = pieces.iter().any(|piece| matches!(piece, Piece::Group(_)));
    match matched {
        PathMatch::Regex(pattern) if has_groups => {
            // Known to compile: the path was refused otherwise.
            let regex = regex::Regex::new(&format!("^(?:{pattern})$")).ok()?;
            let expansion = Expansion { pattern: pattern.clone(), regex, pieces: pieces.to_vec() };
            Some(PathRewrite::Expand(Arc::new(expansion)))
        }
        _ => {
            let texts = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Group(_) => "",
            });
            let path: String = texts.collect();
            Some(PathRewrite::Full(if path.starts_with('/') { path } else { format!("/{path}") }))
        }
    }
}

fn retry(settings: &Settings) -> Option<Retry> {
    if settings.next.is_none() && settings.tries.is_none() {
        return None;
    }
    let next = settings.next.clone();
    let (errors, timeouts, codes) =
        next.map_or((true, true, Default::default()), |next| (next.errors, next.timeouts, next.codes));
    let off = !errors && !timeouts && codes.is_empty();
    Some(Retry {
        codes,
        grpc_codes: Default::default(),
        attempts: if off { 0 } else { settings.tries.unwrap_or(TRIES) - 1 },
        connection_errors: errors,
        timeouts,
        backoff: BACKOFF,
        backoff_max: BACKOFF * 10,
        attempt_timeout: None,
        // As in nginx, every request may be.
        budget_percent: Some(100),
        budget_min_per_sec: BUDGET_MIN_PER_SEC,
    })
}

/// The session of a client that stays. Its cookie is of the host and path, so that two Ingresses do not take each other's.
fn session(cookie: &Cookie, matched: &PathMatch) -> SessionPersistence {
    let path = cookie.path.clone().unwrap_or_else(|| match matched {
        PathMatch::Exact(path) | PathMatch::Prefix(path) if !path.is_empty() => path.clone(),
        _ => "/".to_owned(),
    });
    let absolute_timeout = cookie.max_age.or(cookie.expires);
    let attributes = CookieAttributes {
        same_site: cookie.same_site,
        domain: cookie.domain.clone(),
        secure: cookie.secure || cookie.same_site == Some("None"),
    };
    SessionPersistence {
        name: cookie.name.clone().unwrap_or_else(|| COOKIE.to_owned()),
        carrier: SessionCarrier::Cookie { path, permanent: absolute_timeout.is_some(), attributes },
        absolute_timeout,
        idle_timeout: None,
    }
}
