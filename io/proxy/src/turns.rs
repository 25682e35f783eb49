//! Turns of those who always have more to do: a connection that sends without end, one that opens and closes without end,
//! handshakes. Each does a little at once and then queues here; only for so long do turns follow each other before the
//! runtime looks at all sockets again, and whoever has become ready goes first.
//!
//! Without it one such task would be run again at once, and the sockets looked at after 61 of them. And one look may find a
//! thousand sockets ready: tasks of which one client can have that many run in turns as well, once those that ran since the
//! look have used up its time. Those who come in have a row of their own: behind the requests of one client nobody else would
//! be let in. Never decides who has to queue, nor for how long a turn lasts: those who queue do.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::{spawn_local, yield_now};

/// So long do turns follow each other, and the last one goes on to its end: it bounds what a flood adds to the wait of others,
/// twice or three times for a request. Shorter, and more of the time goes into looking at sockets.
const ROUND: Duration = Duration::from_micros(500);

thread_local! {
    /// Since when tasks have run without a look at the sockets; none ran yet after the last look. The runtime's hook, which
    /// must not belong to a thread, reaches it here.
    static RUNNING_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Said by the runtime when it has looked at the sockets, having had nothing else to do.
pub fn looked() {
    RUNNING_SINCE.set(None);
}

/// So long do tasks that are ready run as they come after a look at the sockets; then turns begin. What is ready together
/// writes together, so it must be more than the requests of a busy worker take that nobody floods.
const AT_ONCE: Duration = ROUND.saturating_mul(4);

/// The turns of one worker; clones share them.
#[derive(Clone, Default)]
pub struct Turns(Rc<Row>);

/// Whoever waits.
#[derive(Default)]
struct Row {
    /// By `Line`; each is called in its turn.
    lines: [Waiting; 2],
    /// Calls one after the other.
    caller: RefCell<Option<Waker>>,
    has_caller: Cell<bool>,
    /// The line that was called last.
    last: Cell<usize>,
}

/// Who waits in one line, in the order of arrival. Each task has one place at most, so there are never more than tasks.
#[derive(Default)]
struct Waiting {
    wakers: RefCell<VecDeque<Waker>>,
    /// Places ever taken, and ever called.
    taken: Cell<u64>,
    called: Cell<u64>,
}

/// The lines of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Connections that are accepted, and handshakes: as many as come.
    Arrivals,
    /// Everything else: as much as those who were let in ask for.
    Work,
}

/// A task's place in the line of those who work, while it has one.
#[derive(Default)]
pub struct Place(Cell<Option<u64>>);

impl Place {
    /// Whether its turn has not come.
    pub fn is_waiting(&self, turns: &Turns) -> bool {
        self.is_waiting_in(turns.line(Line::Work))
    }

    fn is_waiting_in(&self, line: &Waiting) -> bool {
        self.0.get().is_some_and(|place| place >= line.called.get())
    }

    /// Gives a place up that was called; whether there was one.
    pub fn leave(&self) -> bool {
        self.0.take().is_some()
    }
}

impl Turns {
    /// Takes a place at the end; the task is woken when its turn comes.
    pub fn queue(&self, place: &Place, context: &Context<'_>) {
        self.queue_in(Line::Work, place, context);
    }

    fn queue_in(&self, line: Line, place: &Place, context: &Context<'_>) {
        let (row, line) = (&self.0, self.line(line));
        place.0.set(Some(line.taken.get()));
        line.taken.set(line.taken.get() + 1);
        line.wakers.borrow_mut().push_back(context.waker().clone());
        if let Some(caller) = row.caller.borrow_mut().take() {
            caller.wake();
        } else if !row.has_caller.replace(true) {
            drop(spawn_local(call(row.clone())));
        }
    }

    fn line(&self, line: Line) -> &Waiting {
        &self.0.lines[line as usize]
    }

    /// Whether a task that was woken may go on at once; if not, its turn comes. To be asked at each of its polls.
    pub fn admit(&self, place: &Place, context: &Context<'_>) -> bool {
        if place.is_waiting(self) {
            return false;
        }
        if place.leave() || self.are_open() {
            return true;
        }
        self.queue(place, context);
        false
    }

    /// Whether nobody has to queue yet: those that ran since the sockets were looked at have left some of the time.
    pub fn are_open(&self) -> bool {
        let now = Instant::now();
        let since = RUNNING_SINCE.get().unwrap_or_else(|| {
            RUNNING_SINCE.set(Some(now));
            now
        });
        now.duration_since(since) < AT_ONCE
    }

    /// Waits for a turn.
    pub async fn next(&self) {
        self.next_in(Line::Work).await;
    }

    /// Waits for a turn of those who come in.
    pub async fn next_arrival(&self) {
        self.next_in(Line::Arrivals).await;
    }

    async fn next_in(&self, line: Line) {
        let place = Place::default();
        poll_fn(|context| match place.is_waiting_in(self.line(line)) {
            true => Poll::Pending,
            false if place.leave() => Poll::Ready(()),
            false => {
                self.queue_in(line, &place, context);
                Poll::Pending
            }
        })
        .await;
    }
}

/// Calls those who wait for as long as the worker lives.
async fn call(row: Rc<Row>) {
    loop {
        poll_fn(|context| {
            if row.is_empty() {
                *row.caller.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        // The runtime looks at all sockets before it goes on, and runs what they brought first.
        yield_now().await;
        looked();
        let began = Instant::now();
        while let Some(next) = row.next() {
            next.wake();
            after_the_woken().await;
            if began.elapsed() >= ROUND {
                break;
            }
        }
    }
}

impl Row {
    fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.wakers.borrow().is_empty())
    }

    /// The task whose turn it is, of the lines in turn; one that has ended, or has gone on without, takes none.
    fn next(&self) -> Option<Waker> {
        let count = self.lines.len();
        (1..=count).map(|step| (self.last.get() + step) % count).find_map(|at| {
            let line = &self.lines[at];
            let next = line.wakers.borrow_mut().pop_front()?;
            line.called.set(line.called.get() + 1);
            self.last.set(at);
            Some(next)
        })
    }
}

/// Goes on once everything that was ready has run: tasks run in the order in which they were woken.
async fn after_the_woken() {
    let mut woken = false;
    poll_fn(|context| {
        if std::mem::replace(&mut woken, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::LocalRuntime {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap()
    }

    /// Turns go round: of three who always want more, none gets a second before all had the first.
    #[test]
    fn one_after_the_other() {
        runtime().block_on(async {
            let (turns, order) = (Turns::default(), Rc::new(RefCell::new(Vec::new())));
            let greedy = |name: u32| {
                let (turns, order) = (turns.clone(), order.clone());
                spawn_local(async move {
                    for _ in 0..3 {
                        turns.next().await;
                        order.borrow_mut().push(name);
                    }
                })
            };
            for task in [greedy(1), greedy(2), greedy(3)] {
                task.await.unwrap();
            }
            assert_eq!(*order.borrow(), [1, 2, 3, 1, 2, 3, 1, 2, 3]);
        });
    }

    /// A socket that becomes ready is served although others take turns without end.
    #[test]
    fn sockets_are_looked_at() {
        runtime().block_on(async {
            let turns = Turns::default();
            let (mut one, mut other) = tokio::io::duplex(1);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            for _ in 0..10 {
                let turns = turns.clone();
                drop(spawn_local(async move {
                    loop {
                        turns.next().await;
                    }
                }));
            }
            drop(spawn_local(async move {
                listener.accept().await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut one, b"x").await.unwrap();
            }));
            let _client = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut byte = [0];
            tokio::io::AsyncReadExt::read_exact(&mut other, &mut byte).await.unwrap();
            assert_eq!(&byte, b"x");
        });
    }

    /// Of many who become ready at once, those whom the time does not reach wait, and all are served in the end.
    #[test]
    fn many_who_are_ready_take_turns() {
        runtime().block_on(async {
            let (turns, at_once) = (Turns::default(), Rc::new(Cell::new(0)));
            let serve = |_| {
                let (turns, at_once) = (turns.clone(), at_once.clone());
                spawn_local(async move {
                    let (place, mut polls) = (Place::default(), 0);
                    poll_fn(|context| {
                        polls += 1;
                        if !turns.admit(&place, context) {
                            return Poll::Pending;
                        }
                        // What a request costs.
                        let began = Instant::now();
                        while began.elapsed() < AT_ONCE / 5 {}
                        Poll::Ready(())
                    })
                    .await;
                    at_once.set(at_once.get() + u32::from(polls == 1));
                })
            };
            let tasks: Vec<_> = (0..50).map(serve).collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert!((1..=5).contains(&at_once.get()), "{} were not kept waiting", at_once.get());
        });
    }

    /// Who comes in waits for one turn of those who work, however many of them there are.
    #[test]
    fn arrivals_have_a_line_of_their_own() {
        runtime().block_on(async {
            let (turns, worked) = (Turns::default(), Rc::new(Cell::new(0)));
            for _ in 0..1_000 {
                let (turns, worked) = (turns.clone(), worked.clone());
                drop(spawn_local(async move {
                    turns.next().await;
                    worked.set(worked.get() + 1);
                }));
            }
            yield_now().await;
            let arrival = spawn_local(async move {
                let before = worked.get();
                turns.next_arrival().await;
                worked.get() - before
            });
            let meanwhile = arrival.await.unwrap();
            assert!(meanwhile <= 2, "{meanwhile} before it");
        });
    }

    /// Who waits and ends keeps nobody behind it from its turn.
    #[test]
    fn who_leaves_is_passed_over() {
        runtime().block_on(async {
            let turns = Turns::default();
            let impatient = turns.clone();
            let gone = spawn_local(async move { impatient.next().await });
            tokio::task::yield_now().await;
            gone.abort();
            turns.next().await;
            assert!(gone.await.is_err());
            assert!(turns.0.is_empty());
        });
    }
}
