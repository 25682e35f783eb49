//! What is counted of names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidegate_dns::Heard;

/// Counts; names are no labels, for there may be many.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    lookups: Family<[(&'static str, &'static str); 1], Counter>,
    names: Gauge,
    failed: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidegate_resolver");
        let help = "Names outside that were asked for, by what was heard";
        registry.register("lookups", help, self.lookups.clone());
        let help = "Names outside that Services in use stand for";
        registry.register("names", help, self.names.clone());
        let help = "Names outside whose last lookup failed: their last addresses, if any, stay in use";
        registry.register("failed_names", help, self.failed.clone());
    }

    /// Counts an answer.
    pub fn heard(&self, heard: &Heard) {
        let result = match heard {
            Heard::Addresses { .. } => "addresses",
            Heard::Nothing { .. } => "nothing",
            Heard::Failed(_) => "failed",
        };
        self.lookups.get_or_create(&[("result", result)]).inc();
    }

    /// How many there are, and how many failed.
    pub fn count(&self, (names, failed): (usize, usize)) {
        self.names.set(i64::try_from(names).unwrap_or(i64::MAX));
        self.failed.set(i64::try_from(failed).unwrap_or(i64::MAX));
    }
}
