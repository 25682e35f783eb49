//! What goes into a session and what comes out of it.

use crate::packet::{Capability, CeaseReason, Notification, Update};
use crate::peer::PeerKind;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

/// A transport connection. The shell chooses the number and never uses one twice in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Who opened a transport connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// We did.
    Outgoing,
    /// The peer did.
    Incoming,
}

impl Direction {
    /// The other one.
    pub fn other(self) -> Direction {
        match self {
            Direction::Outgoing => Direction::Incoming,
            Direction::Incoming => Direction::Outgoing,
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Direction::Outgoing => 0,
            Direction::Incoming => 1,
        }
    }
}

/// The states of RFC 4271, section 8.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Stopped, or waiting after an error; refuses connections.
    Idle,
    /// Waits for a dial to be answered.
    Connect,
    /// Waits for the peer to connect, or for the time to dial.
    Active,
    /// OPEN sent, that of the peer awaited.
    OpenSent,
    /// OPENs agreed, KEEPALIVE awaited.
    OpenConfirm,
    /// Routes flow.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// Keep a session from now on.
    Start,
    /// End it and stay down.
    Stop(CeaseReason),
    /// A connection to the peer stands: a dial succeeded, or the peer connected.
    Opened {
        /// Its number.
        conn: ConnId,
        /// Who opened it.
        direction: Direction,
    },
    /// A dial failed or took longer than it was given.
    OpenFailed {
        /// Why, for a person.
        error: String,
    },
    /// Bytes from the peer, in order, cut anywhere.
    Bytes {
        /// From which connection.
        conn: ConnId,
        /// Any number of them.
        bytes: &'a [u8],
    },
    /// A connection has ended: the peer closed it (no error), or it broke.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why, for a person.
        error: Option<String>,
    },
    /// Time has reached `poll_timeout`. Hand over the bytes that have arrived before this.
    Timeout,
    /// Ask the peer for all its routes again; nothing happens if it cannot (`PeerInfo::route_refresh`).
    Refresh,
    /// Whole UPDATE messages for the peer, from `export::AdjOut`. Dropped unless Established.
    Updates(Vec<Vec<u8>>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Connect to the peer. Answer with exactly one `Opened` (outgoing) or `OpenFailed`.
    Dial {
        /// Give up after this long.
        timeout: Duration,
    },
    /// Write to a connection.
    Send {
        /// Which.
        conn: ConnId,
        /// One whole message.
        bytes: Vec<u8>,
    },
    /// Close a connection once what was sent before is written, or after a second. Do not report it.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Established.
    Up(PeerInfo),
    /// No longer Established.
    Down(DownReason),
    /// Routes from the peer.
    Route(Box<Update>),
    /// The peer wants all our routes again.
    RefreshRequested,
    /// The peer has sent all it has.
    EndOfRib,
}

/// What is known of a peer in an Established session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The connection in use.
    pub conn: ConnId,
    /// Who opened it.
    pub direction: Direction,
    /// iBGP or eBGP.
    pub kind: PeerKind,
    /// Its AS.
    pub remote_as: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// Negotiated hold time in seconds; 0: never expires.
    pub hold_secs: u16,
    /// AS numbers of four bytes in both directions.
    pub four_byte_as: bool,
    /// It answers `Refresh`.
    pub route_refresh: bool,
    /// All it said it can do.
    pub capabilities: Vec<Capability>,
}

/// Why a session ended, or an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// Nothing was heard for the hold time.
    HoldTimerExpired {
        /// The hold time in seconds.
        hold_secs: u64,
    },
    /// The peer closed the connection without a word.
    PeerClosed,
    /// The connection broke.
    Transport(String),
    /// The peer said why.
    NotificationReceived(Notification),
    /// The peer misbehaved, and was told so.
    NotificationSent {
        /// What it was told.
        notification: Notification,
        /// What was wrong.
        problem: String,
    },
    /// Two connections crossed and the other is kept, or the peer opened a new one.
    Collision,
    /// We were told to stop.
    Stopped(CeaseReason),
}

impl DownReason {
    /// One of the two sides is wrong about the protocol or the settings; an immediate new attempt
    /// would end the same way.
    pub fn is_error(&self) -> bool {
        match self {
            DownReason::NotificationSent { .. } => true,
            // Hold timers expire and peers cease in good health; the rest is a complaint about us.
            DownReason::NotificationReceived(n) => !matches!(n.code, 4 | 6),
            _ => false,
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::HoldTimerExpired { hold_secs } => {
                write!(f, "hold timer expired: nothing heard from the peer for {hold_secs} s")
            }
            DownReason::PeerClosed => f.write_str("the peer closed the connection"),
            DownReason::Transport(error) => write!(f, "connection lost: {error}"),
            DownReason::NotificationReceived(n) => write!(f, "the peer sent NOTIFICATION {n}"),
            DownReason::NotificationSent { notification, problem } => {
                write!(f, "{problem}; sent NOTIFICATION {notification}")
            }
            DownReason::Collision => f.write_str("connection collision: another connection is kept"),
            DownReason::Stopped(reason) => write!(f, "stopped: {}", Notification::from(reason)),
        }
    }
}
