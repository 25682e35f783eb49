//! Deadlines without a timer per request: a number that a tick of the worker compares, and a waker.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

/// How often the clock ticks; a deadline is late by up to two ticks, never early, and later only where very many come at once.
pub const TICK: Duration = Duration::from_millis(100);

const TICKS_PER_SEC: u64 = 1000 / TICK.as_millis() as u64;

/// A limit as users write it, where zero is none.
pub fn unless_zero(limit: Duration) -> Duration {
    if limit.is_zero() { Duration::MAX } else { limit }
}

/// The worker's clock and everyone who waits for it.
#[derive(Default)]
pub struct Clock {
    ticks: Cell<u64>,
    /// Watches below were looked at since the last tick.
    told: Cell<usize>,
    watches: RefCell<Slab<Rc<Deadline>>>,
}

/// A deadline was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

struct Deadline {
    at: Cell<u64>,
    /// No deadline is later than this.
    cap: Cell<u64>,
    /// The tag of what is waited for, if the wait may be cut short when that closes.
    idle_tag: Cell<Option<u64>>,
    waker: RefCell<Option<Waker>>,
}

impl Clock {
    /// Ticks since the start.
    pub fn now(&self) -> u64 {
        self.ticks.get()
    }

    /// The tick that lies so far ahead.
    pub fn after(&self, wait: Duration) -> u64 {
        // Not by `as_millis`, whose 128 bits are divided in software.
        let parts = u64::from(wait.subsec_nanos().div_ceil(TICK.subsec_nanos()));
        let ticks = wait.as_secs().saturating_mul(TICKS_PER_SEC).saturating_add(parts);
        self.now().saturating_add(ticks).saturating_add(1)
    }

    /// One tick; [`wake`](Self::wake) tells those whose deadline has come with it.
    pub fn tick(&self) {
        self.ticks.set(self.now() + 1);
        self.told.set(0);
    }

    /// Wakes so many of those whose deadline has come; whether there may be more.
    pub fn wake(&self, most: usize) -> bool {
        let watches = self.watches.borrow();
        let mut woken = 0;
        for id in self.told.get()..watches.capacity() {
            let Some(deadline) = watches.get(id).filter(|deadline| deadline.at.get() <= self.now()) else {
                continue;
            };
            if let Some(waker) = deadline.waker.borrow_mut().take() {
                waker.wake();
                woken += 1;
                if woken == most {
                    self.told.set(id + 1);
                    return true;
                }
            }
        }
        self.told.set(watches.capacity());
        false
    }

    /// Cuts short the idle waits with this tag.
    pub fn hasten(&self, tag: u64, grace: Duration) {
        let at = self.after(grace);
        for (_, deadline) in
            self.watches.borrow().iter().filter(|(_, deadline)| deadline.idle_tag.get() == Some(tag))
        {
            deadline.at.set(deadline.at.get().min(at));
        }
    }

    /// A new watch, without deadline.
    pub fn watch(self: &Rc<Self>) -> Watch {
        let deadline = Rc::new(Deadline {
            at: Cell::new(u64::MAX),
            cap: Cell::new(u64::MAX),
            idle_tag: Cell::new(None),
            waker: RefCell::new(None),
        });
        let id = self.watches.borrow_mut().insert(deadline.clone());
        Watch { id, clock: self.clone(), deadline }
    }
}

/// The one deadline of a connection; what it is waiting for changes.
pub struct Watch {
    id: usize,
    clock: Rc<Clock>,
    deadline: Rc<Deadline>,
}

impl Watch {
    /// Sets the deadline.
    pub fn set(&self, wait: Duration) {
        self.deadline.idle_tag.set(None);
        self.deadline.at.set(self.clock.after(wait).min(self.deadline.cap.get()));
    }

    /// Sets the tick that no deadline may lie behind, whatever is waited for; `u64::MAX` for none.
    pub fn cap(&self, tick: u64) {
        self.deadline.cap.set(tick);
        if self.deadline.at.get() > tick {
            self.deadline.at.set(tick);
        }
    }

    /// Whether the tick has come that no deadline may lie behind.
    pub fn is_capped(&self) -> bool {
        self.deadline.cap.get() <= self.clock.now()
    }

    /// What ends its waits from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.deadline.clone())
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sets the deadline of a wait that may be cut short by [`Clock::hasten`].
    pub fn set_idle(&self, wait: Duration, tag: u64) {
        self.set(wait);
        self.deadline.idle_tag.set(Some(tag));
    }

    /// Sets the deadline to a tick; as of [`set_idle`](Self::set_idle), it may be cut short.
    pub fn set_at(&self, tick: u64, tag: u64) {
        self.deadline.at.set(tick);
        self.deadline.idle_tag.set(Some(tag));
    }

    /// Ready once the deadline has passed.
    pub fn poll_expired(&self, context: &Context<'_>) -> Poll<Expired> {
        if self.deadline.at.get() <= self.clock.now() {
            return Poll::Ready(Expired);
        }
        let mut waker = self.deadline.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// What comes first, the future or the deadline.
    pub async fn within<F: Future>(&self, future: F) -> Result<F::Output, Expired> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_expired(context).map(Err),
        })
        .await
    }
}

/// Ends the waits of a watch from elsewhere.
pub struct Stopper(Rc<Deadline>);

impl Stopper {
    /// Whatever is waited for is over at once, and so is what is waited for later: as of [`Watch::cap`].
    pub fn stop(&self) {
        self.0.cap.set(0);
        self.0.at.set(0);
        if let Some(waker) = self.0.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.clock.watches.borrow_mut().try_remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(watch: &Watch) -> bool {
        watch.poll_expired(&Context::from_waker(Waker::noop())).is_ready()
    }

    /// A deadline comes not before its time and at most two ticks later; closing brings idle waits forward only.
    #[test]
    fn deadlines() {
        let clock = Rc::new(Clock::default());
        let (busy, idle) = (clock.watch(), clock.watch());
        busy.set(TICK * 3);
        idle.set_idle(TICK * 100, 1);
        clock.hasten(2, Duration::ZERO);
        for tick in 0..5 {
            assert_eq!(expired(&busy), tick > 3, "{tick}");
            clock.tick();
            assert!(!clock.wake(10), "nobody has asked to be woken");
        }
        assert!(!expired(&idle));
        clock.hasten(1, TICK);
        clock.tick();
        clock.tick();
        assert!(expired(&idle));
        drop((busy, idle));
        assert!(clock.watches.borrow().is_empty());
    }

    /// Of many deadlines that come at once a portion is told at a time, and each once.
    #[test]
    fn portions() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let clock = Rc::new(Clock::default());
        let watches: Vec<_> = (0..10).map(|_| clock.watch()).collect();
        let count = std::sync::Arc::new(Count(0.into()));
        let waker = Waker::from(count.clone());
        for watch in &watches {
            watch.set(Duration::ZERO);
            assert!(watch.poll_expired(&Context::from_waker(&waker)).is_pending());
        }
        clock.tick();
        let woken = || count.0.load(std::sync::atomic::Ordering::Relaxed);
        assert!(clock.wake(4) && woken() == 4);
        clock.tick();
        assert!(clock.wake(4) && woken() == 8);
        assert!(!clock.wake(4) && woken() == 10);
    }
}
