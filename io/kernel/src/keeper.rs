//! Keeps the kernel as it should be: on a new intent, when a stranger changes something of ours, and every 30 seconds.
//!
//! One thread with a runtime of its own holds the [`Kernel`], because reading it blocks. The thread starts in
//! [`Keeper::start`], lives in the network namespace of the caller, and ends with [`Keeper::stop`] or when the keeper is
//! dropped. Stopping between two operations is harmless: the next start reads what stands and goes on from there. What
//! the kernel holds stays; only [`Kernel::cleanup`] removes it.
//!
//! The counters of our nftables table are read every five seconds and before we build or delete it, for the metrics.
//!
//! The only queue is the latest intent: a newer one replaces one that was not applied yet.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tidegate_plan::{Desired, Observed, Op, Plan, plan};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::error::{OpError, OpenError};
use crate::kernel::Kernel;
use crate::metrics::Metrics;
use crate::monitor::{Monitor, group};

/// At most one application of intents in this time.
const COALESCE: Duration = Duration::from_millis(10);
/// From the first foreign change to the look at what it did. Short: without our table, pods leave as they are.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// A look without cause, should a notification have been missed.
const SAFETY_NET: Duration = Duration::from_secs(30);
/// First wait after a failure; doubled up to `SAFETY_NET`.
const RETRY: Duration = Duration::from_millis(250);
/// From one reading of the table's counters to the next.
const COUNT: Duration = Duration::from_secs(5);

/// Where the kernel stands.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The newest intent of which addresses, rules, settings and the table stand; 0 before the first. `errors` tells of
    /// routes that do not.
    pub generation: u64,
    /// What failed when the newest intent was last applied, in words; empty when all is as it should be.
    pub errors: Vec<String>,
    /// What stands in the way and is left alone, in words.
    pub notes: Vec<String>,
    /// How much of ours the kernel holds.
    pub holds: Holds,
    /// Operations that repaired what a stranger had changed, since the start.
    pub repairs: u64,
}

/// How much of ours the kernel holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Addresses with our tag.
    pub addresses: usize,
    /// Routes with our number.
    pub routes: usize,
}

type Intent = Option<(u64, Arc<Desired>)>;

/// The handle to the thread.
pub struct Keeper {
    intent: watch::Sender<Intent>,
    applied: watch::Receiver<Arc<Applied>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Opens the kernel, starts the thread and registers its metrics. Nothing is changed before the first
    /// [`Keeper::set`].
    pub fn start(state_dir: PathBuf, registry: &mut Registry) -> Result<Self, OpenError> {
        let metrics = Metrics::default();
        let kept = metrics.clone();
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
                        Loop::new(kernel, intents, publisher, kept).run(monitor).await;
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
            });
        });
        let thread = thread.map_err(OpenError::Socket)?;
        match result.recv() {
            Ok(Ok(())) => {
                metrics.register(registry);
                Ok(Self { intent, applied, thread: Some(thread) })
            }
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
    metrics: Metrics,
    count_at: Instant,
}

impl Loop {
    fn new(
        kernel: Kernel,
        intents: watch::Receiver<Intent>,
        publisher: watch::Sender<Arc<Applied>>,
        metrics: Metrics,
    ) -> Self {
        let now = Instant::now();
        Self {
            kernel,
            intents,
            publisher,
            known: None,
            clean: 0,
            retry: RETRY,
            look_at: now + SAFETY_NET,
            applied_at: None,
            metrics,
            count_at: now,
        }
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
                    // An intent that comes before the look is not measured against what may no longer be so.
                    self.known = None;
                    self.look_at = self.look_at.min(Instant::now() + DEBOUNCE);
                    continue;
                }
                () = sleep_until(self.look_at) => Cause::Look,
                () = sleep_until(self.count_at) => {
                    self.count();
                    continue;
                }
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
        if self.applied_at.is_none()
            && let Err(error) = self.kernel.reread_record()
        {
            tracing::warn!(%error, "the record of settings cannot be read again");
        }
        let mut applied = self.last();
        let read = self.look(&desired).await;
        let errors = match read {
            Ok(observed) => self.apply(cause, generation, &desired, observed, &mut applied).await,
            Err(error) => vec![error],
        };
        if self.known.is_some() {
            self.retry = RETRY;
        } else {
            // Again soon, and later each time.
            self.look_at = self.look_at.min(Instant::now() + self.retry);
            self.retry = (self.retry * 2).min(SAFETY_NET);
        }
        if applied.errors != errors {
            for error in &errors {
                tracing::warn!(%error, "a kernel operation failed");
            }
        }
        self.metrics.errors.set(i64::try_from(errors.len()).unwrap_or(i64::MAX));
        self.publisher.send_replace(Arc::new(Applied { errors, ..applied }));
    }

    /// From `observed` to `desired`, and what is to be told of it. Afterwards the kernel is known if all went well.
    async fn apply(
        &mut self,
        cause: Cause,
        generation: u64,
        desired: &Desired,
        mut observed: Observed,
        applied: &mut Applied,
    ) -> Vec<String> {
        let Plan { ops, notes } = plan(desired, &observed);
        if ops.iter().any(|op| matches!(op, Op::TableRebuild(_) | Op::TableDelete)) {
            self.count();
        }
        let errors = self.kernel.apply(&ops).await;
        self.applied_at = Some(Instant::now());
        applied.notes = notes.iter().map(ToString::to_string).collect();
        if errors.iter().all(OpError::is_route) {
            applied.generation = generation;
        }
        if errors.is_empty() {
            if cause == Cause::Look && self.clean == generation {
                self.repaired(&ops);
                applied.repairs += ops.len() as u64;
            }
            if ops.iter().all(|op| observed.apply(op).is_ok()) {
                self.clean = generation;
                observed.recorded = self.kernel.recorded();
                applied.holds = holds(&observed);
                self.known = Some(observed);
            }
        } else {
            // As it was before: which of the operations succeeded, the next look tells.
            applied.holds = holds(&observed);
        }
        errors.iter().map(ToString::to_string).collect()
    }

    fn repaired(&self, ops: &[Op]) {
        self.metrics.repairs.inc_by(ops.len() as u64);
        for op in ops {
            tracing::warn!(%op, "somebody changed our kernel state; repaired");
        }
    }

    fn count(&mut self) {
        self.count_at = Instant::now() + COUNT;
        match self.kernel.counters() {
            Ok(packets) => self.metrics.count(&packets),
            Err(error) => tracing::debug!(%error, "the counters of our table cannot be read"),
        }
    }

    /// The known picture if it tells the settings asked for, else a fresh one.
    async fn look(&mut self, desired: &Desired) -> Result<Observed, String> {
        match self.known.take() {
            Some(known) if desired.sysctls.keys().all(|key| known.sysctls.contains_key(key)) => Ok(known),
            _ => self.kernel.observe(desired).await.map_err(|error| format!("{error}: {}", error.source)),
        }
    }

    fn last(&self) -> Applied {
        Applied::clone(&self.publisher.borrow())
    }
}

fn holds(observed: &Observed) -> Holds {
    Holds {
        addresses: observed.addresses.values().filter(|protocol| **protocol == tidegate_plan::OURS).count(),
        routes: observed.routes.len(),
    }
}
