//! NOTIFICATION: why a session ends, with the names that RFC 4271, 4486, 6608, 8538 and 9003 give.

use super::{HEADER_BYTES, MESSAGE_BYTES_MAX, MessageKind, message};
use std::fmt;

/// An error code, its subcode and data. Sent or received, it ends the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Which part failed: 1 header, 2 OPEN, 3 UPDATE, 4 hold timer, 5 state machine, 6 Cease, 7 refresh.
    pub code: u8,
    /// What in that part; 0 is unspecific.
    pub subcode: u8,
    /// Depends on both codes; often empty.
    pub data: Vec<u8>,
}

/// Why we end a session of our own will (RFC 4486). The texts reach the peer (RFC 9003) and are
/// cut to 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CeaseReason {
    /// The operator ended it; it stays down.
    AdministrativeShutdown {
        /// For the operator of the other side; may be empty.
        text: String,
    },
    /// The operator restarts it; it comes back.
    AdministrativeReset {
        /// For the operator of the other side; may be empty.
        text: String,
    },
    /// The peer was removed from the settings.
    PeerDeconfigured,
    /// The peer sent more prefixes than are allowed.
    MaximumPrefixes,
    /// Settings changed that need a new session.
    ConfigurationChange,
    /// The connection is not wanted.
    ConnectionRejected,
    /// The other of two simultaneous connections was kept (RFC 4271, section 6.8).
    ConnectionCollision,
    /// We are short of memory.
    OutOfResources,
}

impl CeaseReason {
    /// The subcode of Cease.
    pub fn subcode(&self) -> u8 {
        match self {
            CeaseReason::MaximumPrefixes => 1,
            CeaseReason::AdministrativeShutdown { .. } => 2,
            CeaseReason::PeerDeconfigured => 3,
            CeaseReason::AdministrativeReset { .. } => 4,
            CeaseReason::ConnectionRejected => 5,
            CeaseReason::ConfigurationChange => 6,
            CeaseReason::ConnectionCollision => 7,
            CeaseReason::OutOfResources => 8,
        }
    }
}

impl From<&CeaseReason> for Notification {
    fn from(reason: &CeaseReason) -> Notification {
        let data = match reason {
            CeaseReason::AdministrativeShutdown { text } | CeaseReason::AdministrativeReset { text } => {
                encode_text(text)
            }
            _ => Vec::new(),
        };
        Notification { code: 6, subcode: reason.subcode(), data }
    }
}

impl Notification {
    pub(crate) const HOLD_TIMER_EXPIRED: Notification =
        Notification { code: 4, subcode: 0, data: Vec::new() };

    /// Reads the body of a NOTIFICATION. There is no error: no one may answer one with another.
    pub fn decode(body: &[u8]) -> Notification {
        let code = body.first().copied().unwrap_or(0);
        let subcode = body.get(1).copied().unwrap_or(0);
        Notification { code, subcode, data: body.get(2..).unwrap_or_default().to_vec() }
    }

    /// The whole message; data that would not fit is cut.
    pub fn encode(&self) -> Vec<u8> {
        let room = MESSAGE_BYTES_MAX - HEADER_BYTES - 2;
        let data = self.data.get(..room).unwrap_or(&self.data);
        message(MessageKind::Notification, &[&[self.code, self.subcode], data].concat())
    }

    /// The name of the code.
    pub fn code_name(&self) -> &'static str {
        match self.code {
            1 => "Message Header Error",
            2 => "OPEN Message Error",
            3 => "UPDATE Message Error",
            4 => "Hold Timer Expired",
            5 => "Finite State Machine Error",
            6 => "Cease",
            7 => "ROUTE-REFRESH Message Error",
            8 => "Send Hold Timer Expired",
            _ => "unknown code",
        }
    }

    /// The name of the subcode, if it has one.
    pub fn subcode_name(&self) -> Option<&'static str> {
        let names: &[&'static str] = match self.code {
            1 => &["Connection Not Synchronized", "Bad Message Length", "Bad Message Type"],
            2 => &[
                "Unsupported Version Number",
                "Bad Peer AS",
                "Bad BGP Identifier",
                "Unsupported Optional Parameter",
                "Authentication Failure",
                "Unacceptable Hold Time",
                "Unsupported Capability",
            ],
            3 => &[
                "Malformed Attribute List",
                "Unrecognized Well-known Attribute",
                "Missing Well-known Attribute",
                "Attribute Flags Error",
                "Attribute Length Error",
                "Invalid ORIGIN Attribute",
                "AS Routing Loop",
                "Invalid NEXT_HOP Attribute",
                "Optional Attribute Error",
                "Invalid Network Field",
                "Malformed AS_PATH",
            ],
            5 => &[
                "Receive Unexpected Message in OpenSent State",
                "Receive Unexpected Message in OpenConfirm State",
                "Receive Unexpected Message in Established State",
            ],
            6 => &[
                "Maximum Number of Prefixes Reached",
                "Administrative Shutdown",
                "Peer De-configured",
                "Administrative Reset",
                "Connection Rejected",
                "Other Configuration Change",
                "Connection Collision Resolution",
                "Out of Resources",
                "Hard Reset",
                "BFD Down",
            ],
            7 => &["Invalid Message Length"],
            _ => &[],
        };
        names.get(usize::from(self.subcode).checked_sub(1)?).copied()
    }

    /// What the operator of the other side wrote (RFC 9003), on one line and without control
    /// characters. None where the kind of notification carries no text, or it is empty.
    pub fn shutdown_text(&self) -> Option<String> {
        if self.code != 6 || !matches!(self.subcode, 2 | 4) {
            return None;
        }
        let (&length, rest) = self.data.split_first()?;
        let text = String::from_utf8_lossy(rest.get(..usize::from(length))?);
        let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Some(shown.trim().to_owned()).filter(|shown| !shown.is_empty())
    }

    /// Cease because the other of two simultaneous connections is kept: no fault of anyone.
    pub(crate) fn is_collision(&self) -> bool {
        self.code == 6 && self.subcode == 7
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.code, self.subcode, self.code_name())?;
        if let Some(name) = self.subcode_name() {
            write!(f, ": {name}")?;
        }
        match self.shutdown_text() {
            Some(text) => write!(f, ", saying \"{text}\""),
            None => Ok(()),
        }
    }
}

/// Length and text, cut at a character so that it fits one length byte.
fn encode_text(text: &str) -> Vec<u8> {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = vec![end as u8];
    out.extend_from_slice(&text.as_bytes()[..end]);
    out
}
