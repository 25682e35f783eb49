//! A backend with endpoints numbered by port, one worker, and a clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_model::traffic::{Backend, BackendId, BackendPolicy, Endpoint, EndpointCell, Endpoints, Home};
use tidegate_objects::Key;

use crate::Refusal;
use crate::balance::hash::further;
use crate::balance::{Balancer, Ended, EndpointFacts, Pick, Shared};

pub struct Rig {
    pub backend: Arc<Backend>,
    pub cell: Arc<EndpointCell>,
    pub shared: Arc<Shared>,
    pub balancer: Balancer,
    pub now: Duration,
    step: u64,
}

pub fn address(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

pub fn endpoint(port: u16, weight: u32, zone: Option<&str>) -> Endpoint {
    Endpoint { address: address(port), weight, zone: zone.map(Into::into) }
}

impl Rig {
    /// Endpoints with ports from 0, of equal weight.
    pub fn new(count: u16, policy: impl FnOnce(&mut BackendPolicy)) -> Rig {
        Rig::with((0..count).map(|port| endpoint(port, 1, None)).collect(), None, policy)
    }

    pub fn with(usable: Vec<Endpoint>, home: Option<Home>, change: impl FnOnce(&mut BackendPolicy)) -> Rig {
        let mut policy = BackendPolicy::default();
        change(&mut policy);
        let (policy, now) = (Arc::new(policy), Duration::from_secs(1000));
        let cell = Arc::new(EndpointCell::new(Endpoints { usable, ..Endpoints::default() }));
        let id = BackendId::tcp(Key::new("test", "shop", "web"), 80);
        let backend = Backend { policy: policy.clone(), ..Backend::plain(id, cell.clone()) };
        let shared = Arc::new(Shared::new(policy, cell.clone(), home));
        let balancer = Balancer::new(shared.clone(), 42, now);
        Rig { backend: Arc::new(backend), cell, shared, balancer, now, step: 0 }
    }

    /// Another worker of the same process.
    pub fn worker(&self, random: u64) -> Balancer {
        Balancer::new(self.shared.clone(), random, self.now)
    }

    /// Leaves exactly these out.
    pub fn drain(&self, ports: impl IntoIterator<Item = u16>) {
        self.shared.drain(Arc::new(ports.into_iter().map(address).collect()));
    }

    pub fn random(&mut self) -> u64 {
        self.step += 1;
        further(0x7157, self.step)
    }

    pub fn pick(&mut self) -> Result<Pick, Refusal> {
        let random = self.random();
        self.balancer.pick(None, random, self.now, &[])
    }

    /// The port of a choice that ends at once.
    pub fn port(&mut self) -> u16 {
        self.pick().unwrap().address().port()
    }

    /// How many of so many requests, one after the other, each endpoint gets.
    pub fn counts(&mut self, requests: u32) -> BTreeMap<u16, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            *counts.entry(self.port()).or_default() += 1;
        }
        counts
    }

    /// Ends a request to this endpoint, in whatever way it may be reached.
    pub fn ended(&mut self, port: u16, ended: Ended) {
        for _ in 0..1000 {
            let pick = self.pick().unwrap();
            if pick.address().port() == port {
                pick.finished(ended, Duration::from_millis(1), self.now);
                return;
            }
        }
        panic!("{port} gets no requests");
    }

    pub fn facts(&self, port: u16) -> EndpointFacts {
        self.shared.facts(self.now).into_iter().find(|facts| facts.address.port() == port).unwrap()
    }

    pub fn store(&self, usable: Vec<Endpoint>) {
        self.cell.store(Endpoints { usable, ..Endpoints::default() });
    }

    pub fn passes(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }
}
