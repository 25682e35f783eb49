//! Endpoints that were spoken to from the client's own address until a change: their answers are delivered here for a while
//! longer, so that what is under way to them can end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Who is spoken to so, and who was until lately.
#[derive(Default)]
pub struct Parting {
    current: BTreeSet<IpAddr>,
    /// Until when the answers of those who were are delivered.
    until: BTreeMap<IpAddr, Instant>,
}

impl Parting {
    /// From now on exactly these are spoken to so; whoever was before has `patience`. Gives all whose answers are delivered.
    pub fn follow(&mut self, wanted: BTreeSet<IpAddr>, patience: Duration, now: Instant) -> BTreeSet<IpAddr> {
        let gone = self.current.difference(&wanted).map(|&address| (address, now + patience));
        self.until.extend(gone.collect::<Vec<_>>());
        self.until.retain(|address, until| *until > now && !wanted.contains(address));
        self.current = wanted;
        self.current.iter().chain(self.until.keys()).copied().collect()
    }

    /// Whether somebody's time is over.
    pub fn is_due(&self, now: Instant) -> bool {
        self.until.values().any(|until| *until <= now)
    }

    /// Waits until somebody's time is over; for ever where nobody is parting.
    pub async fn due(&self) {
        match self.until.values().min() {
            Some(until) => tokio::time::sleep_until(*until).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who goes stays for its time, who comes back stays for good, and who is over is due once.
    #[test]
    fn partings() {
        let set = |numbers: &[u8]| -> BTreeSet<IpAddr> {
            numbers.iter().map(|&number| IpAddr::from([10, 0, 0, number])).collect()
        };
        let (start, patience) = (Instant::now(), Duration::from_secs(10));
        let at = |secs: u64| start + Duration::from_secs(secs);
        let mut parting = Parting::default();
        assert_eq!(parting.follow(set(&[1, 2]), patience, at(0)), set(&[1, 2]));
        assert_eq!(parting.follow(set(&[2]), patience, at(1)), set(&[1, 2]));
        assert_eq!(parting.follow(set(&[]), patience, at(5)), set(&[1, 2]));
        assert_eq!(parting.follow(set(&[2]), patience, at(6)), set(&[1, 2]));
        assert!(!parting.is_due(at(10)) && parting.is_due(at(11)));
        assert_eq!(parting.follow(set(&[2]), patience, at(11)), set(&[2]));
        assert!(!parting.is_due(at(99)));
    }
}
