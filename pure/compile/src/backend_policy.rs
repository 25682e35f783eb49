//! BackendTrafficPolicy: which one holds where (GEP-713), and what it says.
//!
//! The most specific policy holds, as a whole: a rule's before its route's, then the Service port's, the Service's, the
//! listener's, the Gateway's. Among equals the oldest does. What cannot be used in it is left out and named; the rest holds.

mod balance;
mod health;
mod reach;
mod response;
pub(crate) mod retry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::traffic::{BackendPolicy, Breaker, ProxyProtocolOut, ResponsePolicy};
use tidegate_objects::policy::{
    BackendHttpTimeout, BackendTimeout, BackendTrafficPolicy, CircuitBreaker, ProxyProtocolVersion,
    SourceAddress,
};
use tidegate_objects::{Key, Kind, Snapshot};

use crate::backend::From;
use crate::duration;
use crate::http2;
use crate::policy_target::{self, Target};
use crate::report::Report;
use crate::verdicts::Verdicts;

/// What "no limit" comes to for a connection that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The policies, by what they are for.
pub(crate) struct Policies {
    by_target: BTreeMap<Target, Key>,
    read: BTreeMap<Key, Read>,
    none: Read,
    used: BTreeSet<Key>,
    /// A route of each kind that a policy holds for, by the policy.
    reached: BTreeMap<(Key, Kind), Key>,
}

/// What a policy says of backends, and of what they answer.
#[derive(Clone, Default)]
struct Read {
    backend: Arc<BackendPolicy>,
    responses: Arc<ResponsePolicy>,
}

impl Policies {
    pub fn new(snapshot: &Snapshot, verdicts: &mut Verdicts) -> Self {
        let policies = policy_target::Policies {
            kind: Kind::BackendTrafficPolicy,
            all: &snapshot.backend_traffic_policies,
            targets: |policy: &BackendTrafficPolicy| &policy.target_refs,
            snapshot,
            attaches_to: &[
                Kind::Service,
                Kind::HTTPRoute,
                Kind::GRPCRoute,
                Kind::TLSRoute,
                Kind::TCPRoute,
                Kind::UDPRoute,
                Kind::Gateway,
            ],
        };
        let settled = policies.settle(verdicts);
        let by_target = settled.into_iter().map(|(target, policy)| (target, policy.key().clone())).collect();
        let mut read = BTreeMap::new();
        for (key, policy) in &snapshot.backend_traffic_policies {
            let mut report = Report::new(Kind::BackendTrafficPolicy, key, "spec", verdicts);
            let backend = Arc::new(self::read(&policy.spec, &mut report));
            let responses = Arc::new(response::read(key, &policy.spec, snapshot, &mut report));
            read.insert(key.clone(), Read { backend, responses });
        }
        Policies { by_target, read, none: Read::default(), used: BTreeSet::new(), reached: BTreeMap::new() }
    }

    /// What holds for traffic of a rule, through a Gateway, to a port of a Service; without one, to what is none.
    pub fn of(
        &mut self,
        from: &From<'_>,
        port: Option<(&Key, &str)>,
        through: Through<'_>,
    ) -> Arc<BackendPolicy> {
        let Some(key) = self.find(from, port, through) else {
            return Arc::clone(&self.none.backend);
        };
        self.used.insert(key.clone());
        self.reached.entry((key.clone(), from.kind)).or_insert_with(|| from.key.clone());
        Arc::clone(&self.read.get(&key).unwrap_or(&self.none).backend)
    }

    /// What holds for what comes to a Service's own address: a policy for its port, else one for the Service. `kind` says
    /// what kind of route would carry the same.
    pub fn direct(&mut self, kind: Kind, service: &Key, port: &str) -> Arc<BackendPolicy> {
        let places = [Some(port), None].map(|section| target(Kind::Service, service, section));
        let Some(key) = places.iter().find_map(|place| self.by_target.get(place)).cloned() else {
            return Arc::clone(&self.none.backend);
        };
        self.used.insert(key.clone());
        self.reached.entry((key.clone(), kind)).or_insert_with(|| service.clone());
        Arc::clone(&self.read.get(&key).unwrap_or(&self.none).backend)
    }

    /// What becomes of responses to requests of a rule: those of a port of a Service, or the gateway's own.
    pub fn responses(
        &mut self,
        from: &From<'_>,
        port: Option<(&Key, &str)>,
        through: Through<'_>,
    ) -> Arc<ResponsePolicy> {
        match self.find(from, port, through) {
            Some(key) => self.use_responses(key),
            None => Arc::clone(&self.none.responses),
        }
    }

    /// What becomes of a listener's own answers where no rule holds.
    pub fn responses_of_listener(&mut self, through: Through<'_>) -> Arc<ResponsePolicy> {
        let places = through.places();
        match places.iter().flatten().find_map(|place| self.by_target.get(place)).cloned() {
            Some(key) => self.use_responses(key),
            None => Arc::clone(&self.none.responses),
        }
    }

    fn use_responses(&mut self, key: Key) -> Arc<ResponsePolicy> {
        let responses = Arc::clone(&self.read.get(&key).unwrap_or(&self.none).responses);
        if !responses.is_empty() {
            self.used.insert(key);
        }
        responses
    }

    /// The listener's name where a policy is for it alone: what goes through it may differ from what goes through others.
    pub fn section<'l>(&self, gateway: &Key, listener: &'l str) -> Option<&'l str> {
        let has_own = !self.by_target.is_empty()
            && self.by_target.contains_key(&target(Kind::Gateway, gateway, Some(listener)));
        has_own.then_some(listener)
    }

    /// The most specific policy.
    fn find(&self, from: &From<'_>, port: Option<(&Key, &str)>, through: Through<'_>) -> Option<Key> {
        if self.by_target.is_empty() {
            return None;
        }
        let places = [
            from.rule.map(|rule| target(from.kind, from.key, Some(rule))),
            Some(target(from.kind, from.key, None)),
            port.map(|(service, port)| target(Kind::Service, service, Some(port))),
            port.map(|(service, _)| target(Kind::Service, service, None)),
        ];
        let places = places.into_iter().chain(through.places());
        places.collect::<Vec<_>>().iter().flatten().find_map(|place| self.by_target.get(place)).cloned()
    }

    /// Says of the policies what has no effect: all of one that no backend has asked for, and settings that mean nothing
    /// to a kind of route that it holds for.
    pub fn note_unused(&self, snapshot: &Snapshot, verdicts: &mut Verdicts) {
        for ((key, kind), route) in &self.reached {
            if let Some(policy) = snapshot.backend_traffic_policies.get(key) {
                let mut report = Report::new(Kind::BackendTrafficPolicy, key, "spec", verdicts);
                reach::note(&policy.spec, *kind, route, &mut report);
            }
        }
        for key in self.read.keys().filter(|key| !self.used.contains(key)) {
            if !verdicts.is_rejected(Kind::BackendTrafficPolicy, key) {
                let message =
                    "no route of ours goes by its targets, or each has a more specific policy; it does nothing yet"
                        .to_owned();
                verdicts.warn(Kind::BackendTrafficPolicy, key, "NoEffect", "spec.targetRefs", message);
            }
        }
    }
}

/// What traffic comes through: a Gateway, and the listener where a policy is for it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Through<'g> {
    pub gateway: &'g Key,
    pub listener: Option<&'g str>,
}

impl Through<'_> {
    fn places(&self) -> [Option<Target>; 2] {
        let own = self.listener.map(|listener| target(Kind::Gateway, self.gateway, Some(listener)));
        [own, Some(target(Kind::Gateway, self.gateway, None))]
    }
}

fn target(kind: Kind, key: &Key, section: Option<&str>) -> Target {
    Target { kind, key: key.clone(), section: section.map(str::to_owned) }
}

fn read(policy: &BackendTrafficPolicy, report: &mut Report<'_>) -> BackendPolicy {
    let mut read = BackendPolicy::default();
    if let Some(balancer) = &policy.load_balancer {
        balance::read(balancer, &mut read, &mut report.at("loadBalancer"));
    }
    if let Some(check) = &policy.health_check {
        health::read(check, &mut read, &mut report.at("healthCheck"));
    }
    if let Some(limits) = &policy.circuit_breaker {
        read.breaker = breaker(limits, &mut report.at("circuitBreaker"));
    }
    if let Some(limits) = &policy.timeout {
        timeouts(limits, &mut read, &mut report.at("timeout"));
    }
    if let Some(asked) = &policy.retry {
        read.retry = Some(retry::read(asked, &mut report.at("retry")));
    }
    read.proxy_protocol = policy.proxy_protocol.as_ref().map(|out| match out.version {
        ProxyProtocolVersion::V1 => ProxyProtocolOut::V1,
        ProxyProtocolVersion::V2 => ProxyProtocolOut::V2,
    });
    read.client_source = policy.source_address == SourceAddress::Client;
    if let Some(asked) = &policy.http2 {
        read.http2 = http2::read(
            asked.max_concurrent_streams,
            [asked.initial_stream_window_size, asked.initial_connection_window_size],
            &mut report.at("http2"),
        );
    }
    read
}

fn breaker(limits: &CircuitBreaker, report: &mut Report<'_>) -> Breaker {
    let mut at_least_one = |field: &str, limit: u32| match limit {
        0 => {
            let why = "0 would let nothing through; it must be at least 1".to_owned();
            report.sound(field, Err(why))
        }
        limit => Some(limit),
    };
    Breaker {
        connections: at_least_one("maxConnections", limits.max_connections),
        // Nothing may wait, nothing may be repeated: both can be meant.
        pending_requests: Some(limits.max_pending_requests),
        requests: at_least_one("maxParallelRequests", limits.max_parallel_requests),
        retries: Some(limits.max_parallel_retries),
        requests_per_connection: limits
            .max_requests_per_connection
            .and_then(|limit| at_least_one("maxRequestsPerConnection", limit)),
    }
}

fn timeouts(limits: &BackendTimeout, read: &mut BackendPolicy, report: &mut Report<'_>) {
    let connect = limits.tcp.as_ref().and_then(|tcp| tcp.connect_timeout.as_deref());
    read.connect_timeout =
        connect.and_then(|text| report.sound("tcp.connectTimeout", duration::above_zero(text)));
    let Some(BackendHttpTimeout { request_timeout, connection_idle_timeout, max_connection_duration }) =
        &limits.http
    else {
        return;
    };
    let mut report = report.at("http");
    let request = request_timeout.as_deref();
    read.request_timeout = request.and_then(|text| report.sound("requestTimeout", duration::gep2257(text)));
    let idle = connection_idle_timeout.as_deref();
    read.idle_timeout = idle
        .and_then(|text| report.sound("connectionIdleTimeout", duration::gep2257(text)))
        .map(|time| if time.is_zero() { IDLE_MAX } else { time });
    let longest = max_connection_duration.as_deref();
    read.connection_max = longest
        .and_then(|text| report.sound("maxConnectionDuration", duration::gep2257(text)))
        .filter(|longest| !longest.is_zero());
}
