//! What can be seen of backends from outside: facts for status and console, gauges for a scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tidegate_model::DrainedEndpoints;
use tidegate_model::traffic::{BackendId, Breaker};
use tidegate_traffic::balance::EndpointFacts;

use super::{Backends, Slot, now};

impl Slot {
    /// What is known of its endpoints.
    pub fn facts(&self, drained: &DrainedEndpoints, now: Duration) -> Vec<EndpointFacts> {
        if let Some(shared) = self.shared.get() {
            return shared.facts(now);
        }
        let unused = |endpoint: &tidegate_model::traffic::Endpoint| EndpointFacts {
            address: endpoint.address,
            weight: endpoint.weight,
            zone: endpoint.zone.clone(),
            healthy: true,
            ejected_secs: None,
            draining: drained.contains(endpoint.address),
            slow_percent: None,
            in_flight: 0,
            latency_micros: None,
        };
        self.backend.endpoints.load().usable.iter().map(unused).collect()
    }

    fn is_watched(&self) -> bool {
        self.backend.policy.health_check.is_some() || self.backend.policy.ejection.is_some()
    }
}

/// A look at what is known of endpoints; it changes nothing. Cheap to clone.
#[derive(Clone)]
pub struct EndpointView(Arc<Backends>);

impl EndpointView {
    /// Of these backends.
    pub(crate) fn new(backends: Arc<Backends>) -> EndpointView {
        EndpointView(backends)
    }

    /// Every endpoint that a route leads to, now. A backend is there once for each of its settings.
    pub fn facts(&self) -> Vec<(BackendId, Vec<EndpointFacts>)> {
        self.0.facts()
    }
}

/// Endpoints of backends that are watched and queues before those that are limited, counted when somebody asks.
pub struct Gauges(Arc<Backends>);

impl Gauges {
    /// Of these backends.
    pub fn new(backends: Arc<Backends>) -> Gauges {
        Gauges(backends)
    }

    /// Of a backend that is watched and limited, for the page of metrics.
    #[cfg(test)]
    pub fn sample() -> Gauges {
        Gauges(Arc::new(super::tests::watched()))
    }

    /// Healthy and ejected endpoints by backend. One with several settings counts where it is worst.
    fn endpoints(&self) -> BTreeMap<String, (i64, i64)> {
        let (roll, now) = (self.0.roll.borrow().clone(), now());
        let mut counts = BTreeMap::new();
        for slot in roll.slots().filter(|slot| slot.is_watched()) {
            let facts = slot.facts(&DrainedEndpoints::default(), now);
            let healthy = facts.iter().filter(|endpoint| endpoint.healthy).count() as i64;
            let ejected = facts.iter().filter(|endpoint| endpoint.ejected_secs.is_some()).count() as i64;
            let count = counts.entry(slot.backend.id.to_string()).or_insert((healthy, ejected));
            *count = (count.0.min(healthy), count.1.max(ejected));
        }
        counts
    }

    /// Endpoints drained by hand, by backend, of those that have any.
    fn drained(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        let drained = self.0.drained_by_hand();
        if drained.is_empty() {
            return counts;
        }
        let roll = self.0.roll.borrow().clone();
        for slot in roll.slots() {
            let endpoints = slot.backend.endpoints.load();
            let count = endpoints.addresses().filter(|&address| drained.contains(address)).count();
            if count > 0 {
                counts.insert(slot.backend.id.to_string(), count as i64);
            }
        }
        counts
    }

    /// Who waits in line, by backend.
    fn waiting(&self) -> BTreeMap<String, i64> {
        let roll = self.0.roll.borrow().clone();
        let mut counts = BTreeMap::new();
        for slot in roll.slots().filter(|slot| slot.backend.policy.breaker != Breaker::default()) {
            let waiting = slot.shared.get().and_then(|shared| shared.circuit().load().pending_requests);
            *counts.entry(slot.backend.id.to_string()).or_default() += i64::from(waiting.unwrap_or_default());
        }
        counts
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let endpoints = self.endpoints();
        let unit = Unit::Other("endpoints".into());
        let help = "Endpoints that health checks find healthy, of backends with health checks or ejection.";
        let healthy = endpoints.iter().map(|(backend, (count, _))| (backend.as_str(), *count));
        family(&mut encoder, "tidegate_backend_healthy", help, &unit, healthy)?;
        let help = "Endpoints left out for a while because requests to them failed, of the same backends.";
        let ejected = endpoints.iter().map(|(backend, (_, count))| (backend.as_str(), *count));
        family(&mut encoder, "tidegate_backend_ejected", help, &unit, ejected)?;
        let drained = self.drained();
        let help = "Endpoints left out because somebody drained them by hand, of backends that have any.";
        let drained = drained.iter().map(|(backend, count)| (backend.as_str(), *count));
        family(&mut encoder, "tidegate_backend_drained", help, &unit, drained)?;
        let waiting = self.waiting();
        let help = "Requests that wait for a place, of backends with limits.";
        let waiting = waiting.iter().map(|(backend, count)| (backend.as_str(), *count));
        family(&mut encoder, "tidegate_backend_waiting", help, &Unit::Other("requests".into()), waiting)
    }
}

/// A gauge by backend; nothing if there is none.
fn family<'b>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: &Unit,
    counts: impl Iterator<Item = (&'b str, i64)>,
) -> fmt::Result {
    let mut counts = counts.peekable();
    if counts.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, Some(unit), MetricType::Gauge)?;
    for (backend, count) in counts {
        ConstGauge::new(count).encode(metric.encode_family(&[("backend", backend)])?)?;
    }
    Ok(())
}
