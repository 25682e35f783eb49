//! Rows and cells: medians, ranges, ratios, and whether a goal is met.

use std::fmt;

use anyhow::{Error, Result};

use super::cases::{Against, Case, Sample};
use super::contender::Setting;

/// Heading of the table.
pub const HEADER: &str = "case             unit     tidegate                nginx                   haproxy                 ratio  goal      verdict";

/// What a proxy did in a case.
#[derive(Default)]
pub struct Cell {
    samples: Vec<Sample>,
    closed: Option<Closed>,
}

enum Closed {
    Unserved(String),
    Failed(Error),
}

impl Cell {
    /// The proxy cannot serve this yet.
    pub fn unserved(why: String) -> Cell {
        Cell { samples: Vec::new(), closed: Some(Closed::Unserved(why)) }
    }

    /// Something went wrong: no figure.
    pub fn failed(error: Error) -> Cell {
        Cell { samples: Vec::new(), closed: Some(Closed::Failed(error)) }
    }

    /// Whether it still takes samples.
    pub fn open(&self) -> bool {
        self.closed.is_none()
    }

    /// Takes a round's sample, or closes with its error.
    pub fn take(&mut self, sample: Result<Sample>) {
        match sample {
            Ok(sample) => self.samples.push(sample),
            Err(error) => self.closed = Some(Closed::Failed(error)),
        }
    }

    /// Closes with an error, if it is one.
    pub fn settle(&mut self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.closed = Some(Closed::Failed(error));
        }
    }

    /// The median, if every round was good.
    fn median(&self) -> Option<f64> {
        if !self.open() || self.samples.is_empty() {
            return None;
        }
        Some(median(self.samples.iter().map(|sample| sample.value)))
    }

    fn machine(&self) -> Option<f64> {
        let all: Option<Vec<f64>> = self.samples.iter().map(|sample| sample.machine).collect();
        all.filter(|all| !all.is_empty()).map(|all| median(all.into_iter()))
    }

    /// Medians of the other figures.
    fn notes(&self) -> Vec<(&'static str, f64)> {
        let names = self.samples.first().map(|sample| sample.notes.as_slice()).unwrap_or_default();
        let column =
            |at: usize| self.samples.iter().filter_map(move |sample| sample.notes.get(at)).map(|note| note.1);
        names.iter().enumerate().map(|(at, (name, _))| (*name, median(column(at)))).collect()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.closed, self.median()) {
            (Some(Closed::Unserved(_)), _) => f.pad("not served"),
            (Some(Closed::Failed(_)), _) => f.pad("FAILED"),
            (None, None) => f.pad("-"),
            (None, Some(median)) => {
                let values = || self.samples.iter().map(|sample| sample.value);
                let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
                f.pad(&format!("{} ({}-{})", short(median), short(low), short(high)))
            }
        }
    }
}

/// A case in a column.
pub struct Row {
    /// Which.
    pub case: &'static Case,
    /// The column.
    pub setting: Setting,
    /// Ours, nginx, HAProxy; or ours with many and with few routes.
    pub cells: Vec<Cell>,
    /// Load average before and after.
    pub load: (f64, f64),
}

impl Row {
    /// Whether no cell failed.
    pub fn sound(&self) -> bool {
        !self.cells.iter().any(|cell| matches!(cell.closed, Some(Closed::Failed(_))))
    }

    /// Ours in terms of the yardstick.
    fn ratio(&self) -> Option<f64> {
        let of = |at: usize| self.cells.get(at).and_then(Cell::median);
        let ours = of(0)?;
        match self.case.against {
            // A failed peer is no yardstick: the better of two is not known then.
            Against::Better => Some(ours / of(1)?.min(of(2)?)),
            Against::Nginx | Against::Few => Some(ours / of(1)?),
            Against::Absolute => Some(ours),
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.ratio(), self.case.goal(self.setting)) {
            (Some(ratio), Some(goal)) if ratio <= goal => "met",
            (Some(_), Some(_)) => "MISSED",
            _ => "-",
        }
    }

    fn detail(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let few = self.case.against == Against::Few;
        let names = if few { ["10,000 routes", "10 routes", ""] } else { ["tidegate", "nginx", "haproxy"] };
        for (cell, name) in self.cells.iter().zip(names) {
            let figures =
                cell.machine().map(|machine| ("whole machine", machine)).into_iter().chain(cell.notes());
            let figures: Vec<_> = figures.map(|(name, value)| format!("{name} {}", short(value))).collect();
            match &cell.closed {
                Some(Closed::Unserved(why)) => writeln!(f, "    {name}: not served: {why}")?,
                Some(Closed::Failed(error)) => writeln!(f, "    {name}: FAILED: {error:#}")?,
                None if figures.is_empty() => {}
                None => writeln!(f, "    {name}: {}", figures.join(", "))?,
            }
        }
        write!(f, "    load {:.2} to {:.2}", self.load.0, self.load.1)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |at: usize| self.cells.get(at).map_or_else(|| "-".to_owned(), Cell::to_string);
        let absolute = self.case.against == Against::Absolute;
        let ratio = self.ratio().filter(|_| !absolute).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let goal = self.case.goal(self.setting).map_or("-".to_owned(), |goal| format!("<= {goal}"));
        writeln!(
            f,
            "{:16} {:8} {:23} {:23} {:23} {ratio:6} {goal:9} {}",
            self.case.name,
            self.case.unit,
            cell(0),
            cell(1),
            cell(2),
            self.verdict()
        )?;
        self.detail(f)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (len, half) if len % 2 == 0 => (values[half - 1] + values[half]) / 2.0,
        (_, half) => values[half],
    }
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cases;

    fn cell(values: &[f64]) -> Cell {
        let sample = |value: &f64| Sample { value: *value, machine: None, notes: Vec::new() };
        Cell { samples: values.iter().map(sample).collect(), closed: None }
    }

    fn row(cells: Vec<Cell>) -> Row {
        Row { case: &cases::ALL[0], setting: Setting::Off, cells, load: (0.0, 0.0) }
    }

    /// The median of ours is held against the better median of the peers.
    #[test]
    fn ratios() {
        let row = row(vec![cell(&[9.0, 8.0, 80.0]), cell(&[12.0]), cell(&[10.0, 11.0])]);
        assert_eq!(row.ratio(), Some(9.0 / 10.5));
        assert_eq!(row.verdict(), "MISSED");
        assert!(row.sound());
    }

    /// A peer that failed leaves no ratio, and the row is not sound; a case not served yet is no failure.
    #[test]
    fn failures() {
        let failed = row(vec![cell(&[9.0]), Cell::failed(anyhow::anyhow!("read errors")), cell(&[10.0])]);
        assert_eq!(failed.ratio(), None);
        assert!(!failed.sound());
        assert!(failed.to_string().contains("FAILED: read errors"));
        let unserved = row(vec![Cell::unserved("no TLS".into()), cell(&[9.0]), cell(&[10.0])]);
        assert!(unserved.sound());
        assert_eq!(unserved.verdict(), "-");
    }
}
