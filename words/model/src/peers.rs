//! The gateways beside this one, and what they tell each other.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The set of gateways that this one belongs to, as GatewayNodes name them; empty for one that stands alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peers {
    /// Addresses of this gateway.
    pub here: Vec<IpAddr>,
    /// All others by name, each with its addresses.
    pub others: BTreeMap<String, Vec<IpAddr>>,
}

impl Peers {
    /// Whether there is no other gateway.
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }
}

/// A key that session tickets are sealed with, or opened.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKey {
    /// Names the key in tickets; random.
    pub id: [u8; 16],
    /// What the keys of each listener follow from. Never printed.
    pub secret: [u8; 32],
    /// How long tickets of it are accepted still.
    pub left_secs: u32,
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").field("left_secs", &self.left_secs).finish_non_exhaustive()
    }
}
