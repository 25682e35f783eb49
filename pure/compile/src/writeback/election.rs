//! Who writes: of the gateways that follow a cluster, the one that holds a Lease (coordination.k8s.io/v1).
//!
//! ```text
//!   look ──► nobody's, or run out ──► take it ──► ours: renew every second or so
//!    ▲             another's: look again, and at the moment it runs out        │
//!    └───────────── somebody was faster (409), or nothing answered ◄───────────┘
//! ```
//! The rules are those of Kubernetes' own components (client-go's leader election): a Lease has run out when it has not
//! changed for as long as it says, by the clock of whoever looks; clocks of machines are never compared. A holder that could
//! not renew stops before anybody else could begin.

use std::time::{Duration, Instant};

/// How long a Lease holds after each renewal, in seconds. With the time between looks it bounds how long nobody writes after
/// a holder was killed.
pub const LEASE_SECS: u64 = 3;
/// How long after a renewal was asked for its holder writes.
const TRUSTED: Duration = Duration::from_millis(2_250);
/// How long after a renewal the next is asked for, at most.
const RENEW_AFTER: Duration = Duration::from_secs(1);
/// How long after a look at another's Lease the next follows, at most.
const LOOK_AFTER: Duration = Duration::from_millis(800);
/// The longest time for which another's Lease is believed to hold, whatever it says.
const BELIEVED_MAX_SECS: u64 = 60;

/// `spec` of a Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `holderIdentity`; empty: nobody's.
    pub holder: String,
    /// `leaseDurationSeconds`.
    pub duration_secs: u64,
    /// `acquireTime`, as written.
    pub acquired: String,
    /// `renewTime`, as written.
    pub renewed: String,
    /// `leaseTransitions`.
    pub transitions: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the Lease, and tell it with [`Election::found`].
    Look,
    /// Create it so.
    Create(Record),
    /// Replace it so where it still has this version.
    Replace(Record, String),
    /// Nothing before this moment.
    Wait(Instant),
}

/// What is known of the Lease.
#[derive(Clone, Debug)]
enum Known {
    /// Nothing, or it has changed since.
    Nothing,
    /// There is none.
    Absent,
    /// It stands so.
    Stands {
        record: Record,
        version: String,
        /// Since when, by our clock; of our own, when we asked for it.
        since: Instant,
    },
}

/// One process in the election of one cluster's writer.
#[derive(Clone, Debug)]
pub struct Election {
    name: String,
    known: Known,
    /// When it was looked at last.
    looked: Option<Instant>,
    /// Nothing is asked before.
    not_before: Option<Instant>,
    /// How long the next wait is of the longest, from a half to the whole.
    share: f64,
    chance: u64,
}

impl Election {
    /// A process of this name, which no other has, and which has not been used before. `chance` spreads its waits.
    pub fn new(name: String, chance: u64) -> Self {
        Election { name, known: Known::Nothing, looked: None, not_before: None, share: 1.0, chance }
    }

    /// What to do now. `may` says whether this process would write; `time` is the time of day, as a Lease has it.
    pub fn step(&self, may: bool, now: Instant, time: &str) -> Step {
        if let Some(not_before) = self.not_before.filter(|not_before| *not_before > now) {
            return Step::Wait(not_before);
        }
        let next_look = self.looked.map(|looked| looked + LOOK_AFTER.mul_f64(self.share));
        let (record, version, since) = match &self.known {
            Known::Stands { record, version, since } => (record, version, *since),
            // Who would not write need not know who does.
            _ if !may => return Step::Wait(now + LOOK_AFTER),
            Known::Nothing => return Step::Look,
            Known::Absent => return Step::Create(self.mine(0, time)),
        };
        let replace = |record: Record| Step::Replace(record, version.clone());
        if record.holder == self.name {
            let due = since + RENEW_AFTER.mul_f64(self.share);
            return match () {
                () if !may => replace(Record {
                    holder: String::new(),
                    duration_secs: 1,
                    renewed: time.to_owned(),
                    ..record.clone()
                }),
                () if due <= now => replace(Record { renewed: time.to_owned(), ..record.clone() }),
                () => Step::Wait(due),
            };
        }
        if !may {
            return Step::Wait(now + LOOK_AFTER);
        }
        let ends = since + Duration::from_secs(record.duration_secs.min(BELIEVED_MAX_SECS));
        if record.holder.is_empty() || ends <= now {
            return replace(self.mine(record.transitions.saturating_add(1), time));
        }
        match next_look {
            Some(next_look) if next_look > now => Step::Wait(ends.min(next_look)),
            _ => Step::Look,
        }
    }

    fn mine(&self, transitions: u64, time: &str) -> Record {
        Record {
            holder: self.name.clone(),
            duration_secs: LEASE_SECS,
            acquired: time.to_owned(),
            renewed: time.to_owned(),
            transitions,
        }
    }

    /// What a look has found: the Lease and its version, or that there is none.
    pub fn found(&mut self, lease: Option<(Record, String)>, now: Instant) {
        self.looked = Some(now);
        self.spread();
        self.known = match (lease, &self.known) {
            (None, _) => Known::Absent,
            // Unchanged, so it has stood since it was seen first.
            (Some((record, version)), Known::Stands { record: before, since, .. }) if record == *before => {
                Known::Stands { record, version, since: *since }
            }
            // Ours, from before something was lost on the way: how long it has stood is not known, so it counts for nothing.
            (Some((record, version)), _) if record.holder == self.name => {
                Known::Stands { record, version, since: now.checked_sub(TRUSTED).unwrap_or(now) }
            }
            (Some((record, version)), _) => Known::Stands { record, version, since: now },
        };
    }

    /// It was created or replaced, which was asked for at this time, and has this version.
    pub fn written(&mut self, record: Record, version: String, asked: Instant) {
        self.not_before = None;
        self.spread();
        self.known = Known::Stands { record, version, since: asked };
    }

    /// Somebody else was faster: what was known of it is not so any more.
    pub fn overtaken(&mut self) {
        self.known = Known::Nothing;
        self.looked = None;
    }

    /// It was to be written, and no answer came. Of ours the same is tried again: it succeeds only where nothing came between.
    pub fn overtaken_unless_held(&mut self) {
        if self.writes_until().is_none() {
            self.overtaken();
        }
    }

    /// Nothing came of what was asked; nothing is asked again before this moment.
    pub fn failed(&mut self, not_before: Instant) {
        self.not_before = Some(not_before);
    }

    /// Until when this process may write; none, if it is not its turn. Less than the Lease holds.
    pub fn writes_until(&self) -> Option<Instant> {
        match &self.known {
            Known::Stands { record, since, .. } if record.holder == self.name => Some(*since + TRUSTED),
            _ => None,
        }
    }

    /// Who holds it, as far as is known; empty: nobody.
    pub fn holder(&self) -> &str {
        match &self.known {
            Known::Stands { record, .. } => &record.holder,
            _ => "",
        }
    }

    /// The next wait is another one.
    fn spread(&mut self) {
        // Knuth's MMIX generator: its upper bits are chance enough to keep processes apart.
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.share = 0.5 + 0.5 * ((self.chance >> 40) as f64 / (1u64 << 24) as f64);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a fake clock needs one true instant to count from
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A Lease as an API server keeps it: replaced only by who knows its version.
    #[derive(Default)]
    struct Server {
        lease: Option<(Record, u64)>,
    }

    impl Server {
        /// Does what a process wants, and tells it; whether it wrote.
        fn obey(&mut self, process: &mut Election, step: Step, now: Instant) -> bool {
            let told = |(record, version): &(Record, u64)| (record.clone(), version.to_string());
            match step {
                Step::Look => {
                    process.found(self.lease.as_ref().map(told), now);
                    false
                }
                Step::Create(_) if self.lease.is_some() => {
                    process.overtaken();
                    false
                }
                Step::Create(record) => {
                    self.lease = Some((record.clone(), 1));
                    process.written(record, "1".into(), now);
                    true
                }
                Step::Replace(record, version) => match &mut self.lease {
                    Some((stands, at)) if at.to_string() == version => {
                        *stands = record.clone();
                        *at += 1;
                        process.written(record, at.to_string(), now);
                        true
                    }
                    _ => {
                        process.overtaken();
                        false
                    }
                },
                Step::Wait(_) => false,
            }
        }

        fn run(&mut self, process: &mut Election, may: bool, now: Instant) {
            for _ in 0..4 {
                let step = process.step(may, now, &format!("{now:?}"));
                if matches!(step, Step::Wait(_)) {
                    return;
                }
                self.obey(process, step, now);
            }
            panic!("it never waits");
        }
    }

    fn three() -> [Election; 3] {
        [1, 2, 3].map(|n| Election::new(format!("gw{n}"), n))
    }

    /// Of three processes one writes at any time; when it dies, another does within less than 4 s, and with each change of the
    /// holder the transitions grow by one.
    #[test]
    fn one_writes_and_a_standby_takes_over() {
        let (mut server, mut all, start) = (Server::default(), three(), Instant::now());
        let (mut dead, mut died): (Vec<usize>, Instant) = (Vec::new(), start);
        let mut holder = None;
        for tick in 0..20_000 {
            let now = start + MS * tick;
            for (n, process) in all.iter_mut().enumerate().filter(|(n, _)| !dead.contains(n)) {
                server.run(process, true, now);
                if process.writes_until().is_some_and(|until| until > now) && holder != Some(n) {
                    assert!(now - died < Duration::from_secs(4), "{:?} after {n}", now - died);
                    holder = Some(n);
                }
            }
            let writing = (0..3).filter(|n| all[*n].writes_until().is_some_and(|until| until > now));
            assert!(writing.count() <= 1, "at {tick} ms");
            if tick == 5_000 || tick == 12_345 {
                dead.extend(holder);
                died = now;
            }
        }
        let (record, _) = server.lease.expect("there is one");
        assert_eq!((record.transitions, dead.len()), (2, 2));
        assert_eq!(record.holder, format!("gw{}", holder.expect("one") + 1));
    }

    /// A holder that gets no answer stops before the Lease has run out for anybody, and who looks on takes it only then.
    #[test]
    fn stops_before_another_begins() {
        let (mut server, start) = (Server::default(), Instant::now());
        let [mut holder, mut standby, _] = three();
        server.run(&mut holder, true, start);
        server.run(&mut standby, true, start);
        let until = holder.writes_until().expect("it holds it");
        assert!(until < start + Duration::from_secs(LEASE_SECS));
        let mut taken = None;
        for tick in 0..6_000 {
            let now = start + MS * tick;
            // Everything that the holder asks fails from here on.
            if matches!(holder.step(true, now, "t"), Step::Replace(..)) {
                holder.failed(now + MS * 200);
            }
            server.run(&mut standby, true, now);
            if standby.writes_until().is_some() {
                taken.get_or_insert(now);
            }
        }
        assert_eq!(holder.writes_until(), Some(until));
        assert!(taken.expect("it takes over") >= start + Duration::from_secs(LEASE_SECS));
    }

    /// The clock that counts is one's own: a Lease whose renewal lies far in the future, or in the past, holds for its
    /// duration since it was seen to change, and no longer than a minute whatever it says.
    #[test]
    fn clocks_are_not_compared() {
        let start = Instant::now();
        for (renewed, duration_secs, holds) in [("2099", 3, 3), ("1970", 15, 15), ("now", 1 << 40, 60)] {
            let mut process = Election::new("gw1".into(), 7);
            let record =
                Record { holder: "x".into(), duration_secs, renewed: renewed.into(), ..Record::default() };
            let mut server = Server { lease: Some((record, 1)) };
            let mut taken = None;
            for tick in 0..700 {
                let now = start + MS * 100 * tick;
                server.run(&mut process, true, now);
                if process.writes_until().is_some() {
                    taken.get_or_insert(now - start);
                }
            }
            let taken = taken.expect("taken");
            assert!(
                taken >= Duration::from_secs(holds) && taken < Duration::from_secs(holds + 1),
                "{taken:?}"
            );
        }
    }

    /// Who may not write any more gives the Lease back, and another takes it at its next look.
    #[test]
    fn released() {
        let (mut server, start) = (Server::default(), Instant::now());
        let [mut first, mut second, _] = three();
        server.run(&mut first, true, start);
        server.run(&mut first, false, start + MS);
        assert_eq!((first.writes_until(), first.holder()), (None, ""));
        server.run(&mut second, true, start + MS * 2);
        assert!(second.writes_until().is_some());
        // And the first does not take it again while it may not.
        server.run(&mut first, false, start + Duration::from_secs(100));
        assert_eq!(server.lease.expect("there").0.holder, "gw2");
    }

    /// What was written and whose answer was lost is found by a look, and written again before anything is trusted.
    #[test]
    fn a_lost_answer() {
        let (mut server, start) = (Server::default(), Instant::now());
        let mut process = Election::new("gw1".into(), 7);
        process.found(None, start);
        let Step::Create(record) = process.step(true, start, "t") else { panic!("it creates") };
        server.lease = Some((record, 1));
        process.overtaken();
        process.found(server.lease.clone().map(|(record, at)| (record, at.to_string())), start);
        assert!(process.writes_until().is_some_and(|until| until <= start), "not trusted");
        server.run(&mut process, true, start);
        assert!(process.writes_until().is_some_and(|until| until > start));
    }
}
