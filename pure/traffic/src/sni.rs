//! The route of a TLS connection, by the server name its client asked for.
//!
//! The listener is found first ([`Router::listener_for`](crate::Router::listener_for)); within it the route with the most
//! specific host name decides, and of two with the same one the one that comes first (TLSRouteSpec.hostnames of
//! gateway.networking.k8s.io/v1).

use std::sync::Arc;

use tidegate_model::traffic::{StreamRoute, TlsRoute};

use crate::host::{HOST_BYTES_MAX, canonical};
use crate::host_table::HostTable;

/// The routes of one listener. Build it off the hot path and share it.
#[derive(Debug, Default)]
pub struct SniRoutes {
    routes: Vec<Arc<StreamRoute>>,
    hosts: HostTable<usize>,
}

impl SniRoutes {
    /// Compiles the routes, which are in order of precedence.
    pub fn new(routes: &[Arc<TlsRoute>]) -> SniRoutes {
        let mut hosts = HostTable::default();
        for (index, route) in routes.iter().enumerate() {
            let every_host = route.hostnames.is_empty().then_some(None);
            for hostname in route.hostnames.iter().map(Some).chain(every_host) {
                hosts.entry(hostname, || index);
            }
        }
        SniRoutes { routes: routes.iter().map(|route| route.route.clone()).collect(), hosts }
    }

    /// The route for a server name (any case); for a client that sends none, the one for every host.
    pub fn find(&self, server_name: &str) -> Option<&Arc<StreamRoute>> {
        let mut buffer = [0; HOST_BYTES_MAX];
        let index = self.hosts.covering(canonical(server_name, &mut buffer)).next().copied()?;
        self.routes.get(index)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::traffic::HostPattern;
    use tidegate_objects::Key;

    use super::*;

    fn route(name: &str, hostnames: &[&str]) -> Arc<TlsRoute> {
        let pattern = |text: &&str| match text.strip_prefix("*.") {
            Some(parent) => HostPattern::Under(parent.into()),
            None => HostPattern::Exact((*text).into()),
        };
        let route = Arc::new(StreamRoute { name: Key::new("test", "shop", name), backends: vec![] });
        Arc::new(TlsRoute { hostnames: hostnames.iter().map(pattern).collect(), route })
    }

    fn found<'r>(routes: &'r SniRoutes, server_name: &str) -> Option<&'r str> {
        routes.find(server_name).map(|route| route.name.name.as_ref())
    }

    /// The exact name goes before a wildcard, a longer wildcard before a shorter one, any before a route without hosts, and
    /// of equals the first; case and a trailing dot make no difference.
    #[test]
    fn the_most_specific_host_decides() {
        let routes = SniRoutes::new(&[
            route("every", &[]),
            route("wide", &["*.example.com"]),
            route("narrow", &["*.b.example.com"]),
            route("exact", &["a.b.example.com", "other.test"]),
            route("late", &["a.b.example.com", "*.example.com", "late.test"]),
        ]);
        for (server_name, expected) in [
            ("a.b.example.com", "exact"),
            ("A.B.Example.Com.", "exact"),
            ("c.b.example.com", "narrow"),
            ("x.c.b.example.com", "narrow"),
            ("c.example.com", "wide"),
            ("b.example.com", "wide"),
            ("example.com", "every"),
            ("other.test", "exact"),
            ("late.test", "late"),
            ("", "every"),
        ] {
            assert_eq!(found(&routes, server_name), Some(expected), "{server_name}");
        }
    }

    /// A name that no route covers, and a client without one, find nothing where no route takes every host.
    #[test]
    fn names_of_nobody() {
        let routes = SniRoutes::new(&[route("one", &["a.example.com", "*.b.test"])]);
        for server_name in ["", "b.example.com", "b.test", "x.a.example.com", ".b.test"] {
            assert_eq!(found(&routes, server_name), None, "{server_name}");
        }
        assert_eq!(found(&SniRoutes::new(&[]), "a.example.com"), None);
    }
}
