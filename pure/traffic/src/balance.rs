//! Which backend of a rule, and which endpoint of a backend.
//!
//! ```text
//!   every worker                          the process
//!  Balancer ── View (who has a share) ──► Shared ── Roster ── Member (health, ejection, draining), Maglev
//!     │                                     ├── Circuit (what may be under way at once)
//!     └─► Pick ── Lane (under way, latency) └── RetryBudget (how much may be repeated)
//! ```
//!
//! What a user limits or what an endpoint has shown holds for the process and lives in [`Shared`], as atomics; a lock
//! is taken only where something changes. What merely steers (turns, requests under way, latencies) belongs to one
//! worker. So a choice takes no lock and allocates nothing: a worker compares an epoch and goes on with its view.
//!
//! Nothing here connects, waits, reads a clock or draws a random number: `now` is the time since any fixed moment that
//! the whole process shares and never goes back, `random` is uniform over all of u64.

mod balancer;
mod breaker;
mod budget;
mod ejection;
mod ewma;
mod facts;
pub mod hash;
mod health;
pub mod key;
mod maglev;
mod member;
mod shared;
mod turns;
mod view;
mod weights;
mod zone;

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_model::traffic::{Backend, Endpoints, Target, WeightedBackend};

use crate::refusal::Refusal;

pub use balancer::{Balancer, Pick};
pub use breaker::{Admission, Circuit, Held, PENDING_MAX, Waiting};
pub use budget::{BUDGET_PERCENT, RetryBudget, WINDOW_SECS};
pub use ejection::{EJECTION_MAX, Ended};
pub use facts::EndpointFacts;
pub use health::Checker;
pub use maglev::{Maglev, TABLE_SIZE_MAX};
pub use shared::Shared;

/// The share on which `random` (uniform over all of u64) falls, by weight; nothing if all weights are 0.
pub fn share(backends: &[WeightedBackend], random: u64) -> Option<&WeightedBackend> {
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    let mut point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    for backend in backends {
        match point.checked_sub(u64::from(backend.weight)) {
            Some(rest) => point = rest,
            None => return Some(backend),
        }
    }
    None
}

/// The share on which `random` falls, whose filters apply, and its backend; or why it is answered here.
pub fn backend(
    backends: &[WeightedBackend],
    random: u64,
) -> Result<(&WeightedBackend, &Arc<Backend>), Refusal> {
    let share = share(backends, random).ok_or(Refusal::NO_BACKEND_WEIGHT)?;
    match &share.target {
        Target::Backend(backend) => Ok((share, backend)),
        Target::Broken(reason) => Err(Refusal::broken(reason)),
    }
}

/// The endpoint whose turn it is, whatever the policy says; consecutive turns visit all.
pub fn round_robin(endpoints: &Endpoints, turn: usize) -> Result<SocketAddr, Refusal> {
    match endpoints.usable.len() {
        0 => Err(Refusal::NO_ENDPOINT),
        count => Ok(endpoints.usable[turn % count].address),
    }
}

#[cfg(test)]
mod tests;
