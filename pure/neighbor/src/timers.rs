//! When each held address is announced: a burst, then a refresh for as long as it is held.
//!
//! Owns the schedule of one interface. It never sends: it says which address is due, oldest first, and never
//! more than [`FRAMES_PER_TICK`] in one [`TICK`], so that thousands of addresses that move at once neither
//! overrun a switch nor starve each other: first announcements come before any repetition.
//!
//! A lost announcement was measured to cost a blackhole of half a minute, so the burst repeats and the refresh
//! never ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The burst, after the moment an address is held.
pub const BURST: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1000),
];
/// Time from one refresh to the next. The first one comes earlier, spread by address.
pub const REFRESH: Duration = Duration::from_secs(10);
/// Most announcements of one interface in one [`TICK`].
pub const FRAMES_PER_TICK: usize = 200;
/// The time that limit holds for.
pub const TICK: Duration = Duration::from_millis(5);

/// The schedule of one interface, over addresses of one family.
#[derive(Debug)]
pub struct Schedule<A> {
    plans: BTreeMap<A, Plan>,
    due: BTreeSet<(Instant, A)>,
    tick_began: Option<Instant>,
    frames_in_tick: usize,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    began: Instant,
    next: Instant,
}

/// What spreads refreshes: addresses next to each other land far apart.
pub trait Spread: Copy + Ord {
    /// Any number that follows from the address.
    fn spread(self) -> u32;
}

impl Spread for std::net::Ipv4Addr {
    fn spread(self) -> u32 {
        // Multiplying by 2^32 divided by the golden ratio scatters consecutive numbers evenly.
        u32::from(self).wrapping_mul(0x9e37_79b9)
    }
}

impl<A> Default for Schedule<A> {
    fn default() -> Self {
        Self { plans: BTreeMap::new(), due: BTreeSet::new(), tick_began: None, frames_in_tick: 0 }
    }
}

impl<A: Spread> Schedule<A> {
    /// Begin a burst for this address now, again if one is under way.
    pub fn begin(&mut self, address: A, now: Instant) {
        self.forget(address);
        self.plans.insert(address, Plan { began: now, next: now });
        self.due.insert((now, address));
    }

    /// Announce it no more.
    pub fn forget(&mut self, address: A) {
        if let Some(plan) = self.plans.remove(&address) {
            self.due.remove(&(plan.next, address));
        }
    }

    /// Announce nothing more.
    pub fn clear(&mut self) {
        self.plans.clear();
        self.due.clear();
    }

    /// The next address to announce now, if one is due and this tick has room. Its next turn is planned:
    /// repetitions that were missed meanwhile are left out.
    pub fn pop(&mut self, now: Instant) -> Option<A> {
        self.turn_tick(now);
        let (due, address) = *self.due.first()?;
        if due > now || self.frames_in_tick >= FRAMES_PER_TICK {
            return None;
        }
        self.frames_in_tick += 1;
        self.due.pop_first();
        if let Some(plan) = self.plans.get_mut(&address) {
            plan.next = next_turn(plan.began, address.spread(), now);
            self.due.insert((plan.next, address));
        }
        Some(address)
    }

    /// When `pop` has something to say.
    pub fn next(&self) -> Option<Instant> {
        let (due, _) = *self.due.first()?;
        let full = self.frames_in_tick >= FRAMES_PER_TICK;
        let room = self.tick_began.filter(|_| full).map(|began| began + TICK);
        Some(room.map_or(due, |room| room.max(due)))
    }

    fn turn_tick(&mut self, now: Instant) {
        if self.tick_began.is_none_or(|began| now >= began + TICK) {
            self.tick_began = Some(now);
            self.frames_in_tick = 0;
        }
    }
}

/// The first turn after `now` of an address whose burst began at `began`.
fn next_turn(began: Instant, spread: u32, now: Instant) -> Instant {
    let passed = now.saturating_duration_since(began);
    if let Some(step) = BURST.iter().find(|step| **step > passed) {
        return began + *step;
    }
    // Refreshes keep a beat of their own: a phase of the address, then every ten seconds, at least one second
    // after the burst.
    let period = REFRESH.as_millis() as u64;
    let first = BURST[BURST.len() - 1]
        + Duration::from_millis(1000 + u64::from(spread) * (period - 1000) / (1 << 32));
    let missed = passed.saturating_sub(first).as_millis() as u64 / period;
    let next = first + Duration::from_millis(missed * period);
    began + if next > passed { next } else { next + REFRESH }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from nothing")]
    fn epoch() -> Instant {
        Instant::now()
    }

    /// Every announcement of `count` addresses held at once, served on time: (milliseconds, address).
    fn announcements(count: u32, millis: u64) -> Vec<(u64, Ipv4Addr)> {
        let start = epoch();
        let mut schedule = Schedule::default();
        (0..count).for_each(|number| schedule.begin(Ipv4Addr::from(0x0a00_0000 + number), start));
        let mut said = vec![];
        while let Some(now) = schedule.next().filter(|due| *due < start + Duration::from_millis(millis)) {
            while let Some(address) = schedule.pop(now) {
                said.push(((now - start).as_millis() as u64, address));
            }
        }
        said
    }

    #[test]
    fn one_address_is_announced_in_a_burst_and_then_every_ten_seconds() {
        let times: Vec<u64> = announcements(1, 60_000).into_iter().map(|(at, _)| at).collect();
        assert_eq!(times[..7], [0, 20, 60, 150, 300, 600, 1000]);
        assert!((2000..11_000).contains(&times[7]), "{times:?}");
        assert!(times[7..].windows(2).all(|pair| pair[1] - pair[0] == 10_000), "{times:?}");
    }

    #[test]
    fn thousands_are_announced_within_the_limit_and_all_before_any_is_repeated() {
        let said = announcements(5000, 30_000);
        for (tick, frames) in counts(&said, 5) {
            assert!(frames <= FRAMES_PER_TICK, "{frames} in tick {tick}");
        }
        let first: BTreeSet<_> = said[..5000].iter().map(|(_, address)| *address).collect();
        assert_eq!((first.len(), said[4999].0), (5000, 24 * 5));
    }

    #[test]
    fn refreshes_of_thousands_are_spread_over_the_period() {
        let said = announcements(5000, 30_000);
        let refreshes: Vec<_> = said.into_iter().filter(|(at, _)| *at >= 20_000).collect();
        assert_eq!(refreshes.len(), 5000);
        // 9 s of phases: 5000 addresses are 556 a second.
        assert!(counts(&refreshes, 100).values().all(|frames| *frames < 80));
    }

    #[test]
    fn repetitions_missed_while_the_clock_stood_still_are_left_out() {
        let start = epoch();
        let mut schedule = Schedule::default();
        let address = Ipv4Addr::new(10, 0, 0, 1);
        schedule.begin(address, start);
        let late = start + Duration::from_secs(100);
        assert_eq!((schedule.pop(late), schedule.pop(late)), (Some(address), None));
        let wait = schedule.next().unwrap() - late;
        assert!(wait > Duration::ZERO && wait <= REFRESH, "{wait:?}");
    }

    fn counts(said: &[(u64, Ipv4Addr)], millis: u64) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        said.iter().for_each(|(at, _)| *counts.entry(at / millis).or_default() += 1);
        counts
    }
}
