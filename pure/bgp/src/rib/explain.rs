//! Why a prefix goes where it goes: every path, the best, and at which step each other lost.

use super::{Ineligible, NextHop, Path, PeerFacts, PeerId, Rejection, Step};
use ipnet::Ipv4Net;
use std::fmt;

/// Everything the table knows about one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Exactly this prefix; shorter ones that cover it are others.
    pub prefix: Ipv4Net,
    /// What should be installed, ascending; empty: nothing.
    pub next_hops: Vec<NextHop>,
    /// The best first, then in the order of peers.
    pub paths: Vec<ExplainedPath>,
    /// Peers whose announcement was not kept. The table remembers the first 256 of each peer.
    pub rejected: Vec<(PeerId, Rejection)>,
}

/// One path and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedPath {
    /// The path.
    pub path: Path,
    /// Who sent it.
    pub peer: PeerFacts,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The best.
    Best,
    /// As good, and its next hop is installed beside that of the best.
    Multipath,
    /// As good, but its next hop is installed already.
    SameNextHop,
    /// It lost at this step.
    Lost(Step),
    /// It took no part.
    Ineligible(Ineligible),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Best => f.write_str("best"),
            Verdict::Multipath => f.write_str("multipath"),
            Verdict::SameNextHop => f.write_str("as good, same next hop"),
            Verdict::Lost(step) => write!(f, "lost: {step}"),
            Verdict::Ineligible(reason) => write!(f, "not eligible: {reason}"),
        }
    }
}
