//! What status and console show of an endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;
use tidegate_model::traffic::Endpoint;

use super::member::Member;
use super::view::slow_factor;

/// An endpoint at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointFacts {
    /// Where.
    pub address: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// What the health check says; true without one.
    pub healthy: bool,
    /// It is ejected for so many seconds more; 0: until the next sweep.
    pub ejected_secs: Option<u64>,
    /// It is left out by hand.
    pub draining: bool,
    /// It starts slowly, with so much of a hundred of its share.
    pub slow_percent: Option<u32>,
    /// Requests under way.
    pub in_flight: u32,
    /// Recent latency, where the policy measures it.
    pub latency_micros: Option<u64>,
}

impl EndpointFacts {
    pub(super) fn new(
        endpoint: &Endpoint,
        member: &Member,
        window: Option<Duration>,
        now: Duration,
    ) -> EndpointFacts {
        let slow = window.map_or(1.0, |window| slow_factor(member, window, now));
        EndpointFacts {
            address: endpoint.address,
            weight: endpoint.weight,
            zone: endpoint.zone.clone(),
            healthy: !member.unhealthy.load(Relaxed),
            ejected_secs: member.ejected_until().map(|until| until.saturating_sub(now).as_secs()),
            draining: member.drained.load(Relaxed),
            slow_percent: (slow < 1.0).then_some((slow * 100.0) as u32),
            in_flight: member.in_flight(),
            latency_micros: member.latency(now).map(|latency| latency.as_micros() as u64),
        }
    }
}
