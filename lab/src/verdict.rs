//! What load must show: that enough of it was sent, and that it failed nowhere, or only where a strike explains it.

use std::time::Duration;

use crate::gap::{self, Record};
use crate::report::Report;

/// A blow under load, on the scale of the load's records.
#[derive(Clone, Copy, Debug)]
pub struct Strike<'a> {
    /// What it was, for the figure's name.
    pub what: &'a str,
    /// When it was.
    pub at: Duration,
}

impl Report {
    /// At least `least` requests were sent, and every one was answered.
    pub fn none_failed(&mut self, what: &str, records: &[Record], least: usize) {
        self.at_least(&format!("requests {what}"), records.len(), least);
        self.exactly(&format!("failed {what}"), gap::failed(records), 0, &gap::failures(records));
    }

    /// At least `least` requests were sent, and every one was answered in time.
    pub fn none_late(&mut self, what: &str, records: &[Record], least: usize) {
        self.none_failed(what, records, least);
        self.at_most_ms(&format!("gap {what}"), gap::outage(records), Duration::ZERO);
    }

    /// At least `least` requests were sent; each strike opened one gap at most, no longer than `limit`; and outside of
    /// those every request was answered in time.
    pub fn one_gap(
        &mut self,
        what: &str,
        records: &[Record],
        least: usize,
        strikes: &[Strike],
        limit: Duration,
    ) {
        self.at_least(&format!("requests {what}"), records.len(), least);
        let after = gap::aftermath(records, &strikes.iter().map(|strike| strike.at).collect::<Vec<_>>());
        for (index, strike) in strikes.iter().enumerate() {
            self.at_most_ms(&format!("gap {what} ({})", strike.what), after.outage(index), limit);
        }
        let elsewhere = &after.elsewhere;
        let first = elsewhere.first().map(|record| {
            let took = (record.end - record.start).as_millis();
            format!("the first sent at {} ms, over after {took} ms; ", record.start.as_millis())
        });
        let detail = first.unwrap_or_default() + &gap::failures(elsewhere);
        self.exactly(&format!("failed or late {what}, elsewhere"), elsewhere.len(), 0, &detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gap::Outcome;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A request every 50 ms; those whose start is in `bad` fail.
    fn load(count: u64, bad: &[u64]) -> Vec<Record> {
        let outcome = |start| match bad.contains(&start) {
            true => Outcome::Failed("refused".into()),
            false => Outcome::Answered("x".into()),
        };
        (0..count)
            .map(|n| n * 50)
            .map(|start| Record { start: ms(start), end: ms(start + 1), outcome: outcome(start) })
            .collect()
    }

    fn met(judge: impl FnOnce(&mut Report)) -> bool {
        let mut report = Report::default();
        judge(&mut report);
        report.met()
    }

    /// A load that was not sent, or was too small, proves nothing.
    #[test]
    fn too_little() {
        let strike = [Strike { what: "cut", at: ms(100) }];
        for (count, enough) in [(0, false), (19, false), (20, true)] {
            let records = load(count, &[]);
            assert_eq!(met(|report| report.none_failed("in", &records, 20)), enough);
            assert_eq!(met(|report| report.none_late("in", &records, 20)), enough);
            assert_eq!(met(|report| report.one_gap("in", &records, 20, &strike, ms(500))), enough);
        }
        assert!(!met(|report| report.none_late("in", &[], 0)));
    }

    /// One gap at the strike, within the limit, is allowed; a longer one, a second one and one elsewhere are not.
    #[test]
    fn strikes() {
        let judge = |bad: &[u64]| {
            let (records, strike) = (load(100, bad), [Strike { what: "cut", at: ms(990) }]);
            met(|report| report.one_gap("in", &records, 90, &strike, ms(100)))
        };
        assert!(judge(&[]) && judge(&[1000]) && judge(&[1000, 1050]));
        assert!(!judge(&[1000, 1050, 1100]), "longer than the limit");
        assert!(!judge(&[1000, 1100]), "a second gap");
        assert!(!judge(&[500]), "before the strike");
        assert!(!judge(&[4000]), "long after it");
    }

    /// Where nothing may fail, one failure is too many, wherever it is.
    #[test]
    fn no_failure() {
        let records = load(100, &[2500]);
        assert!(!met(|report| report.none_failed("in", &records, 90)));
        assert!(!met(|report| report.none_late("in", &records, 90)));
    }
}
