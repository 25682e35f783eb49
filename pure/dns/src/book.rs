//! The names that are wanted, the last good answer of each, and when it is asked for again.
//!
//! ```text
//!            want                due                     hear
//!   unknown ------> to be asked -----> under way --------------------+
//!                        ^                  | addresses: they hold for their TTL
//!                        |                  | none, or no answer: what was known stays
//!                        +------------------+
//! ```
//!
//! At most [`IN_FLIGHT_MAX`] names are under way; the others wait in order of their time, so none is passed over. How many
//! names there are is bounded by who wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_objects::dns::{Answer, Answers, DnsName};

/// A name is not asked for again sooner, whatever its TTL.
pub const TTL_MIN: Duration = Duration::from_secs(5);
/// Nor later.
pub const TTL_MAX: Duration = Duration::from_secs(300);
/// The longest wait after failures, and after the answer that there is no address; the first is [`TTL_MIN`].
pub const FAILED_MAX: Duration = Duration::from_secs(60);
/// The wait after an answer of which an address was refused: who turns such answers on and off costs a compile each time.
pub const REFUSED: Duration = TTL_MAX;
/// How many names are under way at once.
pub const IN_FLIGHT_MAX: usize = 16;
/// How long after a name was first wanted nobody waits any more for what is not answered yet.
pub const SETTLING: Duration = Duration::from_secs(5);

/// What was heard of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its addresses.
    Addresses {
        /// They; at least one.
        addresses: Vec<IpAddr>,
        /// The names it stands for (CNAME).
        aliases: Vec<DnsName>,
        /// The least TTL of all records.
        ttl: Duration,
    },
    /// It does not exist, or has no address.
    Nothing {
        /// How long that holds, if the answer says so (RFC 2308).
        ttl: Option<Duration>,
        /// Which of both.
        reason: String,
    },
    /// Nobody answered, or with an error.
    Failed(String),
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The name had answers, or was never asked for, and has none now.
    Lost {
        /// Why.
        reason: String,
        /// How many addresses stay in use.
        kept: usize,
    },
    /// It has one again.
    Back,
}

/// All names that are wanted.
#[derive(Clone, Debug)]
pub struct Book {
    /// Instead of [`TTL_MIN`], where tests cannot wait.
    ttl_min: Duration,
    names: BTreeMap<DnsName, Entry>,
    /// Those that are not under way, by their time.
    waiting: BTreeSet<(Instant, DnsName)>,
    in_flight: usize,
    answers: Answers,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When it is to be asked for; none: it is under way.
    due: Option<Instant>,
    wanted_since: Instant,
    heard_at: Option<Instant>,
    /// In a row.
    failures: u32,
    is_refused: bool,
}

impl Default for Book {
    fn default() -> Self {
        Book::hasty(TTL_MIN)
    }
}

impl Book {
    /// An empty book with another floor than [`TTL_MIN`].
    pub fn hasty(ttl_min: Duration) -> Book {
        let (names, waiting, answers) = Default::default();
        Book { ttl_min, names, waiting, in_flight: 0, answers }
    }

    /// Makes these the names that are wanted; true: some address of it was refused. New ones are due at once, and what is
    /// known of others is forgotten.
    pub fn want(&mut self, wanted: &BTreeMap<DnsName, bool>, now: Instant) {
        let gone: Vec<DnsName> =
            self.names.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.forget(&name);
        }
        for (name, is_refused) in wanted {
            match self.names.get_mut(name) {
                Some(entry) if entry.is_refused == *is_refused => {}
                Some(entry) => {
                    entry.is_refused = *is_refused;
                    // What was heard holds for another time now.
                    if let (true, Some(due), Some(heard)) = (*is_refused, entry.due, entry.heard_at) {
                        self.waiting.remove(&(due, name.clone()));
                        entry.due = Some(due.max(heard + REFUSED));
                        self.waiting.extend(entry.due.map(|due| (due, name.clone())));
                    }
                }
                None => {
                    let is_refused = *is_refused;
                    let entry =
                        Entry { due: Some(now), wanted_since: now, heard_at: None, failures: 0, is_refused };
                    self.names.insert(name.clone(), entry);
                    self.waiting.insert((now, name.clone()));
                }
            }
        }
    }

    fn forget(&mut self, name: &DnsName) {
        if let Some(entry) = self.names.remove(name) {
            match entry.due {
                Some(due) => drop(self.waiting.remove(&(due, name.clone()))),
                None => self.in_flight -= 1,
            }
        }
        self.answers.remove(name);
    }

    /// A name to ask for now; from here on it is under way, until [`hear`](Book::hear).
    pub fn due(&mut self, now: Instant) -> Option<DnsName> {
        if self.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        let (due, _) = self.waiting.first()?;
        if *due > now {
            return None;
        }
        let (_, name) = self.waiting.pop_first()?;
        let entry = self.names.get_mut(&name)?;
        entry.due = None;
        self.in_flight += 1;
        Some(name)
    }

    /// When [`due`](Book::due) will have something to say; none: not before something is heard or wanted.
    pub fn next(&self) -> Option<Instant> {
        let (due, _) = self.waiting.first()?;
        (self.in_flight < IN_FLIGHT_MAX).then_some(*due)
    }

    /// Takes what was heard of a name that is under way. One that is not wanted any more is passed over.
    pub fn hear(&mut self, name: &DnsName, heard: Heard, now: Instant) -> Option<News> {
        let known = self.answers.get(name);
        let kept = known.map_or(0, |known| known.addresses().len());
        let entry = self.names.get_mut(name).filter(|entry| entry.due.is_none())?;
        self.in_flight -= 1;
        let had_failed = entry.failures > 0;
        let lost = |reason| (!had_failed).then_some(News::Lost { reason, kept });
        let (wait, news) = match heard {
            Heard::Addresses { addresses, aliases, ttl } => {
                let answer = Answer::new(addresses).through(aliases);
                if known.is_none_or(|known| **known != answer) {
                    self.answers.insert(name.clone(), Arc::new(answer));
                }
                entry.failures = 0;
                entry.heard_at = Some(now);
                let least = if entry.is_refused { REFUSED } else { self.ttl_min };
                (ttl.clamp(least, TTL_MAX), had_failed.then_some(News::Back))
            }
            Heard::Nothing { ttl, reason } => {
                entry.failures = entry.failures.saturating_add(1);
                (ttl.unwrap_or(self.ttl_min).clamp(self.ttl_min, FAILED_MAX), lost(reason))
            }
            Heard::Failed(reason) => {
                entry.failures = entry.failures.saturating_add(1);
                (self.ttl_min.saturating_mul(1 << (entry.failures - 1).min(8)).min(FAILED_MAX), lost(reason))
            }
        };
        entry.heard_at = entry.heard_at.or(Some(now));
        entry.due = Some(now + wait);
        self.waiting.insert((now + wait, name.clone()));
        news
    }

    /// The last good answer of each name that had one.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// How many names are wanted, and how many of them failed when they were asked for last.
    pub fn counts(&self) -> (usize, usize) {
        (self.names.len(), self.names.values().filter(|entry| entry.failures > 0).count())
    }

    /// When nobody need wait any more for what is not answered yet: a time that has come where everything was asked for once.
    pub fn settles(&self) -> Option<Instant> {
        let waited_for = self.names.values().filter(|entry| entry.heard_at.is_none());
        waited_for.map(|entry| entry.wanted_since + SETTLING).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DnsName {
        DnsName::parse(text).unwrap()
    }

    fn wanted(names: &[&str]) -> BTreeMap<DnsName, bool> {
        names.iter().map(|text| (name(text), false)).collect()
    }

    fn found(addresses: &[&str], ttl_secs: u64) -> Heard {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Heard::Addresses { addresses, aliases: Vec::new(), ttl: Duration::from_secs(ttl_secs) }
    }

    fn known(book: &Book, text: &str) -> Vec<String> {
        let answer = book.answers().get(&name(text));
        answer.map(|answer| answer.addresses().iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    /// A book in which one name was asked for and is under way.
    fn asked() -> (Book, Instant) {
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let mut book = Book::default();
        book.want(&wanted(&["a.example"]), now);
        assert_eq!(book.due(now), Some(name("a.example")));
        assert_eq!(book.due(now), None);
        (book, now)
    }

    /// An answer holds for its TTL, between floor and ceiling, and then the name is asked for again.
    #[test]
    fn ttl() {
        for (ttl, wait) in [(0, 5), (3, 5), (30, 30), (300, 300), (86_400, 300)] {
            let (mut book, now) = asked();
            book.hear(&name("a.example"), found(&["192.0.2.1"], ttl), now);
            let due = now + Duration::from_secs(wait);
            assert_eq!(book.next(), Some(due), "{ttl}");
            assert_eq!(book.due(due - Duration::from_millis(1)), None, "{ttl}");
            assert_eq!(book.due(due), Some(name("a.example")), "{ttl}");
            book.hear(&name("a.example"), found(&["192.0.2.2"], ttl), due);
            assert_eq!(known(&book, "a.example"), ["192.0.2.2"], "{ttl}");
        }
    }

    /// Whatever goes wrong, the last good addresses stay; it is said once, and waits grow to their bound.
    #[test]
    fn failures_keep_what_was_known() {
        for negative in [true, false] {
            let (mut book, mut now) = asked();
            let name = name("a.example");
            book.hear(&name, found(&["192.0.2.1", "192.0.2.2"], 5), now);
            let mut waits = Vec::new();
            for failure in 0..6 {
                now = book.next().unwrap();
                assert_eq!(book.due(now).as_ref(), Some(&name));
                let heard = if negative {
                    Heard::Nothing { ttl: Some(Duration::from_secs(3600)), reason: "no".into() }
                } else {
                    Heard::Failed("no".into())
                };
                let news = book.hear(&name, heard, now);
                let first = News::Lost { reason: "no".into(), kept: 2 };
                assert_eq!(news, (failure == 0).then_some(first));
                assert_eq!(known(&book, "a.example"), ["192.0.2.1", "192.0.2.2"]);
                waits.push((book.next().unwrap() - now).as_secs());
            }
            let expected = if negative { [60; 6] } else { [5, 10, 20, 40, 60, 60] };
            assert_eq!(waits, expected);
            now = book.next().unwrap();
            book.due(now);
            assert_eq!(book.hear(&name, found(&["192.0.2.3"], 5), now), Some(News::Back));
            assert_eq!(known(&book, "a.example"), ["192.0.2.3"]);
            assert_eq!(book.counts(), (1, 0));
        }
    }

    /// A name that is not wanted any more is forgotten, also while it is under way, and its late answer is nobody's.
    #[test]
    fn forgotten() {
        let (mut book, now) = asked();
        book.want(&wanted(&["b.example"]), now);
        assert_eq!(book.hear(&name("a.example"), found(&["192.0.2.1"], 5), now), None);
        assert!(book.answers().is_empty());
        assert_eq!(book.due(now), Some(name("b.example")));
        book.hear(&name("b.example"), found(&["192.0.2.1"], 5), now);
        book.want(&wanted(&[]), now);
        assert!(book.answers().is_empty());
        assert_eq!((book.next(), book.counts(), book.in_flight), (None, (0, 0), 0));
    }

    /// A name that goes and comes again while it is under way is asked for anew, and is under way once.
    #[test]
    fn wanted_again() {
        let (mut book, now) = asked();
        book.want(&wanted(&[]), now);
        book.want(&wanted(&["a.example"]), now);
        assert_eq!(book.hear(&name("a.example"), found(&["192.0.2.1"], 5), now), None);
        assert_eq!(book.due(now), Some(name("a.example")));
        assert_eq!(book.in_flight, 1);
    }

    /// No more names are under way than may be, every one has its turn, and nobody waits for the slow ones for long.
    #[test]
    fn concurrency_is_bounded() {
        let (mut book, now) = asked();
        let names: Vec<String> = (0..1_000).map(|number| format!("n{number}.example")).collect();
        book.want(&wanted(&names.iter().map(String::as_str).collect::<Vec<_>>()), now);
        assert_eq!(book.settles(), Some(now + SETTLING));
        let mut under_way: Vec<DnsName> = std::iter::from_fn(|| book.due(now)).collect();
        let mut had = BTreeSet::new();
        assert_eq!(under_way.len(), IN_FLIGHT_MAX);
        while let Some(name) = under_way.pop() {
            assert!(under_way.len() < IN_FLIGHT_MAX && had.len() < 1_000);
            assert_eq!(book.due(now), None, "one too many");
            book.hear(&name, found(&["192.0.2.1"], 5), now);
            assert!(had.insert(name), "asked twice");
            under_way.extend(std::iter::from_fn(|| book.due(now)));
        }
        assert_eq!((had.len(), book.settles()), (1_000, None));
    }

    /// A name of which an address was refused is asked for seldom, from the moment on that this is known.
    #[test]
    fn refused_is_asked_seldom() {
        let (mut book, now) = asked();
        let name = name("a.example");
        book.hear(&name, found(&["127.0.0.1"], 5), now);
        book.want(&BTreeMap::from([(name.clone(), true)]), now);
        assert_eq!(book.next(), Some(now + REFUSED));
        let later = now + REFUSED;
        book.due(later);
        book.hear(&name, found(&["127.0.0.1"], 5), later);
        assert_eq!(book.next(), Some(later + REFUSED));
    }
}
