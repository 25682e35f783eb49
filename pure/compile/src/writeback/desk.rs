//! [`Desk`]: what waits to be written, and whose turn it is.
//!
//! Each item waits once, however often it changes. What changed just now goes before what was found different at the start,
//! and of those what users wait for first. Writes are counted by a token bucket. Where somebody else changes what we have
//! written, it is written again a few times, with growing pauses; then they are left alone for [`TRUCE`], and it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How many writes there are in a second, on average, and at once after a rest.
const RATE: f64 = 50.0;
const BURST: f64 = 100.0;
/// How often what somebody else changed is written again.
const CONTESTS_MAX: u32 = 5;
/// The pause before it is written for the second time; it doubles.
const CONTEST_FIRST: Duration = Duration::from_secs(2);
/// How long somebody who goes on is left alone.
const TRUCE: Duration = Duration::from_secs(600);
/// After so long without it, a quarrel is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(1_200);
/// The first wait after an error, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// The same where the server has said no, which somebody must change first.
const REFUSED_FIRST: Duration = Duration::from_secs(15);
const REFUSED_MOST: Duration = Duration::from_secs(300);

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stands as it should: nothing was written.
    Same,
    /// It was written; what stands now has this sum.
    Written(u64),
    /// There is no such object, or nothing can be written to it, until something else is seen of it.
    Gone,
    /// It has changed since it was read.
    Overtaken,
    /// It could not be read or written.
    Failed,
    /// The server does not let us, or does not take it.
    Refused,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn<K> {
    /// This one, now; [`Desk::done`] tells what came of it.
    Of(K),
    /// Nobody's before this moment.
    Wait(Instant),
    /// Nobody's, until something is wanted or seen.
    Idle,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The sum of what is wanted, 0 where nothing is to stand; none: it is no affair of ours.
    wanted: Option<u64>,
    /// The sum of what stands; 0: nothing.
    seen: u64,
    /// What stood and what was wanted when there was nothing to write.
    settled: Option<(u64, u64)>,
    rank: u8,
    /// Found different at the start, and not changed since.
    is_old: bool,
    is_gone: bool,
    /// Being written.
    in_hand: bool,
    /// Something was seen while it was being written, before or after that.
    heard: bool,
    /// Where it waits.
    queued: Option<Queued>,
    not_before: Option<Instant>,
    failures: u32,
    /// What was written last, and when.
    wrote: Option<(u64, Instant)>,
    contests: u32,
}

/// Place in the order of those that are ready: by age, rank, and order of coming.
type Place = (bool, u8, u64);

#[derive(Clone, Copy, Debug)]
enum Queued {
    Ready(Place),
    Later(Instant),
}

/// What waits, and what is known of each item.
#[derive(Clone, Debug)]
pub struct Desk<K> {
    items: BTreeMap<K, State>,
    ready: BTreeMap<Place, K>,
    later: BTreeSet<(Instant, K)>,
    in_hand: usize,
    next: u64,
    tokens: f64,
    counted: Instant,
}

impl<K: Clone + Ord> Desk<K> {
    /// Nothing is wanted, and nothing seen.
    pub fn new(now: Instant) -> Self {
        Desk {
            items: BTreeMap::new(),
            ready: BTreeMap::new(),
            later: BTreeSet::new(),
            in_hand: 0,
            next: 0,
            tokens: BURST,
            counted: now,
        }
    }

    /// What of this sum is wanted (0: nothing is to stand); none: it is no affair of ours any more. `at_first` says that it is
    /// not a change, but what the first look wants.
    pub fn want(&mut self, item: &K, wanted: Option<u64>, rank: u8, at_first: bool, now: Instant) {
        let state = self.items.entry(item.clone()).or_default();
        state.rank = rank;
        if state.wanted != wanted {
            state.wanted = wanted;
            state.is_old = at_first;
            (state.contests, state.failures, state.not_before) = (0, 0, None);
        }
        self.place(item, now);
    }

    /// What stands in the cluster has this sum; 0: nothing stands.
    pub fn see(&mut self, item: &K, seen: u64, now: Instant) {
        let state = self.items.entry(item.clone()).or_default();
        state.seen = seen;
        state.heard = state.in_hand;
        if std::mem::take(&mut state.is_gone) {
            (state.settled, state.not_before, state.wrote) = (None, None, None);
        }
        self.place(item, now);
    }

    /// Every item of which something stands or is wanted, whether it is wanted, and the sum of what stands.
    pub fn items(&self) -> impl Iterator<Item = (&K, Option<u64>, u64)> {
        self.items.iter().map(|(item, state)| (item, state.wanted, state.seen))
    }

    /// How many wait or are being written.
    pub fn pending(&self) -> usize {
        self.ready.len() + self.later.len() + self.in_hand
    }

    /// Those that somebody else goes on changing.
    pub fn contested(&self) -> impl Iterator<Item = &K> {
        let waits = self.later.iter().filter_map(|(_, item)| self.items.get_key_value(item));
        waits.filter(|(_, state)| state.contests >= CONTESTS_MAX).map(|(item, _)| item)
    }

    /// Whose turn it is.
    pub fn turn(&mut self, now: Instant) -> Turn<K> {
        while let Some((_, item)) = self.later.first().filter(|(due, _)| *due <= now) {
            let item = item.clone();
            self.queue(&item);
        }
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.tokens = (self.tokens + passed * RATE).min(BURST);
        self.counted = now;
        if self.ready.is_empty() {
            return self.later.first().map_or(Turn::Idle, |(due, _)| Turn::Wait(*due));
        }
        if self.tokens < 1.0 {
            // A little more than it takes, so that rounding leads to no second wait.
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / RATE) + Duration::from_millis(1);
            return Turn::Wait(now + wait);
        }
        let Some((_, item)) = self.ready.pop_first() else { return Turn::Idle };
        self.tokens -= 1.0;
        if let Some(state) = self.items.get_mut(&item) {
            (state.queued, state.in_hand, state.heard) = (None, true, false);
            self.in_hand += 1;
        }
        Turn::Of(item)
    }

    /// What came of the turn of an item, for which this was wanted when it began.
    pub fn done(&mut self, item: &K, wanted: u64, outcome: Outcome, now: Instant) {
        let Some(state) = self.items.get_mut(item).filter(|state| state.in_hand) else { return };
        state.in_hand = false;
        self.in_hand -= 1;
        match outcome {
            // What was seen meanwhile may have come after what was read.
            Outcome::Same | Outcome::Gone if state.heard => state.failures = 0,
            Outcome::Same => {
                state.settled = Some((state.seen, wanted));
                state.failures = 0;
            }
            Outcome::Written(stands) => state.written(wanted, stands, now),
            Outcome::Gone => {
                state.is_gone = true;
                state.settled = Some((state.seen, wanted));
            }
            Outcome::Overtaken => state.not_before = Some(now + RETRY_FIRST / 5),
            Outcome::Failed | Outcome::Refused => {
                let (first, most) = match outcome {
                    Outcome::Refused => (REFUSED_FIRST, REFUSED_MOST),
                    _ => (RETRY_FIRST, RETRY_MOST),
                };
                let wait = first.saturating_mul(1 << state.failures.min(16)).min(most);
                state.failures = state.failures.saturating_add(1);
                state.not_before = Some(now + wait);
            }
        }
        self.place(item, now);
    }

    /// Puts an item where it belongs, or forgets it.
    fn place(&mut self, item: &K, now: Instant) {
        let Some(state) = self.items.get(item) else { return };
        if state.in_hand {
            return;
        }
        match state.not_before.filter(|not_before| *not_before > now) {
            _ if !state.needs() => {
                let is_known = state.wanted.is_some() || state.seen != 0;
                self.unqueue(item);
                if !is_known {
                    self.items.remove(item);
                }
            }
            Some(due) => {
                self.unqueue(item);
                if let Some(state) = self.items.get_mut(item) {
                    state.queued = Some(Queued::Later(due));
                    self.later.insert((due, item.clone()));
                }
            }
            None => self.queue(item),
        }
    }

    /// It is ready; one that was keeps its place.
    fn queue(&mut self, item: &K) {
        if self.items.get(item).is_some_and(|state| matches!(state.queued, Some(Queued::Ready(_)))) {
            return;
        }
        self.unqueue(item);
        if let Some(state) = self.items.get_mut(item) {
            let place = (state.is_old, state.rank, self.next);
            state.queued = Some(Queued::Ready(place));
            self.ready.insert(place, item.clone());
            self.next += 1;
        }
    }

    fn unqueue(&mut self, item: &K) {
        let queued = self.items.get_mut(item).and_then(|state| state.queued.take());
        match queued {
            Some(Queued::Ready(place)) => drop(self.ready.remove(&place)),
            Some(Queued::Later(due)) => drop(self.later.remove(&(due, item.clone()))),
            None => {}
        }
    }
}

impl State {
    /// Whether what stands may differ from what is wanted.
    fn needs(&self) -> bool {
        self.wanted.is_some_and(|wanted| wanted != self.seen && self.settled != Some((self.seen, wanted)))
    }

    fn written(&mut self, wanted: u64, stands: u64, now: Instant) {
        let again = self.wrote.is_some_and(|(before, at)| before == wanted && now < at + FORGOTTEN);
        self.contests = if again { self.contests + 1 } else { 0 };
        self.wrote = Some((wanted, now));
        let pause = match self.contests {
            0 => None,
            CONTESTS_MAX.. => Some(TRUCE),
            contests => Some(CONTEST_FIRST * 2u32.pow(contests - 1)),
        };
        self.not_before = pause.map(|pause| now + pause);
        self.failures = 0;
        if !self.heard {
            self.seen = stands;
        }
        self.settled = Some((stands, wanted));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a fake clock needs one true instant to count from
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn turn(desk: &mut Desk<&'static str>, now: Instant) -> Option<&'static str> {
        match desk.turn(now) {
            Turn::Of(item) => Some(item),
            _ => None,
        }
    }

    /// What stands as it should is never touched, what nobody wants neither; what differs has one turn, and none after it.
    #[test]
    fn once() {
        let now = Instant::now();
        let mut desk = Desk::new(now);
        desk.see(&"right", 7, now);
        desk.see(&"strange", 7, now);
        desk.want(&"right", Some(7), 0, true, now);
        assert_eq!(desk.turn(now), Turn::Idle);
        for wanted in [1, 2, 3] {
            desk.want(&"wrong", Some(wanted), 0, false, now);
        }
        assert_eq!((desk.pending(), turn(&mut desk, now), turn(&mut desk, now)), (1, Some("wrong"), None));
        desk.done(&"wrong", 3, Outcome::Written(3), now);
        desk.see(&"wrong", 3, now);
        assert_eq!((desk.turn(now), desk.pending()), (Turn::Idle, 0));
        // What others have put beside it makes the sum another one: one look, and that is all.
        desk.see(&"wrong", 4, now);
        assert_eq!(turn(&mut desk, now), Some("wrong"));
        desk.done(&"wrong", 3, Outcome::Same, now);
        assert_eq!(desk.turn(now), Turn::Idle);
        desk.want(&"wrong", None, 0, false, now);
        desk.see(&"wrong", 0, now);
        assert_eq!(desk.items().count(), 2);
    }

    /// A change goes before what was different at the start, a Gateway before a route, and who waits longer before others.
    #[test]
    fn order() {
        let now = Instant::now();
        let mut desk = Desk::new(now);
        for (item, rank, at_first) in [
            ("old route", 3, true),
            ("old gateway", 1, true),
            ("route", 3, false),
            ("gateway", 1, false),
            ("route2", 3, false),
        ] {
            desk.want(&item, Some(1), rank, at_first, now);
        }
        let order: Vec<_> = std::iter::from_fn(|| turn(&mut desk, now)).collect();
        assert_eq!(order, ["gateway", "route", "route2", "old gateway", "old route"]);
    }

    /// No more are written than the bucket has, and then as many a second as flow into it.
    #[test]
    fn rate() {
        let now = Instant::now();
        let mut desk = Desk::new(now);
        (0..1_000).for_each(|n| desk.want(&n, Some(1), 0, true, now));
        let drain = |desk: &mut Desk<i32>, now| {
            std::iter::from_fn(|| match desk.turn(now) {
                Turn::Of(item) => {
                    desk.done(&item, 1, Outcome::Written(1), now);
                    Some(item)
                }
                _ => None,
            })
            .count()
        };
        assert_eq!(drain(&mut desk, now), 100);
        assert_eq!(drain(&mut desk, now + SECOND), 50);
        assert!(
            matches!(desk.turn(now + SECOND), Turn::Wait(at) if at > now + SECOND && at < now + SECOND * 2)
        );
        assert_eq!(drain(&mut desk, now + SECOND * 3), 100);
    }

    /// Who changes again and again what we have written is answered a few times, with growing pauses, and then left alone for
    /// long; when what we want changes, it is written at once.
    #[test]
    fn a_quarrel() {
        let start = Instant::now();
        let mut desk = Desk::new(start);
        desk.want(&"a", Some(1), 0, false, start);
        let mut written = Vec::new();
        for tick in 0..1_000u32 {
            let now = start + SECOND / 2 * tick;
            if turn(&mut desk, now).is_some() {
                desk.done(&"a", 1, Outcome::Written(1), now);
                written.push(tick / 2);
            }
            desk.see(&"a", 2, now);
        }
        assert_eq!(written, [0, 0, 2, 6, 14, 30]);
        assert_eq!(desk.contested().collect::<Vec<_>>(), [&"a"]);
        let now = start + SECOND * 500;
        desk.want(&"a", Some(5), 0, false, now);
        assert_eq!(turn(&mut desk, now), Some("a"));
        assert_eq!(desk.contested().count(), 0);
    }

    /// Errors are followed by growing waits, which end with success; what has changed since it was read is read again soon.
    #[test]
    fn errors() {
        let mut now = Instant::now();
        let mut desk = Desk::new(now);
        desk.want(&"a", Some(1), 0, false, now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(turn(&mut desk, now), Some("a"));
            desk.done(&"a", 1, Outcome::Failed, now);
            let Turn::Wait(until) = desk.turn(now) else { panic!("it waits") };
            waits.push(until - now);
            now = until;
        }
        assert!(waits.is_sorted() && waits[0] < SECOND && waits[11] == RETRY_MOST, "{waits:?}");
        assert_eq!(turn(&mut desk, now), Some("a"));
        desk.done(&"a", 1, Outcome::Overtaken, now);
        assert!(matches!(desk.turn(now), Turn::Wait(until) if until < now + SECOND / 4));
    }

    /// An object that is not there is left alone until something is seen of it.
    #[test]
    fn gone() {
        let now = Instant::now();
        let mut desk = Desk::new(now);
        desk.want(&"a", Some(1), 0, false, now);
        assert_eq!(turn(&mut desk, now), Some("a"));
        desk.done(&"a", 1, Outcome::Gone, now);
        assert_eq!(desk.turn(now), Turn::Idle);
        // It has come back without a status.
        desk.see(&"a", 0, now);
        assert_eq!(turn(&mut desk, now), Some("a"));
    }

    /// What is seen while an item is being written is not lost, whichever came first.
    #[test]
    fn seen_meanwhile() {
        let now = Instant::now();
        let mut desk = Desk::new(now);
        for outcome in [Outcome::Written(1), Outcome::Same, Outcome::Gone] {
            desk.want(&"a", Some(1), 0, false, now);
            desk.see(&"a", 0, now);
            assert_eq!(turn(&mut desk, now), Some("a"));
            desk.see(&"a", 9, now);
            desk.done(&"a", 1, outcome, now);
            assert_eq!(turn(&mut desk, now), Some("a"), "{outcome:?}");
            desk.done(&"a", 1, Outcome::Written(1), now);
            desk.want(&"a", None, 0, false, now);
            desk.see(&"a", 0, now);
        }
    }
}
