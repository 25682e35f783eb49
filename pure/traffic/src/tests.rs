//! The router against an oracle, and a table of what `explain` says.

mod explained;
mod oracle;
mod routing;

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_model::traffic::*;
use tidegate_objects::Key;

pub(crate) fn pattern(text: &str) -> HostPattern {
    match text.strip_prefix("*.") {
        Some(parent) => HostPattern::Under(parent.into()),
        None => HostPattern::Exact(text.into()),
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::new("test", "shop", name)
}

pub(crate) fn listener(section: &str, hostname: Option<&str>, routes: Vec<HttpRoute>) -> Arc<HttpListener> {
    Arc::new(HttpListener {
        name: ListenerName { gateway: key("edge"), section: section.into() },
        hostname: hostname.map(pattern),
        routes: routes.into_iter().map(Arc::new).collect(),
    })
}

pub(crate) fn route(name: &str, hostnames: &[&str], rules: Vec<HttpRule>) -> HttpRoute {
    let hostnames = hostnames.iter().map(|host| pattern(host)).collect();
    HttpRoute { name: key(name), hostnames, rules: rules.into_iter().map(Arc::new).collect() }
}

pub(crate) fn rule(index: usize, matches: Vec<RequestMatch>, action: Action) -> HttpRule {
    HttpRule {
        index,
        name: None,
        matches,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        action,
    }
}

pub(crate) fn path_match(path: PathMatch) -> RequestMatch {
    RequestMatch { path, method: None, headers: vec![], query: vec![] }
}

pub(crate) fn prefix(path: &str) -> RequestMatch {
    path_match(PathMatch::Prefix(path.into()))
}

pub(crate) fn backend(name: &str, weight: u32, endpoints: &[&str]) -> WeightedBackend {
    let usable: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
    let id = BackendId { service: key(name), port: 80 };
    let backend = Backend { id, endpoints: EndpointCell::new(Endpoints { usable }) };
    WeightedBackend { weight, target: Target::Backend(Arc::new(backend)) }
}

pub(crate) fn entrance(listeners: Vec<Arc<HttpListener>>) -> Entrance {
    Entrance { address: "0.0.0.0:80".parse().unwrap(), listeners }
}
