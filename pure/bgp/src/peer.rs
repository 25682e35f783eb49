//! What a peer is to us: inside or outside our autonomous system. Never who it is or where.

use std::fmt;

/// iBGP or eBGP. Half of the rules for attributes depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerKind {
    /// Same autonomous system as ours (iBGP).
    Internal,
    /// Another autonomous system (eBGP).
    External,
}

impl PeerKind {
    /// The kind of a peer in `remote_as`, seen from `local_as`.
    pub fn between(local_as: u32, remote_as: u32) -> PeerKind {
        if local_as == remote_as { PeerKind::Internal } else { PeerKind::External }
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerKind::Internal => "iBGP",
            PeerKind::External => "eBGP",
        })
    }
}

/// The autonomous system an OPEN must come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteAs {
    /// This one and no other. Never 0.
    Exact(u32),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
}

impl RemoteAs {
    /// Whether a peer that says it is in `remote_as` may speak with us, who are in `local_as`.
    pub fn admits(self, local_as: u32, remote_as: u32) -> bool {
        match self {
            RemoteAs::Exact(asn) => asn == remote_as,
            RemoteAs::External => remote_as != local_as,
            RemoteAs::Internal => remote_as == local_as,
        }
    }
}

impl fmt::Display for RemoteAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteAs::Exact(asn) => write!(f, "AS {asn}"),
            RemoteAs::External => f.write_str("any AS but ours"),
            RemoteAs::Internal => f.write_str("our own AS"),
        }
    }
}
