//! What all workers share: limits of the process, counters, and what is known of backends and clients.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tidegate_tls::TicketKeys;

use crate::backends::{Backends, Budget};
use crate::exchange::overload::Overload;
use crate::exchange::recording::Tracing;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::offenders::Offenders;
use crate::own::OwnSockets;
use crate::secret::session_key;
use crate::shares::Shares;
use crate::wire::own_tickets;

/// What all workers share: limits of the process, and counters.
pub struct Shared {
    pub limits: Limits,
    pub metrics: Metrics,
    /// Client connections open.
    pub connections: AtomicUsize,
    /// What each address has of them.
    pub shares: Shares,
    /// Connections that a worker wanted closed, and had none itself that rests.
    pub wanted: AtomicUsize,
    /// UDP sessions open.
    pub sessions: AtomicUsize,
    /// What each address has of them.
    pub session_shares: Shares,
    /// Where this process listens: no endpoint is.
    pub own: OwnSockets,
    /// What is known of backends.
    pub backends: Arc<Backends>,
    /// What TLS sessions are sealed with.
    pub tickets: TicketKeys,
    /// How short memory is.
    pub overload: Overload,
    /// Whose traces are recorded; nothing: nobody's.
    pub tracing: Option<Tracing>,
    /// Client addresses that are kept out for a while.
    pub offenders: Offenders,
}

impl Shared {
    /// Nothing is open yet. Gateways with one secret know each other's persistent sessions; empty: this process alone. Without
    /// `tickets` no other process resumes its TLS sessions.
    pub fn new(
        limits: Limits,
        metrics: Metrics,
        shared_secret: &[u8],
        tickets: Option<TicketKeys>,
    ) -> Shared {
        let (connections, sessions, wanted, shares, session_shares) = Default::default();
        let tickets = tickets.unwrap_or_else(own_tickets);
        let budget = Budget::new(limits.upstream_connections);
        let backends = Backends::new(metrics.backend_refusals.clone(), session_key(shared_secret), budget);
        let overload = Overload::new(&limits, metrics.overload_steps.clone());
        let offenders = Offenders::new(limits.cuts_per_client);
        let (backends, tracing) = (Arc::new(backends), None);
        Shared {
            limits,
            metrics,
            connections,
            shares,
            wanted,
            sessions,
            session_shares,
            own: OwnSockets::default(),
            backends,
            tickets,
            overload,
            tracing,
            offenders,
        }
    }
}
