//! HTTP through the gateway: listeners, workers, upstream connections, access log.
//!
//! The door is [`Proxy`]: give it a [`Traffic`](tidegate_model::Traffic), watch what it observes, drain it. Nothing
//! behind the door is public.
//!
//! ```text
//!  Proxy ── watch ──► control thread: compiles routers, opens sockets ── orders ──► worker threads, one per core
//!                                                                                    │ doors (SO_REUSEPORT sockets)
//!                                                                                    │ connections ─► exchange ─► upstream pool
//!                                                                                    └ log sheet ──► access-log thread
//! ```
//!
//! A worker shares nothing on the request path: its connections, pool, buffers and clock live in its own thread;
//! metrics are atomics, and endpoints are read from cells that never block.

// cargo-fuzz sets `cfg(fuzzing)`; no other build knows the name.
#![cfg_attr(fuzzing, allow(missing_docs))]

mod access_log;
mod backends;
mod body;
mod buffer;
mod census;
mod connection;
mod control;
mod datagram;
mod date;
mod exchange;
mod framing;
mod handover;
mod health;
mod http2;
mod limits;
mod listener;
mod metrics;
mod offenders;
mod outgoing;
mod own;
mod pace;
mod proxy;
mod relay;
mod reply;
mod resting;
mod secret;
mod shares;
mod stage;
mod table;
mod timer;
mod trim;
mod tunnel;
mod turns;
mod upstream;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

pub use access_log::{ACCESS_LOG_FIELDS, AccessLog, AccessLogOutput, SyslogReceiver};
pub use backends::{EndpointView, HandDrain};
pub use exchange::recording::Tracing;
pub use handover::{Handover, ListeningSocket, SessionSocket};
pub use limits::Limits;
pub use proxy::{Proxy, ProxyConfig, ProxyObserved, SocketKey, SocketState, StartError};
pub use wire::dice;

/// The parsers, opened for the fuzz targets; in no other build.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use crate::framing::chunked::{ChunkScanner, Emit, Step};
    pub use crate::framing::fields::Fields;
    pub use crate::framing::request::{RequestHead, RequestReader};
    pub use crate::framing::response::{ResponseHead, ResponseReader};
    pub use crate::framing::{BodyLength, HEAD_BYTES_MAX, HEADER_LINES_MAX, Malformed};
    pub use crate::health::serving_status;
}
