//! `tidegate run`: the shells started, fed with what is decided, and stopped in an order that loses nothing.
//!
//! ```text
//!   sources, interfaces ──► Intent ──► Model ──► proxy, speaker
//!                              pods, learned routes ──► compile::kernel ──► keeper
//! ```
//! One task decides; it sleeps until a source, an interface, a learned route or a shell's progress wakes it. Each is a
//! watch channel, so a burst costs one round and nothing queues up.

mod parting;
mod succession;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::registry::Registry;
use tidegate_compile::kernel::Transparent;
use tidegate_compile::{kernel, readiness};
use tidegate_console::Console;
use tidegate_handover::Manager;
use tidegate_kernel::{Applied, Keeper};
use tidegate_model::traffic::EndpointMode;
use tidegate_model::{Machine, Model, Verdict};
use tidegate_objects::ObjectRef;
use tidegate_proxy::{Limits, Proxy, ProxyConfig, ProxyObserved, SocketKey, SocketState, Tracing};
use tidegate_resolver::Resolver;
use tidegate_spans::{Exporter, Origin};
use tidegate_speaker::{Learned, Speaker};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::args;
use crate::background::{self, Starter};
use crate::board::{Board, Decided, KernelView, Shells};
use crate::handover::giver::Legacy;
use crate::handover::taker::{self, Inheritance};
use crate::handover::{self, Draining};
use crate::intent::{self, Changed, Intent};
use crate::lock::KernelLock;
use crate::log;
use crate::machine::MachineWatch;
use crate::memory::Leftovers;
use crate::peering::Peering;
use crate::run::parting::Parting;
use crate::run::succession::{Before, Closed, Event, Succession, secret_of};
use crate::settings::Settings;
use crate::sources::{Confirmations, Sources};
use crate::writing::{WritersView, Writing};

/// How often the service manager hears that this process turns its rounds; the unit's watchdog waits for six of them.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long neighbours may take to learn that addresses and routes have gone elsewhere: what they still send here is
/// answered.
const CONVERGENCE: Duration = Duration::from_secs(1);

/// How long requests that came during the convergence may take at least.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT, or until another process has taken over and the last connection here has ended.
pub fn run(admin: Option<SocketAddr>, arguments: &args::Run) -> Result<()> {
    if arguments.background {
        return background::run();
    }
    let mut warnings = Vec::new();
    let settings = Settings::settle(admin, arguments, &mut |warning| warnings.push(warning))?;
    let before = if arguments.takeover { taker::ask(&settings.state_dir)? } else { None };
    let inheritance = before.map_or_else(|| Inheritance::of_nobody(&settings.state_dir), Ok)?;
    let _log = log::start();
    die_of_panics();
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if arguments.takeover && inheritance.taker.is_none() {
        tracing::info!("no process runs on this stateDir: started without a hand-over");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let daemon = Daemon::start(settings, inheritance).await?;
        daemon.serve().await
    })
}

/// Everything that runs, and what each said last.
struct Daemon {
    sources: Sources,
    machine: MachineWatch,
    intent: Intent,
    board: Board,
    proxy: Proxy,
    /// Dropped after the proxy, which fills its queue.
    _exporter: Option<Exporter>,
    proxied: watch::Receiver<ProxyObserved>,
    speaker: Arc<Speaker>,
    /// What DNS says of names outside.
    resolver: Resolver,
    peering: Peering,
    writing: Writing,
    learned: watch::Receiver<Arc<Learned>>,
    /// What the kernel was last told of it.
    installed: Arc<Learned>,
    keeper: Option<Keeper>,
    kept: watch::Receiver<Arc<Applied>>,
    /// Generations handed to proxy and kernel; ready once both have applied theirs.
    generations: Option<(u64, u64)>,
    ready: watch::Sender<bool>,
    /// Whether this gateway may hold addresses, as the elections were told.
    eligible: bool,
    /// What was logged of the objects, and of this gateway as a whole.
    told: Arc<BTreeMap<ObjectRef, Verdict>>,
    /// Sockets that could not be opened, as they were logged.
    closed: BTreeSet<SocketKey>,
    noticed: Option<String>,
    leftovers: Leftovers,
    /// Backends of the Model whose endpoints the kernel must know.
    transparent: Transparent,
    parting: Parting,
    succession: Succession,
    /// What of the intent was carried out, by its speed.
    applied: intent::Metrics,
    drain_timeout: Duration,
}

impl Daemon {
    /// Starts every shell. The admin address comes first: where it cannot be had, nothing is touched. After another process
    /// nothing is opened, spoken or written before it has let go.
    async fn start(settings: Settings, inheritance: Inheritance) -> Result<Daemon> {
        let Inheritance { lock, kernel_lock, listener, admin, secret, tickets, sockets, draining, taker } =
            inheritance;
        let console = match admin {
            Some((address, fd)) if address == settings.admin => Console::inherit(address, fd)?,
            _ => Console::open(settings.admin).await?,
        };
        let mut registry = Registry::default();
        let handovers = handover::Metrics::default();
        handovers.register(&mut registry);
        let applied = intent::Metrics::default();
        applied.register(&mut registry);
        let secret = secret_of(&settings, secret)?;
        let peering = Peering::start(&settings, tickets.as_ref(), &mut registry)?;
        let (tracing, exporter) = match &settings.tracing.otlp.0 {
            None => (None, None),
            Some(collector) => {
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let origin = Origin { node: settings.node.clone(), version };
                let (queue, exporter) = Exporter::start(collector, &origin, &mut registry)
                    .context("the thread that sends spans could not be started")?;
                (Some(Tracing::new(settings.tracing.sample.0, queue)), Some(exporter))
            }
        };
        let proxy = Proxy::start(
            ProxyConfig {
                workers: settings.workers,
                access_log: settings.access_log.settled(),
                tracing,
                limits: limits(settings.workers),
                shared_secret: secret.clone(),
                tickets: Some(peering.view().ticket_keys()),
                admin: Some(settings.admin),
                held: taker.is_some(),
            },
            &mut registry,
        )?;
        let resolver = Resolver::start(settings.external_names.nameservers(), &mut registry);
        let speaker =
            Arc::new(Speaker::start().context("the threads for BGP and VRRP could not be started")?);
        handovers.sockets.set(i64::try_from(sockets.len()).unwrap_or(i64::MAX));
        proxy.handover().inherit(sockets).await;
        let (keeper, kernel_lock, refusal) = match Keeper::start(settings.state_dir.clone(), &mut registry) {
            Ok(keeper) => (Some(keeper), Some(kernel_lock.map_or_else(KernelLock::take, Ok)?), String::new()),
            Err(error) => {
                tracing::warn!("the kernel is not programmed: {error}");
                (None, None, error.to_string())
            }
        };
        let nobody = || watch::channel(Arc::default()).1;
        let kept = keeper.as_ref().map_or_else(nobody, Keeper::applied);
        let kernel =
            if keeper.is_some() { KernelView::Kept(kept.clone()) } else { KernelView::Refused(refusal) };
        let (ready, is_ready) = watch::channel(false);
        let proxied = proxy.observed();
        let drained = Draining::default();
        draining.into_iter().for_each(|(pid, channel)| drained.listen(pid, channel));
        let confirmations = Confirmations::new(&settings.sources);
        let names = (settings.node.as_str(), settings.ingress_class.as_str());
        let (sources, writers) =
            Sources::follow(settings.sources.clone(), &settings.state_dir, names, &confirmations);
        let shells = Shells {
            proxy: proxied.clone(),
            endpoints: proxy.endpoint_view(),
            drain: proxy.hand_drain(),
            speaker: speaker.clone(),
            kernel,
            peering: peering.view().clone(),
            writers: WritersView::new(&writers),
        };
        let is_ready_too = is_ready.clone();
        let board =
            Board::new(settings.node.clone(), is_ready, shells, drained.clone(), confirmations.clone());
        registry.register_collector(Box::new(board.clone()));
        let legacy = Legacy {
            lock: lock.duplicate()?,
            kernel_lock: kernel_lock.as_ref().map(KernelLock::duplicate).transpose()?,
            admin: (settings.admin, console.duplicate()?),
            secret: if settings.peers_secret.0.is_empty() { secret } else { Vec::new() },
            peering: peering.view().clone(),
        };
        let succession = Succession {
            before: taker.map(Before::new),
            doors: Some(Closed { console, registry, listener, legacy }),
            console: None,
            successors: None,
            ending: Arc::default(),
            draining: drained,
            metrics: handovers,
            manager: Manager::of_environment(),
            starter: Starter::of_environment(),
            socket: handover::socket(&settings.state_dir),
            _locks: (lock, kernel_lock),
        };
        let by_node_port = settings.sources.iter().filter(|it| it.endpoint_mode == EndpointMode::NodePort);
        let machine = Machine {
            sources: settings.sources.iter().map(|source| source.name.clone()).collect(),
            node: settings.node,
            default_load_balancer: settings.load_balancer.default,
            ingress_class: settings.ingress_class,
            node_port_sources: by_node_port.map(|source| source.name.clone()).collect(),
            allowed_names: settings.external_names.allowed(),
            ..Machine::default()
        };
        Ok(Daemon {
            sources,
            writing: Writing::start(writers, board.clone(), is_ready_too),
            machine: MachineWatch::start(machine).await,
            intent: Intent::default(),
            board,
            proxy,
            _exporter: exporter,
            proxied,
            resolver,
            peering,
            learned: speaker.learned(),
            installed: Arc::default(),
            speaker,
            keeper,
            kept,
            generations: None,
            ready,
            eligible: false,
            told: Arc::default(),
            closed: BTreeSet::new(),
            noticed: None,
            leftovers: Leftovers::default(),
            transparent: Transparent::default(),
            parting: Parting::default(),
            succession,
            applied,
            drain_timeout: settings.drain_timeout,
        })
    }

    async fn serve(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        if !self.succession.waits() {
            self.open_doors()?;
        }
        loop {
            self.decide().await;
            self.writing.changed();
            if self.could_take_over() {
                self.take_over().await?;
                heartbeat.reset_immediately();
                continue;
            }
            tokio::select! {
                () = self.sources.changed() => {}
                () = self.machine.changed() => {}
                () = self.resolver.changed() => {}
                Ok(()) = self.learned.changed() => {}
                Ok(()) = self.proxied.changed() => {}
                Ok(()) = self.kept.changed() => {}
                () = self.leftovers.give_back() => {}
                () = self.parting.due() => {}
                event = self.succession.next() => match event? {
                    Event::HandOver(successor) => {
                        return self.hand_over(successor, [terminate, interrupt], hang_up).await;
                    }
                },
                _ = heartbeat.tick() => self.succession.alive(),
                _ = hang_up.recv() => self.proxy.reopen_access_log(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        // While another process is in charge there is nothing to stop.
        if !self.succession.waits() {
            self.stop([terminate, interrupt]).await;
        }
        Ok(())
    }

    /// One round: whatever changed is decided, and handed to whom it concerns.
    async fn decide(&mut self) {
        let states = self.sources.states();
        let machine = self.machine.machine().clone();
        self.intent.hear(self.resolver.known().answers);
        // Before every source was read once, nothing is known to be absent.
        let known = states.iter().all(|state| state.status.synced) || self.generations.is_some();
        let changed = if known && self.intent.is_news(&states, &machine) {
            let changed = self.intent.update(&states, &machine, &mut self.board.pods());
            self.applied.count(changed);
            self.board.show(Decided {
                sources: states,
                snapshot: self.intent.snapshot.clone(),
                model: self.intent.model.clone(),
                verdicts: self.intent.verdicts.clone(),
                standing: self.intent.standing.clone(),
                machine: machine.clone(),
                notice: self.intent.notice.clone(),
            });
            changed
        } else {
            if !known {
                self.board.show(Decided { sources: states, ..Decided::default() });
            }
            Changed::default()
        };
        if known {
            self.hand_on(changed, &machine).await;
        }
        self.judge().await;
    }

    async fn hand_on(&mut self, changed: Changed, machine: &Machine) {
        if changed.model {
            self.resolver.want(self.intent.model.traffic.outside.wanted());
        }
        if self.succession.waits() {
            // Compiled, and nothing else: another process is in charge.
            if changed.model {
                let generation = self.proxy.update(self.intent.model.traffic.clone());
                self.generations = Some((generation, 0));
                self.log_verdicts();
            }
            return;
        }
        let mut proxy_generation = self.generations.map_or(0, |(proxy, _)| proxy);
        let mut kernel_generation = self.generations.map_or(0, |(_, kernel)| kernel);
        if changed.model {
            let model = &self.intent.model;
            self.transparent = Transparent::of(&model.traffic);
            proxy_generation = self.proxy.update(model.traffic.clone());
            self.speaker.declare(&model.speaker.groups, &model.speaker.peers, own_addresses(model)).await;
            self.peering.know(&model.peers);
            self.eligible &= self.learned.borrow().carries;
            self.log_verdicts();
            self.leftovers.grown();
        }
        if changed.endpoints && !changed.model {
            self.proxy.endpoints_changed();
            // Small pieces by the thousand, and now and then a snapshot on disk and statuses of everything.
            self.leftovers.grown();
        }
        let learned = self.learned.borrow_and_update().clone();
        let endpoints = changed.endpoints && !self.transparent.is_empty();
        let now = tokio::time::Instant::now();
        let parted = self.parting.is_due(now);
        if changed.model || changed.pods || endpoints || parted || !Arc::ptr_eq(&learned, &self.installed) {
            let pods = self.board.pods().kernel();
            let model = &self.intent.model;
            let transparent = self.parting.follow(self.transparent.endpoints(), self.drain_timeout, now);
            let desired =
                kernel::desired(model, machine, &learned.routes, learned.settled, &pods, transparent);
            if let Some(keeper) = &self.keeper {
                kernel_generation = keeper.set(Arc::new(desired));
            }
            self.installed = learned;
        }
        self.generations = Some((proxy_generation, kernel_generation));
    }

    /// Judges what this gateway may take part in, and tells whom it concerns when that changes.
    async fn judge(&mut self) {
        let Some((proxy, kernel)) = self.generations.filter(|_| !self.succession.waits()) else { return };
        let proxied = self.proxied.borrow().clone();
        let kept = self.kept.borrow().generation >= kernel;
        let standing = readiness::Facts {
            proxied: proxied.generation >= proxy,
            kernel: if self.keeper.is_some() { Some(kept) } else { None },
            carries: self.learned.borrow().carries,
            vips_open: !self.intent.model.addresses.held.keys().any(|address| {
                let failed = |state: &SocketState| matches!(state, SocketState::Failed(_));
                proxied.sockets.iter().any(|(socket, state)| socket.address.ip() == *address && failed(state))
            }),
        };
        // Ready once is ready: a later change that is not applied yet does not take back what serves.
        let ready = (standing.is_ready() && self.resolver.is_settled()) || *self.ready.borrow();
        let eligible = ready && standing.may_hold_addresses();
        for (socket, state) in &proxied.sockets {
            if let SocketState::Failed(reason) = state
                && self.closed.insert(*socket)
            {
                tracing::warn!(%socket, "not listening: {reason}");
            }
        }
        if self.ready.send_if_modified(|before| std::mem::replace(before, ready) != ready) {
            let sockets: Vec<String> = proxied.sockets.keys().map(ToString::to_string).collect();
            tracing::info!(sockets = sockets.join(" "), "ready");
            self.succession.serves("ready");
            self.speaker.set_ready(ready).await;
        }
        if std::mem::replace(&mut self.eligible, eligible) != eligible {
            self.speaker.set_eligible(eligible);
        }
    }

    /// Says of each object what is wrong with it, once: again only when it is something else.
    fn log_verdicts(&mut self) {
        let verdicts = &self.intent.verdicts;
        let news = verdicts.values().filter(|verdict| self.told.get(&verdict.object) != Some(verdict));
        for verdict in news {
            for problem in &verdict.problems {
                let (object, outcome, field) = (&verdict.object, verdict.outcome, &problem.field);
                tracing::warn!(%object, %outcome, reason = problem.reason, field, "{}", problem.message);
            }
        }
        self.told = verdicts.clone();
        if self.intent.notice != self.noticed {
            self.noticed.clone_from(&self.intent.notice);
            if let Some(notice) = &self.noticed {
                tracing::warn!("{notice}");
            }
        }
    }

    /// Clients are told to leave first, while addresses and routes are still here: a request in flight would be cut if its
    /// address went elsewhere. They go once nothing is in flight, or when the time is up, and who is still sent here by
    /// neighbours that learn it late is answered. The kernel keeps what it holds: the next start adopts it. A second signal
    /// cuts waiting short.
    async fn stop(mut self, [mut terminate, mut interrupt]: [Signal; 2]) {
        let began = Instant::now();
        tracing::info!(connections = self.proxy.connections(), "stopping");
        self.succession.end();
        self.ready.send_replace(false);
        self.writing.leave();
        let mut hurried = std::pin::pin!(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        let mut hurry = false;
        tokio::select! {
            _ = self.proxy.farewell(self.drain_timeout) => {}
            () = &mut hurried => hurry = true,
        }
        self.speaker.stop().await;
        let speaker = &self.intent.model.speaker;
        let announced = !(speaker.groups.is_empty() && speaker.peers.is_empty());
        tokio::select! {
            () = tokio::time::sleep(CONVERGENCE), if announced && !hurry => {}
            () = &mut hurried, if !hurry => hurry = true,
            () = std::future::ready(()), if hurry || !announced => {}
        }
        let within = self.drain_timeout.saturating_sub(began.elapsed()).max(LAST_REQUESTS);
        self.end_connections(if hurry { Duration::ZERO } else { within }).await;
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
        self.writing.stop().await;
    }

    /// Lets connections finish for a while.
    async fn end_connections(&self, within: Duration) {
        let left = self.proxy.drain(within).await;
        if left > 0 {
            tracing::warn!(connections = left, "closed before they had ended");
        }
    }
}

/// IPv4 addresses that gateways hold, whoever does now: none of them is a next hop for this one.
fn own_addresses(model: &Model) -> BTreeSet<Ipv4Addr> {
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    model.addresses.held.keys().filter_map(v4).collect()
}

/// Connections, UDP sessions and pipes that the descriptors of this process allow.
fn limits(workers: usize) -> Limits {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A refusal leaves the soft limit, which is asked for next.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) => within(usize::try_from(soft).unwrap_or(usize::MAX), workers),
        Err(_) => Limits::default(),
    }
}

/// What so many descriptors suffice for, all at once: an eighth for pipes, the rest in equal parts for clients, connections to
/// endpoints and UDP sessions; what others do not need is for connections to endpoints, of which one client may want many.
/// Some are kept for listening sockets, BGP, kernel and console, so that who comes can always be accepted.
fn within(descriptors: usize, workers: usize) -> Limits {
    const RESERVED: usize = 512;
    const LEAST: usize = 64;
    let mut limits = Limits::default();
    let usable = descriptors.saturating_sub(RESERVED);
    limits.pipes = limits.pipes.min(usable / 8 / 2 / workers.max(1));
    let usable = usable - limits.pipes * 2 * workers;
    limits.connections = limits.connections.min((usable / 3).max(LEAST));
    limits.udp_sessions = limits.udp_sessions.min((usable / 3).max(LEAST));
    let left = usable.saturating_sub(limits.connections + limits.udp_sessions);
    limits.upstream_connections = limits.upstream_connections.min(left.max(LEAST));
    limits
}

/// A thread that panics leaves a gateway that looks alive; dead, it is taken over from, and the next start adopts what it
/// left. Only a worker of the proxy may: there a panic ends one connection.
fn die_of_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if !std::thread::current().name().is_some_and(is_worker) {
            std::process::abort();
        }
    }));
}

/// Whether a thread of this name is a worker of the proxy: `proxy-0`, but not `proxy-control`.
fn is_worker(thread: &str) -> bool {
    let number = thread.strip_prefix("proxy-").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is promised never needs more descriptors than there are, however few or many.
    #[test]
    fn descriptors_suffice() {
        for descriptors in [1_024, 4_096, 20_000, 65_536, 1_048_576] {
            for workers in [1, 2, 64] {
                let limits = within(descriptors, workers);
                let (clients, endpoints) = (limits.connections, limits.upstream_connections);
                let all = clients + endpoints + limits.udp_sessions + limits.pipes * 2 * workers;
                assert!(all + 512 <= descriptors, "{descriptors} {workers}");
                assert!(
                    clients.min(endpoints) >= (descriptors - 512) / 4 || clients == 16_384,
                    "{descriptors}"
                );
            }
        }
    }

    /// A panic is survived by workers only: the proxy's other threads would leave a gateway that looks alive.
    #[test]
    fn only_workers_may_panic() {
        let threads = ["proxy-0", "proxy-12", "proxy-control", "proxy-health", "proxy-", "kernel", "main"];
        assert_eq!(threads.map(is_worker), [true, true, false, false, false, false, false]);
    }
}
