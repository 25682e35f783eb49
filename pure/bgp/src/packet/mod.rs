//! Messages of BGP-4: bytes to values and back. Owns every constant of the wire; never knows the
//! state of a session or the time.

mod as_path;
mod attributes;
mod framer;
mod notification;
mod open;
mod prefix;
mod reader;
#[cfg(test)]
mod tests;
mod update;

pub use as_path::{AS_TRANS, AsPath, Segment};
pub use attributes::{Aggregator, Attributes, Community, LargeCommunity, Origin, RawAttribute};
pub use framer::Framer;
pub use notification::{CeaseReason, Notification};
pub use open::{Capability, Open};
pub use update::{
    Announced, Discarded, Malformed, Problem, Update, UpdateContext, encode_announcements,
    encode_withdrawals, end_of_rib,
};

use crate::error::MessageError;
use reader::Reader;
use std::fmt;

/// The longest message, header included, in bytes (RFC 4271, section 4.1).
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Marker, length and type.
pub const HEADER_BYTES: usize = 19;

/// The five messages, with their type codes (RFC 4271, section 4.1; RFC 2918).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Type 1.
    Open,
    /// Type 2.
    Update,
    /// Type 3.
    Notification,
    /// Type 4.
    Keepalive,
    /// Type 5.
    RouteRefresh,
}

impl MessageKind {
    /// The kind behind a type code.
    pub fn from_code(code: u8) -> Option<MessageKind> {
        Some(match code {
            1 => MessageKind::Open,
            2 => MessageKind::Update,
            3 => MessageKind::Notification,
            4 => MessageKind::Keepalive,
            5 => MessageKind::RouteRefresh,
            _ => return None,
        })
    }

    /// The type code on the wire.
    pub fn code(self) -> u8 {
        match self {
            MessageKind::Open => 1,
            MessageKind::Update => 2,
            MessageKind::Notification => 3,
            MessageKind::Keepalive => 4,
            MessageKind::RouteRefresh => 5,
        }
    }

    /// Shortest and longest whole message of this kind, in bytes.
    fn bytes_min_max(self) -> (usize, usize) {
        match self {
            MessageKind::Open => (29, MESSAGE_BYTES_MAX),
            MessageKind::Update => (23, MESSAGE_BYTES_MAX),
            MessageKind::Notification => (21, MESSAGE_BYTES_MAX),
            MessageKind::Keepalive => (HEADER_BYTES, HEADER_BYTES),
            MessageKind::RouteRefresh => (23, MESSAGE_BYTES_MAX),
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MessageKind::Open => "OPEN",
            MessageKind::Update => "UPDATE",
            MessageKind::Notification => "NOTIFICATION",
            MessageKind::Keepalive => "KEEPALIVE",
            MessageKind::RouteRefresh => "ROUTE-REFRESH",
        })
    }
}

/// One whole message whose header is sound: what follows the header is `body`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which message.
    pub kind: MessageKind,
    /// The bytes after the 19 of the header.
    pub body: &'a [u8],
}

/// An address family and what of it is carried (RFC 4760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Family {
    /// Address Family Identifier: 1 is IPv4, 2 is IPv6.
    pub afi: u16,
    /// Subsequent Address Family Identifier: 1 is unicast.
    pub safi: u8,
}

impl Family {
    /// IPv4 unicast, the one family spoken so far.
    pub const IPV4_UNICAST: Family = Family { afi: 1, safi: 1 };
}

/// A message of any kind, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Who the peer is and what it can do.
    Open(Open),
    /// Routes.
    Update(Box<Update>),
    /// Why the peer closes.
    Notification(Notification),
    /// The peer lives.
    Keepalive,
    /// The peer wants everything again. Some(subtype) other than 0 marks the ends of an enhanced
    /// refresh (RFC 7313), which we do not advertise.
    RouteRefresh {
        /// The family asked for.
        family: Family,
        /// 0: a request. 1 and 2: RFC 7313.
        subtype: u8,
    },
}

impl Message {
    /// Decodes a frame; `context` says how an UPDATE of this session is to be read.
    ///
    /// # Errors
    /// What the peer must be told before the session is closed.
    pub fn decode(frame: Frame<'_>, context: &UpdateContext) -> Result<Message, MessageError> {
        match frame.kind {
            MessageKind::Open => Open::decode(frame.body).map(Message::Open),
            MessageKind::Update => {
                Update::decode(frame.body, context).map(|update| Message::Update(Box::new(update)))
            }
            MessageKind::Notification => Ok(Message::Notification(Notification::decode(frame.body))),
            MessageKind::Keepalive => Ok(Message::Keepalive),
            MessageKind::RouteRefresh => decode_refresh(frame.body),
        }
    }

    /// Which of the five it is.
    pub fn kind(&self) -> MessageKind {
        match self {
            Message::Open(_) => MessageKind::Open,
            Message::Update(_) => MessageKind::Update,
            Message::Notification(_) => MessageKind::Notification,
            Message::Keepalive => MessageKind::Keepalive,
            Message::RouteRefresh { .. } => MessageKind::RouteRefresh,
        }
    }
}

/// A KEEPALIVE: nothing but a header.
pub fn keepalive() -> Vec<u8> {
    message(MessageKind::Keepalive, &[])
}

/// A ROUTE-REFRESH request for one family (RFC 2918).
pub fn route_refresh(family: Family) -> Vec<u8> {
    let [high, low] = family.afi.to_be_bytes();
    message(MessageKind::RouteRefresh, &[high, low, 0, family.safi])
}

/// Header and body. The caller keeps the body within bounds.
fn message(kind: MessageKind, body: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + body.len();
    debug_assert!(length <= MESSAGE_BYTES_MAX);
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.push(kind.code());
    out.extend_from_slice(body);
    out
}

fn decode_refresh(body: &[u8]) -> Result<Message, MessageError> {
    let mut reader = Reader::new(body);
    match (reader.u16(), reader.u8(), reader.u8()) {
        (Some(afi), Some(subtype), Some(safi)) => {
            Ok(Message::RouteRefresh { family: Family { afi, safi }, subtype })
        }
        // The framer has seen to the length; this is for callers who build frames by hand.
        _ => Err(MessageError::new(1, 2, &[], "a ROUTE-REFRESH is too short")),
    }
}
