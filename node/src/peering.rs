//! This gateway among its peers: links to them, and the keys of session tickets that travel on these.
//!
//! One task holds it together: it turns the ring's keys in time, tells others, hears them, and looks at the file of the
//! secret. Without a secret there are no links, and the ring turns alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidegate_model::handover::Tickets;
use tidegate_model::observed::{PeerStatus, PeersStatus};
use tidegate_peering::{Message, Secret};
use tidegate_peers::{Event, Events, PeerObserved, Peers};
use tidegate_proxy::dice;
use tidegate_tls::{Input, Ring, TicketKeys};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::settings::{Settings, peers};

/// Between two looks at the file of the secret.
const LOOK: Duration = Duration::from_secs(5);

/// The ticket keys of a process, as the next one goes on with them.
pub struct Before {
    /// The keys.
    pub tickets: Box<Tickets>,
    /// A digest of the secret of the gateways that may know them; empty: nothing was shared.
    pub secret_digest: Vec<u8>,
}

/// The keys, and who may know them: they change together.
struct Held {
    ring: Ring,
    secret_digest: Vec<u8>,
}

/// The links of this gateway and its ticket keys. Dropping it ends both.
pub struct Peering {
    view: PeeringView,
    task: JoinHandle<()>,
}

/// What others may ask of them. Cheap to clone.
#[derive(Clone)]
pub struct PeeringView {
    ring: Arc<Mutex<Held>>,
    /// Nothing: no secret is shared.
    peers: Option<Arc<Peers>>,
    /// What is wrong with the file of the secret; empty: nothing.
    trouble: Arc<Mutex<String>>,
}

/// What the task works with.
struct Keeper {
    view: PeeringView,
    /// Where the secret is read from, and what was there.
    file: peers::Peers,
    secret: peers::Secret,
    metrics: Metrics,
}

#[derive(Clone, Default)]
struct Metrics {
    keys: Gauge,
    turns: Counter,
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidegate_tls");
        let help = "Keys whose session tickets are accepted, own and other gateways'";
        registry.register("ticket_keys", help, self.keys.clone());
        let help = "Times that the next key began to seal session tickets";
        registry.register("ticket_key_turns", help, self.turns.clone());
    }
}

impl Peering {
    /// Goes on with the ticket keys of the process `before`, if it handed some over. No link is opened before
    /// [`know`](Peering::know).
    pub fn start(settings: &Settings, before: Option<&Before>, registry: &mut Registry) -> Result<Peering> {
        let secret = settings.peers_secret.clone();
        let held = Held::new(settings.peers.ticket_rotation(), &secret, before)?;
        let metrics = Metrics::default();
        metrics.register(registry);
        let (peers, events) = match secret.0.is_empty() {
            true => (None, None),
            false => {
                let proof = Secret::new(&secret.0)?;
                let (peers, events) = Peers::new(&settings.node, settings.peers.port(), proof, registry);
                (Some(Arc::new(peers)), Some(events))
            }
        };
        let view = PeeringView { ring: Arc::new(Mutex::new(held)), peers, trouble: Arc::default() };
        let keeper = Keeper { view: view.clone(), file: settings.peers.clone(), secret, metrics };
        Ok(Peering { view, task: tokio::spawn(keeper.keep(events)) })
    }

    /// These are the gateways now.
    pub fn know(&self, gateways: &tidegate_model::Peers) {
        if let Some(peers) = &self.view.peers {
            peers.know(gateways);
        }
    }

    /// Ends every link for good: another process has them now. The keys stay, for connections that are left.
    pub async fn stop(&self) {
        self.task.abort();
        if let Some(peers) = &self.view.peers {
            peers.stop().await;
        }
    }

    /// What others may ask.
    pub fn view(&self) -> &PeeringView {
        &self.view
    }
}

impl Drop for Peering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Held {
    /// Goes on with the keys of the process before, if the secret is the same still: whoever had another one may have heard
    /// them.
    fn new(rotation: Duration, secret: &peers::Secret, before: Option<&Before>) -> Result<Held> {
        let (secret_digest, now) = (digest(secret)?, Instant::now());
        let ring = match before.filter(|before| before.secret_digest == secret_digest) {
            Some(before) => Ring::resume(&before.tickets, rotation, dice(), now),
            None => Ring::new(rotation, dice(), now).context("this machine has no randomness")?,
        };
        if before.is_some_and(|before| before.secret_digest != secret_digest) {
            tracing::info!(
                "peers.keyFile is not what the process before had: TLS sessions of before are not resumed"
            );
        }
        Ok(Held { ring, secret_digest })
    }

    fn estate(&self) -> Before {
        let tickets = Box::new(self.ring.estate(Instant::now()));
        Before { tickets, secret_digest: self.secret_digest.clone() }
    }
}

/// Empty where nothing is shared.
fn digest(secret: &peers::Secret) -> Result<Vec<u8>> {
    match secret.0.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(Secret::digest(&secret.0)?.to_vec()),
    }
}

impl PeeringView {
    /// What listeners seal and open session tickets with.
    pub fn ticket_keys(&self) -> TicketKeys {
        self.held().ring.keys().clone()
    }

    /// What the next process goes on with.
    pub fn estate(&self) -> Before {
        self.held().estate()
    }

    /// How it stands with the other gateways.
    pub fn status(&self) -> PeersStatus {
        let Some(peers) = &self.peers else { return PeersStatus::default() };
        let observed = peers.observed();
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let closed =
            observed.closed.iter().map(|(address, why)| format!("not listening at {address}: {why}"));
        let messages: Vec<String> =
            Some(trouble).filter(|text| !text.is_empty()).into_iter().chain(closed).collect();
        let gateways = observed.peers.into_iter().map(status).collect();
        PeersStatus { message: messages.join("; "), gateways }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(peer: PeerObserved) -> PeerStatus {
    let since = peer.since.map(|since| Instant::now().saturating_duration_since(since).as_secs());
    PeerStatus {
        name: peer.name,
        address: peer.address,
        connected: since.is_some(),
        since_secs: since.unwrap_or_default(),
        called: peer.called,
        last_error: peer.last_error,
    }
}

impl Keeper {
    async fn keep(mut self, mut events: Option<Events>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.tell();
            let due = self.view.held().ring.poll_timeout();
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => self.handle(Input::Timeout),
                event = next(&mut events) => self.event(event),
                _ = look.tick(), if self.view.peers.is_some() => self.look().await,
            }
        }
    }

    fn handle(&self, input: Input) {
        self.view.held().ring.handle(input, Instant::now());
    }

    /// Tells others what the ring wants told, and shows what it holds.
    fn tell(&self) {
        let ring = &mut self.view.held().ring;
        while let Some(keys) = ring.poll_output() {
            if let Some(peers) = &self.view.peers {
                peers.tell_all(&Message::TicketKeys(keys));
            }
        }
        self.metrics.keys.set(i64::try_from(ring.len()).unwrap_or(i64::MAX));
        self.metrics.turns.inc_by(ring.turns() - self.metrics.turns.get());
    }

    fn event(&self, event: Event) {
        match event {
            Event::Up { peer } => {
                let all = self.view.held().ring.all(Instant::now());
                if let Some(peers) = &self.view.peers {
                    peers.tell(&peer, &Message::TicketKeys(all));
                }
            }
            Event::Heard { peer, message: Message::TicketKeys(keys) } => {
                self.handle(Input::Heard { from: peer, keys });
            }
            // About the link itself; they are not passed on.
            Event::Heard { .. } => {}
        }
    }

    /// Looks whether the secret has changed. What cannot be read leaves the last one in force.
    async fn look(&mut self) {
        let file = self.file.clone();
        let found = match spawn_blocking(move || file.secret()).await {
            Ok(found) => found,
            Err(_) => return,
        };
        let trouble = match found {
            Ok(secret) if secret == self.secret => String::new(),
            Ok(secret) => self.rekey(secret).map_or_else(|error| error.to_string(), |()| String::new()),
            Err(error) => format!("{error:#}; the secret read before stays in force"),
        };
        let mut told = self.view.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != trouble {
            if !trouble.is_empty() {
                tracing::warn!("{trouble}");
            }
            *told = trouble;
        }
    }

    /// Whoever had the old secret may have heard the keys, and told of some: none that came over a link of before is heard
    /// after this, for one task takes events and changes the secret.
    fn rekey(&mut self, secret: peers::Secret) -> Result<()> {
        let (proof, digest) = (Secret::new(&secret.0)?, digest(&secret)?);
        if let Some(peers) = &self.view.peers {
            peers.rekey(proof);
        }
        {
            let mut held = self.view.held();
            held.ring.handle(Input::Renew, Instant::now());
            held.secret_digest = digest;
        }
        self.secret = secret;
        tracing::info!(
            "peers.keyFile has changed: links to other gateways begin anew, with new ticket keys; persistent sessions follow at the next start"
        );
        Ok(())
    }
}

/// The next event; for ever where there are no links.
async fn next(events: &mut Option<Events>) -> Event {
    let event = match events {
        Some(events) => events.next().await,
        None => None,
    };
    match event {
        Some(event) => event,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROTATION: Duration = Duration::from_secs(3600);

    fn held(secret: &[u8], before: Option<&Before>) -> Held {
        Held::new(ROTATION, &peers::Secret(secret.to_vec()), before).unwrap()
    }

    /// A process that takes over goes on with the keys where the secret is the one of before, and with new ones where it is
    /// another, or where nothing is said of it: whoever had that may have heard them. The secret itself does not travel.
    #[test]
    fn keys_end_with_the_secret_in_a_hand_over() {
        let [one, other, none]: [&[u8]; 3] =
            [b"the secret of all gateways, long", b"another secret, just as long as!", b""];
        for (first, second, goes_on) in [
            (one, one, true),
            (one, other, false),
            (none, none, true),
            (none, one, false),
            (one, none, false),
        ] {
            let before = held(first, None).estate();
            assert!(first.is_empty() || before.secret_digest != first);
            let after = held(second, Some(&before)).estate();
            assert_eq!(after.tickets.current.id == before.tickets.current.id, goes_on);
            assert_eq!(after.tickets.next.id == before.tickets.next.id, goes_on);
        }
        let unsaid = Before { secret_digest: Vec::new(), ..held(one, None).estate() };
        assert_ne!(held(one, Some(&unsaid)).estate().tickets.current.id, unsaid.tickets.current.id);
    }
}
