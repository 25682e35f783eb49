//! Turns of those who always have more to do: a connection that sends without end, one that opens and closes without end,
//! handshakes. Each does a little at once and then queues here; only for so long do turns follow each other before the
//! runtime looks at all sockets again, and whoever has become ready goes first.
//!
//! Without it one such task would be run again at once, and the sockets looked at after 61 of them. Never decides who has to
//! queue, nor for how long a turn lasts: those who queue do.

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

/// The turns of one worker; clones share them.
#[derive(Clone, Default)]
pub struct Turns(Rc<Row>);

/// Who waits, in the order of arrival. Each task has one place at most, so there are never more than tasks.
#[derive(Default)]
struct Row {
    waiting: RefCell<VecDeque<Waker>>,
    /// Places ever taken, and ever called.
    taken: Cell<u64>,
    called: Cell<u64>,
    /// Calls one after the other.
    caller: RefCell<Option<Waker>>,
    has_caller: Cell<bool>,
}

/// A task's place in the row, while it has one.
#[derive(Default)]
pub struct Place(Cell<Option<u64>>);

impl Place {
    /// Whether its turn has not come.
    pub fn is_waiting(&self, turns: &Turns) -> bool {
        self.0.get().is_some_and(|place| place >= turns.0.called.get())
    }

    /// Gives a place up that was called; whether there was one.
    pub fn leave(&self) -> bool {
        self.0.take().is_some()
    }
}

impl Turns {
    /// Takes a place at the end; the task is woken when its turn comes.
    pub fn queue(&self, place: &Place, context: &Context<'_>) {
        let row = &self.0;
        place.0.set(Some(row.taken.get()));
        row.taken.set(row.taken.get() + 1);
        row.waiting.borrow_mut().push_back(context.waker().clone());
        if let Some(caller) = row.caller.borrow_mut().take() {
            caller.wake();
        } else if !row.has_caller.replace(true) {
            drop(spawn_local(call(row.clone())));
        }
    }

    /// Waits for a turn.
    pub async fn next(&self) {
        let place = Place::default();
        poll_fn(|context| match place.is_waiting(self) {
            true => Poll::Pending,
            false if place.leave() => Poll::Ready(()),
            false => {
                self.queue(&place, context);
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
            if row.waiting.borrow().is_empty() {
                *row.caller.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        // The runtime looks at all sockets before it goes on, and runs what they brought first.
        yield_now().await;
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
    /// The task whose turn it is; one that has ended, or has gone on without, takes none.
    fn next(&self) -> Option<Waker> {
        let next = self.waiting.borrow_mut().pop_front()?;
        self.called.set(self.called.get() + 1);
        Some(next)
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
            assert!(turns.0.waiting.borrow().is_empty());
        });
    }
}
