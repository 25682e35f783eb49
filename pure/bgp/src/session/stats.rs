//! Counters of a session for status pages and metrics. They only grow, and survive flaps.

use crate::packet::MessageKind;
use std::time::{Duration, Instant};

/// Messages of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// OPEN.
    pub opens: u64,
    /// UPDATE.
    pub updates: u64,
    /// NOTIFICATION.
    pub notifications: u64,
    /// KEEPALIVE.
    pub keepalives: u64,
    /// ROUTE-REFRESH.
    pub refreshes: u64,
}

impl MessageCounts {
    pub(super) fn count(&mut self, kind: MessageKind) {
        *match kind {
            MessageKind::Open => &mut self.opens,
            MessageKind::Update => &mut self.updates,
            MessageKind::Notification => &mut self.notifications,
            MessageKind::Keepalive => &mut self.keepalives,
            MessageKind::RouteRefresh => &mut self.refreshes,
        } += 1;
    }

    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.opens + self.updates + self.notifications + self.keepalives + self.refreshes
    }
}

/// What a session has seen.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Read from the peer.
    pub received: MessageCounts,
    /// Written to the peer.
    pub sent: MessageCounts,
    /// Dials begun.
    pub dials: u64,
    /// Times the session became Established.
    pub established: u64,
    /// Times it ended, other than by our own Stop.
    pub flaps: u64,
    /// UPDATEs whose routes were withdrawn for malformed attributes (RFC 7606).
    pub treated_as_withdraw: u64,
    /// Malformed or misplaced attributes that were ignored (RFC 7606).
    pub attributes_discarded: u64,
    /// The last of these, for a person.
    pub last_malformed: Option<String>,
    /// Since when the session has been Established; None while it is not.
    pub established_since: Option<Instant>,
    /// Why the last session or attempt ended, and when.
    pub last_error: Option<(Instant, String)>,
}

impl Stats {
    /// How long the session has been Established; None while it is not.
    pub fn uptime(&self, now: Instant) -> Option<Duration> {
        self.established_since.map(|since| now.saturating_duration_since(since))
    }
}
