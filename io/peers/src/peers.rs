//! The door of this room: who the gateways are goes in, links and what is heard on them come out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::registry::Registry;
use tidegate_peering::{Message, Roster, Secret};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::caller::call;
use crate::hub::Hub;
use crate::listener::listen;
use crate::metrics::Metrics;

/// Events that wait to be taken; then links wait.
pub(crate) const EVENTS: usize = 64;

/// What happens on links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a link to this gateway, and it knows nothing of what was told before.
    Up {
        /// Its name.
        peer: String,
    },
    /// A gateway says this.
    Heard {
        /// Its name.
        peer: String,
        /// What it says.
        message: Message,
    },
}

/// An event, and the number of the secret that its link was made with.
#[derive(Debug)]
pub(crate) struct Said {
    pub secret_number: u64,
    pub event: Event,
}

/// What happens on links, in its order. What a link of an earlier secret said is never among it, however long it waited:
/// strangers may have said it.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Said>,
    /// The number of the secret in force.
    secret_number: Arc<AtomicU64>,
}

impl Events {
    /// The next one; nothing: there are no links any more. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let said = self.queue.recv().await?;
            if said.secret_number == self.secret_number.load(Ordering::SeqCst) {
                return Some(said.event);
            }
        }
    }
}

/// How it stands with a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerObserved {
    /// Its name.
    pub name: String,
    /// Whether this gateway calls it, or waits to be called.
    pub called: bool,
    /// Where it was met last.
    pub address: Option<SocketAddr>,
    /// Since when there is a link; nothing: there is none.
    pub since: Option<Instant>,
    /// Why there is none; empty if nothing went wrong.
    pub last_error: String,
}

/// How it stands with all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeersObserved {
    /// Every other gateway, by name.
    pub peers: Vec<PeerObserved>,
    /// Addresses at which this gateway should listen and does not, and why.
    pub closed: Vec<(SocketAddr, String)>,
}

/// The links of this gateway. Dropping it ends them.
pub struct Peers {
    hub: Arc<Hub>,
    here: String,
    port: u16,
    tasks: Mutex<Tasks>,
}

/// What runs; each ends when it is dropped.
#[derive(Default)]
struct Tasks {
    roster: Roster,
    stopped: bool,
    listening: BTreeMap<SocketAddr, JoinSet<()>>,
    calling: BTreeMap<(String, Vec<SocketAddr>), JoinSet<()>>,
}

impl Peers {
    /// Nothing is opened before gateways are known. This one is called `here`; all listen on TCP `port`.
    pub fn new(here: &str, port: u16, secret: Secret, registry: &mut Registry) -> (Peers, Events) {
        let metrics = Metrics::default();
        metrics.register(registry);
        let (sender, queue) = mpsc::channel(EVENTS);
        let hub = Arc::new(Hub::new(secret, sender, metrics));
        let events = Events { queue, secret_number: hub.secret_number.clone() };
        (Peers { hub, here: here.to_owned(), port, tasks: Mutex::default() }, events)
    }

    /// These are the gateways now; what did not change is left alone. Call it where tasks can be started.
    pub fn know(&self, peers: &tidegate_model::Peers) {
        let roster = Roster::new(&self.here, self.port, peers);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.stopped || tasks.roster == roster {
            return;
        }
        self.hub.know(roster.clone());
        let listens = roster.listens();
        tasks.listening.retain(|address, _| listens.contains(address));
        for address in listens {
            let start = || one(listen(self.hub.clone(), address));
            tasks.listening.entry(address).or_insert_with(start);
        }
        let calls: Vec<_> = roster.calls().map(|(name, at)| (name.to_owned(), at)).collect();
        tasks.calling.retain(|call, _| calls.contains(call));
        for (name, at) in calls {
            let start = || one(call(self.hub.clone(), name.clone(), at.clone()));
            tasks.calling.entry((name.clone(), at.clone())).or_insert_with(start);
        }
        tasks.roster = roster;
    }

    /// This is the secret now: all links end, and come up anew between those that have it. From here on [`Events`] tells
    /// nothing of the links of before.
    pub fn rekey(&self, secret: Secret) {
        self.hub.rekey(secret);
    }

    /// Tells one gateway, if there is a link to it.
    pub fn tell(&self, peer: &str, message: &Message) {
        self.hub.tell(Some(peer), message);
    }

    /// Tells every gateway to which there is a link.
    pub fn tell_all(&self, message: &Message) {
        self.hub.tell(None, message);
    }

    /// How it stands with all.
    pub fn observed(&self) -> PeersObserved {
        let (peers, closed) = self.hub.observed();
        PeersObserved { peers, closed }
    }

    /// Ends all links and closes every socket, for good; done when it returns.
    pub async fn stop(&self) {
        let mut tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *tasks, Tasks { stopped: true, ..Tasks::default() })
        };
        let all = tasks.listening.values_mut().chain(tasks.calling.values_mut());
        for task in all {
            task.shutdown().await;
        }
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("here", &self.here).field("port", &self.port).finish_non_exhaustive()
    }
}

/// A task that ends when it is dropped.
fn one(task: impl Future<Output = ()> + Send + 'static) -> JoinSet<()> {
    let mut set = JoinSet::new();
    set.spawn(task);
    set
}
