//! How many may be at the door who have not proved the secret yet.
//!
//! A stranger's place is held while it tries, and for a second after it failed: so strangers cost some handshakes a second and
//! no more. Each known gateway's address has places of its own, which no stranger takes; all strangers share the rest.
//!
//! From a gateway's address somebody else may come too, a process behind the same translation of addresses. So there nobody is
//! turned away: who comes takes the place of the one that tries longest, and no place rests. Whoever has such an address costs as
//! many handshakes as it can begin, a few at a time, and must go on doing so to be in the gateway's way.

use std::collections::{BTreeMap, VecDeque};
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
pub struct Visit {
    of: Option<IpAddr>,
    /// Names the visit; none before or after it has this number.
    pub number: u64,
}

/// The door.
#[derive(Debug, Default)]
pub struct Door {
    /// By address; strangers under nothing.
    places: BTreeMap<Option<IpAddr>, Places>,
    /// Counts visits.
    visits: u64,
}

#[derive(Debug, Default)]
struct Places {
    /// Numbers of the visits, the longest first.
    trying: VecDeque<u64>,
    /// When places that are not used any more become free.
    resting: Vec<Instant>,
}

impl Door {
    /// One came from this address, which is a gateway's if `known`; nothing: there is no place, and it must go. With it comes
    /// the number of the visit that must end, if there is one whose place it takes.
    pub fn enter(&mut self, from: IpAddr, known: bool, now: Instant) -> Option<(Visit, Option<u64>)> {
        self.tidy(now);
        let (of, most) = if known { (Some(from), PENDING_EACH_MAX) } else { (None, STRANGERS_MAX) };
        let places = self.places.entry(of).or_default();
        let full = places.trying.len() + places.resting.len() >= most;
        let displaced = match (full, of) {
            (false, _) => None,
            (true, Some(_)) => places.trying.pop_front(),
            (true, None) => return None,
        };
        let number = self.visits;
        self.visits += 1;
        places.trying.push_back(number);
        Some((Visit { of, number }, displaced))
    }

    /// It went, or needs no place any more as it `proved` the secret.
    pub fn leave(&mut self, visit: Visit, proved: bool, now: Instant) {
        if let Some(places) = self.places.get_mut(&visit.of) {
            places.trying.retain(|number| *number != visit.number);
            if !proved && visit.of.is_none() {
                places.resting.push(now + REST);
            }
        }
        self.tidy(now);
    }

    /// What is over is forgotten, so there are no more addresses than have places.
    fn tidy(&mut self, now: Instant) {
        self.places.retain(|_, places| {
            places.resting.retain(|free| *free > now);
            !places.trying.is_empty() || !places.resting.is_empty()
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

    /// From a gateway's address nobody is turned away, however many came before and in whatever way they went: the oldest that
    /// has proved nothing goes, and no more of them are there than there are places.
    #[test]
    fn the_oldest_of_an_address_goes() {
        let (mut door, now) = (Door::default(), beginning());
        let gateway = [10, 0, 0, 1].into();
        let mut here: VecDeque<Visit> = VecDeque::new();
        for round in 0..100 {
            let (visit, displaced) = door.enter(gateway, true, now).unwrap();
            here.push_back(visit);
            if let Some(displaced) = displaced {
                let oldest = here.pop_front().unwrap();
                assert_eq!(oldest.number, displaced);
                // It goes a little later, which takes no place from who came for it.
                door.leave(oldest, false, now);
            }
            assert_eq!(here.len(), PENDING_EACH_MAX.min(round + 1));
        }
        // Who has proved the secret is not displaced any more.
        let proved = here.pop_front().unwrap();
        let number = proved.number;
        door.leave(proved, true, now);
        for _ in 0..2 * PENDING_EACH_MAX {
            let (visit, displaced) = door.enter(gateway, true, now).unwrap();
            assert_ne!(displaced, Some(number));
            door.leave(visit, false, now);
        }
    }

    /// Strangers share some places, and however many they are, each gateway has its own.
    #[test]
    fn strangers_keep_no_gateway_out() {
        let (mut door, now) = (Door::default(), beginning());
        let came = (0..100).filter_map(|last| door.enter([192, 0, 2, last].into(), false, now)).count();
        assert_eq!(came, STRANGERS_MAX);
        for gateway in [1, 2] {
            let gateway = [10, 0, 0, gateway].into();
            assert!((0..PENDING_EACH_MAX).all(|_| matches!(door.enter(gateway, true, now), Some((_, None)))));
        }
    }

    /// A place that was used in vain rests for a second; one that was used well is free at once.
    #[test]
    fn places_rest() {
        let (mut door, now) = (Door::default(), beginning());
        let stranger = [192, 0, 2, 1].into();
        for _ in 0..STRANGERS_MAX {
            let (visit, _) = door.enter(stranger, false, now).unwrap();
            door.leave(visit, false, now);
        }
        let soon = now + REST - Duration::from_millis(1);
        assert_eq!(door.enter(stranger, false, soon), None);
        assert!(door.enter(stranger, false, now + REST).is_some());
        let gateway = [10, 0, 0, 1].into();
        for _ in 0..100 {
            let (visit, displaced) = door.enter(gateway, true, now).unwrap();
            assert_eq!(displaced, None);
            door.leave(visit, true, now);
        }
    }

    /// Nothing is kept of who is gone.
    #[test]
    fn nothing_is_left() {
        let (mut door, now) = (Door::default(), beginning());
        for last in 0..200 {
            let (visit, _) = door.enter([10, 0, 0, last].into(), true, now).unwrap();
            door.leave(visit, false, now);
        }
        for _ in 0..STRANGERS_MAX {
            let (visit, _) = door.enter([192, 0, 2, 1].into(), false, now).unwrap();
            door.leave(visit, false, now);
        }
        door.tidy(now + REST);
        assert!(door.places.is_empty());
    }
}
