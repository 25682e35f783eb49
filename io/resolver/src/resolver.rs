//! The task that asks.
//!
//! One task owns the book. It ends when the last [`Resolver`] is dropped; a question that is under way then is cancelled, which
//! harms nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prometheus_client::registry::Registry;
use tidegate_dns::{Book, IN_FLIGHT_MAX, News};
use tidegate_objects::dns::{Answers, DnsName};
use tokio::sync::watch;

use crate::asking::{Asked, Nameservers};
use crate::metrics::Metrics;

/// How often is looked whom to ask.
const LOOK: Duration = Duration::from_secs(30);

/// Between two lines of the log about names that cannot be resolved.
const COMPLAIN: Duration = Duration::from_secs(10);

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last good answer of each name that had one.
    pub answers: Answers,
    /// The wishes that this is the state of.
    generation: u64,
    /// Everything was asked for once, or has been waited for long enough.
    settled: bool,
}

/// The names that are wanted, with a number that grows.
type Wanted = (u64, BTreeMap<DnsName, bool>);

/// Asks for names; see [`want`](Resolver::want).
#[derive(Debug)]
pub struct Resolver {
    wanted: watch::Sender<Wanted>,
    known: watch::Receiver<Known>,
}

impl Resolver {
    /// Starts the task; nobody is asked before a name is wanted.
    pub fn start(nameservers: Nameservers, registry: &mut Registry) -> Resolver {
        Resolver::start_with(nameservers, registry, Book::default())
    }

    fn start_with(nameservers: Nameservers, registry: &mut Registry, book: Book) -> Resolver {
        let metrics = Metrics::default();
        metrics.register(registry);
        let (wanted, wishes) = watch::channel(Wanted::default());
        let (told, known) = watch::channel(Known { settled: true, ..Known::default() });
        let task = Task {
            nameservers,
            asked: Asked::default(),
            looked_at: None,
            book,
            metrics,
            told,
            generation: 0,
            complaints: Complaints::default(),
        };
        tokio::spawn(task.run(wishes));
        Resolver { wanted, known }
    }

    /// These names are wanted from now on, and no others; true: some address of it was refused, so it is asked for seldom.
    pub fn want(&self, names: BTreeMap<DnsName, bool>) {
        self.wanted.send_if_modified(|(generation, wanted)| {
            let differs = *wanted != names;
            if differs {
                *generation += 1;
                *wanted = names;
            }
            differs
        });
    }

    /// What is known now.
    pub fn known(&mut self) -> Known {
        self.known.borrow_and_update().clone()
    }

    /// Whether every name that is wanted was asked for, or has been waited for long enough.
    pub fn is_settled(&self) -> bool {
        let known = self.known.borrow();
        known.settled && known.generation == self.wanted.borrow().0
    }

    /// Waits until something else is known.
    pub async fn changed(&mut self) {
        if self.known.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

struct Task {
    nameservers: Nameservers,
    asked: Asked,
    looked_at: Option<Instant>,
    book: Book,
    metrics: Metrics,
    told: watch::Sender<Known>,
    generation: u64,
    complaints: Complaints,
}

impl Task {
    async fn run(mut self, mut wishes: watch::Receiver<Wanted>) {
        // No more than IN_FLIGHT_MAX; those that nobody wants any more end by themselves.
        let mut under_way = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            while under_way.len() < IN_FLIGHT_MAX
                && let Some(name) = self.book.due(now)
            {
                self.look(now);
                under_way.push(self.asked.question(name));
            }
            self.tell(now);
            let full = under_way.len() >= IN_FLIGHT_MAX;
            let times = [
                self.book.next().filter(|_| !full),
                self.book.settles().filter(|at| *at > now),
                self.complaints.due(),
            ];
            let next = times.into_iter().flatten().min();
            tokio::select! {
                changed = wishes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = wishes.borrow_and_update();
                    self.generation = wanted.0;
                    self.book.want(&wanted.1, Instant::now());
                }
                Some((name, heard)) = under_way.next() => {
                    self.metrics.heard(&heard);
                    let news = self.book.hear(&name, heard, Instant::now());
                    self.complaints.hear(&name, news);
                }
                () = sleep_until(next) => {}
            }
            self.complaints.say(Instant::now());
        }
    }

    fn look(&mut self, now: Instant) {
        if self.looked_at.is_none_or(|at| now.saturating_duration_since(at) >= LOOK) {
            self.looked_at = Some(now);
            self.asked.look(&self.nameservers);
        }
    }

    fn tell(&self, now: Instant) {
        self.metrics.count(self.book.counts());
        let settled = self.book.settles().is_none_or(|at| at <= now);
        self.told.send_if_modified(|known| {
            let answers = self.book.answers();
            let same = known.answers.ptr_eq(answers)
                && (known.generation, known.settled) == (self.generation, settled);
            if !same {
                *known = Known { answers: answers.clone(), generation: self.generation, settled };
            }
            !same
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Names that cannot be resolved, gathered, so that the loss of DNS is one line and not a thousand.
#[derive(Default)]
struct Complaints {
    count: usize,
    first: Option<String>,
    said_at: Option<Instant>,
}

impl Complaints {
    fn hear(&mut self, name: &DnsName, news: Option<News>) {
        match news {
            Some(News::Lost { reason, kept }) => {
                self.count += 1;
                let stays = match kept {
                    0 => "no address is known".to_owned(),
                    1 => "its last address stays in use".to_owned(),
                    kept => format!("its last {kept} addresses stay in use"),
                };
                self.first.get_or_insert_with(|| format!("{name}: {reason}; {stays}"));
            }
            Some(News::Back) => tracing::debug!(%name, "resolved again"),
            None => {}
        }
    }

    /// When the next line may be said, if there is one.
    fn due(&self) -> Option<Instant> {
        let earliest = self.said_at.map(|at| at + COMPLAIN);
        self.first.as_ref().and(earliest)
    }

    fn say(&mut self, now: Instant) {
        if self.due().is_some_and(|at| at > now) {
            return;
        }
        if let Some(first) = self.first.take() {
            let others = std::mem::take(&mut self.count).saturating_sub(1);
            tracing::warn!(others, "a name outside cannot be resolved: {first}");
            self.said_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests;
