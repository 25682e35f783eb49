//! Sampled requests as OpenTelemetry spans, sent to a collector by OTLP over HTTP.
//!
//! ```text
//!  workers ── bounded queue of TracedExchange ──► span-exporter thread ── spans, protobuf ──► POST …/v1/traces
//! ```
//!
//! Who fills the queue never waits: what it has no room for is dropped and counted there. A collector that is away, slow
//! or refuses costs spans, which are counted, and nothing else. Nothing is sent again: what a collector has not confirmed
//! it may have all the same.

mod endpoint;
mod exporter;
mod spans;

pub use endpoint::Endpoint;
pub use exporter::{Exporter, Origin, QUEUE_EXCHANGES};
