//! What a backend may carry, as those ask who want to send something there.
//!
//! [`admit`](Gate::admit) for a request, [`connection`](Gate::connection) for each connection that is opened,
//! [`repeat`](Gate::repeat) before another attempt. What is returned is held until the request, the connection or the
//! attempt is over, and counts as long. Without limits nothing is counted but connections, for the process has only so many.

use std::net::IpAddr;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use tidegate_traffic::Refusal;
use tidegate_traffic::balance::{Held, Shared};

use super::Slot;
use super::budget::Budget;
use super::line::{self, Passage};

/// The limits of one backend.
#[derive(Clone)]
pub struct Gate {
    pub(super) slot: Arc<Slot>,
    pub(super) shared: Arc<Shared>,
    /// Connections of the process to endpoints.
    pub(super) budget: Arc<Budget>,
    /// Requests and connections turned away.
    pub(super) refused: Counter,
}

impl Gate {
    /// What the process knows of the backend.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where the backend is known.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// A place for a request. May wait in line: the caller sees to the deadline, and to a client that leaves, by dropping
    /// the future.
    pub async fn admit(&self) -> Result<Passage, Refusal> {
        if self.slot.backend.policy.breaker.requests.is_none() {
            return Ok(Passage::default());
        }
        self.counted(line::request(&self.shared, self.slot.lines()).await)
    }

    /// A place for a request, if there is one now. Who gets none may still [`admit`](Self::admit) it, and is counted there.
    pub fn try_admit(&self) -> Option<Passage> {
        if self.slot.backend.policy.breaker.requests.is_none() {
            return Some(Passage::default());
        }
        line::try_request(&self.shared, self.slot.lines())
    }

    /// A place for a connection on behalf of a client, held as long as it is open, also while nobody uses it. May wait in line
    /// as [`admit`](Gate::admit) does; for what the process may have nobody waits.
    pub async fn connection(&self, client: Option<IpAddr>) -> Result<Passage, Refusal> {
        let lines = self.slot.lines();
        let passage = match self.slot.backend.policy.breaker.connections {
            None => Passage::default(),
            Some(_) => self.counted(line::connection(&self.shared, lines).await)?,
        };
        let berth = self.budget.take(&lines.open, client).ok_or(Refusal::NO_CONNECTIONS);
        Ok(passage.with(self.counted(berth)?))
    }

    /// Whether connections have become so few that unused ones are to be closed.
    pub fn is_short(&self) -> bool {
        self.budget.is_short()
    }

    /// Somebody has waited for a place in vain, and is turned away.
    pub fn give_up(&self) -> Refusal {
        self.refused.inc();
        Refusal::CIRCUIT_OPEN
    }

    /// A place among the repeats under way, if there is one; the budget is asked besides.
    pub fn repeat(&self) -> Option<Held> {
        self.shared.circuit().retry().ok()
    }

    fn counted<T>(&self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if result.is_err() {
            self.refused.inc();
        }
        result
    }
}
