//! What listens: sockets, and the listeners that share one.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_objects::Key;

use super::{ClientPolicy, HostPattern, HttpRoute, ResponsePolicy, ServerTls, StreamRoute, TlsRoute};

/// What a socket carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl Transport {
    fn is_tcp(&self) -> bool {
        *self == Transport::Tcp
    }
}

/// A listening socket and the listeners that share it by host name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entrance {
    /// Where it listens. An unspecified address means every local one. An address that is not local yet is bound all
    /// the same (`IP_FREEBIND`).
    pub address: SocketAddr,
    /// TCP or UDP; the same address and port may be there once for each.
    #[serde(skip_serializing_if = "Transport::is_tcp")]
    pub transport: Transport,
    /// What holds before a listener is known: PROXY protocol, limits on connections and heads, idle time, HTTP/2 settings.
    /// The policy of the first listener that has one; compile tells the others.
    #[serde(skip_serializing_if = "is_default")]
    pub client: Arc<ClientPolicy>,
    /// The listeners behind it; more specific host names win, whatever their order. All serve HTTP in the clear, or all
    /// are behind TLS (HTTPS and TLS mix), or there is exactly one that carries TCP or UDP.
    pub listeners: Vec<Arc<Listener>>,
}

/// A listener of a Gateway or ListenerSet, and the routes attached to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Whose it is.
    pub name: ListenerName,
    /// The hosts it serves, by `Host` and by the server name of TLS; none: all.
    pub hostname: Option<HostPattern>,
    /// TLS that ends here; none: in the clear, or passed through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<ServerTls>>,
    /// What it does with who comes in.
    pub serves: Serves,
    /// How it treats clients.
    #[serde(skip_serializing_if = "is_default")]
    pub client: Arc<ClientPolicy>,
    /// What becomes of its own answers to requests that no rule serves.
    #[serde(skip_serializing_if = "as_they_are")]
    pub responses: Arc<ResponsePolicy>,
}

/// Whether responses go out as they are.
pub(super) fn as_they_are(responses: &Arc<ResponsePolicy>) -> bool {
    responses.is_empty()
}

fn is_default(policy: &Arc<ClientPolicy>) -> bool {
    **policy == ClientPolicy::default()
}

/// What a listener carries, and its routes in order of precedence (older first, then by name).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Serves {
    /// HTTP requests (HTTPRoute and GRPCRoute).
    Http(Vec<Arc<HttpRoute>>),
    /// TLS connections by server name (TLSRoute); ended here if the listener has `tls`, else passed through.
    Tls(Vec<Arc<TlsRoute>>),
    /// TCP connections; none: nothing is attached, and they are closed.
    Tcp(Option<Arc<StreamRoute>>),
    /// UDP sessions; none: nothing is attached, and datagrams are dropped.
    Udp(Option<Arc<StreamRoute>>),
}

impl Listener {
    /// How many routes are attached.
    pub fn route_count(&self) -> usize {
        match &self.serves {
            Serves::Http(routes) => routes.len(),
            Serves::Tls(routes) => routes.len(),
            Serves::Tcp(route) | Serves::Udp(route) => usize::from(route.is_some()),
        }
    }

    /// Its HTTP routes; empty if it carries something else.
    pub fn http_routes(&self) -> &[Arc<HttpRoute>] {
        match &self.serves {
            Serves::Http(routes) => routes,
            _ => &[],
        }
    }
}

/// Gateway and listener: `shop/edge/http`; of a ListenerSet, its name stands between: `shop/edge/team/set/http`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerName {
    /// The Gateway.
    pub gateway: Key,
    /// The listener's name in it.
    pub section: Arc<str>,
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.gateway, self.section)
    }
}

impl Serialize for ListenerName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
