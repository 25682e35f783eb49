//! One copy of equal attributes. Forgets those no path holds once there are twice as many as at
//! the last look, so it stays within a factor of what is used.

use crate::packet::Attributes;
use std::collections::HashSet;
use std::sync::Arc;

const SWEEP_MIN: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Interner {
    known: HashSet<Arc<Attributes>>,
    sweep_at: usize,
}

impl Interner {
    pub(super) fn intern(&mut self, attributes: &Attributes) -> Arc<Attributes> {
        if let Some(known) = self.known.get(attributes) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|attributes| Arc::strong_count(attributes) > 1);
            self.sweep_at = (2 * self.known.len()).max(SWEEP_MIN);
        }
        let fresh = Arc::new(attributes.clone());
        self.known.insert(Arc::clone(&fresh));
        fresh
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
