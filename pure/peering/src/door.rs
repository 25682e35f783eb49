//! How many may be at the door who have not proved the secret yet.
//!
//! A place is held while someone tries, and for a second after it failed: so a stranger costs some handshakes a second and
//! no more. Each known gateway's address has places of its own, which no stranger takes; all strangers share the rest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Places of each address that a GatewayNode names.
pub const PENDING_EACH_MAX: usize = 4;

/// Places of everybody else.
pub const STRANGERS_MAX: usize = 8;

/// How long a place stays taken after a failure.
const REST: Duration = Duration::from_secs(1);

/// Who has a place; give it back.
#[derive(Debug, PartialEq, Eq)]
pub struct Visit(Option<IpAddr>);

/// The door.
#[derive(Debug, Default)]
pub struct Door {
    /// By address; strangers under nothing.
    places: BTreeMap<Option<IpAddr>, Places>,
}

#[derive(Debug, Default)]
struct Places {
    trying: usize,
    /// When places that are not used any more become free.
    resting: Vec<Instant>,
}

impl Door {
    /// One came from this address, which is a gateway's if `known`; nothing: there is no place, and it must go.
    pub fn enter(&mut self, from: IpAddr, known: bool, now: Instant) -> Option<Visit> {
        self.tidy(now);
        let (of, most) = if known { (Some(from), PENDING_EACH_MAX) } else { (None, STRANGERS_MAX) };
        let places = self.places.entry(of).or_default();
        if places.trying + places.resting.len() >= most {
            return None;
        }
        places.trying += 1;
        Some(Visit(of))
    }

    /// It went, or needs no place any more as it `proved` the secret.
    pub fn leave(&mut self, visit: Visit, proved: bool, now: Instant) {
        if let Some(places) = self.places.get_mut(&visit.0) {
            places.trying = places.trying.saturating_sub(1);
            if !proved {
                places.resting.push(now + REST);
            }
        }
        self.tidy(now);
    }

    /// What is over is forgotten, so there are no more addresses than have places.
    fn tidy(&mut self, now: Instant) {
        self.places.retain(|_, places| {
            places.resting.retain(|free| *free > now);
            places.trying + places.resting.len() > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A beginning: any moment is as good.
    #[expect(clippy::disallowed_methods, reason = "where a fake clock begins")]
    fn beginning() -> Instant {
        Instant::now()
    }

    /// Strangers share some places, and however many they are, each gateway has its own.
    #[test]
    fn strangers_keep_no_gateway_out() {
        let (mut door, now) = (Door::default(), beginning());
        let came = (0..100).filter_map(|last| door.enter([192, 0, 2, last].into(), false, now)).count();
        assert_eq!(came, STRANGERS_MAX);
        for gateway in [1, 2] {
            let gateway = [10, 0, 0, gateway].into();
            let came = (0..100).filter_map(|_| door.enter(gateway, true, now)).count();
            assert_eq!(came, PENDING_EACH_MAX);
        }
    }

    /// A place that was used in vain rests for a second; one that was used well is free at once.
    #[test]
    fn places_rest() {
        let (mut door, now) = (Door::default(), beginning());
        let stranger = [192, 0, 2, 1].into();
        for _ in 0..STRANGERS_MAX {
            let visit = door.enter(stranger, false, now).unwrap();
            door.leave(visit, false, now);
        }
        let soon = now + REST - Duration::from_millis(1);
        assert_eq!(door.enter(stranger, false, soon), None);
        assert!(door.enter(stranger, false, now + REST).is_some());
        let gateway = [10, 0, 0, 1].into();
        for _ in 0..100 {
            let visit = door.enter(gateway, true, now).unwrap();
            door.leave(visit, true, now);
        }
    }

    /// Nothing is kept of who is gone.
    #[test]
    fn nothing_is_left() {
        let (mut door, now) = (Door::default(), beginning());
        for last in 0..200 {
            let visit = door.enter([10, 0, 0, last].into(), true, now).unwrap();
            door.leave(visit, false, now);
        }
        door.tidy(now + REST);
        assert!(door.places.is_empty());
    }
}
