//! For whom requests of HTTP/1.0 are that name no host: the hostnames of the listeners that take them for their own.

use std::sync::Arc;

use tidegate_model::traffic::{Entrance, HostPattern, Listener};

/// Of one socket, in the order of its listeners.
pub struct DefaultHosts(Vec<String>);

impl DefaultHosts {
    /// Those of an entrance.
    pub fn of(entrance: &Entrance) -> DefaultHosts {
        let own = |listener: &Arc<Listener>| match &listener.hostname {
            Some(HostPattern::Exact(name)) if listener.client.default_host => Some(name.to_string()),
            _ => None,
        };
        DefaultHosts(entrance.listeners.iter().filter_map(own).collect())
    }

    /// The host that is meant; none: nobody takes such a request. Over TLS it is who was asked for then; where nobody was,
    /// the first.
    pub fn meant(&self, server_name: Option<&str>) -> Option<&str> {
        let mut hosts = self.0.iter();
        let host = match server_name.filter(|name| !name.is_empty()) {
            Some(name) => hosts.find(|host| host.eq_ignore_ascii_case(name)),
            None => hosts.next(),
        };
        host.map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who named a host to TLS means that one, or nobody; who named none means the first.
    #[test]
    fn who_is_meant() {
        let hosts = DefaultHosts(vec!["a.example".into(), "b.example".into()]);
        for (server_name, meant) in [
            (None, Some("a.example")),
            (Some(""), Some("a.example")),
            (Some("b.example"), Some("b.example")),
            (Some("B.Example"), Some("b.example")),
            (Some("c.example"), None),
        ] {
            assert_eq!(hosts.meant(server_name), meant, "{server_name:?}");
        }
        assert_eq!(DefaultHosts(Vec::new()).meant(None), None);
    }
}
