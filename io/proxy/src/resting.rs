//! Connections of a worker that have no request under way: they can be closed when their places are wanted, and nothing is cut.
//!
//! Two queues, in the order in which connections came to rest: those that have had no request yet, and all others. Who was
//! just let in is not closed before it can ask, and clients that were served lose their connections to a flood of silent
//! ones only when they are the larger part. Every operation takes constant time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use slab::Slab;

use crate::shares::Holder;
use crate::timer::{Stopper, Watch};

/// Ticks after which a connection that has asked nothing goes before those that have.
const SILENT_TICKS: u64 = 10;

/// Connections looked at to find one of a given address; who holds its share is found among the first few.
const LOOKED_AT_MAX: usize = 64;

/// No place.
const NONE: usize = usize::MAX;

/// Which queue a connection waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// It has asked nothing yet.
    New = 0,
    /// It was served.
    Served = 1,
}

/// The connections of one worker.
#[derive(Default)]
pub struct Resting(RefCell<Queues>);

#[derive(Default)]
struct Queues {
    entries: Slab<Entry>,
    /// The longest at rest and the last, of each queue, and how many.
    queues: [Ends; 2],
}

struct Ends {
    first: usize,
    last: usize,
    count: usize,
}

struct Entry {
    queue: Option<Queue>,
    holder: Option<Holder>,
    since: u64,
    before: usize,
    after: usize,
    stopper: Stopper,
}

impl Default for Ends {
    fn default() -> Ends {
        Ends { first: NONE, last: NONE, count: 0 }
    }
}

/// A connection's seat among those that rest; it leaves when this is dropped.
pub struct Seat {
    home: Rc<Resting>,
    place: usize,
    queue: Cell<Queue>,
}

impl Resting {
    /// A seat for a connection that is at work, of the address that it counts for; `watch` ends its waits.
    pub fn seat(self: &Rc<Self>, watch: &Watch, holder: Option<Holder>) -> Seat {
        let entry =
            Entry { queue: None, holder, since: 0, before: NONE, after: NONE, stopper: watch.stopper() };
        let place = self.0.borrow_mut().entries.insert(entry);
        Seat { home: self.clone(), place, queue: Cell::new(Queue::New) }
    }

    /// Closes the one that can best be spared; whether there was one.
    pub fn close_one(&self, now: u64) -> bool {
        let mut queues = self.0.borrow_mut();
        let [new, served] = &queues.queues;
        let is_silent = |place: usize| {
            queues.entries.get(place).is_some_and(|entry| entry.since.saturating_add(SILENT_TICKS) <= now)
        };
        let place = match (new.first, served.first) {
            (NONE, other) | (other, NONE) => other,
            (first, _) if new.count > served.count || is_silent(first) => first,
            (_, first) => first,
        };
        queues.close(place)
    }

    /// Closes the one of an address that can best be spared; whether there was one among the first few.
    pub fn close_one_of(&self, holder: Holder) -> bool {
        let mut queues = self.0.borrow_mut();
        let mut found = NONE;
        for queue in [Queue::New, Queue::Served] {
            let mut place = queues.queues[queue as usize].first;
            for _ in 0..LOOKED_AT_MAX {
                let Some(entry) = queues.entries.get(place).filter(|_| found == NONE) else { break };
                if entry.holder == Some(holder) {
                    found = place;
                }
                place = entry.after;
            }
        }
        queues.close(found)
    }
}

impl Seat {
    /// The connection waits for a request from now on; if it does already it keeps its rank.
    pub fn rest(&self, now: u64) {
        self.home.0.borrow_mut().append(self.place, self.queue.get(), now);
    }

    /// A request has come.
    pub fn work(&self) {
        self.queue.set(Queue::Served);
        self.home.0.borrow_mut().unlink(self.place);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut queues = self.home.0.borrow_mut();
        queues.unlink(self.place);
        queues.entries.try_remove(self.place);
    }
}

impl Queues {
    fn close(&mut self, place: usize) -> bool {
        self.unlink(place);
        let entry = self.entries.get(place);
        entry.inspect(|entry| entry.stopper.stop()).is_some()
    }

    fn append(&mut self, place: usize, queue: Queue, now: u64) {
        let ends = &mut self.queues[queue as usize];
        let Some(entry) = self.entries.get_mut(place).filter(|entry| entry.queue.is_none()) else { return };
        let last = std::mem::replace(&mut ends.last, place);
        (entry.queue, entry.since, entry.before, entry.after) = (Some(queue), now, last, NONE);
        ends.count += 1;
        match self.entries.get_mut(last) {
            Some(entry) => entry.after = place,
            None => ends.first = place,
        }
    }

    fn unlink(&mut self, place: usize) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        let Some(queue) = entry.queue.take() else { return };
        let (before, after) = (entry.before, entry.after);
        let ends = &mut self.queues[queue as usize];
        ends.count -= 1;
        match self.entries.get_mut(before) {
            Some(entry) => entry.after = after,
            None => ends.first = after,
        }
        match self.entries.get_mut(after) {
            Some(entry) => entry.before = before,
            None => ends.last = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::shares::Shares;
    use crate::timer::Clock;

    fn seat(clock: &Rc<Clock>, resting: &Rc<Resting>, holder: Option<Holder>) -> (Watch, Seat) {
        let watch = clock.watch();
        watch.set(Duration::from_secs(100));
        let seat = resting.seat(&watch, holder);
        (watch, seat)
    }

    /// Who has asked nothing for a second goes first, then whoever rests longest; who is at work never; who is closed waits no more.
    #[test]
    fn who_is_closed() {
        let (clock, resting) = <(Rc<Clock>, Rc<Resting>)>::default();
        let [served, busy, silent, late] = [0; 4].map(|_| seat(&clock, &resting, None));
        [&served, &busy].iter().for_each(|(_, seat)| seat.work());
        served.1.rest(0);
        silent.1.rest(1);
        late.1.rest(9);
        let next = |now| {
            assert!(resting.close_one(now));
            [&served, &busy, &silent, &late].map(|(watch, _)| watch.is_capped())
        };
        assert_eq!(next(11), [false, false, true, false], "silent for a second");
        assert_eq!(next(11), [true, false, true, false], "the other came just now");
        assert_eq!(next(11), [true, false, true, true]);
        assert!(!resting.close_one(1000), "nobody else rests");
        drop((served, busy, silent, late));
        assert!(resting.0.borrow().entries.is_empty());
    }

    /// A flood of newcomers closes its own when it is the larger part, and leaves those who were served.
    #[test]
    fn newcomers_close_newcomers() {
        let (clock, resting) = <(Rc<Clock>, Rc<Resting>)>::default();
        let served: Vec<_> = (0..3).map(|_| seat(&clock, &resting, None)).collect();
        served.iter().for_each(|(_, seat)| {
            seat.work();
            seat.rest(0);
        });
        let new: Vec<_> = (0..10).map(|_| seat(&clock, &resting, None)).collect();
        new.iter().for_each(|(_, seat)| seat.rest(5));
        assert!((0..7).all(|_| resting.close_one(5)));
        assert!(served.iter().all(|(watch, _)| !watch.is_capped()));
    }

    /// Of an address the one that rests longest is found, and of others none.
    #[test]
    fn of_one_address() {
        let (clock, resting) = <(Rc<Clock>, Rc<Resting>)>::default();
        let shares = Shares::default();
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|ip| shares.holder(ip.parse().unwrap()));
        let seats = [a, b, b].map(|holder| seat(&clock, &resting, Some(holder)));
        seats.iter().for_each(|(_, seat)| seat.rest(0));
        assert!(resting.close_one_of(b));
        assert_eq!(seats.each_ref().map(|(watch, _)| watch.is_capped()), [false, true, false]);
        assert!(resting.close_one_of(b) && !resting.close_one_of(b));
    }

    proptest! {
        /// After any history the queues hold what plain lists would, in their order.
        #[test]
        fn as_plain_lists_would(steps in prop::collection::vec((0u8..4, 0usize..8), 1..200)) {
            let (clock, resting) = <(Rc<Clock>, Rc<Resting>)>::default();
            let mut seats: Vec<Option<(Watch, Seat)>> = (0..8).map(|_| None).collect();
            let mut plain: Vec<(usize, Queue)> = Vec::new();
            for (step, at) in steps {
                match (step, &seats[at]) {
                    (0, None) => seats[at] = Some(seat(&clock, &resting, None)),
                    (1, Some((_, seat))) => {
                        seat.rest(0);
                        if !plain.iter().any(|(known, _)| *known == at) {
                            plain.push((at, seat.queue.get()));
                        }
                    }
                    (2, Some((_, seat))) => {
                        seat.work();
                        plain.retain(|(known, _)| *known != at);
                    }
                    (3, Some(_)) => {
                        seats[at] = None;
                        plain.retain(|(known, _)| *known != at);
                    }
                    _ => {}
                }
                let queues = resting.0.borrow();
                for queue in [Queue::New, Queue::Served] {
                    let mut found = Vec::new();
                    let mut place = queues.queues[queue as usize].first;
                    while let Some(entry) = queues.entries.get(place) {
                        found.push(place);
                        place = entry.after;
                    }
                    let wanted: Vec<_> = plain.iter().filter(|(_, of)| *of == queue).collect();
                    let wanted: Vec<_> = wanted.iter().filter_map(|(at, _)| Some(seats[*at].as_ref()?.1.place)).collect();
                    prop_assert_eq!(&found, &wanted);
                    prop_assert_eq!(queues.queues[queue as usize].count, found.len());
                }
            }
        }
    }
}
