//! Keeps the kernel as it should be: on a new intent, when a stranger changes something of ours, and every 30 seconds.
//!
//! One thread with a runtime of its own holds the [`Kernel`], because reading it blocks. The thread starts in
//! [`Keeper::start`], lives in the network namespace of the caller, and ends with [`Keeper::stop`] or when the keeper is
//! dropped. Stopping between two operations is harmless: the next start reads what stands and goes on from there. What
//! the kernel holds stays; only [`Kernel::cleanup`] removes it.
//!
//! The only queue is the latest intent: a newer one replaces one that was not applied yet.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate_plan::{CounterValue, Desired, Observed, Plan, plan};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::error::OpenError;
use crate::kernel::Kernel;
use crate::monitor::{Monitor, group};

/// At most one application of intents in this time.
const COALESCE: Duration = Duration::from_millis(10);
/// From the first foreign change to the look at what it did.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// A look without cause, should a notification have been missed.
const SAFETY_NET: Duration = Duration::from_secs(30);
/// First wait after a failure; doubled up to `SAFETY_NET`.
const RETRY: Duration = Duration::from_millis(250);

/// Where the kernel stands.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The generation of the intent applied last; 0 before the first.
    pub generation: u64,
    /// What failed in the last application, in words; empty when all is as it should be.
    pub errors: Vec<String>,
    /// What stands in the way and is left alone, in words.
    pub notes: Vec<String>,
    /// How much of ours the kernel holds.
    pub holds: Holds,
    /// Operations that repaired what a stranger had changed, since the start.
    pub repairs: u64,
    /// What our nftables counters say, as of the last full look.
    pub counters: BTreeMap<String, CounterValue>,
}

/// How much of ours the kernel holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Addresses with our tag.
    pub addresses: usize,
    /// Routes with our number.
    pub routes: usize,
    /// Rules of ours.
    pub rules: usize,
    /// Elements of the sets of our table.
    pub elements: usize,
}

type Intent = Option<(u64, Arc<Desired>)>;

/// The handle to the thread.
pub struct Keeper {
    intent: watch::Sender<Intent>,
    applied: watch::Receiver<Arc<Applied>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Opens the kernel and starts the thread. Nothing is changed before the first [`Keeper::set`].
    pub fn start(state_dir: PathBuf) -> Result<Self, OpenError> {
        let (intent, intents) = watch::channel(None);
        let (publisher, applied) = watch::channel(Arc::new(Applied::default()));
        let (opened, result) = mpsc::channel();
        let thread = std::thread::Builder::new().name("kernel".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = opened.send(Err(OpenError::Socket(error)));
                    return;
                }
            };
            runtime.block_on(async move {
                match open(&state_dir) {
                    Ok((kernel, monitor)) => {
                        let _ = opened.send(Ok(()));
                        Loop::new(kernel, intents, publisher).run(monitor).await;
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
            });
        });
        let thread = thread.map_err(OpenError::Socket)?;
        match result.recv() {
            Ok(Ok(())) => Ok(Self { intent, applied, thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(OpenError::Socket(io::Error::other("the kernel thread ended"))),
        }
    }

    /// Replaces the intent and returns its generation, which [`Applied`] will carry. Never waits.
    pub fn set(&self, desired: Arc<Desired>) -> u64 {
        let mut generation = 1;
        self.intent.send_modify(|intent| {
            generation = intent.as_ref().map_or(1, |(last, _)| last + 1);
            *intent = Some((generation, desired));
        });
        generation
    }

    /// Where the kernel stands, renewed after every application and look.
    pub fn applied(&self) -> watch::Receiver<Arc<Applied>> {
        self.applied.clone()
    }

    /// Ends the thread and waits for it; the kernel keeps what it holds.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // The thread ends when its channel does.
        self.intent = watch::channel(None).0;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the kernel thread had panicked");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

/// The monitor first, so that nothing happens between the first look and the first notification.
fn open(state_dir: &std::path::Path) -> Result<(Kernel, Monitor), OpenError> {
    let groups = group::LINK
        | group::IPV4_ADDRESS
        | group::IPV6_ADDRESS
        | group::IPV4_ROUTE
        | group::IPV6_ROUTE
        | group::IPV4_RULE
        | group::IPV6_RULE;
    let kernel = Kernel::open(state_dir)?;
    let monitor = Monitor::open(groups, group::NFTABLES).map_err(OpenError::Socket)?;
    Ok((kernel, monitor))
}

/// Why the kernel is compared with the intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// There is a new intent.
    Intent,
    /// Somebody changed something, or it is time to look, or to try again.
    Look,
}

/// What the thread does.
struct Loop {
    kernel: Kernel,
    intents: watch::Receiver<Intent>,
    publisher: watch::Sender<Arc<Applied>>,
    /// The kernel as last read and changed by us since; none if it has to be read.
    known: Option<Observed>,
    /// Generation that was applied without an error; what differs later was changed by others.
    clean: u64,
    retry: Duration,
    look_at: Instant,
    applied_at: Option<Instant>,
}

impl Loop {
    fn new(kernel: Kernel, intents: watch::Receiver<Intent>, publisher: watch::Sender<Arc<Applied>>) -> Self {
        let look_at = Instant::now() + SAFETY_NET;
        Self { kernel, intents, publisher, known: None, clean: 0, retry: RETRY, look_at, applied_at: None }
    }

    async fn run(mut self, mut monitor: Monitor) {
        let own = self.kernel.ports();
        let matters =
            move |notice: &crate::monitor::Notice<'_>| !own.contains(&notice.port) && notice.concerns_us();
        loop {
            let cause = tokio::select! {
                changed = self.intents.changed() => match changed {
                    Ok(()) => Cause::Intent,
                    Err(_) => return,
                },
                seen = monitor.changed(&matters) => {
                    if let Err(error) = seen {
                        tracing::error!(%error, "kernel notifications stopped; looking every 30 seconds only");
                        monitor = match Monitor::open(0, 0) { Ok(deaf) => deaf, Err(_) => return };
                    }
                    self.look_at = self.look_at.min(Instant::now() + DEBOUNCE);
                    continue;
                }
                () = sleep_until(self.look_at) => Cause::Look,
            };
            if let (Cause::Intent, Some(last)) = (cause, self.applied_at) {
                sleep_until(last + COALESCE).await;
            }
            self.reconcile(cause).await;
        }
    }

    async fn reconcile(&mut self, cause: Cause) {
        let Some((generation, desired)) = self.intents.borrow_and_update().clone() else {
            self.look_at = Instant::now() + SAFETY_NET;
            return;
        };
        if cause == Cause::Look {
            self.known = None;
            self.look_at = Instant::now() + SAFETY_NET;
        }
        let mut observed = match self.look(&desired).await {
            Ok(observed) => observed,
            Err(error) => return self.failed(generation, vec![error]),
        };
        let Plan { ops, notes } = plan(&desired, &observed);
        let errors = self.kernel.apply(&ops).await;
        self.applied_at = Some(Instant::now());
        let mut applied = Applied { notes: notes.iter().map(ToString::to_string).collect(), ..self.last() };
        if cause == Cause::Look && self.clean == generation && !ops.is_empty() {
            applied.repairs += ops.len() as u64;
            for op in &ops {
                tracing::warn!(%op, "somebody changed our kernel state; repaired");
            }
        }
        if cause == Cause::Look || applied.counters.is_empty() {
            applied.counters = self.kernel.counters().unwrap_or_default();
        }
        self.publisher.send_replace(Arc::new(applied));
        if errors.is_empty() && ops.iter().all(|op| observed.apply(op).is_ok()) {
            observed.recorded = self.kernel.recorded();
            self.succeeded(generation, observed);
        } else {
            self.failed(generation, errors.iter().map(ToString::to_string).collect());
        }
    }

    /// The known picture if it tells the settings asked for, else a fresh one.
    async fn look(&mut self, desired: &Desired) -> Result<Observed, String> {
        match self.known.take() {
            Some(known) if desired.sysctls.keys().all(|key| known.sysctls.contains_key(key)) => Ok(known),
            _ => self.kernel.observe(desired).await.map_err(|error| format!("{error}: {}", error.source)),
        }
    }

    fn succeeded(&mut self, generation: u64, observed: Observed) {
        self.clean = generation;
        self.retry = RETRY;
        let holds = holds(&observed);
        self.known = Some(observed);
        self.publisher.send_replace(Arc::new(Applied {
            generation,
            errors: Vec::new(),
            holds,
            ..self.last()
        }));
    }

    /// Tries again soon, and later each time.
    fn failed(&mut self, generation: u64, errors: Vec<String>) {
        let last = self.last();
        if last.errors != errors {
            for error in &errors {
                tracing::warn!(%error, "a kernel operation failed");
            }
        }
        self.known = None;
        self.look_at = self.look_at.min(Instant::now() + self.retry);
        self.retry = (self.retry * 2).min(SAFETY_NET);
        self.publisher.send_replace(Arc::new(Applied { generation, errors, ..last }));
    }

    fn last(&self) -> Applied {
        Applied::clone(&self.publisher.borrow())
    }
}

fn holds(observed: &Observed) -> Holds {
    Holds {
        addresses: observed.addresses.values().filter(|protocol| **protocol == tidegate_plan::OURS).count(),
        routes: observed.routes.len(),
        rules: observed.rules.len(),
        elements: observed
            .table
            .iter()
            .flat_map(|table| table.sets.values())
            .map(|set| set.elements.len())
            .sum(),
    }
}
