//! What load leaves behind: one record for each request, and the outage they show. Arithmetic only.

use std::time::Duration;

/// A request is in time if it is answered within this.
pub const IN_TIME: Duration = Duration::from_millis(250);

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

/// All gaps together; none if the last one never ended.
pub fn outage(records: &[Record]) -> Option<Duration> {
    let gaps = gaps(records);
    gaps.iter().all(|gap| gap.healed).then(|| gaps.iter().map(|gap| gap.length).sum())
}

/// How many were not answered.
pub fn failed(records: &[Record]) -> usize {
    records.iter().filter(|record| !record.answered()).count()
}

/// How many that began outside every gap were not answered.
pub fn failed_outside_gaps(records: &[Record]) -> usize {
    let gaps = gaps(records);
    let inside = |at: Duration| gaps.iter().any(|gap| at >= gap.start && at <= gap.start + gap.length);
    records.iter().filter(|record| !record.answered() && !inside(record.start)).count()
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
        assert_eq!(outage(&[]), Some(ms(0)));
    }

    /// A gap runs from the start of the first request not answered in time to the start of the next one that is.
    #[test]
    fn one_gap() {
        let records =
            [answered(0, 1), answered(50, 1051), refused(100), answered(150, 900), answered(200, 2)];
        assert_eq!(lengths(&records), [150]);
        assert_eq!(outage(&records), Some(ms(150)));
        assert_eq!((failed(&records), failed_outside_gaps(&records)), (1, 0));
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
}
