//! The proxy's metrics: atomics that workers add to, encoded when someone asks. Labels: listener and status class only.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

/// Upper bounds of the duration histogram, in microseconds.
const BOUNDS_US: [u64; 13] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000,
];

/// Status classes, the values of the label `code`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All metrics of the proxy.
#[derive(Clone, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<ListenerLabels, Durations>,
    /// Client connections open.
    pub connections_open: Gauge,
    /// Client connections accepted.
    pub connections: Counter,
    /// Client connections closed at once because of the limit.
    pub connections_refused: Counter,
    /// Connections opened to endpoints.
    pub upstream_connects: Counter,
    /// Attempts to open one that failed.
    pub upstream_connect_failures: Counter,
    /// Requests sent on a connection that was open already.
    pub upstream_reuses: Counter,
    /// Bytes received from clients.
    pub received: Counter,
    /// Bytes sent to clients.
    pub sent: Counter,
    /// Access-log lines dropped because the writer was behind.
    pub log_drops: Counter,
}

impl Metrics {
    /// Makes them known.
    pub fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let m = metrics.clone();
        registry.register("tidegate_http_requests", "Requests by listener and status class", m.requests);
        registry.register("tidegate_http_request_duration_seconds", "From head to last byte", m.durations);
        registry.register("tidegate_http_connections_open", "Client connections open", m.connections_open);
        registry.register("tidegate_http_connections", "Client connections accepted", m.connections);
        let help = "Client connections closed at once because of the limit";
        registry.register("tidegate_http_connections_refused", help, m.connections_refused);
        registry.register(
            "tidegate_upstream_connects",
            "Connections opened to endpoints",
            m.upstream_connects,
        );
        let help = "Connections to endpoints that could not be opened";
        registry.register("tidegate_upstream_connect_failures", help, m.upstream_connect_failures);
        registry.register(
            "tidegate_upstream_reuses",
            "Requests sent on an open connection",
            m.upstream_reuses,
        );
        registry.register("tidegate_http_received_bytes", "Bytes received from clients", m.received);
        registry.register("tidegate_http_sent_bytes", "Bytes sent to clients", m.sent);
        registry.register("tidegate_access_log_drops", "Access-log lines dropped", m.log_drops);
        metrics
    }

    /// The metrics of one listener, looked up once; empty for requests that reach none.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        let labels = |code: &'static str| RequestLabels { listener: listener.to_owned(), code };
        ListenerMetrics {
            requests: CLASSES.map(|code| self.requests.get_or_create_owned(&labels(code))),
            durations: self.durations.get_or_create_owned(&ListenerLabels { listener: listener.to_owned() }),
        }
    }

    /// Forgets a listener that is gone, so that labels do not pile up.
    pub fn forget(&self, listener: &str) {
        for code in CLASSES {
            self.requests.remove(&RequestLabels { listener: listener.to_owned(), code });
        }
        self.durations.remove(&ListenerLabels { listener: listener.to_owned() });
    }
}

/// The handles of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    requests: [Counter; 5],
    durations: Durations,
}

impl ListenerMetrics {
    /// Counts a request that is over.
    pub fn record(&self, status: u16, duration: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.requests[class].inc();
        self.durations.0.record(duration);
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    listener: String,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ListenerLabels {
    listener: String,
}

/// A histogram of atomics; the crate's own takes a lock for each observation.
#[derive(Clone, Debug, Default)]
struct Durations(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Buckets {
    fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|&bound| bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let counts: Vec<u64> = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let bounds = BOUNDS_US.iter().map(|&us| us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let sum_secs = self.0.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum_secs, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was counted is what a scrape shows, by listener and class, in seconds.
    #[test]
    fn a_scrape_shows_what_was_counted() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let listener = metrics.listener("shop/edge/http");
        listener.record(200, Duration::from_micros(700));
        listener.record(503, Duration::from_secs(60));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"tidegate_http_requests_total{listener="shop/edge/http",code="2xx"} 1"#,
            r#"tidegate_http_requests_total{listener="shop/edge/http",code="5xx"} 1"#,
            r#"tidegate_http_request_duration_seconds_bucket{le="0.0005",listener="shop/edge/http"} 0"#,
            r#"tidegate_http_request_duration_seconds_bucket{le="0.001",listener="shop/edge/http"} 1"#,
            r#"tidegate_http_request_duration_seconds_bucket{le="+Inf",listener="shop/edge/http"} 2"#,
            r#"tidegate_http_request_duration_seconds_sum{listener="shop/edge/http"} 60.0007"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
