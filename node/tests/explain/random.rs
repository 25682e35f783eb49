//! Chance that can be repeated: a seed says it all.

use std::hash::{BuildHasher, RandomState};

/// A small generator (xorshift64).
pub struct Random(u64);

impl Random {
    /// From `TIDEGATE_SEED`, or a new seed; and that seed.
    pub fn seeded() -> (Random, u64) {
        let given = std::env::var("TIDEGATE_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed")) | 1;
        (Random(seed), seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Whether something happens that does so this many times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
