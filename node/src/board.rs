//! What the console shows: the latest of every shell and of compile, put side by side.
//!
//! Owns nothing but references; every answer is made when asked for.

mod drain;
mod explain;
mod metrics;
mod observe;
mod statuses;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tidegate_console::{DrainWish, Drained, EgressQuery, Explained, HttpQuery, Statuses, View};
use tidegate_decode::SourceState;
use tidegate_egress::Table;
use tidegate_kernel::Applied;
use tidegate_model::observed::Status;
use tidegate_model::traffic::BackendKind;
use tidegate_model::{Machine, Model, Standing, Verdict};
use tidegate_objects::{ObjectRef, Snapshot};
use tidegate_proxy::{EndpointView, HandDrain, ProxyObserved};
use tidegate_speaker::Speaker;
use tokio::sync::watch;

pub use self::statuses::tell;
use crate::handover::Draining;
use crate::peering::PeeringView;
use crate::sources::Confirmations;
use crate::writing::WritersView;

/// What was decided last.
#[derive(Clone, Default)]
pub struct Decided {
    /// The sources it was decided from.
    pub sources: Vec<Arc<SourceState>>,
    /// All of their objects.
    pub snapshot: Snapshot,
    /// What the objects mean.
    pub model: Model,
    /// What became of each.
    pub verdicts: Arc<BTreeMap<ObjectRef, Verdict>>,
    /// How objects stand to one another.
    pub standing: Arc<Standing>,
    /// The machine it was decided for.
    pub machine: Machine,
    /// Something about this gateway as a whole.
    pub notice: Option<String>,
}

impl Decided {
    /// Gateways by each of their addresses, so that a master heard on the wire can be named.
    fn gateway_names(&self) -> BTreeMap<IpAddr, String> {
        let nodes = self.snapshot.gateway_nodes.values();
        let each = nodes.flat_map(|node| node.spec.addresses.iter().map(move |address| (*address, node)));
        each.map(|(address, node)| (address, node.key().name.to_string())).collect()
    }

    /// An endpoint, and whose it is where those of several sources are in use.
    fn shown(&self, endpoint: SocketAddr) -> String {
        let services =
            || self.model.traffic.endpoints.iter().filter(|(id, _)| id.kind == BackendKind::Service);
        let sources: BTreeSet<&str> = services().map(|(id, _)| &*id.service.source).collect();
        if sources.len() < 2 {
            return endpoint.to_string();
        }
        let holding = services().filter(|(_, cell)| cell.load().contains(endpoint));
        let holding: BTreeSet<&str> = holding.map(|(id, _)| &*id.service.source).collect();
        format!("{endpoint} ({})", holding.into_iter().collect::<Vec<_>>().join(", "))
    }
}

/// The kernel, if this process may program it.
pub enum KernelView {
    /// What the keeper reports.
    Kept(watch::Receiver<Arc<Applied>>),
    /// Why it is not programmed.
    Refused(String),
}

/// The shells, as far as the console looks at them.
pub struct Shells {
    /// What the proxy says of itself.
    pub proxy: watch::Receiver<ProxyObserved>,
    /// What it knows of endpoints.
    pub endpoints: EndpointView,
    /// Which of them are drained by hand.
    pub drain: HandDrain,
    /// Elections and sessions.
    pub speaker: Arc<Speaker>,
    /// The kernel.
    pub kernel: KernelView,
    /// The links between gateways.
    pub peering: PeeringView,
    /// Who writes to clusters.
    pub writers: WritersView,
}

/// Everything the console shows. Cheap to clone.
#[derive(Clone)]
pub struct Board(Arc<Shared>);

struct Shared {
    node: String,
    ready: watch::Receiver<bool>,
    decided: RwLock<Arc<Decided>>,
    pods: Mutex<Table>,
    proxy: watch::Receiver<ProxyObserved>,
    endpoints: EndpointView,
    drain: HandDrain,
    speaker: Arc<Speaker>,
    kernel: KernelView,
    draining: Draining,
    peering: PeeringView,
    writers: WritersView,
    confirmations: Confirmations,
}

impl Board {
    /// A board that shows these shells, and nothing decided yet.
    pub fn new(
        node: String,
        ready: watch::Receiver<bool>,
        shells: Shells,
        draining: Draining,
        confirmations: Confirmations,
    ) -> Self {
        let Shells { proxy, endpoints, drain, speaker, kernel, peering, writers } = shells;
        let (decided, pods) = (RwLock::default(), Mutex::default());
        let shared = Shared {
            node,
            ready,
            decided,
            pods,
            proxy,
            endpoints,
            drain,
            speaker,
            kernel,
            draining,
            peering,
            writers,
            confirmations,
        };
        Board(Arc::new(shared))
    }

    /// Shows what was decided now.
    pub fn show(&self, decided: Decided) {
        *self.0.decided.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(decided);
    }

    /// The table of pods; held briefly, never by traffic.
    pub fn pods(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decided(&self) -> Arc<Decided> {
        self.0.decided.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl View for Board {
    async fn status(&self) -> Status {
        let routes = self.0.speaker.routes().await;
        self.observe(routes)
    }

    fn statuses(&self) -> Statuses {
        self.make_statuses()
    }

    fn ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    fn explain_http(&self, query: &HttpQuery) -> Explained {
        self.http(query)
    }

    fn explain_egress(&self, query: &EgressQuery) -> Explained {
        self.egress(query)
    }

    fn drain_endpoint(&self, wish: &DrainWish) -> Result<Drained, String> {
        self.drain(wish)
    }

    async fn explain_route(&self, prefix: &str) -> Explained {
        self.route(prefix).await
    }

    fn confirm(&self, source: &str) -> Result<Vec<String>, String> {
        let decided = self.decided();
        let state = decided.sources.iter().find(|state| state.status.name == source);
        let held = state.map(|state| state.status.held.clone()).unwrap_or_default();
        self.0
            .confirmations
            .confirm(source)
            .map_err(|names| format!("there is no source named {source}; there are: {}", names.join(", ")))?;
        Ok(held)
    }
}
