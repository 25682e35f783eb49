//! Compressed bodies under way: how many there may be, and what is counted of them.

use std::cell::Cell;

use tidegate_model::traffic::Coding;

use crate::metrics::CompressionMetrics;

/// Bodies that one worker compresses at the same time, each with up to 1.5 MB; others go out as they are.
const UNDER_WAY_MAX: usize = 64;

thread_local! {
    /// Bodies under way on this thread, which is one worker's.
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
}

/// One compressed body: its place among those under way, and its bytes, which are counted at its end.
pub struct Account {
    coding: Coding,
    taken: u64,
    made: u64,
    metrics: CompressionMetrics,
}

impl Account {
    /// Takes a place; none if there is none.
    pub fn open(coding: Coding, metrics: &CompressionMetrics) -> Option<Account> {
        let under_way = UNDER_WAY.get();
        if under_way >= UNDER_WAY_MAX {
            return None;
        }
        UNDER_WAY.set(under_way + 1);
        Some(Account { coding, taken: 0, made: 0, metrics: metrics.clone() })
    }

    /// Counts content, and what became of it.
    pub fn count(&mut self, taken: usize, made: usize) {
        self.taken += taken as u64;
        self.made += made as u64;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get() - 1);
        if self.made > 0 {
            self.metrics.record(self.coding, self.taken, self.made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are only so many places, and one that is left can be taken again.
    #[test]
    fn places() {
        let metrics = CompressionMetrics::default();
        let mut open: Vec<_> = std::iter::from_fn(|| Account::open(Coding::Gzip, &metrics)).collect();
        assert_eq!(open.len(), UNDER_WAY_MAX);
        open.pop();
        assert!(Account::open(Coding::Zstd, &metrics).is_some());
    }
}
