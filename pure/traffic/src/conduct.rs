//! How the connections of one client address have behaved lately, and whether another may be opened: what one connection may
//! cost is bounded by its own budgets, and who opens another after each cut is bounded here.
//!
//! A score rises with every connection that had to be cut and fades with time. While it is high, and at least half of what the
//! address was let in with was spoiled, only a trickle of new connections is let in; those that are open go on. The share is
//! for addresses that stand for many, as a load balancer does that nobody declared: one client in it does not shut out the
//! others as long as they open more connections than it does. The trickle tells when the others are alone again. Never knows
//! the address, nor any clock.

use std::time::Duration;

/// A connection that was cut, in thousandths.
pub const CUT_MILLI: u64 = 1000;

/// A stream that was reset: 200 of them end a connection.
const RESET_MILLI: u64 = CUT_MILLI / 200;

/// What fades in a second: a cut in ten, as 20 resets a second are allowed on one connection.
const FADES_MILLI_PER_SEC: u64 = 100;

/// No score is higher than the limit and this, so that no address is suspected for longer than 25 s.
const SPARE_MILLI: u64 = 2 * CUT_MILLI;

/// Between two connections that are let in while the address is suspected.
const TRICKLE: Duration = Duration::from_millis(100);

/// The share is taken over this window and the one before.
const WINDOW: Duration = Duration::from_secs(5);

/// How many connections were let in, and what of them was spoiled, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    opened_milli: u64,
    spoiled_milli: u64,
}

/// What is remembered of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    score_milli: u64,
    at: Duration,
    window_began: Duration,
    /// Of this window, and of the one before.
    tallies: [Tally; 2],
    let_in_at: Duration,
}

impl Conduct {
    /// Nothing to be said, at this time: any clock that does not go back, the same for all calls.
    pub fn new(now: Duration) -> Conduct {
        Conduct { at: now, window_began: now, ..Conduct::default() }
    }

    /// What a connection that is over weighs: whether it was cut, and how many of its streams were reset. 0: it was no worse
    /// than others.
    pub fn weight_milli(cut: bool, resets: u32) -> u64 {
        u64::from(resets) * RESET_MILLI + if cut { CUT_MILLI } else { 0 }
    }

    /// Notes the weight of a connection that is over. `limit_milli`: the score from which on the address is suspected.
    pub fn note(&mut self, weight_milli: u64, limit_milli: u64, now: Duration) {
        self.turn_to(now);
        let score = self.score_milli(now) + weight_milli;
        (self.score_milli, self.at) = (score.min(limit_milli + SPARE_MILLI), now);
        let tally = &mut self.tallies[0];
        tally.spoiled_milli += weight_milli.min(CUT_MILLI);
        // It was opened before anything was noted of the address, or two windows ago.
        let both = self.tallies[0].spoiled_milli + self.tallies[1].spoiled_milli;
        let opened = self.tallies[0].opened_milli + self.tallies[1].opened_milli;
        self.tallies[0].opened_milli += both.saturating_sub(opened);
        self.let_in_at = self.let_in_at.max(now);
    }

    /// Whether one more connection is let in; if so it is counted.
    pub fn lets_in(&mut self, limit_milli: u64, now: Duration) -> bool {
        self.turn_to(now);
        let [this, before] = self.tallies;
        // A score within half a cut of the limit: else the fading between the first and the last cut would spare one.
        let is_suspected = self.score_milli(now) + CUT_MILLI / 2 > limit_milli
            && (this.spoiled_milli + before.spoiled_milli) * 2 >= this.opened_milli + before.opened_milli;
        if is_suspected && now.saturating_sub(self.let_in_at) < TRICKLE {
            return false;
        }
        self.let_in_at = now;
        self.tallies[0].opened_milli += CUT_MILLI;
        true
    }

    /// Whether nothing is left to be remembered.
    pub fn is_forgotten(&self, now: Duration) -> bool {
        self.score_milli(now) == 0
    }

    fn score_milli(&self, now: Duration) -> u64 {
        let faded = now.saturating_sub(self.at).as_millis() * u128::from(FADES_MILLI_PER_SEC) / 1000;
        self.score_milli.saturating_sub(u64::try_from(faded).unwrap_or(u64::MAX))
    }

    fn turn_to(&mut self, now: Duration) {
        let age = now.saturating_sub(self.window_began);
        if age >= WINDOW {
            let last = if age < WINDOW * 2 { self.tallies[0] } else { Tally::default() };
            self.tallies = [Tally::default(), last];
            self.window_began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 5 * CUT_MILLI;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// After five cuts in a row a trickle is let in, as long as what is let in is cut; then the address is like any other.
    #[test]
    fn cuts_add_up_and_fade() {
        let mut conduct = Conduct::new(ms(0));
        for _ in 0..4 {
            assert!(conduct.lets_in(LIMIT, ms(0)));
            conduct.note(CUT_MILLI, LIMIT, ms(0));
        }
        assert!(conduct.lets_in(LIMIT, ms(0)), "four are not enough");
        conduct.note(CUT_MILLI, LIMIT, ms(0));
        let mut let_in = 0;
        for at in 1..10_000 {
            if conduct.lets_in(LIMIT, ms(at)) {
                let_in += 1;
                conduct.note(CUT_MILLI, LIMIT, ms(at));
            }
        }
        assert_eq!(let_in, 99, "ten a second");
        assert!(!conduct.lets_in(LIMIT, ms(9_999)));
        for at in 0..25 {
            conduct.lets_in(LIMIT, ms(10_000 + at));
        }
        assert!((0..100).all(|_| conduct.lets_in(LIMIT, ms(40_000))), "it has faded");
    }

    /// One bad client among good ones at the same address shuts out nobody while they open more connections than it, and when
    /// it has gone the trickle lets the others in again.
    #[test]
    fn an_address_of_many() {
        let mut conduct = Conduct::new(ms(0));
        let mut refused = 0;
        for at in 0..20_000 {
            // Three good connections for a bad one, which is cut.
            refused += u32::from(!conduct.lets_in(LIMIT, ms(at)));
            if at % 4 == 0 {
                conduct.note(CUT_MILLI, LIMIT, ms(at));
            }
        }
        assert_eq!(refused, 0);
        for at in 20_000..25_000 {
            if conduct.lets_in(LIMIT, ms(at)) {
                conduct.note(CUT_MILLI, LIMIT, ms(at));
            }
        }
        let refused = |conduct: &mut Conduct, from, to| {
            (from..to).filter(|&at| !conduct.lets_in(LIMIT, ms(at))).count()
        };
        assert!(refused(&mut conduct, 25_000, 36_000) > 0);
        assert_eq!(refused(&mut conduct, 36_000, 37_000), 0);
    }

    /// Connections that stay below the limit of resets add up, too; some now and then never do.
    #[test]
    fn resets_add_up() {
        let mut conduct = Conduct::new(ms(0));
        (0..6).for_each(|_| conduct.note(Conduct::weight_milli(false, 199), LIMIT, ms(0)));
        assert!(!conduct.lets_in(LIMIT, ms(0)));
        let mut conduct = Conduct::new(ms(0));
        for at in 0..1000 {
            conduct.note(Conduct::weight_milli(false, 20), LIMIT, ms(at * 1000));
            assert!(conduct.lets_in(LIMIT, ms(at * 1000)));
        }
        assert!(!conduct.is_forgotten(ms(999_000)) && conduct.is_forgotten(ms(1_100_000)));
    }
}
