//! What the elections look like from outside.

use std::net::IpAddr;
use std::time::Instant;

use tidegate_model::speaker::{Group, Leg};

/// One election.
#[derive(Clone, Debug, PartialEq)]
pub struct Election {
    /// The group.
    pub group: String,
    /// `Initialize`, `Backup`, `Master`.
    pub state: String,
    /// Whether this gateway holds the group's addresses.
    pub master_here: bool,
    /// Since when it is in that state.
    pub since: Instant,
    /// This gateway's priority.
    pub priority: u8,
    /// The master as last heard; ourselves when we are it.
    pub master: Option<IpAddr>,
    /// Its legs.
    pub legs: Vec<Leg>,
    /// Why it is in that state.
    pub reason: String,
    /// How often the state changed.
    pub transitions: u64,
}

impl Election {
    /// A group whose session cannot run.
    pub(super) fn waiting(group: &Group, obstacle: String, since: Instant) -> Self {
        Election {
            group: group.name.clone(),
            state: "Initialize".into(),
            master_here: false,
            since,
            priority: group.priority,
            master: None,
            legs: group.legs.clone(),
            reason: obstacle,
            transitions: 0,
        }
    }
}
