//! What is counted of links.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What is counted of links. Labels of peers are names of GatewayNodes, so a user bounds them.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    /// 1 for each peer with a link.
    pub connected: Family<[(&'static str, String); 1], Gauge>,
    /// Links and attempts that ended, by reason.
    pub ends: Family<[(&'static str, &'static str); 1], Counter>,
    /// Connections closed at once.
    pub turned_away: Counter,
    /// Messages by direction and topic.
    pub messages: Family<[(&'static str, &'static str); 2], Counter>,
    /// Messages of topics that are not known here.
    pub passed_over: Counter,
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidegate_peers");
        let help = "1 while there is a link to the gateway";
        registry.register("connected", help, self.connected.clone());
        let help = "Links to gateways, and attempts at one, that ended, by reason";
        registry.register("ends", help, self.ends.clone());
        let help = "Connections closed at once because as many were open that had proved nothing";
        registry.register("turned_away_connections", help, self.turned_away.clone());
        let help = "Messages between gateways by direction and topic";
        registry.register("messages", help, self.messages.clone());
        let help = "Messages of newer gateways that this version does not know";
        registry.register("passed_over_messages", help, self.passed_over.clone());
    }

    /// A message went or came.
    pub fn message(&self, direction: &'static str, topic: &'static str) {
        self.messages.get_or_create(&[("direction", direction), ("topic", topic)]).inc();
    }

    /// Whether there is a link to this gateway; nothing: it is no gateway any more.
    pub fn link(&self, peer: &str, connected: Option<bool>) {
        let label = [("peer", peer.to_owned())];
        match connected {
            Some(connected) => {
                self.connected.get_or_create(&label).set(i64::from(connected));
            }
            None => {
                self.connected.remove(&label);
            }
        }
    }
}
