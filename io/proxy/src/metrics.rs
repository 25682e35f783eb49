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
use prometheus_client::registry::{Registry, Unit};
use tidegate_model::traffic::Coding;

use crate::wire::TlsMetrics;

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
    /// Client connections closed at once because their address is not among those that are let in.
    pub connections_excluded: Counter,
    /// Client connections closed at once because others of their address had to be cut.
    pub connections_barred: Counter,
    /// Client connections without a request that were closed because their places were wanted.
    pub connections_evicted: Counter,
    /// Connections opened to endpoints.
    pub upstream_connects: Counter,
    /// Attempts to open one that failed.
    pub upstream_connect_failures: Counter,
    /// Requests sent on a connection that was open already.
    pub upstream_reuses: Counter,
    /// Bytes of the buffers in use.
    pub buffers: Gauge,
    /// How short memory is: the step of the ladder.
    pub overload_steps: Gauge,
    /// Requests refused for that.
    pub overload_refusals: Counter,
    /// Copies of requests that did not reach their mirror.
    pub mirror_drops: Counter,
    /// What compression did.
    pub compression: CompressionMetrics,
    /// Responses that went out as they were because too many were being compressed.
    pub compression_skipped: Counter,
    /// Bytes received from clients.
    pub received: Counter,
    /// Bytes sent to clients.
    pub sent: Counter,
    /// TLS handshakes.
    pub tls: TlsMetrics,
    /// Connections closed because of their PROXY protocol header, or because they had none.
    pub proxy_headers_refused: Counter,
    floods: Family<KindLabels, Counter>,
    slow: Family<KindLabels, Counter>,
    /// HTTP/2 connections closed because the client broke the protocol.
    pub http2_errors: Counter,
    /// HTTP/2 streams refused because so many were open.
    pub http2_refused: Counter,
    /// HTTP/2 requests reset before anything was done for them.
    pub http2_taken_back: Counter,
    relayed: FlowFamilies,
    datagrams: FlowFamilies,
    /// Bytes that passed from socket to socket without being copied.
    pub spliced: Counter,
    /// UDP sessions open.
    pub sessions_open: Gauge,
    /// UDP sessions that had to make room for new ones.
    pub sessions_evicted: Counter,
    /// UDP sessions that were not begun because of a limit.
    pub sessions_refused: Counter,
    /// Datagrams dropped because their address is not among those that are let in.
    pub datagrams_excluded: Counter,
    /// Datagrams that could not be passed on.
    pub datagrams_dropped: Counter,
    /// Requests and connections that the limits of a backend turned away.
    pub backend_refusals: Counter,
    /// Endpoints that health checks found unhealthy, or healthy again.
    pub health_changes: Counter,
    /// Access-log lines that could not be written, or not fast enough.
    pub log_drops: Counter,
    /// Sampled requests that are in no trace because the exporter was behind.
    pub trace_drops: Counter,
}

impl Metrics {
    /// Makes them known. The registry puts the unit behind each name, and `_total` behind that of a counter.
    pub fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics::default();
        let m = metrics.clone();
        let count = |of: &str| Unit::Other(of.to_owned());
        let help = "Requests by listener and status class";
        registry.register_with_unit("tidegate_http", help, count("requests"), m.requests);
        let help = "Time from a request's head to the last byte of its response";
        registry.register_with_unit("tidegate_http_request_duration", help, Unit::Seconds, m.durations);
        let help = "Client connections, of HTTP, TCP and TLS, open";
        registry.register_with_unit("tidegate_http_open", help, count("connections"), m.connections_open);
        let help = "Client connections, of HTTP, TCP and TLS, accepted";
        registry.register_with_unit("tidegate_http", help, count("connections"), m.connections);
        let help = "Client connections, of HTTP, TCP and TLS, closed at once because of the limit";
        registry.register_with_unit(
            "tidegate_http_refused",
            help,
            count("connections"),
            m.connections_refused,
        );
        let help = "Client connections closed at once because their address is not among those let in";
        let excluded = m.connections_excluded;
        registry.register_with_unit("tidegate_http_excluded", help, count("connections"), excluded);
        let help = "Client connections closed at once because so many others of their address had to be cut";
        let barred = m.connections_barred;
        registry.register_with_unit("tidegate_http_barred", help, count("connections"), barred);
        let help = "Client connections without a request that were closed to make room for new ones";
        let evicted = m.connections_evicted;
        registry.register_with_unit("tidegate_http_evicted", help, count("connections"), evicted);
        let help = "Connections opened to endpoints";
        registry.register_with_unit("tidegate_upstream", help, count("connects"), m.upstream_connects);
        let help = "Connections to endpoints that could not be opened";
        let failures = m.upstream_connect_failures;
        registry.register_with_unit("tidegate_upstream_connect", help, count("failures"), failures);
        let help = "Requests sent on a connection to an endpoint that was open already";
        registry.register_with_unit("tidegate_upstream", help, count("reuses"), m.upstream_reuses);
        let help = "Bytes of the buffers that requests, connections and sessions hold";
        registry.register_with_unit("tidegate_buffers_used", help, Unit::Bytes, m.buffers);
        let help = "How short memory is: 1 ends connections with their request, 2 refuses HTTP/2 streams, 3 refuses requests";
        registry.register_with_unit("tidegate_overload", help, count("steps"), m.overload_steps);
        let help = "Requests refused because memory is short";
        registry.register_with_unit("tidegate_overload", help, count("refusals"), m.overload_refusals);
        let help = "Copies of requests for a mirror that were dropped";
        registry.register_with_unit("tidegate_mirror", help, count("drops"), m.mirror_drops);
        let help = "Responses compressed, by coding";
        registry.register_with_unit(
            "tidegate_http_compressed",
            help,
            count("responses"),
            m.compression.responses,
        );
        let help = "Bytes of content before compression, by coding";
        registry.register_with_unit(
            "tidegate_http_compression_input",
            help,
            Unit::Bytes,
            m.compression.taken,
        );
        let help = "Bytes of content after compression, by coding";
        registry.register_with_unit(
            "tidegate_http_compression_output",
            help,
            Unit::Bytes,
            m.compression.made,
        );
        let help =
            "Responses not compressed because as many were being compressed as may be, or memory was short";
        let skipped = m.compression_skipped;
        registry.register_with_unit("tidegate_http_compression_skipped", help, count("responses"), skipped);
        let help = "Bytes received from clients";
        registry.register_with_unit("tidegate_http_received", help, Unit::Bytes, m.received);
        let help = "Bytes sent to clients";
        registry.register_with_unit("tidegate_http_sent", help, Unit::Bytes, m.sent);
        m.tls.register(registry);
        let help = "Connections closed because of their PROXY protocol header, or because they had none";
        let refused = m.proxy_headers_refused;
        registry.register_with_unit("tidegate_proxy_header", help, count("failures"), refused);
        let help = "HTTP/2 connections closed because of a flood, by kind";
        registry.register_with_unit("tidegate_http2", help, count("floods"), m.floods);
        let help =
            "Requests and connections ended because nothing moved, or too slowly, by what was waited for";
        registry.register_with_unit("tidegate_http_slow", help, count("ends"), m.slow);
        let help = "HTTP/2 connections closed because the client broke the protocol";
        registry.register_with_unit("tidegate_http2", help, count("errors"), m.http2_errors);
        let help = "HTTP/2 streams refused because as many were open as the listener allows";
        registry.register_with_unit("tidegate_http2_refused", help, count("streams"), m.http2_refused);
        let help = "HTTP/2 requests reset before anything was done for them";
        registry.register_with_unit("tidegate_http2_taken_back", help, count("requests"), m.http2_taken_back);
        let help = "TCP and TLS connections passed on, by listener";
        registry.register_with_unit("tidegate_tcp", help, count("connections"), m.relayed.flows);
        let help = "Bytes received from clients of TCP and TLS listeners, by listener";
        registry.register_with_unit("tidegate_tcp_received", help, Unit::Bytes, m.relayed.received);
        let help = "Bytes sent to clients of TCP and TLS listeners, by listener";
        registry.register_with_unit("tidegate_tcp_sent", help, Unit::Bytes, m.relayed.sent);
        let help = "Bytes that passed from socket to socket without being copied";
        registry.register_with_unit("tidegate_tcp_spliced", help, Unit::Bytes, m.spliced);
        let help = "UDP sessions begun, by listener";
        registry.register_with_unit("tidegate_udp", help, count("sessions"), m.datagrams.flows);
        let help = "UDP sessions open";
        registry.register_with_unit("tidegate_udp_open", help, count("sessions"), m.sessions_open);
        let help = "UDP sessions that had to make room for new ones";
        registry.register_with_unit("tidegate_udp_evicted", help, count("sessions"), m.sessions_evicted);
        let help = "UDP sessions that were not begun because of a limit";
        registry.register_with_unit("tidegate_udp_refused", help, count("sessions"), m.sessions_refused);
        let help = "Datagrams dropped because their address is not among those let in";
        registry.register_with_unit("tidegate_udp_excluded", help, count("datagrams"), m.datagrams_excluded);
        let help = "Bytes of datagrams received from clients, by listener";
        registry.register_with_unit("tidegate_udp_received", help, Unit::Bytes, m.datagrams.received);
        let help = "Bytes of datagrams sent to clients, by listener";
        registry.register_with_unit("tidegate_udp_sent", help, Unit::Bytes, m.datagrams.sent);
        let help = "Datagrams that could not be passed on";
        registry.register_with_unit("tidegate_udp_dropped", help, count("datagrams"), m.datagrams_dropped);
        let help = "Requests and connections that the limits of a backend turned away";
        registry.register_with_unit("tidegate_backend", help, count("refusals"), m.backend_refusals);
        let help = "Endpoints that health checks found unhealthy, or healthy again";
        registry.register_with_unit("tidegate_backend_health", help, count("changes"), m.health_changes);
        let help = "Sampled requests that are in no trace because the exporter was behind";
        registry.register_with_unit("tidegate_trace", help, count("drops"), m.trace_drops);
        let help = "Access-log lines that could not be written, or not fast enough";
        registry.register_with_unit("tidegate_access_log", help, count("drops"), m.log_drops);
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

    /// Counts a request or connection that took too long: `head`, `idle`, `request_body`, `response_body`.
    pub fn slow(&self, kind: &'static str) {
        self.slow.get_or_create_owned(&KindLabels { kind }).inc();
    }

    /// Counts an HTTP/2 connection that was closed because of a flood of this kind; one of few names.
    pub fn flood(&self, kind: &'static str) {
        self.floods.get_or_create_owned(&KindLabels { kind }).inc();
    }

    /// The metrics of the connections that a listener passes on.
    pub fn relayed(&self, listener: &str) -> FlowMetrics {
        self.relayed.listener(listener)
    }

    /// The metrics of the UDP sessions of a listener.
    pub fn datagrams(&self, listener: &str) -> FlowMetrics {
        self.datagrams.listener(listener)
    }

    /// Forgets a listener that is gone, so that labels do not pile up.
    pub fn forget(&self, listener: &str) {
        self.relayed.forget(listener);
        self.datagrams.forget(listener);
        for code in CLASSES {
            self.requests.remove(&RequestLabels { listener: listener.to_owned(), code });
        }
        self.durations.remove(&ListenerLabels { listener: listener.to_owned() });
    }
}

/// What compression did, by coding.
#[derive(Clone, Default)]
pub struct CompressionMetrics {
    responses: Family<CodingLabels, Counter>,
    taken: Family<CodingLabels, Counter>,
    made: Family<CodingLabels, Counter>,
}

impl CompressionMetrics {
    /// Counts a response: bytes of content, and what became of them.
    pub fn record(&self, coding: Coding, taken: u64, made: u64) {
        let labels = CodingLabels { coding: coding.name() };
        self.responses.get_or_create_owned(&labels).inc();
        self.taken.get_or_create_owned(&labels).inc_by(taken);
        self.made.get_or_create_owned(&labels).inc_by(made);
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CodingLabels {
    coding: &'static str,
}

/// Connections or sessions that are passed on, by listener.
#[derive(Clone, Default)]
struct FlowFamilies {
    flows: Family<ListenerLabels, Counter>,
    received: Family<ListenerLabels, Counter>,
    sent: Family<ListenerLabels, Counter>,
}

impl FlowFamilies {
    fn listener(&self, listener: &str) -> FlowMetrics {
        let labels = ListenerLabels { listener: listener.to_owned() };
        FlowMetrics {
            flows: self.flows.get_or_create_owned(&labels),
            received: self.received.get_or_create_owned(&labels),
            sent: self.sent.get_or_create_owned(&labels),
        }
    }

    fn forget(&self, listener: &str) {
        let labels = ListenerLabels { listener: listener.to_owned() };
        self.flows.remove(&labels);
        self.received.remove(&labels);
        self.sent.remove(&labels);
    }
}

/// What one listener passed on; counted nowhere by default.
#[derive(Clone, Debug, Default)]
pub struct FlowMetrics {
    /// Connections or sessions.
    pub flows: Counter,
    /// Bytes from clients.
    pub received: Counter,
    /// Bytes to clients.
    pub sent: Counter,
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
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

    /// The page of all metrics, as the registry has them.
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");

    const PREFACE: &str = "\
# Metrics

`/metrics` on the admin address, in OpenMetrics text. Names are `tidegate_<noun>_<unit>`, units are base units, and
counters end in `_total`. A histogram shows as `_bucket`, `_sum` and `_count`. Labels: `listener` is
`namespace/gateway/listener`, empty for requests that reach none; `code` is a status class, `2xx`.

This first table is generated: `UPDATE_GOLDEN=1 cargo test -p tidegate-proxy metrics`. A test of the binary checks that
the page names every metric that a daemon shows.

| metric | type | unit | labels | what |
|---|---|---|---|---|
";

    /// A scrape in which every metric shows.
    fn scrape() -> String {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        registry.register_collector(Box::new(crate::backends::Gauges::sample()));
        metrics.listener("shop/edge/http").record(200, Duration::ZERO);
        let facts = crate::wire::TlsFacts {
            version: "TLSv1.3",
            cipher: "",
            server_name: String::new(),
            alpn: crate::wire::Alpn::None,
            resumed: false,
            client_certificate: tidegate_tls::ClientCertificate::None,
        };
        metrics.tls.client(&facts);
        metrics.tls.upstream(&facts);
        metrics.tls.client_failure("Timeout");
        metrics.tls.upstream_failure("Timeout");
        metrics.flood("rapid_reset");
        metrics.slow("head");
        metrics.compression.record(Coding::Gzip, 2, 1);
        metrics.relayed("shop/edge/tcp").flows.inc();
        metrics.datagrams("shop/edge/udp").flows.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    /// The label names of a metric's samples, which follow its `# HELP`; `le` belongs to every histogram.
    fn labels(text: &str, family: &str) -> Vec<String> {
        let sample = text.lines().skip(1).find(|line| line.starts_with(family)).unwrap();
        let Some((_, labels)) = sample.split_once('{') else { return vec![] };
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        names.map(|(name, _)| format!("`{name}`")).filter(|name| name != "`le`").collect()
    }

    /// One row for each `# HELP`, `# TYPE`, `# UNIT` of a scrape.
    fn table(text: &str) -> String {
        let mut rows = String::new();
        for block in text.split("# HELP ").skip(1) {
            let (family, help) = block.lines().next().unwrap().split_once(' ').unwrap();
            let fact = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(&format!("# {name} {family} ")));
                line.unwrap_or_else(|| panic!("{family} has no {name}"))
            };
            let (kind, unit) = (fact("TYPE"), fact("UNIT"));
            let name = if kind == "counter" { format!("{family}_total") } else { family.to_owned() };
            let labels = labels(block, family).join(", ");
            rows.push_str(&format!(
                "| `{name}` | {kind} | {unit} | {labels} | {} |\n",
                help.trim_end_matches('.')
            ));
        }
        rows
    }

    /// The page in docs/ says what the registry holds, down to the first `##`; what follows is of other rooms.
    #[test]
    fn the_page_of_metrics_is_up_to_date() {
        let found = std::fs::read_to_string(PAGE).unwrap_or_default();
        let others = found.find("\n## ").map_or("", |at| &found[at..]);
        let page = format!("{PREFACE}{}{others}", table(&scrape()));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(PAGE, &page).unwrap();
        }
        let found = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert_eq!(found, page, "docs/metrics.md is out of date: run this test with UPDATE_GOLDEN=1");
    }

    /// Every name is `tidegate_<noun>_<unit>`, in base units, and no two metrics share one.
    #[test]
    fn names_are_nouns_with_units() {
        let text = scrape();
        let mut names = std::collections::BTreeSet::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# UNIT ")) {
            let (name, unit) = line.split_once(' ').unwrap();
            assert!(names.insert(name), "{name} is there twice");
            let noun = name.strip_suffix(unit).and_then(|name| name.strip_prefix("tidegate_"));
            let noun = noun.and_then(|noun| noun.strip_suffix('_')).unwrap_or_default();
            assert!(!noun.is_empty(), "{name} is no tidegate_<noun>_{unit}");
            assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
            let scaled =
                ["milli", "micro", "nano", "kilo", "kibi", "mega", "minutes", "hours", "bits", "percent"];
            assert!(!scaled.iter().any(|scale| unit.contains(scale)), "{unit} is no base unit");
        }
        assert_eq!(names.len(), text.matches("# TYPE ").count(), "a metric has no unit");
    }

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
