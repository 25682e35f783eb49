//! Who waits for a place that a backend's limits allow: one line for the process, and whoever gives a place back calls
//! the next.
//!
//! How many may wait is the circuit's business (`pending_requests`); how long, the waiting request's own: it drops the
//! future at its deadline or when its client is gone, and leaves the line by that.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::budget::Berth;
use tidegate_traffic::Refusal;
use tidegate_traffic::balance::{Admission, Held, Shared, Waiting};

/// The lines of one backend.
#[derive(Default)]
pub struct Lines {
    requests: Arc<Line>,
    connections: Arc<Line>,
    /// Connections open, whether they are limited or not.
    pub(super) open: Arc<AtomicU32>,
}

/// Those who wait, first come first served.
#[derive(Default)]
pub struct Line(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    tickets: u64,
    /// By ticket, rising.
    waiting: VecDeque<(u64, Waker)>,
}

/// A place that is held; given back when dropped, and the next who waits is called.
#[derive(Default)]
#[must_use = "dropping gives the place back"]
pub struct Passage {
    held: Option<Held>,
    line: Option<Arc<Line>>,
    /// Of a connection; in a box, because every request carries its passage around.
    berth: Option<Box<Berth>>,
}

impl Passage {
    /// This place, and one among the connections of the process.
    pub(super) fn with(mut self, berth: Berth) -> Passage {
        self.berth = Some(Box::new(berth));
        self
    }

    /// The connection is nobody's any more: it waits for whoever comes next.
    pub fn settle(&mut self) {
        if let Some(berth) = &mut self.berth {
            berth.settle();
        }
    }

    /// Whether somebody waits for this place: a connection that is kept for later should then be closed instead.
    pub fn is_wanted(&self) -> bool {
        self.line.as_ref().is_some_and(|line| !line.queue().waiting.is_empty())
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        // First the place, then the call: whoever tried before has a waker here.
        self.held = None;
        if let Some(line) = &self.line {
            line.call();
        }
    }
}

/// A place for a request, now or when it is its turn.
pub async fn request(shared: &Arc<Shared>, lines: &Lines) -> Result<Passage, Refusal> {
    let line = &lines.requests;
    let held = match shared.circuit().request() {
        Admission::Admit(held) => held,
        Admission::Refuse(refusal) => return Err(refusal),
        Admission::Wait(waiting) => {
            let turn = |waiting: Waiting| shared.circuit().admit(waiting);
            Wait { line, ticket: None, waiting: Some(waiting), turn }.await
        }
    };
    Ok(Passage { held: Some(held), line: Some(line.clone()), berth: None })
}

/// A place for a request, if there is one now.
pub fn try_request(shared: &Arc<Shared>, lines: &Lines) -> Option<Passage> {
    match shared.circuit().request() {
        Admission::Admit(held) => {
            Some(Passage { held: Some(held), line: Some(lines.requests.clone()), berth: None })
        }
        Admission::Refuse(_) | Admission::Wait(_) => None,
    }
}

/// A place for a connection, now or when it is its turn.
pub async fn connection(shared: &Arc<Shared>, lines: &Lines) -> Result<Passage, Refusal> {
    let line = &lines.connections;
    let first = if line.queue().waiting.is_empty() { shared.circuit().connection().ok() } else { None };
    let held = match first {
        Some(held) => held,
        None => {
            let waiting = Some(shared.circuit().queue()?);
            let turn = |waiting: Waiting| shared.circuit().connection().map_err(|_| waiting);
            Wait { line, ticket: None, waiting, turn }.await
        }
    };
    Ok(Passage { held: Some(held), line: Some(line.clone()), berth: None })
}

impl Line {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the first.
    fn call(&self) {
        let first = self.queue().waiting.front().map(|(_, waker)| waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }
}

/// Waits in line until it is its turn and there is a place.
struct Wait<'l, T> {
    line: &'l Arc<Line>,
    ticket: Option<u64>,
    waiting: Option<Waiting>,
    turn: T,
}

impl<T: Fn(Waiting) -> Result<Held, Waiting> + Unpin> Future for Wait<'_, T> {
    type Output = Held;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Held> {
        let this = self.get_mut();
        let mut queue = this.line.queue();
        let ticket = *this.ticket.get_or_insert_with(|| queue.enter(context.waker()));
        // Tried under the lock: a place that comes free after it finds the waker.
        if queue.waiting.front().is_some_and(|(first, _)| *first == ticket)
            && let Some(waiting) = this.waiting.take()
        {
            match (this.turn)(waiting) {
                Err(waiting) => this.waiting = Some(waiting),
                Ok(held) => {
                    queue.leave(ticket);
                    this.ticket = None;
                    drop(queue);
                    // There may be a place for the next, too.
                    this.line.call();
                    return Poll::Ready(held);
                }
            }
        }
        if let Some(place) = queue.place(ticket) {
            queue.waiting[place].1.clone_from(context.waker());
        }
        Poll::Pending
    }
}

impl<T> Drop for Wait<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.line.queue().leave(ticket);
            self.line.call();
        }
    }
}

impl Queue {
    fn enter(&mut self, waker: &Waker) -> u64 {
        self.tickets += 1;
        self.waiting.push_back((self.tickets, waker.clone()));
        self.tickets
    }

    fn place(&self, ticket: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
    }

    fn leave(&mut self, ticket: u64) {
        if let Some(place) = self.place(ticket) {
            self.waiting.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tidegate_model::traffic::{BackendPolicy, Breaker, EndpointCell, Endpoints};

    use super::*;

    fn shared(breaker: Breaker) -> Arc<Shared> {
        let policy = Arc::new(BackendPolicy { breaker, ..BackendPolicy::default() });
        Arc::new(Shared::new(policy, Arc::new(EndpointCell::new(Endpoints::default())), None))
    }

    /// A waker that counts.
    #[derive(Default)]
    struct Calls(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Who came first goes first, is woken when a place comes free, and who gives up lets the others by.
    #[test]
    fn in_order() {
        let shared = shared(Breaker { requests: Some(1), pending_requests: Some(3), ..Breaker::default() });
        let lines = Lines::default();
        let calls: [Arc<Calls>; 3] = Default::default();
        let count = |at: usize| calls[at].0.load(std::sync::atomic::Ordering::SeqCst);
        let wakers = calls.clone().map(Waker::from);
        let mut nobody = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(first)) = pin!(request(&shared, &lines)).poll(&mut nobody) else {
            panic!("it is free")
        };
        let mut second = Box::pin(request(&shared, &lines));
        let mut third = Box::pin(request(&shared, &lines));
        let mut fourth = Box::pin(request(&shared, &lines));
        for (at, wait) in [&mut second, &mut third, &mut fourth].into_iter().enumerate() {
            assert!(wait.as_mut().poll(&mut Context::from_waker(&wakers[at])).is_pending());
        }
        let full = pin!(request(&shared, &lines)).poll(&mut nobody);
        assert!(matches!(full, Poll::Ready(Err(Refusal::QUEUE_FULL))));
        assert!(first.is_wanted());
        drop(first);
        assert_eq!([0, 1, 2].map(count), [1, 0, 0]);
        assert!(
            third.as_mut().poll(&mut Context::from_waker(&wakers[1])).is_pending(),
            "the second is before it"
        );
        drop(second);
        assert_eq!([0, 1, 2].map(count), [1, 1, 0]);
        let Poll::Ready(Ok(third)) = third.as_mut().poll(&mut nobody) else { panic!("it is its turn") };
        assert!(fourth.as_mut().poll(&mut Context::from_waker(&wakers[2])).is_pending());
        drop(third);
        let Poll::Ready(Ok(fourth)) = fourth.as_mut().poll(&mut nobody) else { panic!("it is its turn") };
        assert!(!fourth.is_wanted());
        drop(fourth);
        assert_eq!(shared.circuit().load().pending_requests, Some(0));
    }

    /// Connections wait for one another too, and nobody passes the line.
    #[test]
    fn connections_wait() {
        let shared = shared(Breaker { connections: Some(1), ..Breaker::default() });
        let lines = Lines::default();
        let mut nobody = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(first)) = pin!(connection(&shared, &lines)).poll(&mut nobody) else {
            panic!("it is free")
        };
        let mut second = Box::pin(connection(&shared, &lines));
        assert!(second.as_mut().poll(&mut nobody).is_pending());
        drop(first);
        let mut third = Box::pin(connection(&shared, &lines));
        assert!(third.as_mut().poll(&mut nobody).is_pending());
        assert!(second.as_mut().poll(&mut nobody).is_ready());
    }

    /// However threads come, wait and give up, everybody who stays gets a place, and never more than may.
    #[test]
    fn nobody_is_forgotten() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let shared =
            shared(Breaker { requests: Some(2), pending_requests: Some(1000), ..Breaker::default() });
        let (lines, inside) = (Lines::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (shared, lines, inside) = (&shared, &lines, &inside);
                scope.spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    for step in 0..500 {
                        let patience =
                            std::time::Duration::from_secs(if (step + thread) % 7 == 0 { 0 } else { 20 });
                        let held = runtime
                            .block_on(async { tokio::time::timeout(patience, request(shared, lines)).await });
                        if let Ok(held) = held {
                            let _held = held.unwrap();
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        } else {
                            assert!(patience.is_zero(), "forgotten");
                        }
                    }
                });
            }
        });
        let load = shared.circuit().load();
        assert_eq!((load.requests, load.pending_requests), (Some(0), Some(0)));
    }
}
