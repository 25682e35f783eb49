//! [`Herald`]: which concern is told as an Event, and when. Each is told once; one that goes and comes again grows a series, a
//! minute after it was told last at the soonest. Few are told in a second, and no more wait than [`QUEUE_MAX`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::Concern;

/// How many Events there are in a second, on average, and at once after a rest.
const RATE: f64 = 1.0;
const BURST: f64 = 25.0;
/// How many concerns may wait. Further ones are not told by an Event until there is room; statuses tell them all the same.
const QUEUE_MAX: usize = 500;
/// Between two of the same.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Of how many concerns that have gone it is known when they were told.
const REMEMBERED_MAX: usize = 2_000;

/// What is told, and what was.
#[derive(Clone, Debug)]
pub struct Herald {
    concerns: BTreeMap<String, Concern>,
    /// Of these, those that were told or need not be.
    told: BTreeSet<String>,
    queue: VecDeque<String>,
    /// When those were told that this herald has told itself.
    told_at: BTreeMap<String, Instant>,
    not_before: Option<Instant>,
    tokens: f64,
    counted: Instant,
}

impl Herald {
    /// Nothing was told.
    pub fn new(now: Instant) -> Self {
        Herald {
            concerns: BTreeMap::new(),
            told: BTreeSet::new(),
            queue: VecDeque::new(),
            told_at: BTreeMap::new(),
            not_before: None,
            tokens: BURST,
            counted: now,
        }
    }

    /// These are the concerns now, by the names of their Events.
    pub fn hear(&mut self, concerns: &BTreeMap<String, Concern>, now: Instant) {
        self.told.retain(|name| concerns.contains_key(name));
        self.queue.retain(|name| concerns.contains_key(name));
        while self.told_at.len() > REMEMBERED_MAX {
            self.told_at.pop_first();
        }
        self.concerns.clone_from(concerns);
        let waiting: BTreeSet<String> = self.queue.iter().cloned().collect();
        for name in concerns.keys().filter(|name| !waiting.contains(*name)) {
            if self.told.contains(name) || self.queue.len() >= QUEUE_MAX {
                continue;
            }
            let lately = self.told_at.get(name).is_some_and(|at| now < *at + AGAIN_AFTER);
            match lately {
                true => drop(self.told.insert(name.clone())),
                false => self.queue.push_back(name.clone()),
            }
        }
    }

    /// What is to be told now, and whether this herald has told it before; else until when there is nothing.
    pub fn next(&mut self, now: Instant) -> Result<(String, Concern, bool), Option<Instant>> {
        if self.queue.is_empty() {
            return Err(None);
        }
        if let Some(not_before) = self.not_before.filter(|not_before| *not_before > now) {
            return Err(Some(not_before));
        }
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.tokens = (self.tokens + passed * RATE).min(BURST);
        self.counted = now;
        if self.tokens < 1.0 {
            return Err(Some(
                now + Duration::from_secs_f64((1.0 - self.tokens) / RATE) + Duration::from_millis(1),
            ));
        }
        while let Some(name) = self.queue.pop_front() {
            let Some(concern) = self.concerns.get(&name).cloned() else { continue };
            self.tokens -= 1.0;
            let again = self.told_at.contains_key(&name);
            return Ok((name, concern, again));
        }
        Err(None)
    }

    /// It was told, by this herald or by one before.
    pub fn told(&mut self, name: String, now: Instant) {
        self.told_at.insert(name.clone(), now);
        if self.concerns.contains_key(&name) {
            self.told.insert(name);
        }
        // What found no room has it now.
        if self.queue.is_empty() && self.told.len() < self.concerns.len() {
            self.hear(&self.concerns.clone(), now);
        }
    }

    /// It could not be told; none is before this moment.
    pub fn failed(&mut self, name: String, not_before: Instant) {
        self.not_before = Some(not_before);
        self.queue.push_front(name);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a fake clock needs one true instant to count from
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn concerns(names: &[&str]) -> BTreeMap<String, Concern> {
        let concern = |name: &str| Concern { object: None, reason: "R".into(), note: name.into() };
        names.iter().map(|name| ((*name).to_owned(), concern(name))).collect()
    }

    fn all(herald: &mut Herald, now: Instant) -> Vec<(String, bool)> {
        std::iter::from_fn(|| {
            let (name, _, again) = herald.next(now).ok()?;
            herald.told(name.clone(), now);
            Some((name, again))
        })
        .collect()
    }

    /// A concern is told once however often it is heard; gone and come again it is told as one more of a series, but not within
    /// a minute.
    #[test]
    fn once_and_again() {
        let now = Instant::now();
        let mut herald = Herald::new(now);
        for _ in 0..3 {
            herald.hear(&concerns(&["a", "b"]), now);
        }
        assert_eq!(all(&mut herald, now), [("a".into(), false), ("b".into(), false)]);
        herald.hear(&concerns(&["a", "b"]), now + SECOND * 1_000);
        assert_eq!(all(&mut herald, now + SECOND * 1_000), []);
        herald.hear(&concerns(&["b"]), now + SECOND * 10);
        herald.hear(&concerns(&["a", "b"]), now + SECOND * 20);
        assert_eq!(all(&mut herald, now + SECOND * 20), []);
        herald.hear(&concerns(&["b"]), now + SECOND * 70);
        herald.hear(&concerns(&["a", "b"]), now + SECOND * 80);
        assert_eq!(all(&mut herald, now + SECOND * 80), [("a".into(), true)]);
    }

    /// Thousands of concerns at once make a burst, then one a second, and all are told in the end; what goes meanwhile is not.
    #[test]
    fn many() {
        let now = Instant::now();
        let mut herald = Herald::new(now);
        let names: Vec<String> = (0..1_200).map(|n| format!("{n:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        herald.hear(&concerns(&names), now);
        assert_eq!((herald.waiting(), all(&mut herald, now).len()), (500, 25));
        assert_eq!(all(&mut herald, now + SECOND * 10).len(), 10);
        let later: usize = (1..200).map(|n| all(&mut herald, now + SECOND * 25 * n).len()).sum();
        assert_eq!(later + 35, 1_200);
        herald.hear(&concerns(&["x", "y"]), now);
        herald.hear(&concerns(&["y"]), now);
        assert_eq!(all(&mut herald, now + SECOND * 10_000).len(), 1);
    }

    /// After an error nothing is told for a while, and then the same.
    #[test]
    fn errors() {
        let now = Instant::now();
        let mut herald = Herald::new(now);
        herald.hear(&concerns(&["a"]), now);
        let (name, ..) = herald.next(now).expect("one");
        herald.failed(name, now + SECOND);
        assert_eq!(herald.next(now), Err(Some(now + SECOND)));
        assert_eq!(herald.next(now + SECOND).map(|(name, ..)| name), Ok("a".into()));
    }
}
