//! The thread that sends spans, in batches.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};
use prost::Message;
use tidegate_model::spans::TracedExchange;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::Endpoint;
use crate::spans::{add, text};

/// Exchanges on their way to the exporter. Each holds some KiB at most; whoever finds the queue full drops and counts.
pub const QUEUE_EXCHANGES: usize = 2048;

/// Exchanges in one message.
const BATCH_EXCHANGES: usize = 512;

/// How long a batch may wait for more.
const BATCH_WAIT: Duration = Duration::from_secs(1);

/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the end of the process waits for the last batch.
const FAREWELL: Duration = Duration::from_secs(2);

/// A collector's answer is longer than this only by mistake.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Who sends: attributes of every span.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Name of the gateway.
    pub node: String,
    /// Version of the program.
    pub version: String,
}

/// The running exporter. It ends, with everything sent, once every sender of its queue is gone; dropping it waits for
/// that, for a moment.
pub struct Exporter {
    /// Hangs up when the thread has ended. The lock only makes it `Sync`.
    ended: Mutex<Receiver<()>>,
}

impl Exporter {
    /// Starts it, and gives the way to it. Nothing is connected to before there is a span.
    pub fn start(
        endpoint: &Endpoint,
        origin: &Origin,
        registry: &mut Registry,
    ) -> io::Result<(SyncSender<TracedExchange>, Exporter)> {
        let courier = Courier::new(endpoint, origin, registry);
        let (queue, exchanges) = sync_channel(QUEUE_EXCHANGES);
        let (alive, ended) = channel();
        Builder::new().name("span-exporter".into()).spawn(move || {
            courier.run(&exchanges);
            drop(alive);
        })?;
        Ok((queue, Exporter { ended: Mutex::new(ended) }))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the collector does not answer; the last spans are lost");
        }
    }
}

struct Courier {
    url: String,
    agent: ureq::Agent,
    resource: Resource,
    scope: InstrumentationScope,
    sent: Counter,
    lost: Counter,
    failing: bool,
}

impl Courier {
    fn new(endpoint: &Endpoint, origin: &Origin, registry: &mut Registry) -> Courier {
        let (sent, lost) = (Counter::default(), Counter::default());
        let unit = || Unit::Other("spans".to_owned());
        registry.register_with_unit("tidegate_trace", "Spans that a collector took", unit(), sent.clone());
        let help = "Spans lost because the collector was away, too slow, or refused them";
        registry.register_with_unit("tidegate_trace_lost", help, unit(), lost.clone());
        let attributes = [
            text("service.name", "tidegate"),
            text("service.version", &origin.version),
            text("service.instance.id", &origin.node),
            text("host.name", &origin.node),
        ];
        Courier {
            url: endpoint.url().to_owned(),
            agent: agent(endpoint),
            resource: Resource {
                attributes: attributes.into_iter().flatten().collect(),
                ..Resource::default()
            },
            scope: InstrumentationScope {
                name: "tidegate".into(),
                version: origin.version.clone(),
                ..InstrumentationScope::default()
            },
            sent,
            lost,
            failing: false,
        }
    }

    fn run(mut self, exchanges: &Receiver<TracedExchange>) {
        while let Ok(first) = exchanges.recv() {
            let mut spans = Vec::new();
            add(&first, &mut spans);
            let deadline = Instant::now() + BATCH_WAIT;
            for _ in 1..BATCH_EXCHANGES {
                match exchanges.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(exchange) => add(&exchange, &mut spans),
                    Err(_) => break,
                }
            }
            self.deliver(spans);
        }
    }

    fn deliver(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        match self.post(spans) {
            Ok(refused) => {
                let refused = refused.min(count);
                self.lost.inc_by(refused);
                self.sent.inc_by(count - refused);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(collector = self.url, "the collector takes spans again");
                }
            }
            Err(error) => {
                self.lost.inc_by(count);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(collector = self.url, %error, "spans are lost: the collector does not take them");
                }
            }
        }
    }

    /// Sends a batch; how many of its spans the collector refused.
    fn post(&self, spans: Vec<Span>) -> Result<u64, ureq::Error> {
        let scope = ScopeSpans { scope: Some(self.scope.clone()), spans, ..ScopeSpans::default() };
        let resource = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        };
        let message = ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec();
        let request = self.agent.post(&self.url).header("content-type", "application/x-protobuf");
        let mut answer = request.send(&message[..])?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        // An answer that cannot be read is that of a collector which took everything in its own way.
        let answer = ExportTraceServiceResponse::decode(&body[..]).unwrap_or_default();
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or(0))
    }
}

/// A client of the collector alone: no redirects, no proxy of the environment.
fn agent(endpoint: &Endpoint) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .proxy(None)
        .user_agent("tidegate");
    if !endpoint.url().starts_with("https:") {
        return config.build().new_agent();
    }
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots));
    config.tls_config(tls.build()).build().new_agent()
}

#[cfg(test)]
mod tests;
