//! Connections passed on byte by byte: TCPRoute, and TLSRoute whether TLS ends here or goes through.
//!
//! A relay picks a backend and an endpoint once, when the client has arrived, and keeps to it until both sides are done:
//! changes of routes and endpoints concern new connections only. It never looks into the bytes; what names the route of
//! a TLS connection is read by [`wire`](crate::wire) before.

mod flow;
mod guest;
pub mod header;
mod open;
mod pump;
mod stock;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_model::traffic::{BackendId, StreamRoute};

pub use guest::Guest;
pub use open::hash_key;
pub use stock::Stock;

use crate::access_log::Record;
use crate::metrics::FlowMetrics;
use crate::relay::pump::Pump;
use crate::table::ListenerEntry;
use crate::wire::Wire;
use crate::worker::Worker;

/// A client's connection that is passed on.
pub struct Relay {
    pub worker: Rc<Worker>,
    pub client: Wire,
    /// Who is at the other end of the connection.
    pub peer: SocketAddr,
    /// Who the client is: the peer, or whom a trusted one named.
    pub source: SocketAddr,
    /// The address the client asked for.
    pub destination: SocketAddr,
    /// The listener's name.
    pub listener: String,
    pub metrics: FlowMetrics,
    /// Where to; none: nothing is attached.
    pub route: Option<Arc<StreamRoute>>,
    /// The server name of TLS; empty: none.
    pub server_name: String,
    /// Without a byte in either direction for so long it ends.
    pub idle: Duration,
    /// Bytes that the client sent already; they go first.
    pub first: Vec<u8>,
}

/// What is known of a relay once it is over.
#[derive(Default)]
struct Story {
    backend: Option<BackendId>,
    endpoint: Option<SocketAddr>,
    /// Why it did not come about, or ended before both sides were done.
    reason: &'static str,
    /// To open the connection to the endpoint.
    connected: Duration,
    received: u64,
    sent: u64,
}

impl Relay {
    /// Passes on until both sides are done, one breaks, or nothing moves.
    pub async fn run(self) {
        let started = Instant::now();
        self.metrics.flows.inc();
        let mut story = Story::default();
        match open::open(&self, &mut story).await {
            Err(reason) => story.reason = reason,
            Ok(opened) => {
                story.connected = started.elapsed();
                self.pass(&opened.wire, &mut story).await;
            }
        }
        self.tell(&story, started.elapsed());
    }

    async fn pass(&self, upstream: &Wire, story: &mut Story) {
        let mut watch = self.worker.clock.watch();
        let mut pump = Pump::new(&self.worker, &self.client, upstream, &self.metrics);
        story.reason = pump.run(&mut watch, self.idle, &self.first).await.reason();
        (story.received, story.sent) = pump.moved();
    }

    fn tell(&self, story: &Story, duration: Duration) {
        if !self.worker.logs() {
            return;
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.worker.log(&Record {
            client: Some(self.source.ip()),
            peer: Some(self.peer),
            listener: &self.listener,
            host: &self.server_name,
            tls: self.client.tls().map_or("", |facts| facts.version),
            protocol: if self.server_name.is_empty() { "TCP" } else { "TLS" },
            reason: story.reason,
            route: self.route.as_ref().map(|route| &route.name as _),
            backend: story.backend.as_ref().map(|backend| backend as _),
            endpoint: story.endpoint,
            bytes_in: story.received,
            bytes_out: story.sent,
            duration_us: micros(duration),
            upstream_us: micros(story.connected),
            ..Record::default()
        });
    }
}

/// The entry's name and metrics, to outlive the table.
pub fn named(entry: &ListenerEntry) -> (String, FlowMetrics) {
    (entry.name.clone(), entry.flows.clone())
}
