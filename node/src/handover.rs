//! A hand-over, seen from the daemon: who gives ([`giver`]), who takes ([`taker`]), and who still drains ([`draining`]).
//!
//! `io/handover` carries the words; here they are joined to the shells. What is said when is drawn there.

pub mod draining;
pub mod giver;
pub mod taker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// How long the other process may take for what needs no more than a moment.
pub const SOON: Duration = Duration::from_secs(10);

/// How long a new process may take until it could serve; then the old one goes on alone.
pub const PREPARE_MAX: Duration = Duration::from_secs(120);

/// How long connections may stay with a process that was taken over from.
pub const DRAIN_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where a process of this state directory is asked to hand over.
pub fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("handover.sock")
}

/// What this process knows of hand-overs.
#[derive(Clone, Default)]
pub struct Metrics {
    /// Attempts of others to take over that failed.
    pub failures: Counter,
    /// Listening sockets received.
    pub sockets: Gauge,
    /// UDP sessions received.
    pub sessions: Gauge,
    /// From asking for the rest until accepting.
    pub stall: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidegate_handover");
        let (failures, sockets, sessions) =
            (self.failures.clone(), self.sockets.clone(), self.sessions.clone());
        registry.register("failures", "Attempts of another process to take over that failed", failures);
        registry.register("sockets", "Listening sockets received from the process before", sockets);
        registry.register("udp_sessions", "UDP sessions received from the process before", sessions);
        let help = "From asking the process before for its state until accepting in its place";
        registry.register_with_unit("duration", help, Unit::Seconds, self.stall.clone());
    }
}

/// Processes that were taken over from and still hold connections.
pub type Draining = Arc<draining::Draining>;
