//! The daemon between the process before it and the one after: it takes over, hands over, and says so.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use prometheus_client::registry::Registry;
use tidegate_console::{Console, Serving};
use tidegate_handover::{Channel, ChannelError, Listener, Manager, Message};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Daemon;
use crate::background::Starter;
use crate::handover::giver::{Giver, Legacy, Successor};
use crate::handover::taker::{Estate, Taker};
use crate::handover::{DRAIN_MAX, Draining, Metrics, PREPARE_MAX, SOON};
use crate::intent::Changed;
use crate::lock::{KernelLock, StateLock};
use crate::settings::Settings;

/// How often a process that was taken over from counts its connections.
const DRAIN_LOOK: Duration = Duration::from_millis(500);

/// What the daemon knows of the process before it and the one after.
pub(super) struct Succession {
    /// The process before, until this one has taken over from it.
    pub(super) before: Option<Before>,
    /// What is not open yet.
    pub(super) doors: Option<Closed>,
    /// The admin address, once it is answered.
    pub(super) console: Option<Serving>,
    /// Who takes over from this process, once it may.
    pub(super) successors: Option<mpsc::Receiver<Successor>>,
    /// Hands nothing over any more.
    pub(super) ending: Arc<AtomicBool>,
    /// Who was taken over from and still holds connections.
    pub(super) draining: Draining,
    pub(super) metrics: Metrics,
    pub(super) manager: Manager,
    pub(super) starter: Starter,
    /// Where others ask.
    pub(super) socket: PathBuf,
    pub(super) _locks: (StateLock, Option<KernelLock>),
}

/// The process before, from which this one has not taken over yet.
pub(super) struct Before {
    taker: Taker,
    /// Until then this one must be able to serve.
    deadline: Instant,
}

impl Before {
    pub(super) fn new(taker: Taker) -> Before {
        Before { taker, deadline: Instant::now() + PREPARE_MAX }
    }
}

/// What a process opens once it is in charge.
pub(super) struct Closed {
    pub(super) console: Console,
    pub(super) registry: Registry,
    pub(super) listener: io::Result<Listener>,
    pub(super) legacy: Legacy,
}

/// What comes by itself.
pub(super) enum Event {
    /// Another process has it all.
    HandOver(Successor),
}

impl Succession {
    /// Whether another process is still in charge.
    pub(super) fn waits(&self) -> bool {
        self.before.is_some()
    }

    /// Waits for what comes by itself; an error when this process could not serve in time.
    pub(super) async fn next(&mut self) -> Result<Event> {
        if let Some(before) = &self.before {
            tokio::time::sleep_until(before.deadline.into()).await;
            bail!(
                "not every source could be read in {} s; the process that ran before runs on",
                PREPARE_MAX.as_secs()
            );
        }
        let successor = match &mut self.successors {
            Some(successors) => successors.recv().await,
            None => None,
        };
        match successor {
            Some(successor) => Ok(Event::HandOver(successor)),
            None => std::future::pending().await,
        }
    }

    /// Tells those who wait for it that this process serves.
    pub(super) fn serves(&mut self, status: &str) {
        self.manager.ready(status);
        self.starter.serves();
    }

    /// Tells the service manager's watchdog that this process turns its rounds, if it is the one in charge.
    pub(super) fn alive(&self) {
        if !self.waits() {
            self.manager.alive();
        }
    }

    /// Hands nothing over any more: who asks from now on is refused, or starts as usual once the lock is free.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.manager.stopping();
        // One that was never there need not go.
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Daemon {
    /// Answers at the admin address and to who wants to take over.
    pub(super) fn open_doors(&mut self) -> Result<()> {
        let Some(Closed { console, registry, listener, legacy }) = self.succession.doors.take() else {
            return Ok(());
        };
        self.succession.console = Some(console.serve(self.board.clone(), registry));
        match listener {
            Ok(listener) => {
                let giver = Giver {
                    listener,
                    legacy,
                    proxy: self.proxy.handover(),
                    drained: self.proxy.hand_drain(),
                    speaker: self.speaker.clone(),
                    draining: self.succession.draining.clone(),
                    ending: self.succession.ending.clone(),
                    metrics: self.succession.metrics.clone(),
                };
                let successors = giver.start().context("the thread for hand-overs could not be started")?;
                self.succession.successors = Some(successors);
            }
            Err(error) => {
                let socket = self.succession.socket.display();
                tracing::warn!(%error, %socket, "no other process can take over from this one");
            }
        }
        Ok(())
    }

    /// Whether everything is compiled and there is a process to take over from.
    pub(super) fn could_take_over(&self) -> bool {
        let prepared = self.generations.is_some_and(|(proxy, _)| self.proxied.borrow().generation >= proxy);
        self.succession.waits() && prepared && self.resolver.is_settled()
    }

    /// Takes everything over from the process before, and serves.
    pub(super) async fn take_over(&mut self) -> Result<()> {
        let Some(Before { taker, .. }) = self.succession.before.take() else { return Ok(()) };
        let began = Instant::now();
        let (taker, estate) = spawn_blocking(move || {
            let estate = taker.take_over();
            (taker, estate)
        })
        .await?;
        let pid = taker.pid;
        let Estate { sockets, elections, sessions, drained } =
            estate.context("the process that ran before did not hand over, and runs on")?;
        self.succession.metrics.sockets.inc_by(i64::try_from(sockets.len()).unwrap_or(i64::MAX));
        self.succession.metrics.sessions.set(i64::try_from(sessions.len()).unwrap_or(i64::MAX));
        let (groups, udp_sessions) = (elections.len(), sessions.len());
        self.proxy.handover().inherit(sockets).await;
        self.proxy.hand_drain().change(|own| *own = drained);
        // Both speak for a moment, so that nobody on the wire misses one of them.
        self.speaker.inherit(elections, &self.intent.model.speaker.groups);
        // Answered once the elections have begun.
        self.speaker.remember().await;
        let (taker, was_ready) = spawn_blocking(move || {
            let was_ready = taker.taken();
            (taker, was_ready)
        })
        .await?;
        let was_ready = was_ready.context("the process that ran before did not hand over, and runs on")?;
        self.proxy.handover().release(sessions).await;
        let stall = began.elapsed();
        self.succession.metrics.stall.set(stall.as_secs_f64());
        let (_, channel) = taker.into_channel();
        self.succession.draining.listen(pid, channel);
        self.open_doors()?;
        if was_ready {
            // What stands in the kernel stands as it stood.
            self.ready.send_replace(true);
            self.speaker.set_ready(true).await;
        }
        let stall_ms = u64::try_from(stall.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            pid,
            udp_sessions,
            groups,
            stall_ms,
            "took over; the process before keeps its connections until they end"
        );
        let machine = self.machine.machine().clone();
        self.hand_on(Changed { model: true, endpoints: true, pods: true }, &machine).await;
        self.succession.serves(&format!("took over from process {pid}"));
        Ok(())
    }

    /// Lets go of everything but connections, for another process that has it all, and waits until they have ended.
    pub(super) async fn hand_over(
        mut self,
        successor: Successor,
        [mut terminate, mut interrupt]: [Signal; 2],
        mut hang_up: Signal,
    ) -> Result<()> {
        let Successor { pid, channel } = successor;
        let told = Told(Arc::new(channel));
        let ready = *self.ready.borrow();
        // From here on nothing of the kernel is written.
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
        self.succession.draining.stop();
        let sessions = self.speaker.sessions().borrow().sessions.len();
        if sessions > 0 {
            tracing::warn!(
                pid,
                sessions,
                "BGP sessions end here, and the next process opens them anew: their routes are withdrawn for a moment"
            );
        }
        self.proxy.handover().retire().await;
        if let Some(console) = self.succession.console.take() {
            console.stop().await;
        }
        self.speaker.fall_silent().await;
        // The next process is the one that they meet.
        self.peering.stop().await;
        self.writing.leave();
        if let Err(error) = told.tell(Message::Released { ready }, SOON).await? {
            tracing::warn!(pid, %error, "the next process does not hear that this one has let go");
        }
        self.writing.stop().await;
        let connections = self.proxy.connections();
        tracing::info!(pid, connections, "handed over; connections stay here until they end");
        let began = Instant::now();
        let mut telling = None;
        while began.elapsed() < DRAIN_MAX && self.proxy.connections() > 0 {
            let connections = self.proxy.connections() as u64;
            // One that does not listen any more has handed over too, or ended; what it is slow to take is told later.
            if telling.as_ref().is_none_or(JoinHandle::is_finished) {
                telling = Some(told.tell(Message::Draining { connections }, DRAIN_LOOK));
            }
            tokio::select! {
                () = tokio::time::sleep(DRAIN_LOOK) => {}
                _ = hang_up.recv() => self.proxy.reopen_access_log(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        self.end_connections(self.drain_timeout).await;
        tracing::info!("nothing is left here");
        Ok(())
    }
}

/// The process that has taken over, as it is told how this one fares. Its channel waits for it, so a thread of the runtime's
/// spare ones does: a process that hangs holds up nothing that this one still carries.
struct Told(Arc<Channel>);

impl Told {
    /// Tells it so much; given up after `limit`.
    fn tell(&self, message: Message, limit: Duration) -> JoinHandle<Result<(), ChannelError>> {
        let channel = self.0.clone();
        spawn_blocking(move || channel.send(&message, &[], limit))
    }
}

/// What persistent sessions are made with: what the bootstrap file names, what the process before had, or
/// something new.
pub(super) fn secret_of(settings: &Settings, inherited: Vec<u8>) -> Result<Vec<u8>> {
    let named = &settings.peers_secret.0;
    if !named.is_empty() {
        return Ok(named.clone());
    }
    if !inherited.is_empty() {
        return Ok(inherited);
    }
    let mut secret = vec![0; 32];
    let mut source = File::open("/dev/urandom").context("this machine has no randomness")?;
    source.read_exact(&mut secret)?;
    Ok(secret)
}
