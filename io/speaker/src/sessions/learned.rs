//! What was learned over BGP, as others use it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

/// Routes to install, and how far they can be trusted to be all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Prefix to next hops, ascending, never empty.
    pub routes: Arc<BTreeMap<Ipv4Net, Vec<Ipv4Addr>>>,
    /// Every peer has told all it has, or had its time to; until then routes of an earlier run are kept.
    pub settled: bool,
    /// Whether this gateway could carry traffic to and from pods: some session is up, and if anything may be learned,
    /// something fresh was. One session is enough: waiting for all would let one dead node hold a gateway back.
    pub carries: bool,
}

/// A route in use, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedRoute {
    /// Where to.
    pub prefix: Ipv4Net,
    /// Ascending, never empty.
    pub next_hops: Vec<Ipv4Addr>,
    /// Names of the peers that told us.
    pub peers: Vec<String>,
    /// Only sessions that are down told us.
    pub stale: bool,
}

/// Everything about sessions that a status page shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionsObserved {
    /// By peer.
    pub sessions: Vec<SessionStatus>,
    /// Why nobody can connect to us, or empty.
    pub listen_error: String,
}

/// One session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionStatus {
    /// BGPPeer.
    pub peer: String,
    /// Its address.
    pub address: String,
    /// Our AS.
    pub local_as: u32,
    /// Its AS; 0 until it is known.
    pub remote_as: u32,
    /// RFC 4271 section 8.2.2.
    pub state: String,
    /// Since when.
    pub since: Instant,
    /// Prefixes held from it.
    pub received: usize,
    /// Announcements refused by import since the session came up.
    pub refused: usize,
    /// Prefixes announced.
    pub announced: usize,
    /// What ended the last session or attempt.
    pub last_error: String,
}

/// How long routes of a lost session are kept, used only where nothing fresh leads: longer than a node agent's restart
/// and than any error wait of BIRD's (30 s).
pub(super) const RETAIN: Duration = Duration::from_secs(180);

/// How long after the start routes of an earlier run are kept for peers that do not come back.
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(180);
