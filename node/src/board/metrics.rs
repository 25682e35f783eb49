//! Metrics of sources, elections, sessions and what is written to clusters, made from the same observations as the status when they are asked for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tidegate_kube::WriterObserved;

use super::Board;

/// One gauge for each thing it counts: name, help, label, and a value for each value of the label.
type Gauge<'a> = (&'a str, &'a str, &'a str, Vec<(String, i64)>);

impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, label, values) in self.gauges() {
            let kind = ConstGauge::new(0i64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (value_of_label, value) in values {
                ConstGauge::new(value).encode(family.encode_family(&[(label, value_of_label)])?)?;
            }
        }
        for (name, help, count) in WRITTEN {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (source, writer) in self.0.writers.each() {
                ConstCounter::new(count(&writer)).encode(family.encode_family(&[("source", source)])?)?;
            }
        }
        Ok(())
    }
}

/// A counter of what is written to clusters: name, help, and where the count is.
type Written = (&'static str, &'static str, fn(&WriterObserved) -> u64);

/// Counters of what is written to clusters.
const WRITTEN: [Written; 3] = [
    ("tidegate_status_writes", "Writes of statuses, and of what is made for Gateways.", |writer| {
        writer.writes
    }),
    (
        "tidegate_status_failures",
        "Writes to a cluster that could not be done; they are tried again.",
        |writer| writer.failures,
    ),
    ("tidegate_status_events", "Events that were created or repeated.", |writer| writer.events),
];

impl Board {
    fn gauges(&self) -> Vec<Gauge<'static>> {
        let decided = self.decided();
        let sources = |count: fn(&tidegate_decode::SourceState) -> usize| {
            decided.sources.iter().map(|source| (source.status.name.clone(), count(source) as i64)).collect()
        };
        let elections = self.0.speaker.elections().borrow().clone();
        let sessions = self.0.speaker.sessions().borrow().clone();
        let up = |state: &str| i64::from(state == "Established");
        let written = |count: fn(&WriterObserved) -> i64| -> Vec<(String, i64)> {
            self.0.writers.each().map(|(source, writer)| (source.to_owned(), count(&writer))).collect()
        };
        let peers = sessions.sessions.iter();
        let groups = elections.iter();
        vec![
            ("tidegate_source_objects", "Objects in force.", "source", sources(|s| s.status.objects)),
            (
                "tidegate_source_errors",
                "Files and objects that could not be read; the last good ones stay in force.",
                "source",
                sources(|s| s.status.errors.len()),
            ),
            (
                "tidegate_election_masters",
                "1 where this gateway holds the group's addresses.",
                "group",
                groups.clone().map(|e| (e.group.clone(), i64::from(e.master_here))).collect(),
            ),
            (
                "tidegate_election_transitions",
                "Changes of state since the start.",
                "group",
                groups.map(|e| (e.group.clone(), e.transitions as i64)).collect(),
            ),
            (
                "tidegate_session_established",
                "1 while the BGP session is Established.",
                "peer",
                peers.clone().map(|s| (s.peer.clone(), up(&s.state))).collect(),
            ),
            (
                "tidegate_session_prefixes",
                "Prefixes held from the peer.",
                "peer",
                peers.map(|s| (s.peer.clone(), s.received as i64)).collect(),
            ),
            (
                "tidegate_status_leads",
                "1 where this gateway holds the Lease by which statuses are written.",
                "source",
                written(|writer| i64::from(writer.leads)),
            ),
            (
                "tidegate_status_pending_objects",
                "Objects whose status, and concerns whose Event, wait to be written by this gateway.",
                "source",
                written(|writer| writer.pending as i64),
            ),
            (
                "tidegate_status_contested_objects",
                "Objects whose status somebody else goes on changing; they are left alone for ten minutes at a time.",
                "source",
                written(|writer| writer.contested as i64),
            ),
            (
                "tidegate_handover_draining_connections",
                "Client connections that a process before still holds.",
                "pid",
                self.0.draining.each().iter().map(|(pid, open)| (pid.to_string(), *open as i64)).collect(),
            ),
        ]
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("node", &self.0.node).finish_non_exhaustive()
    }
}
