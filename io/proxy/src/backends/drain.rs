//! The handle by which somebody outside drains endpoints by hand.

use std::fmt;
use std::sync::Arc;

use tidegate_model::DrainedEndpoints;

use super::Backends;

/// Drains endpoints by hand and takes them back. What is drained gets no new request, connection or UDP session, of any
/// backend, whether it is there now or comes later, until it is taken back; what is under way to it goes on. Cheap to clone.
#[derive(Clone)]
pub struct HandDrain(Arc<Backends>);

impl HandDrain {
    /// Of these backends.
    pub(crate) fn new(backends: Arc<Backends>) -> HandDrain {
        HandDrain(backends)
    }

    /// Changes which are drained, at once and for every worker; no other change comes between.
    pub fn change<T>(&self, change: impl FnOnce(&mut DrainedEndpoints) -> T) -> T {
        self.0.drain(change)
    }

    /// Which are drained.
    pub fn drained(&self) -> Arc<DrainedEndpoints> {
        self.0.drained_by_hand()
    }
}

impl fmt::Debug for HandDrain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HandDrain").field(&self.drained()).finish()
    }
}
