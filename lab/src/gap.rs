//! What load leaves behind: one record for each request, and the outage they show. Arithmetic only.

use std::time::Duration;

/// A request is in time if it is answered within this.
pub const IN_TIME: Duration = Duration::from_millis(250);

/// A strike is felt within this, or what follows has another cause.
pub const FELT: Duration = Duration::from_secs(1);

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was sent, since the load began.
    pub start: Duration,
    /// When it was over.
    pub end: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with 200, whole, by whom it says: a pod's name, or the source address that a legacy server saw.
    Answered(String),
    /// Anything else, in words.
    Failed(String),
}

impl Record {
    /// Whether it was answered in time.
    pub fn in_time(&self) -> bool {
        self.answered() && self.end.saturating_sub(self.start) <= IN_TIME
    }

    /// Whether it was answered at all.
    pub fn answered(&self) -> bool {
        matches!(self.outcome, Outcome::Answered(_))
    }

    /// Who answered.
    pub fn who(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Answered(who) => Some(who),
            Outcome::Failed(_) => None,
        }
    }
}

/// From the start of a request not answered in time to the start of the next one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it began, since the load began.
    pub start: Duration,
    /// How long it was; to the last request sent, if none was answered in time again.
    pub length: Duration,
    /// Whether it ended.
    pub healed: bool,
}

/// Every gap, in order.
pub fn gaps(records: &[Record]) -> Vec<Gap> {
    let mut by_start: Vec<&Record> = records.iter().collect();
    by_start.sort_by_key(|record| record.start);
    let (mut gaps, mut open) = (Vec::new(), None);
    for record in &by_start {
        match (open, record.in_time()) {
            (None, false) => open = Some(record.start),
            (Some(start), true) => {
                gaps.push(Gap { start, length: record.start - start, healed: true });
                open = None;
            }
            _ => {}
        }
    }
    if let (Some(start), Some(last)) = (open, by_start.last()) {
        gaps.push(Gap { start, length: last.start - start, healed: false });
    }
    gaps
}

/// All gaps together; none if the last one never ended, or if there are no records, which prove nothing.
pub fn outage(records: &[Record]) -> Option<Duration> {
    let gaps = gaps(records);
    (!records.is_empty() && gaps.iter().all(|gap| gap.healed))
        .then(|| gaps.iter().map(|gap| gap.length).sum())
}

/// How many were not answered.
pub fn failed(records: &[Record]) -> usize {
    records.iter().filter(|record| !record.answered()).count()
}

/// What load shows of strikes: a gap for each at most, and the requests not answered in time that no strike explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aftermath {
    /// The gap of each strike, in their order; none if no request felt it.
    pub gaps: Vec<Option<Gap>>,
    /// Requests not answered in time outside those gaps, a second gap after the same strike included.
    pub elsewhere: Vec<Record>,
}

impl Aftermath {
    /// How long the gap of a strike was; none if it never ended.
    pub fn outage(&self, strike: usize) -> Option<Duration> {
        match self.gaps.get(strike)? {
            Some(gap) => gap.healed.then_some(gap.length),
            None => Some(Duration::ZERO),
        }
    }
}

/// Finds the gap of each strike: the first one whose first request was under way then or was sent within [`FELT`].
pub fn aftermath(records: &[Record], strikes: &[Duration]) -> Aftermath {
    let all = gaps(records);
    let over = |at: Duration| records.iter().filter(|r| r.start == at).map(|r| r.end).max().unwrap_or(at);
    let of = |strike: Duration| {
        all.iter().find(|gap| over(gap.start) >= strike && gap.start <= strike + FELT).copied()
    };
    let mut gaps: Vec<_> = strikes.iter().map(|strike| of(*strike)).collect();
    // One gap that spans two strikes is the first one's.
    for later in (1..gaps.len()).rev() {
        if gaps[..later].contains(&gaps[later]) {
            gaps[later] = None;
        }
    }
    let inside =
        |at: Duration| gaps.iter().flatten().any(|gap| at >= gap.start && at <= gap.start + gap.length);
    let elsewhere = records.iter().filter(|r| !r.in_time() && !inside(r.start)).cloned().collect();
    Aftermath { gaps, elsewhere }
}

/// The first few ways in which requests failed, for a message.
pub fn failures(records: &[Record]) -> String {
    let mut kinds = std::collections::BTreeMap::<&str, usize>::new();
    for record in records {
        if let Outcome::Failed(why) = &record.outcome {
            *kinds.entry(why).or_default() += 1;
        }
    }
    kinds.iter().take(5).map(|(why, count)| format!("{count} x {why}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn answered(start: u64, took: u64) -> Record {
        Record { start: ms(start), end: ms(start + took), outcome: Outcome::Answered("x".into()) }
    }

    fn refused(start: u64) -> Record {
        Record { start: ms(start), end: ms(start + 1), outcome: Outcome::Failed("refused".into()) }
    }

    fn lengths(records: &[Record]) -> Vec<u64> {
        gaps(records).iter().map(|gap| gap.length.as_millis() as u64).collect()
    }

    /// A load of which every request is answered in time shows no gap.
    #[test]
    fn no_gap() {
        assert_eq!(lengths(&[answered(0, 1), answered(50, 250), answered(100, 3)]), [0; 0]);
        assert_eq!(outage(&[answered(0, 1)]), Some(ms(0)));
    }

    /// No records are no proof of anything.
    #[test]
    fn nothing_sent() {
        assert_eq!(outage(&[]), None);
    }

    /// A gap runs from the start of the first request not answered in time to the start of the next one that is.
    #[test]
    fn one_gap() {
        let records =
            [answered(0, 1), answered(50, 1051), refused(100), answered(150, 900), answered(200, 2)];
        assert_eq!(lengths(&records), [150]);
        assert_eq!(outage(&records), Some(ms(150)));
        assert_eq!(failed(&records), 1);
    }

    /// Requests that end out of order are taken by their start.
    #[test]
    fn order_of_start_counts() {
        assert_eq!(lengths(&[answered(200, 2), answered(0, 1), answered(150, 1), refused(100)]), [50]);
    }

    /// 250 ms is in time and 251 ms is not.
    #[test]
    fn limit() {
        assert!(answered(0, 250).in_time());
        assert!(!answered(0, 251).in_time());
    }

    /// Two gaps are added up, so that flapping is not mistaken for a short outage.
    #[test]
    fn gaps_add_up() {
        let records = [refused(0), answered(50, 1), refused(100), refused(150), answered(200, 1)];
        assert_eq!(lengths(&records), [50, 100]);
        assert_eq!(outage(&records), Some(ms(150)));
    }

    /// A gap that never ends is no outage of some milliseconds: there is no figure.
    #[test]
    fn never_healed() {
        let records = [answered(0, 1), refused(50), refused(100)];
        assert_eq!(gaps(&records), [Gap { start: ms(50), length: ms(50), healed: false }]);
        assert_eq!(outage(&records), None);
    }

    /// The starts of the gaps of the strikes, and of what failed elsewhere.
    fn after(records: &[Record], strikes: &[u64]) -> (Vec<Option<u64>>, Vec<u64>) {
        let found = aftermath(records, &strikes.iter().map(|at| ms(*at)).collect::<Vec<_>>());
        let start = |at: Duration| at.as_millis() as u64;
        let gaps = found.gaps.iter().map(|gap| gap.map(|gap| start(gap.start))).collect();
        (gaps, found.elsewhere.iter().map(|record| start(record.start)).collect())
    }

    /// Every failure inside the one gap at the strike is the strike's, also of a request that was under way.
    #[test]
    fn a_strike() {
        let records = [answered(0, 1), refused(1000), refused(1050), answered(1100, 1)];
        assert_eq!(after(&records, &[990]), (vec![Some(1000)], vec![]));
        assert_eq!(after(&records, &[1001]), (vec![Some(1000)], vec![]));
        assert_eq!(aftermath(&records, &[ms(990)]).outage(0), Some(ms(100)));
        assert_eq!(aftermath(&records[..3], &[ms(990)]).outage(0), None);
        assert_eq!(aftermath(&records[..1], &[ms(990)]).outage(0), Some(ms(0)));
    }

    /// A failure before the strike, a second gap right after it, and one long after it are the strike's no more.
    #[test]
    fn failures_elsewhere() {
        let flapping =
            [refused(0), answered(50, 1), refused(100), answered(150, 1), refused(200), answered(250, 1)];
        assert_eq!(after(&flapping, &[90]), (vec![Some(100)], vec![0, 200]));
        let late = [answered(0, 1), refused(1101), answered(1150, 1)];
        assert_eq!(after(&late, &[100]), (vec![None], vec![1101]));
        assert_eq!(after(&late, &[102]), (vec![Some(1101)], vec![]));
        let slow = [answered(0, 1), answered(50, 251), answered(100, 1)];
        assert_eq!(after(&slow, &[5000]), (vec![None], vec![50]));
    }

    /// Two strikes have a gap each; one that spans both is the first one's.
    #[test]
    fn two_strikes() {
        let records = [refused(100), answered(150, 1), refused(900), answered(950, 1)];
        assert_eq!(after(&records, &[90, 890]), (vec![Some(100), Some(900)], vec![]));
        assert_eq!(after(&records, &[90, 2000]), (vec![Some(100), None], vec![900]));
        let long = [refused(100), refused(500), answered(950, 1)];
        assert_eq!(after(&long, &[90, 400]), (vec![Some(100), None], vec![]));
    }
}
