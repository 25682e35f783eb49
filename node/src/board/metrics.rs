//! Metrics of sources, elections and sessions, made from the same observations as the status when they are asked for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

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
        Ok(())
    }
}

impl Board {
    fn gauges(&self) -> Vec<Gauge<'static>> {
        let decided = self.decided();
        let sources = |count: fn(&tidegate_decode::SourceState) -> usize| {
            decided.sources.iter().map(|source| (source.status.name.clone(), count(source) as i64)).collect()
        };
        let elections = self.0.speaker.elections().borrow().clone();
        let sessions = self.0.speaker.sessions().borrow().clone();
        let up = |state: &str| i64::from(state == "Established");
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
