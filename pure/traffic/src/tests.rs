//! The router against an oracle, and a table of what `explain` says.

mod explained;
mod oracle;
mod routing;

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

pub(crate) fn listener(section: &str, hostname: Option<&str>, routes: Vec<HttpRoute>) -> Arc<Listener> {
    Arc::new(Listener {
        name: ListenerName { gateway: key("edge"), section: section.into() },
        hostname: hostname.map(pattern),
        tls: None,
        serves: Serves::Http(routes.into_iter().map(Arc::new).collect()),
        client: Arc::default(),
        responses: Arc::default(),
    })
}

pub(crate) fn route(name: &str, hostnames: &[&str], rules: Vec<HttpRule>) -> HttpRoute {
    let hostnames = hostnames.iter().map(|host| pattern(host)).collect();
    let rules = rules.into_iter().map(Arc::new).collect();
    HttpRoute { name: key(name), kind: RouteKind::Http, hostnames, rules }
}

pub(crate) fn path_match(path: PathMatch) -> RequestMatch {
    RequestMatch { path, method: None, headers: vec![], query: vec![] }
}

pub(crate) fn prefix(path: &str) -> RequestMatch {
    path_match(PathMatch::Prefix(path.into()))
}

pub(crate) fn backend(name: &str, weight: u32, endpoints: &[&str]) -> WeightedBackend {
    let addresses = endpoints.iter().map(|endpoint| endpoint.parse().unwrap());
    let cell = Arc::new(EndpointCell::new(Endpoints::plain(addresses)));
    let backend = Backend::plain(BackendId::tcp(key(name), 80), cell);
    WeightedBackend::plain(weight, Target::Backend(Arc::new(backend)))
}

pub(crate) fn entrance(listeners: Vec<Arc<Listener>>) -> Entrance {
    let address = "0.0.0.0:80".parse().unwrap();
    Entrance { address, transport: Transport::Tcp, client: Arc::default(), listeners }
}
