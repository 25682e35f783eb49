//! The door of the proxy: start, update, observe, drain. Nothing of HTTP shows here.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tidegate_model::Traffic;
use tokio::sync::{mpsc, watch};

use crate::access_log::{AccessLog, Logger};
use crate::control::{Control, Wish};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::worker::{self, Shared};

/// Orders on their way to a worker; it has carried one out before the next is sent.
const ORDERS: usize = 1;

/// Settings of the proxy.
#[derive(Clone, Debug, Default)]
pub struct ProxyConfig {
    /// Worker threads; 0: one for each core.
    pub workers: usize,
    /// The access log.
    pub access_log: AccessLog,
    /// Limits and timeouts.
    pub limits: Limits,
}

/// What the proxy really serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyObserved {
    /// The newest update that all workers have applied; 0 before the first.
    pub generation: u64,
    /// Its sockets.
    pub sockets: BTreeMap<SocketAddr, SocketState>,
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
}

impl Proxy {
    /// Starts the workers; they serve nothing until the first update.
    pub fn start(config: ProxyConfig, registry: &mut Registry) -> Result<Proxy, StartError> {
        let metrics = Metrics::register(registry);
        let logger =
            Logger::start(&config.access_log, metrics.log_drops.clone()).map_err(StartError::AccessLog)?;
        let shared = Arc::new(Shared { limits: config.limits, metrics, connections: AtomicUsize::new(0) });
        let count = if config.workers == 0 {
            available_parallelism().map_or(1, NonZero::get)
        } else {
            config.workers
        };
        let (wishes, wished) = watch::channel(Wish::default());
        let (observing, observed) = watch::channel(ProxyObserved::default());
        let mut proxy = Proxy { wishes: Some(wishes), observed, shared, threads: Vec::new(), logger };
        let mut workers = Vec::new();
        for index in 0..count {
            let (orders, ordered) = mpsc::channel(ORDERS);
            workers.push(orders);
            let (shared, sheet) = (proxy.shared.clone(), proxy.logger.sheet());
            let seed = RandomState::new().hash_one(index);
            proxy.spawn(format!("proxy-{index}"), move || worker::run(shared, sheet, seed, ordered))?;
        }
        let control = Control::new(proxy.shared.clone(), workers, observing);
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

    /// Client connections open now.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Opens the access log's file anew (after it was rotated away).
    pub fn reopen_access_log(&self) {
        self.logger.reopen();
    }

    /// Stops accepting, lets requests finish and connections close. Returns when none is left or after `within`; the number
    /// left. Must run on a tokio runtime with time. Updates after it have no effect.
    pub async fn drain(&self, within: Duration) -> usize {
        const LOOK: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + within;
        self.wish(|wish| wish.draining = true);
        while Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            if self.connections() == 0 && self.observed.borrow().sockets.is_empty() {
                return 0;
            }
        }
        self.connections()
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
