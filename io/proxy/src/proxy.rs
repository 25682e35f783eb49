//! The door of the proxy: start, update, observe, drain. Nothing of HTTP shows here.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tidegate_model::Traffic;
use tidegate_model::traffic::{BackendId, Entrance, Transport};
use tidegate_tls::TicketKeys;
use tidegate_traffic::balance::EndpointFacts;
use tokio::sync::{mpsc, watch};

use crate::access_log::{AccessLog, Logger};
use crate::backends::{EndpointView, Gauges, HandDrain};
use crate::control::{Control, Wish};
use crate::exchange::recording::Tracing;
use crate::handover::{Errand, Handover};
use crate::health;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::own::OwnSockets;
use crate::worker::{self, Shared};

/// Between two looks at what is left, while draining.
const LOOK: Duration = Duration::from_millis(10);

/// Orders on their way to a worker; it has carried one out before the next is sent.
const ORDERS: usize = 1;

/// Settings of the proxy.
#[derive(Clone, Default)]
pub struct ProxyConfig {
    /// Worker threads; 0: one for each core.
    pub workers: usize,
    /// The access log.
    pub access_log: AccessLog,
    /// Which requests are recorded for traces, and for whom.
    pub tracing: Option<Tracing>,
    /// Limits and timeouts.
    pub limits: Limits,
    /// Gateways with the same one know each other's persistent sessions; empty: every process its own only.
    pub shared_secret: Vec<u8>,
    /// What TLS sessions are resumed with, here and wherever else these keys are known; nothing: here only.
    pub tickets: Option<TicketKeys>,
    /// The address of the console, which no endpoint may have: a tenant would read there what is not its own.
    pub admin: Option<SocketAddr>,
    /// Compile what updates ask for, but open nothing before [`Handover::release`].
    pub held: bool,
}

/// What the proxy really serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyObserved {
    /// The newest update that all workers have applied; 0 before the first.
    pub generation: u64,
    /// Its sockets.
    pub sockets: BTreeMap<SocketKey, SocketState>,
}

/// Names a socket: the same address may be there once for each transport. `10.0.0.1:80`; `10.0.0.1:53/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

impl SocketKey {
    /// A TCP socket.
    pub fn tcp(address: SocketAddr) -> SocketKey {
        SocketKey { transport: Transport::Tcp, address }
    }

    /// The socket of an entrance.
    pub fn of(entrance: &Entrance) -> SocketKey {
        SocketKey { transport: entrance.transport, address: entrance.address }
    }
}

impl fmt::Display for SocketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.transport == Transport::Udp { "/udp" } else { "" };
        write!(f, "{}{suffix}", self.address)
    }
}

/// The state of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// It accepts connections.
    Listening,
    /// It could not be opened, for this reason; it is tried again every second.
    Failed(String),
}

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The access log's settings are wrong, or its file cannot be opened.
    #[error("the access log cannot be written")]
    AccessLog(#[source] io::Error),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] io::Error),
}

/// The running proxy. Dropping it closes everything at once; [`drain`](Proxy::drain) first.
pub struct Proxy {
    /// Nothing once dropped: then the control thread and the workers end.
    wishes: Option<watch::Sender<Wish>>,
    observed: watch::Receiver<ProxyObserved>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    logger: Logger,
    errands: mpsc::Sender<Errand>,
}

impl Proxy {
    /// Starts the workers; they serve nothing until the first update.
    pub fn start(config: ProxyConfig, registry: &mut Registry) -> Result<Proxy, StartError> {
        let metrics = Metrics::register(registry);
        let logger =
            Logger::start(&config.access_log, metrics.log_drops.clone()).map_err(StartError::AccessLog)?;
        let mut shared = Shared::new(config.limits, metrics, &config.shared_secret, config.tickets);
        shared.tracing = config.tracing;
        shared.own = OwnSockets::new(config.admin);
        let shared = Arc::new(shared);
        let count = if config.workers == 0 {
            available_parallelism().map_or(1, NonZero::get)
        } else {
            config.workers
        };
        let (wishes, wished) = watch::channel(Wish::default());
        let (observing, observed) = watch::channel(ProxyObserved::default());
        let (errands, asked) = mpsc::channel(ORDERS);
        let mut proxy =
            Proxy { wishes: Some(wishes), observed, shared, threads: Vec::new(), logger, errands };
        let mut workers = Vec::new();
        for index in 0..count {
            let (orders, ordered) = mpsc::channel(ORDERS);
            workers.push(orders);
            let (shared, sheet) = (proxy.shared.clone(), proxy.logger.sheet());
            let seed = RandomState::new().hash_one(index);
            proxy.spawn(format!("proxy-{index}"), move || worker::run(shared, sheet, seed, ordered))?;
        }
        registry.register_collector(Box::new(Gauges::new(proxy.shared.backends.clone())));
        let (backends, changes) =
            (proxy.shared.backends.clone(), proxy.shared.metrics.health_changes.clone());
        let (seed, mut ends) = (RandomState::new().hash_one(count), wished.clone());
        proxy.spawn("proxy-health".into(), move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default())?;
            // The wishes end when the door is dropped.
            let stop = async move { while ends.changed().await.is_ok() {} };
            runtime.block_on(health::run(backends, changes, seed, stop));
            Ok(())
        })?;
        let control = Control::new(proxy.shared.clone(), workers, observing, asked, config.held);
        proxy.spawn("proxy-control".into(), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            runtime.block_on(control.run(wished));
            Ok(())
        })?;
        Ok(proxy)
    }

    fn spawn(
        &mut self,
        name: String,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StartError> {
        let guarded = move || {
            if let Err(error) = body() {
                tracing::error!(%error, "a proxy thread could not start its runtime");
            }
        };
        let thread = Builder::new().name(name).spawn(guarded).map_err(StartError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Asks for this Traffic to be served, and returns the generation under which [`observed`](Proxy::observed) will show
    /// it. Returns at once; of updates in quick succession only the newest is carried out.
    pub fn update(&self, traffic: Arc<Traffic>) -> u64 {
        let mut generation = 0;
        self.wish(|wish| {
            wish.generation += 1;
            wish.traffic = traffic;
            generation = wish.generation;
        });
        generation
    }

    /// What is served now; a receiver of its own for each caller.
    pub fn observed(&self) -> watch::Receiver<ProxyObserved> {
        self.observed.clone()
    }

    /// Hands sockets over to another process, or receives them.
    pub fn handover(&self) -> Handover {
        Handover::new(self.errands.clone())
    }

    /// Client connections open now.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// UDP sessions open now.
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// What is known of every endpoint that a route leads to. A backend is there once for each of its settings.
    pub fn endpoints(&self) -> Vec<(BackendId, Vec<EndpointFacts>)> {
        self.shared.backends.facts()
    }

    /// The same for whoever shows it, for as long as it likes.
    pub fn endpoint_view(&self) -> EndpointView {
        EndpointView::new(self.shared.backends.clone())
    }

    /// Drains endpoints by hand.
    pub fn hand_drain(&self) -> HandDrain {
        HandDrain::new(self.shared.backends.clone())
    }

    /// Says that endpoints have changed in their cells. Requests follow without it; health checks begin sooner, and hash
    /// tables are built before a request waits for them.
    pub fn endpoints_changed(&self) {
        self.shared.backends.touch();
    }

    /// Opens the access log's file anew (after it was rotated away).
    pub fn reopen_access_log(&self) {
        self.logger.reopen();
    }

    /// Tells clients to leave, and accepts as before: HTTP/1 answers say `Connection: close`, HTTP/2 connections GOAWAY, and
    /// who asks nothing for a while is closed. Returns at the first moment without a connection, or after `within`; the
    /// number left. UDP sessions are left alone. Must run on a tokio runtime with time. May be dropped; clients stay told.
    pub async fn farewell(&self, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        self.handover().ask(Errand::Leave).await;
        while self.connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        self.connections()
    }

    /// Stops accepting, lets requests finish and connections and sessions close. Returns when none is left or after
    /// `within`; the number left. Must run on a tokio runtime with time. Updates after it have no effect.
    pub async fn drain(&self, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        self.wish(|wish| wish.draining = true);
        while Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            if self.connections() + self.sessions() == 0 && self.observed.borrow().sockets.is_empty() {
                return 0;
            }
        }
        self.connections() + self.sessions()
    }

    fn wish(&self, change: impl FnOnce(&mut Wish)) {
        if let Some(wishes) = &self.wishes {
            wishes.send_modify(change);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.wishes = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
