//! `tidegate explain http`: the way of a request through the router, in words, found by the proxy's own functions.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use tidegate_model::Traffic;
use tidegate_model::traffic::{
    Entrance, Guard, Listener, PathMatch, RequestMatch, Serves, Target, TlsRoute, Transport, ValueMatch,
    WeightedBackend,
};

use crate::client::Origin;
use crate::host::Authority;
use crate::path::{normalise, split_query};
use crate::redirect::well_known;
use crate::refusal::Refusal;
use crate::request::RequestView;
use crate::router::{Matched, Outcome, Router};
use crate::sni::SniRoutes;

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `host[:port]`.
    pub host: &'a str,
    /// The method.
    pub method: &'a str,
    /// Path and query, as a client would send them.
    pub target: &'a str,
    /// Header lines.
    pub headers: Vec<(String, String)>,
    /// Who asks; none: somebody whom no rule turns away.
    pub client: Option<IpAddr>,
}

/// Who would serve a request, or why nobody does.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explanation {
    /// `namespace/gateway/listener`.
    pub listener: Option<String>,
    /// `namespace/name` of the HTTPRoute; `ingress/namespace/name` of an Ingress.
    pub route: Option<String>,
    /// The rule's place in the route, from 0.
    pub rule: Option<usize>,
    /// The match that holds, in words.
    pub matched: Option<String>,
    /// The path that every stage sees.
    pub path: String,
    /// Which clients the rule lets in, in words; nothing: all.
    pub clients: Option<String>,
    /// Who gets a share of such requests.
    pub backends: Vec<BackendShare>,
    /// Why it is answered by the gateway itself; nothing if a backend gets it.
    pub refusal: Option<Refusal>,
    /// One sentence.
    pub message: String,
}

/// A backend of the rule.
#[derive(Clone, Debug, Serialize)]
pub struct BackendShare {
    /// `namespace/service:port`; nothing if the reference is broken.
    pub backend: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// Where it may go now.
    pub endpoints: Vec<SocketAddr>,
    /// What this share is answered with, if it reaches no endpoint.
    pub refusal: Option<Refusal>,
}

/// The entrance that a connection to `address:port` reaches: the exact address before every local one.
pub fn entrance_for(traffic: &Traffic, address: IpAddr, port: u16) -> Option<&Arc<Entrance>> {
    let any = |entrance: &&Arc<Entrance>| {
        let local = entrance.address.ip();
        local.is_unspecified() && (local.is_ipv4() == address.is_ipv4() || local.is_ipv6())
    };
    let on_port =
        |entrance: &&Arc<Entrance>| entrance.transport == Transport::Tcp && entrance.address.port() == port;
    let mut same_port = traffic.entrances.iter().filter(on_port);
    let family = |entrance: &&Arc<Entrance>| entrance.address.is_ipv4() == address.is_ipv4();
    same_port.clone().find(|entrance| entrance.address.ip() == address).or_else(|| {
        let wide: Vec<_> = same_port.by_ref().filter(any).collect();
        wide.iter().find(|entrance| family(entrance)).or(wide.first()).copied()
    })
}

/// Explains a request in the clear to the socket of `router`.
pub fn explain(router: &Router, question: &Question<'_>) -> Explanation {
    explain_request(router, question, None)
}

/// Explains a request over TLS to the socket of `router`. An empty server name stands for a client that sends none.
pub fn explain_tls(router: &Router, question: &Question<'_>, server_name: &str) -> Explanation {
    let Some(listener) = router.listener_for(server_name) else {
        let message =
            "No listener of this address and port serves the server name, so there is no handshake.";
        return refused(Explanation::default(), Refusal::NO_LISTENER, message);
    };
    match &listener.serves {
        Serves::Tls(routes) => explain_connection(listener, routes, server_name),
        _ => explain_request(router, question, Some(server_name)),
    }
}

fn explain_connection(listener: &Listener, routes: &[Arc<TlsRoute>], server_name: &str) -> Explanation {
    let explanation = Explanation { listener: Some(listener.name.to_string()), ..Explanation::default() };
    let routes = SniRoutes::new(routes);
    let Some(route) = routes.find(server_name) else {
        let message = sentence(Refusal::NO_ROUTE, &explanation);
        return refused(explanation, Refusal::NO_ROUTE, &message);
    };
    tell_shares(Explanation { route: Some(route.name.to_string()), ..explanation }, &route.backends)
}

fn explain_request(router: &Router, question: &Question<'_>, server_name: Option<&str>) -> Explanation {
    let (raw_path, query) = split_query(question.target);
    if Authority::parse(question.host).is_none() {
        return refused(Explanation::default(), Refusal::BAD_HOST, "The host is no valid name or address.");
    }
    let path = match normalise(raw_path) {
        Ok(path) => path,
        Err(error) => {
            return refused(Explanation::default(), Refusal::BAD_PATH, &format!("Refused: {error}."));
        }
    };
    let scheme = if server_name.is_some() { "https" } else { "http" };
    let port = Authority::parse(question.host).and_then(|authority| authority.port).or(well_known(scheme));
    let client = question.client.unwrap_or(Origin::UNKNOWN.client);
    let origin = Origin { scheme, host: question.host, port: port.unwrap_or_default(), client };
    let request = RequestView {
        origin,
        host: question.host,
        method: question.method,
        path: &path,
        query,
        server_name,
        headers: &question.headers,
    };
    let decision = router.route(&request);
    let mut explanation = Explanation {
        path: path.clone().into_owned(),
        listener: decision.listener().map(|listener| listener.name.to_string()),
        ..Explanation::default()
    };
    if let crate::Decision::Matched(matched) = &decision {
        tell_way(&mut explanation, matched);
        let guard = &matched.rule.guard;
        if question.client.is_some_and(|client| !guard.admits(client)) {
            let message = sentence(Refusal::CLIENT_NOT_ALLOWED, &explanation);
            return refused(explanation, Refusal::CLIENT_NOT_ALLOWED, &message);
        }
        explanation.clients = in_words_of_clients(guard);
    }
    match decision.outcome() {
        Outcome::Forward(_, backends) => tell_shares(explanation, backends),
        Outcome::Redirect(_, redirect) => {
            explanation.message = format!("The client is redirected with status {}.", redirect.status);
            explanation
        }
        Outcome::Respond(_, respond) => {
            explanation.message = format!("The rule answers it with status {}.", respond.status);
            explanation
        }
        Outcome::Refuse(refusal) => {
            let message = sentence(refusal, &explanation);
            refused(explanation, refusal, &message)
        }
    }
}

fn tell_way(explanation: &mut Explanation, matched: &Matched<'_>) {
    explanation.route = Some(matched.route.to_string());
    explanation.rule = Some(matched.rule.index);
    explanation.matched = Some(in_words(matched.matched));
}

fn in_words_of_clients(guard: &Guard) -> Option<String> {
    fn list<T: ToString>(nets: &[T]) -> String {
        nets.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
    }
    match (guard.allow.is_empty(), guard.deny.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("only {}", list(&guard.allow))),
        (true, false) => Some(format!("all but {}", list(&guard.deny))),
        (false, false) => Some(format!("only {}, but not {}", list(&guard.allow), list(&guard.deny))),
    }
}

fn tell_shares(mut explanation: Explanation, backends: &[WeightedBackend]) -> Explanation {
    explanation.backends = backends.iter().map(BackendShare::new).collect();
    let mut weighty = explanation.backends.iter().filter(|share| share.weight > 0).peekable();
    let refusal = match weighty.peek() {
        None => Some(Refusal::NO_BACKEND_WEIGHT),
        Some(first) => first.refusal.filter(|_| weighty.all(|share| share.refusal.is_some())),
    };
    match refusal {
        Some(refusal) => {
            let message = sentence(refusal, &explanation);
            refused(explanation, refusal, &message)
        }
        None => {
            explanation.message = "A backend serves it.".into();
            explanation
        }
    }
}

impl BackendShare {
    fn new(backend: &WeightedBackend) -> BackendShare {
        let weight = backend.weight;
        match &backend.target {
            Target::Broken(reason) => BackendShare {
                backend: None,
                weight,
                endpoints: Vec::new(),
                refusal: Some(Refusal::broken(reason)),
            },
            Target::Backend(backend) => {
                let endpoints: Vec<_> = backend.endpoints.load().addresses().collect();
                let refusal = endpoints.is_empty().then_some(Refusal::NO_ENDPOINT);
                BackendShare { backend: Some(backend.id.to_string()), weight, endpoints, refusal }
            }
        }
    }
}

fn refused(mut explanation: Explanation, refusal: Refusal, message: &str) -> Explanation {
    explanation.refusal = Some(refusal);
    explanation.message = message.to_owned();
    explanation
}

fn sentence(refusal: Refusal, explanation: &Explanation) -> String {
    let listener = explanation.listener.as_deref().unwrap_or_default();
    match refusal {
        Refusal::NO_LISTENER => "No listener of this address and port serves the host.".into(),
        Refusal::NO_ROUTE => format!("No route attached to listener {listener} serves the host."),
        Refusal::NO_RULE => {
            format!(
                "Routes of listener {listener} serve the host, but no rule matches path, method, headers and query."
            )
        }
        Refusal::NO_BACKEND_WEIGHT => "The rule has no backend with a weight above 0.".into(),
        Refusal::NO_ENDPOINT => "No backend of the rule has a ready endpoint.".into(),
        Refusal::MISDIRECTED => {
            format!("Listener {listener} serves the host, but the server name belongs to another.")
        }
        Refusal::CLIENT_NOT_ALLOWED => "The rule does not let this client in.".into(),
        Refusal { status, reason } => {
            format!("The rule cannot be served as written ({reason}): status {status}.")
        }
    }
}

fn in_words(matched: &RequestMatch) -> String {
    let mut words = match &matched.path {
        PathMatch::Exact(path) => format!("path = {path}"),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "path under /".to_owned(),
        PathMatch::Prefix(prefix) => format!("path under {prefix}"),
        PathMatch::Regex(pattern) => format!("path ~ {pattern}"),
        PathMatch::Second(name) => format!("path = /*/{name}"),
    };
    let parts = matched.headers.iter().map(|part| ("header", part));
    let parts = parts.chain(matched.query.iter().map(|part| ("query", part)));
    if let Some(method) = &matched.method {
        words += &format!(", method {method}");
    }
    for (kind, (name, value)) in parts {
        words += &match value {
            ValueMatch::Exact(value) => format!(", {kind} {name} = {value}"),
            ValueMatch::Regex(pattern) => format!(", {kind} {name} ~ {pattern}"),
        };
    }
    words
}
