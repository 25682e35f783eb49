//! What travels from a process to the one that takes over from it, beside descriptors.
//!
//! Only what the next process cannot find out by itself: objects it reads, kernel state it adopts.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::peers::TicketKey;
use crate::traffic::Transport;

/// A listening socket; its descriptor travels beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// TCP or UDP.
    pub transport: Transport,
    /// What it is bound to.
    pub address: SocketAddr,
    /// Names the socket among all of the process, and in every process that has it: one address has several.
    pub number: u64,
}

/// A UDP session; the descriptor of its socket towards the endpoint travels beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpSession {
    /// Number of the listening socket at which the client's datagrams arrive.
    pub socket: u64,
    /// The client.
    pub client: SocketAddr,
    /// The address it asked.
    pub asked: IpAddr,
    /// The interface, which only link-local addresses need.
    pub interface: u32,
    /// The backend, as its id is written.
    pub backend: String,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Datagrams, or trains of them, from the client.
    pub datagrams: u64,
    /// Bytes from the client.
    pub received_bytes: u64,
    /// Bytes to the client.
    pub sent_bytes: u64,
    /// Since it began.
    pub age_ms: u64,
    /// Since it was last used.
    pub idle_ms: u64,
    /// Whether it asked once and was answered.
    pub answered: bool,
}

/// An election of this gateway, as its successor must go on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    /// The group.
    pub group: String,
    /// Whether this gateway holds the group's addresses.
    pub master: bool,
    /// How long it is in that state.
    pub since_ms: u64,
    /// How often the state changed.
    pub transitions: u64,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// Its virtual routers, in their order.
    pub legs: Vec<ElectionLeg>,
}

/// A virtual router of an election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectionLeg {
    /// Its interface.
    pub interface: String,
    /// Its virtual router id.
    pub virtual_router_id: u8,
    /// The other master heard last.
    pub heard: Option<HeardMaster>,
}

/// A master as heard on one virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardMaster {
    /// Source address of its adverts.
    pub address: IpAddr,
    /// Its priority, 1 to 255.
    pub priority: u8,
    /// Between its adverts.
    pub interval_ms: u64,
    /// Since the last one.
    pub silent_ms: u64,
}

/// The keys of session tickets, as the successor must go on with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tickets {
    /// Until the next key becomes the current one.
    pub turns_in_secs: u32,
    /// The key that comes next; the other gateways know it already.
    pub next: TicketKey,
    /// The key that tickets are sealed with now.
    pub current: TicketKey,
    /// Keys whose tickets are accepted: older ones, and those of other gateways.
    pub accepted: Vec<TicketKey>,
}
