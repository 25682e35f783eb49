//! A small seeded generator (SplitMix64) for jitter. Not for secrets.

use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 75 to 100 % of `full`, as RFC 4271, section 10 asks of every repeated timer.
    pub(crate) fn jittered(&mut self, full: Duration) -> Duration {
        full * (750 + (self.next() % 251) as u32) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_quarter_below_and_uses_the_range() {
        let mut random = Random::new(7);
        let all: Vec<_> = (0..1000).map(|_| random.jittered(Duration::from_millis(1000))).collect();
        assert!(all.iter().all(|d| (750..=1000).contains(&d.as_millis())));
        assert!(all.iter().any(|d| d.as_millis() < 780) && all.iter().any(|d| d.as_millis() > 970));
    }
}
