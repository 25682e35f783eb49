//! The way to an endpoint: a backend by weight, an endpoint of it, and another if that one cannot be connected to.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tidegate_model::traffic::{Backend, Balancing, Transport};
use tidegate_traffic::balance::{self, Ended, Pick, key};

use crate::backends::Passage;
use crate::relay::{Relay, Story};
use crate::upstream::since_start;
use crate::wire::{Approach, ConnectError, Offer, Wire, connect};
use crate::worker::Worker;

/// Endpoints tried for one connection.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// A connection to an endpoint, and its places there.
pub struct Opened {
    pub wire: Wire,
    _pick: Pick,
    _held: Passage,
}

/// Opens a connection to an endpoint of the relay's route, or says why there is none.
pub async fn open(relay: &Relay, story: &mut Story) -> Result<Opened, &'static str> {
    let route = relay.route.as_ref().ok_or("NoRoute")?;
    let worker = &relay.worker;
    let (_, backend) =
        balance::backend(&route.backends, worker.random()).map_err(|refusal| refusal.reason)?;
    story.backend = Some(backend.id.clone());
    let started = Instant::now();
    let service =
        worker.pool.service(backend, &worker.shared.backends, worker.random(), since_start(started));
    let watch = worker.clock.watch();
    watch.set(backend.policy.connect_timeout.unwrap_or(worker.limits.upstream_connect));
    let held = watch.within(service.gate.connection(Some(relay.source.ip()))).await;
    let held = held.unwrap_or_else(|_| Err(service.gate.give_up())).map_err(|refusal| refusal.reason)?;
    let approach = Approach::of(&backend.policy, relay.source, || relay.destination, relay.source.ip());
    let key = hash_key(backend, relay.source.ip());
    let (mut tried, mut reason): (Vec<SocketAddr>, _) = (Vec::new(), "NoEndpoint");
    while tried.len() < ENDPOINTS_TRIED_MAX {
        let now = since_start(Instant::now());
        let pick = match service.balancer.pick(key, worker.random(), now, &tried) {
            Ok(pick) if tried.contains(&pick.address()) => break,
            Ok(pick) => pick,
            Err(refusal) if tried.is_empty() => return Err(refusal.reason),
            Err(_) => break,
        };
        let endpoint = pick.address();
        story.endpoint = Some(endpoint);
        match reach(worker, backend, endpoint, &approach).await {
            Ok(wire) => {
                pick.finished(Ended::Served, started.elapsed(), since_start(Instant::now()));
                return Ok(Opened { wire, _pick: pick, _held: held });
            }
            Err(why) => reason = why,
        }
        pick.finished(Ended::LocalFailure, started.elapsed(), since_start(Instant::now()));
        tried.push(endpoint);
    }
    Err(reason)
}

async fn reach(
    worker: &Worker,
    backend: &Backend,
    endpoint: SocketAddr,
    approach: &Approach,
) -> Result<Wire, &'static str> {
    if worker.shared.own.lead_back(Transport::Tcp, endpoint) {
        return Err("UpstreamLoop");
    }
    let watch = worker.clock.watch();
    watch.set(backend.policy.connect_timeout.unwrap_or(worker.limits.upstream_connect));
    let opening = connect(backend, endpoint, Offer::Nothing, approach, &worker.handshakes, &watch);
    let reason = match watch.within(opening).await {
        Ok(Ok(wire)) => {
            worker.metrics.upstream_connects.inc();
            return Ok(wire);
        }
        Ok(Err(error)) => {
            if let ConnectError::Io(error) = &error {
                tracing::debug!(%endpoint, %error, "an endpoint cannot be connected to");
            }
            error.reason()
        }
        Err(_) => "UpstreamConnectTimeout",
    };
    worker.metrics.upstream_connect_failures.inc();
    Err(reason)
}

/// What a consistent hash is taken over, where there is nothing but a client's address.
pub fn hash_key(backend: &Backend, client: IpAddr) -> Option<u64> {
    match &backend.policy.balancing {
        Balancing::ConsistentHash { key, .. } => key::of_client(key, client),
        _ => None,
    }
}
