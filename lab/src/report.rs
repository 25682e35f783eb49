//! What a scenario found: figures, each beside what it had to be.

use std::fmt;
use std::time::Duration;

/// The figures of one scenario or step.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they were found.
    pub figures: Vec<Figure>,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// What was found.
    pub found: String,
    /// What it had to be.
    pub wanted: String,
    /// Whether it was.
    pub met: bool,
    /// The figure as a number, for statistics over several runs.
    pub number: Option<f64>,
}

impl Report {
    /// A time that must not be longer; none: it never ended.
    pub fn at_most_ms(&mut self, name: &str, found: Option<Duration>, limit: Duration) {
        let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        self.figures.push(Figure {
            name: name.to_owned(),
            found: found.map_or("never ended".to_owned(), ms),
            wanted: format!("at most {}", ms(limit)),
            met: found.is_some_and(|found| found <= limit),
            number: found.map(|found| found.as_secs_f64() * 1e3),
        });
    }

    /// A count that must be exactly this; `detail` is shown when it is not.
    pub fn exactly(&mut self, name: &str, found: usize, wanted: usize, detail: &str) {
        let met = found == wanted;
        let shown = if met || detail.is_empty() { found.to_string() } else { format!("{found} ({detail})") };
        let (name, wanted, number) = (name.to_owned(), wanted.to_string(), Some(found as f64));
        self.figures.push(Figure { name, found: shown, wanted, met, number });
    }

    /// A count that must be at least this.
    pub fn at_least(&mut self, name: &str, found: usize, wanted: usize) {
        let (met, number) = (found >= wanted, Some(found as f64));
        let wanted = format!("at least {wanted}");
        self.figures.push(Figure { name: name.to_owned(), found: found.to_string(), wanted, met, number });
    }

    /// Anything else that must hold; `found` says what was seen.
    pub fn holds(&mut self, name: &str, met: bool, found: impl fmt::Display) {
        let (name, found, wanted) = (name.to_owned(), found.to_string(), String::new());
        self.figures.push(Figure { name, found, wanted, met, number: None });
    }

    /// Appends another's figures.
    pub fn extend(&mut self, other: Report) {
        self.figures.extend(other.figures);
    }

    /// Whether every figure is as it had to be; a report without figures proves nothing.
    pub fn met(&self) -> bool {
        !self.figures.is_empty() && self.figures.iter().all(|figure| figure.met)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Figure { name, found, wanted, met, .. } in &self.figures {
            let mark = if *met { "ok  " } else { "FAIL" };
            let wanted = if wanted.is_empty() { String::new() } else { format!("  (wanted: {wanted})") };
            writeln!(f, "    {mark} {name}: {found}{wanted}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report is met only if it has figures and each is within its limit; an outage that never ended is in no limit.
    #[test]
    fn met() {
        let limit = Duration::from_millis(500);
        let mut report = Report::default();
        assert!(!report.met());
        report.at_most_ms("gap", Some(limit), limit);
        report.exactly("failed", 0, 0, "");
        assert!(report.met());
        report.at_most_ms("gap", None, limit);
        assert!(!report.met());
    }
}
