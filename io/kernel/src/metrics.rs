//! The kernel's metrics: what the keeper did, and what our nftables table dropped. Labels: names of our counters only.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidegate_plan::nft::skeleton::skeleton;

/// All metrics of the kernel.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    /// Operations that repaired what a stranger had changed.
    pub(crate) repairs: Counter,
    /// Errors of the last application.
    pub(crate) errors: Gauge,
    dropped: Family<Reason, Counter>,
    /// What the table's counters said last; they begin anew whenever the table does.
    seen: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Metrics {
    /// Makes them known; every reason is there from the start.
    pub(crate) fn register(&self, registry: &mut Registry) {
        for reason in skeleton().counters {
            drop(self.dropped.get_or_create(&Reason { reason }));
        }
        let help = "Operations that repaired what others had changed of our kernel state";
        registry.register("tidegate_kernel_repairs", help, self.repairs.clone());
        let help = "Kernel operations that failed when the intent was last applied";
        registry.register("tidegate_kernel_errors", help, self.errors.clone());
        let help = "Packets that our nftables table dropped, by reason";
        registry.register("tidegate_dropped_packets", help, self.dropped.clone());
    }

    /// Adds what the table's counters have counted since the last time.
    pub(crate) fn count(&mut self, packets: &BTreeMap<String, u64>) {
        for reason in skeleton().counters {
            let now = packets.get(*reason).copied().unwrap_or(0);
            let seen = self.seen.insert(reason, now).unwrap_or(0);
            let more = now.checked_sub(seen).unwrap_or(now);
            self.dropped.get_or_create(&Reason { reason }).inc_by(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_built_anew_takes_nothing_back() {
        let mut metrics = Metrics::default();
        for (packets, total) in [(5, 5), (7, 7), (7, 7), (2, 9), (0, 9), (4, 13)] {
            metrics.count(&[("no_socket".to_owned(), packets), ("a stranger's".to_owned(), 99)].into());
            let counted = metrics.dropped.get_or_create(&Reason { reason: "no_socket" }).get();
            assert_eq!(counted, total);
        }
    }

    #[test]
    fn all_are_named_before_anything_has_happened() {
        let mut registry = Registry::default();
        Metrics::default().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "tidegate_kernel_repairs_total 0",
            "tidegate_kernel_errors 0",
            "tidegate_dropped_packets_total{reason=\"egress_denied\"} 0",
            "tidegate_dropped_packets_total{reason=\"untranslated\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
    }
}
