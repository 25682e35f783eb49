//! What the tasks of all links share: who the gateways are, who is at the door, and the link of each. Locked for moments, and
//! never over an await.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tidegate_peering::{Door, Fault, Message, Roster, Secret, Visit};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;
use crate::peers::{PeerObserved, Said};

/// Messages that wait for one link. When it is full the link ends.
const QUEUE_MESSAGES: usize = 64;

/// What all tasks share.
pub(crate) struct Hub {
    shared: Mutex<Shared>,
    /// What all links say.
    pub events: mpsc::Sender<Said>,
    /// Which secret it is: links of the one before do not come up any more, and are not heard. Changed under the lock, so
    /// that nobody has one secret and the number of another.
    pub secret_number: Arc<AtomicU64>,
    pub metrics: Metrics,
}

struct Shared {
    roster: Arc<Roster>,
    secret: Secret,
    door: Door,
    /// Those at the door, by the number of their visit; told when somebody else takes their place.
    guests: BTreeMap<u64, oneshot::Sender<()>>,
    seats: BTreeMap<String, Seat>,
    /// Counts links.
    links: u64,
    /// How it stands with each peer.
    peers: BTreeMap<String, PeerObserved>,
    /// Why an address is not listened at.
    closed: BTreeMap<SocketAddr, String>,
}

/// The link of a gateway, as others reach it.
struct Seat {
    link: u64,
    queue: mpsc::Sender<Message>,
    /// Why it was ended from outside.
    ended: Arc<OnceLock<Fault>>,
}

impl Seat {
    fn end(self, why: Fault) {
        // Dropping the queue ends the link.
        let _ = self.ended.set(why);
    }
}

/// What a link begins with.
pub(crate) struct Terms {
    pub roster: Arc<Roster>,
    pub secret: Secret,
    pub secret_number: u64,
}

/// A link that is up: what it is to tell. Dropping it frees the place.
pub(crate) struct Seated {
    hub: Arc<Hub>,
    name: String,
    link: u64,
    pub queue: mpsc::Receiver<Message>,
    pub ended: Arc<OnceLock<Fault>>,
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut shared = self.hub.lock();
        if shared.seats.get(&self.name).is_some_and(|seat| seat.link == self.link) {
            shared.seats.remove(&self.name);
            self.hub.stands(&mut shared, &self.name);
        }
    }
}

/// Tells a guest, until it has proved the secret, that somebody else takes its place.
pub(crate) struct Displaced(oneshot::Receiver<()>);

impl Displaced {
    /// Waits for that; for ever, if it has proved the secret.
    pub async fn displaced(self) {
        if self.0.await.is_err() {
            std::future::pending().await
        }
    }
}

/// One that is let in to prove itself. Dropping it frees the place.
pub(crate) struct Guest {
    hub: Arc<Hub>,
    visit: Option<Visit>,
}

impl Guest {
    /// It has proved the secret.
    pub fn proved(&mut self) {
        self.leave(true);
    }

    fn leave(&mut self, proved: bool) {
        if let Some(visit) = self.visit.take() {
            let mut shared = self.hub.lock();
            shared.guests.remove(&visit.number);
            shared.door.leave(visit, proved, Instant::now());
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.leave(false);
    }
}

impl Hub {
    pub fn new(secret: Secret, events: mpsc::Sender<Said>, metrics: Metrics) -> Hub {
        let shared = Shared {
            roster: Arc::default(),
            secret,
            door: Door::default(),
            guests: BTreeMap::new(),
            seats: BTreeMap::new(),
            links: 0,
            peers: BTreeMap::new(),
            closed: BTreeMap::new(),
        };
        Hub { shared: Mutex::new(shared), events, secret_number: Arc::default(), metrics }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a new link begins with.
    pub fn terms(&self) -> Terms {
        let shared = self.lock();
        Terms {
            roster: shared.roster.clone(),
            secret: shared.secret.clone(),
            secret_number: self.secret_number.load(Ordering::SeqCst),
        }
    }

    /// These are the gateways now. Links of those that are none any more end.
    pub fn know(&self, roster: Roster) {
        let mut shared = self.lock();
        shared.roster = Arc::new(roster);
        let Shared { roster, seats, peers, .. } = &mut *shared;
        let known = |name: &String| roster.names().any(|known| known == name);
        for (name, seat) in seats.extract_if(.., |name, _| !known(name)) {
            seat.end(Fault::Io(format!("no GatewayNode is named {name} any more")));
        }
        for (name, _) in peers.extract_if(.., |name, _| !known(name)) {
            self.metrics.link(&name, None);
        }
        let calls: Vec<&str> = roster.calls().map(|(name, _)| name).collect();
        for name in roster.names() {
            let peer = peers.entry(name.to_owned()).or_insert_with(|| {
                self.metrics.link(name, Some(false));
                PeerObserved { name: name.to_owned(), ..PeerObserved::default() }
            });
            peer.called = calls.contains(&name);
        }
        let listens = roster.listens();
        shared.closed.retain(|address, _| listens.contains(address));
    }

    /// This is the secret now. All links end.
    pub fn rekey(&self, secret: Secret) {
        let mut shared = self.lock();
        shared.secret = secret;
        self.secret_number.fetch_add(1, Ordering::SeqCst);
        for (_, seat) in std::mem::take(&mut shared.seats) {
            seat.end(Fault::Rekeyed);
        }
        let names: Vec<String> = shared.peers.keys().cloned().collect();
        names.iter().for_each(|name| self.stands(&mut shared, name));
    }

    /// One has come from there; nothing: it must go. Another one goes for it, if places are short at a gateway's address.
    pub fn enter(self: &Arc<Hub>, from: IpAddr) -> Option<(Guest, Displaced)> {
        let mut shared = self.lock();
        let known = shared.roster.at(from).is_some();
        let Some((visit, displaced)) = shared.door.enter(from, known, Instant::now()) else {
            self.metrics.turned_away.inc();
            return None;
        };
        if let Some(guest) = displaced.and_then(|number| shared.guests.remove(&number)) {
            let _ = guest.send(());
        }
        let (sender, displaced) = oneshot::channel();
        shared.guests.insert(visit.number, sender);
        Some((Guest { hub: self.clone(), visit: Some(visit) }, Displaced(displaced)))
    }

    /// A link is up. The one that the gateway had before ends.
    pub fn seat(self: &Arc<Hub>, name: &str, at: SocketAddr, terms: &Terms) -> Result<Seated, Fault> {
        let mut shared = self.lock();
        if self.secret_number.load(Ordering::SeqCst) != terms.secret_number {
            return Err(Fault::Rekeyed);
        }
        if !shared.roster.names().any(|known| known == name) {
            return Err(Fault::Io(format!("no GatewayNode is named {name} any more")));
        }
        shared.links += 1;
        let link = shared.links;
        let (sender, queue) = mpsc::channel(QUEUE_MESSAGES);
        let ended = Arc::new(OnceLock::new());
        let seat = Seat { link, queue: sender, ended: ended.clone() };
        if let Some(before) = shared.seats.insert(name.to_owned(), seat) {
            before.end(Fault::Replaced);
        }
        if let Some(peer) = shared.peers.get_mut(name) {
            peer.address = Some(at);
            peer.last_error.clear();
        }
        self.stands(&mut shared, name);
        tracing::info!(peer = name, address = %at, "linked to another gateway");
        Ok(Seated { hub: self.clone(), name: name.to_owned(), link, queue, ended })
    }

    /// Shows whether there is a link.
    fn stands(&self, shared: &mut Shared, name: &str) {
        let Shared { seats, peers, .. } = shared;
        if let Some(peer) = peers.get_mut(name) {
            let connected = seats.contains_key(name);
            peer.since = connected.then(Instant::now);
            self.metrics.link(name, Some(connected));
        }
    }

    /// A link, or an attempt at one, has ended: `peer` is whose it was, as far as is known. The same reason is logged once.
    pub fn ended(&self, peer: Option<&str>, at: SocketAddr, why: &Fault) {
        self.metrics.ends.get_or_create(&[("reason", why.reason())]).inc();
        let mut shared = self.lock();
        let name = peer.or_else(|| shared.roster.at(at.ip())).map(str::to_owned);
        let Some(known) = name.and_then(|name| shared.peers.get_mut(&name)) else {
            tracing::debug!(address = %at, "a stranger on the port of peers: {why}");
            return;
        };
        if known.since.is_some() {
            // It has another link by now.
            return;
        }
        known.address = Some(at);
        let told = why.to_string();
        if known.last_error != told {
            tracing::warn!(peer = known.name, address = %at, "no link to this gateway: {told}");
            known.last_error = told;
        }
    }

    /// Cannot be called: it has no address.
    pub fn nowhere(&self, name: &str) {
        if let Some(peer) = self.lock().peers.get_mut(name) {
            peer.last_error = "its GatewayNode has no spec.addresses".into();
        }
    }

    /// Whether an address is listened at; the reason, if not.
    pub fn listens(&self, address: SocketAddr, failed: Option<String>) {
        let mut shared = self.lock();
        match failed {
            None => {
                shared.closed.remove(&address);
            }
            Some(why) => {
                if shared.closed.get(&address) != Some(&why) {
                    tracing::warn!(%address, "other gateways cannot reach this one: {why}");
                    shared.closed.insert(address, why);
                }
            }
        }
    }

    /// Tells one gateway, or all; those without a link hear nothing, and those that are slow lose it.
    pub fn tell(&self, to: Option<&str>, message: &Message) {
        let mut shared = self.lock();
        let told = |name: &String| to.is_none_or(|to| to == name);
        let full = |name: &String, seat: &mut Seat| {
            told(name)
                && matches!(seat.queue.try_send(message.clone()), Err(mpsc::error::TrySendError::Full(_)))
        };
        let slow: Vec<(String, Seat)> = shared.seats.extract_if(.., full).collect();
        for (name, seat) in slow {
            seat.end(Fault::Slow);
            self.stands(&mut shared, &name);
        }
    }

    /// How it stands with every peer, and which addresses are not listened at.
    pub fn observed(&self) -> (Vec<PeerObserved>, Vec<(SocketAddr, String)>) {
        let shared = self.lock();
        let closed = shared.closed.iter().map(|(address, why)| (*address, why.clone()));
        (shared.peers.values().cloned().collect(), closed.collect())
    }
}
