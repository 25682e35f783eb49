//! Metrics of TLS handshakes. Labels: version and kind of handshake, or reason of failure; a few values each.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use crate::wire::TlsFacts;

/// The counters of TLS.
#[derive(Clone, Default)]
pub struct TlsMetrics {
    clients: Family<Done, Counter>,
    client_failures: Family<Failed, Counter>,
    upstreams: Family<Done, Counter>,
    upstream_failures: Family<Failed, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Done {
    version: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failed {
    reason: &'static str,
}

impl Done {
    fn of(facts: &TlsFacts) -> Done {
        Done { version: facts.version, kind: if facts.resumed { "resumed" } else { "full" } }
    }
}

impl TlsMetrics {
    /// Makes them known.
    pub fn register(&self, registry: &mut Registry) {
        let count = |of: &str| Unit::Other(of.to_owned());
        let help = "TLS handshakes of clients that were completed";
        registry.register_with_unit("tidegate_tls", help, count("handshakes"), self.clients.clone());
        let help = "TLS handshakes of clients that failed";
        let failures = self.client_failures.clone();
        registry.register_with_unit("tidegate_tls_handshake", help, count("failures"), failures);
        let help = "TLS handshakes with endpoints that were completed";
        registry.register_with_unit(
            "tidegate_upstream_tls",
            help,
            count("handshakes"),
            self.upstreams.clone(),
        );
        let help = "TLS handshakes with endpoints that failed";
        let failures = self.upstream_failures.clone();
        registry.register_with_unit("tidegate_upstream_tls_handshake", help, count("failures"), failures);
    }

    /// A client's handshake is done.
    pub fn client(&self, facts: &TlsFacts) {
        self.clients.get_or_create(&Done::of(facts)).inc();
    }

    /// A client's handshake failed.
    pub fn client_failure(&self, reason: &'static str) {
        self.client_failures.get_or_create(&Failed { reason }).inc();
    }

    /// A handshake with an endpoint is done.
    pub fn upstream(&self, facts: &TlsFacts) {
        self.upstreams.get_or_create(&Done::of(facts)).inc();
    }

    /// A handshake with an endpoint failed.
    pub fn upstream_failure(&self, reason: &'static str) {
        self.upstream_failures.get_or_create(&Failed { reason }).inc();
    }
}
