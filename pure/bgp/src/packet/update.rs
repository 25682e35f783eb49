//! UPDATE both ways, with the three answers of RFC 7606 to what is malformed: the attribute is
//! discarded, the routes are withdrawn, or the session is reset. Never the state of a session.

use super::attributes::code;
use super::prefix;
use super::{Attributes, HEADER_BYTES, MESSAGE_BYTES_MAX, MessageKind, Reader, message};
use crate::error::{EncodeError, MessageError};
use crate::peer::PeerKind;
use ipnet::Ipv4Net;
use std::fmt;
use std::net::Ipv4Addr;
use thiserror::Error;

mod fault;
mod parse;

use fault::Fault;

/// How the UPDATEs of one session are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateContext {
    /// Inside or outside our AS.
    pub kind: PeerKind,
    /// The AS of the peer, for the check of the first AS.
    pub peer_as: u32,
    /// Both sides have the four-byte capability.
    pub four_byte_as: bool,
    /// An external peer must stand first in every AS_PATH it sends. Off for route servers.
    pub enforce_first_as: bool,
}

/// An UPDATE as it is to be applied: first the withdrawals, then the announcements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// No longer reachable, or announced with malformed attributes.
    pub withdrawn: Vec<Ipv4Net>,
    /// Reachable; empty if `treat_as_withdraw` is set.
    pub announced: Vec<Announced>,
    /// Of everything announced.
    pub attributes: Attributes,
    /// Why what the peer announced stands among `withdrawn` (RFC 7606, section 2).
    pub treat_as_withdraw: Option<Malformed>,
    /// Attributes ignored for their form; the rest of the message holds.
    pub discarded: Vec<Discarded>,
    /// The peer has sent all it has (RFC 4724, section 2).
    pub end_of_rib: bool,
}

/// Prefixes behind one next hop. There are two of them if a peer uses both the old field and
/// MP_REACH_NLRI in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// A unicast address.
    pub next_hop: Ipv4Addr,
    /// Host bits are clear.
    pub prefixes: Vec<Ipv4Net>,
}

/// The first fault for which routes were withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Type code of the attribute; None if the list of attributes itself was broken.
    pub attribute: Option<u8>,
    /// What was wrong with it.
    pub problem: Problem,
}

/// An attribute that was ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// Type code.
    pub attribute: u8,
    /// Why.
    pub problem: Problem,
}

/// What can be wrong with an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// Not a length this attribute can have.
    #[error("a length of {0} bytes is wrong")]
    Length(usize),
    /// The optional or transitive bit contradicts the attribute.
    #[error("flags 0x{0:02x} are wrong")]
    Flags(u8),
    /// ORIGIN above 2.
    #[error("origin {0} is not defined")]
    Origin(u8),
    /// A segment of unknown type, empty, or longer than the attribute.
    #[error("a segment is malformed")]
    AsPathSegment,
    /// RFC 7607.
    #[error("AS 0 is reserved")]
    AsZero,
    /// The first AS is not that of the external peer.
    #[error("the first AS is not that of the peer, {0}")]
    FirstAs(u32),
    /// Not the address of a host.
    #[error("{0} cannot be a next hop")]
    NextHop(Ipv4Addr),
    /// A mandatory attribute is absent.
    #[error("is missing")]
    Missing,
    /// Seen before in this message; the first is kept.
    #[error("is there twice")]
    Duplicate,
    /// Only internal peers may send it.
    #[error("came from an external peer")]
    FromExternal,
    /// Only two-byte speakers may send it.
    #[error("came from a speaker of four-byte AS numbers")]
    FromFourByteSpeaker,
    /// A family that was not negotiated.
    #[error("family {afi}/{safi} was not negotiated")]
    Family {
        /// Address family.
        afi: u16,
        /// Subsequent address family.
        safi: u8,
    },
    /// An attribute is longer than what is left of the list.
    #[error("runs past the end of the attributes")]
    Overrun,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attribute {
            Some(code) => write!(f, "{} {}", attribute_name(code), self.problem),
            None => write!(f, "the attribute list {}", self.problem),
        }
    }
}

impl fmt::Display for Discarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", attribute_name(self.attribute), self.problem)
    }
}

impl Update {
    /// Reads the body of an UPDATE.
    ///
    /// # Errors
    /// What RFC 7606 still answers with a session reset: lengths that contradict each other,
    /// prefixes that cannot be read, MP_REACH_NLRI or MP_UNREACH_NLRI that cannot be read or come
    /// twice, an unknown well-known attribute, and any fault where nothing shows what to withdraw.
    pub fn decode(body: &[u8], context: &UpdateContext) -> Result<Update, MessageError> {
        let mut reader = Reader::new(body);
        let withdrawn = sized(&mut reader).ok_or_else(|| lengths("withdrawn routes"))?;
        let list = sized(&mut reader).ok_or_else(|| lengths("path attributes"))?;
        let withdrawn = prefixes(withdrawn)?;
        let announced = prefixes(reader.rest())?;
        let parsed = parse::attributes(list, context, !announced.is_empty())?;
        Ok(assemble(withdrawn, announced, parsed, list.is_empty()))
    }
}

/// Puts the fields together, and moves announcements to the withdrawals where a fault demands it.
fn assemble(withdrawn: Vec<Ipv4Net>, announced: Vec<Ipv4Net>, parsed: parse::Parsed, bare: bool) -> Update {
    let nothing = withdrawn.is_empty() && announced.is_empty() && parsed.mp_reach.is_none();
    let end_of_rib = nothing && (bare || (parsed.only_mp_unreach && parsed.mp_unreach == Some(Vec::new())));
    let mut update = Update {
        withdrawn,
        attributes: parsed.attributes,
        treat_as_withdraw: parsed.malformed,
        discarded: parsed.discarded,
        end_of_rib,
        ..Update::default()
    };
    update.withdrawn.extend(parsed.mp_unreach.unwrap_or_default());
    let old_field = parsed.next_hop.map(|next_hop| (next_hop, announced.as_slice()));
    let mp_reach = parsed.mp_reach.as_ref().map(|reach| (reach.next_hop, reach.prefixes.as_slice()));
    if update.treat_as_withdraw.is_some() {
        update.withdrawn.extend(announced);
        update.withdrawn.extend(parsed.mp_reach.into_iter().flat_map(|reach| reach.prefixes));
        update.attributes = Attributes::default();
        return update;
    }
    for (next_hop, prefixes) in old_field.into_iter().chain(mp_reach) {
        if !prefixes.is_empty() {
            update.announced.push(Announced { next_hop, prefixes: prefixes.to_vec() });
        }
    }
    update
}

/// The UPDATEs that announce `prefixes` with these attributes: as many prefixes in each as fit.
/// LOCAL_PREF and the AS_PATH are taken as they are; what a peer may see is for `export`.
///
/// # Errors
/// The attributes leave no room for a prefix.
pub fn encode_announcements(
    attributes: &Attributes,
    next_hop: Ipv4Addr,
    prefixes: &[Ipv4Net],
    four_byte_as: bool,
) -> Result<Vec<Vec<u8>>, EncodeError> {
    let list = attributes.encode(next_hop, four_byte_as);
    let used = HEADER_BYTES + 4 + list.len();
    let room = MESSAGE_BYTES_MAX.checked_sub(used).filter(|room| *room >= prefix::PREFIX_BYTES_MAX);
    let room = room.ok_or(EncodeError::AttributesTooLarge { bytes: list.len() })?;
    let head = [&[0, 0], (list.len() as u16).to_be_bytes().as_slice(), &list].concat();
    Ok(pack(prefixes, room).map(|nlri| message(MessageKind::Update, &[&head[..], &nlri].concat())).collect())
}

/// The UPDATEs that withdraw `prefixes`.
pub fn encode_withdrawals(prefixes: &[Ipv4Net]) -> Vec<Vec<u8>> {
    let room = MESSAGE_BYTES_MAX - HEADER_BYTES - 4;
    let body = |packed: Vec<u8>| [&(packed.len() as u16).to_be_bytes()[..], &packed, &[0, 0]].concat();
    pack(prefixes, room).map(|packed| message(MessageKind::Update, &body(packed))).collect()
}

/// End-of-RIB for IPv4 unicast: an UPDATE with nothing in it (RFC 4724, section 2).
pub fn end_of_rib() -> Vec<u8> {
    message(MessageKind::Update, &[0, 0, 0, 0])
}

/// Fields of packed prefixes, each of at most `room` bytes and never empty.
fn pack(prefixes: &[Ipv4Net], room: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = prefixes.iter().peekable();
    std::iter::from_fn(move || {
        let mut field = Vec::new();
        while let Some(next) = rest.next_if(|next| field.len() + prefix::encoded_bytes(next) <= room) {
            prefix::encode(next, &mut field);
        }
        Some(field).filter(|field| !field.is_empty())
    })
}

/// A field behind its two bytes of length.
fn sized<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u16()?;
    reader.take(usize::from(length))
}

fn prefixes(field: &[u8]) -> Result<Vec<Ipv4Net>, MessageError> {
    prefix::decode_all(field).map_err(|problem| MessageError::new(3, 10, &[], problem))
}

fn lengths(field: &str) -> MessageError {
    MessageError::new(3, 1, &[], format!("the {field} of an UPDATE run past its end"))
}

fn attribute_name(code: u8) -> String {
    let name = match code {
        code::ORIGIN => "ORIGIN",
        code::AS_PATH => "AS_PATH",
        code::NEXT_HOP => "NEXT_HOP",
        code::MED => "MULTI_EXIT_DISC",
        code::LOCAL_PREF => "LOCAL_PREF",
        code::ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
        code::AGGREGATOR => "AGGREGATOR",
        code::COMMUNITIES => "COMMUNITIES",
        code::ORIGINATOR_ID => "ORIGINATOR_ID",
        code::CLUSTER_LIST => "CLUSTER_LIST",
        code::MP_REACH => "MP_REACH_NLRI",
        code::MP_UNREACH => "MP_UNREACH_NLRI",
        code::EXTENDED_COMMUNITIES => "EXTENDED_COMMUNITIES",
        code::AS4_PATH => "AS4_PATH",
        code::AS4_AGGREGATOR => "AS4_AGGREGATOR",
        code::LARGE_COMMUNITIES => "LARGE_COMMUNITIES",
        other => return format!("attribute {other}"),
    };
    name.to_owned()
}
