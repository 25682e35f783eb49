//! What a socket serves: its entrance, compiled once for all workers, with the metrics of each listener at hand.

use std::sync::Arc;

use tidegate_model::traffic::{Entrance, Listener, Serves, Transport};
use tidegate_traffic::{Decision, Router, SniRoutes};

use crate::census::Census;
use crate::metrics::{FlowMetrics, ListenerMetrics, Metrics};
use crate::wire::Configs;
use crate::worker::Shared;

mod default_hosts;

pub use default_hosts::DefaultHosts;

/// An entrance, ready to serve.
pub struct Table {
    /// What it was compiled from.
    pub entrance: Arc<Entrance>,
    /// Finds the rule.
    pub router: Router,
    /// What becomes of who comes in.
    pub kind: Kind,
    /// The TLS of its listeners.
    pub configs: Configs,
    /// For whom requests of HTTP/1.0 are that do not say.
    pub default_hosts: DefaultHosts,
    /// Who is there; the same for every table of the socket.
    pub census: Arc<Census>,
    listeners: Vec<ListenerEntry>,
    nobody: ListenerEntry,
}

/// What becomes of who comes in at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests in the clear.
    Http,
    /// TLS first; then what the listener of the server name says.
    Tls,
    /// A connection passed on as it is.
    Tcp,
    /// Datagrams passed on.
    Udp,
}

impl Kind {
    fn of(entrance: &Entrance) -> Kind {
        let any = |is: fn(&Listener) -> bool| entrance.listeners.iter().any(|listener| is(listener));
        match entrance.transport {
            Transport::Udp => Kind::Udp,
            Transport::Tcp if any(|l| l.tls.is_some() || matches!(l.serves, Serves::Tls(_))) => Kind::Tls,
            Transport::Tcp if any(|l| matches!(l.serves, Serves::Tcp(_))) => Kind::Tcp,
            Transport::Tcp => Kind::Http,
        }
    }
}

/// A listener's name and metrics.
pub struct ListenerEntry {
    /// `namespace/gateway/listener`; empty for requests that reach no listener.
    pub name: String,
    /// Its metrics of requests.
    pub metrics: ListenerMetrics,
    /// Its metrics of relayed connections and sessions.
    pub flows: FlowMetrics,
    /// Its routes by server name, if it carries TLS connections.
    pub names: SniRoutes,
}

impl ListenerEntry {
    fn new(listener: &Listener, metrics: &Metrics) -> ListenerEntry {
        let name = listener.name.to_string();
        let flows = match listener.serves {
            Serves::Http(_) => FlowMetrics::default(),
            Serves::Tls(_) | Serves::Tcp(_) => metrics.relayed(&name),
            Serves::Udp(_) => metrics.datagrams(&name),
        };
        let names = match &listener.serves {
            Serves::Tls(routes) => SniRoutes::new(routes),
            _ => SniRoutes::default(),
        };
        ListenerEntry { metrics: metrics.listener(&name), flows, names, name }
    }
}

impl Table {
    /// Compiles an entrance; `before` is what its socket served until now.
    pub fn new(entrance: &Arc<Entrance>, before: Option<&Table>, shared: &Shared) -> Table {
        let metrics = &shared.metrics;
        let entry = |listener: &Arc<Listener>| ListenerEntry::new(listener, metrics);
        let nobody = ListenerEntry {
            name: String::new(),
            metrics: metrics.listener(""),
            flows: FlowMetrics::default(),
            names: SniRoutes::default(),
        };
        Table {
            entrance: entrance.clone(),
            router: Router::new(entrance),
            kind: Kind::of(entrance),
            configs: Configs::new(entrance, before.map(|table| &table.configs), &shared.tickets),
            default_hosts: DefaultHosts::of(entrance),
            census: before.map(|table| table.census.clone()).unwrap_or_default(),
            listeners: entrance.listeners.iter().map(entry).collect(),
            nobody,
        }
    }

    /// The entry of a listener of this entrance.
    pub fn entry(&self, listener: Option<&Arc<Listener>>) -> &ListenerEntry {
        let position =
            listener.and_then(|wanted| self.entrance.listeners.iter().position(|l| Arc::ptr_eq(l, wanted)));
        position.map_or(&self.nobody, |index| &self.listeners[index])
    }

    /// The entry of the listener that decided; without a search where a rule matched.
    pub fn entry_of(&self, decision: &Decision<'_>) -> &ListenerEntry {
        match decision {
            Decision::Matched(matched) => &self.listeners[matched.index],
            decision => self.entry(decision.listener()),
        }
    }

    /// The names of its listeners.
    pub fn listener_names(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().map(|listener| listener.name.as_str())
    }
}
