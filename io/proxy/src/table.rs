//! What a socket serves: its entrance, compiled once for all workers, with the metrics of each listener at hand.

use std::sync::Arc;

use tidegate_model::traffic::{Entrance, Listener};
use tidegate_traffic::Router;

use crate::metrics::{ListenerMetrics, Metrics};

/// An entrance, ready to serve.
pub struct Table {
    /// What it was compiled from.
    pub entrance: Arc<Entrance>,
    /// Finds the rule.
    pub router: Router,
    listeners: Vec<ListenerEntry>,
    nobody: ListenerEntry,
}

/// A listener's name and metrics.
pub struct ListenerEntry {
    /// `namespace/gateway/listener`; empty for requests that reach no listener.
    pub name: String,
    /// Its metrics.
    pub metrics: ListenerMetrics,
}

impl ListenerEntry {
    fn new(name: String, metrics: &Metrics) -> ListenerEntry {
        ListenerEntry { metrics: metrics.listener(&name), name }
    }
}

impl Table {
    /// Compiles an entrance.
    pub fn new(entrance: &Arc<Entrance>, metrics: &Metrics) -> Table {
        let entry = |listener: &Arc<Listener>| ListenerEntry::new(listener.name.to_string(), metrics);
        Table {
            entrance: entrance.clone(),
            router: Router::new(entrance),
            listeners: entrance.listeners.iter().map(entry).collect(),
            nobody: ListenerEntry::new(String::new(), metrics),
        }
    }

    /// The entry of a listener of this entrance.
    pub fn entry(&self, listener: Option<&Arc<Listener>>) -> &ListenerEntry {
        let position =
            listener.and_then(|wanted| self.entrance.listeners.iter().position(|l| Arc::ptr_eq(l, wanted)));
        position.map_or(&self.nobody, |index| &self.listeners[index])
    }

    /// The names of its listeners.
    pub fn listener_names(&self) -> impl Iterator<Item = &str> {
        self.listeners.iter().map(|listener| listener.name.as_str())
    }
}
