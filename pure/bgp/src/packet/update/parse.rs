//! The list of path attributes, read by RFC 4271, section 6.3 as RFC 7606 revises it.

use super::fault::{escalate, multiprotocol};
use super::{Discarded, Fault, Malformed, Problem, UpdateContext};
use crate::error::MessageError;
use crate::packet::attributes::{code, flag};
use crate::packet::{
    AS_TRANS, Aggregator, AsPath, Attributes, Community, LargeCommunity, Origin, RawAttribute, Reader, prefix,
};
use crate::peer::PeerKind;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Everything the list said.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) attributes: Attributes,
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) mp_reach: Option<MpReach>,
    pub(super) mp_unreach: Option<Vec<Ipv4Net>>,
    /// MP_UNREACH_NLRI is there and nothing else.
    pub(super) only_mp_unreach: bool,
    pub(super) malformed: Option<Malformed>,
    pub(super) discarded: Vec<Discarded>,
    seen: Seen,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
}

/// MP_REACH_NLRI of IPv4 unicast.
#[derive(Debug)]
pub(super) struct MpReach {
    pub(super) next_hop: Ipv4Addr,
    pub(super) prefixes: Vec<Ipv4Net>,
}

/// One attribute, cut out of the list.
struct Attribute<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    whole: &'a [u8],
}

/// Reads the list. `announces`: the message has prefixes in its old NLRI field.
pub(super) fn attributes(
    list: &[u8],
    context: &UpdateContext,
    announces: bool,
) -> Result<Parsed, MessageError> {
    let mut parsed = Parsed::default();
    let mut reader = Reader::new(list);
    while !reader.is_empty() {
        let Some(attribute) = cut(&mut reader) else {
            // RFC 7606, section 4: the length of the whole list still finds the prefixes.
            parsed.malformed(None, Problem::Overrun);
            break;
        };
        let first = parsed.seen.insert(attribute.code);
        let taken = if first { parsed.take(&attribute, context) } else { duplicate(attribute.code) };
        match taken {
            Ok(()) => {}
            Err(Fault::Discard(problem)) => {
                parsed.discarded.push(Discarded { attribute: attribute.code, problem })
            }
            Err(Fault::Withdraw(problem)) => parsed.malformed(Some(attribute.code), problem),
            Err(Fault::Reset(error)) => return Err(error),
        }
    }
    parsed.settle(context, announces)?;
    Ok(parsed)
}

impl Parsed {
    fn malformed(&mut self, attribute: Option<u8>, problem: Problem) {
        self.malformed.get_or_insert(Malformed { attribute, problem });
    }

    /// Takes one attribute. A flat table: what each may look like, and which answer its faults get.
    fn take(&mut self, attribute: &Attribute<'_>, context: &UpdateContext) -> Result<(), Fault> {
        let value = attribute.value;
        let external = context.kind == PeerKind::External;
        let flags = check_flags(attribute);
        // These two say what to withdraw, whatever their flags.
        match attribute.code {
            code::MP_REACH => return self.take_mp_reach(value).and(flags),
            code::MP_UNREACH => return self.take_mp_unreach(value).and(flags),
            // RFC 7606, sections 7.5, 7.9, 7.10: from outside they are ignored, whatever their form.
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST if external => {
                return Err(Fault::Discard(Problem::FromExternal));
            }
            // RFC 6793, sections 4.1 and 6: ignored, not an error.
            code::AS4_PATH | code::AS4_AGGREGATOR if context.four_byte_as => {
                return Err(Fault::Discard(Problem::FromFourByteSpeaker));
            }
            _ => flags?,
        }
        let into = &mut self.attributes;
        match attribute.code {
            code::ORIGIN => {
                let [origin] = exactly(value)?;
                into.origin = Origin::from_code(origin).ok_or(Fault::Withdraw(Problem::Origin(origin)))?;
            }
            code::AS_PATH => {
                into.as_path = AsPath::decode(value, context.four_byte_as).map_err(Fault::Withdraw)?;
            }
            code::NEXT_HOP => self.next_hop = Some(next_hop(Ipv4Addr::from(exactly(value)?))?),
            code::MED => into.med = Some(u32::from_be_bytes(exactly(value)?)),
            code::LOCAL_PREF => into.local_pref = Some(u32::from_be_bytes(exactly(value)?)),
            code::ATOMIC_AGGREGATE => {
                let [] = exactly(value).map_err(discarded)?;
                into.atomic_aggregate = true;
            }
            code::AGGREGATOR => into.aggregator = Some(aggregator(value, context.four_byte_as)?),
            code::COMMUNITIES => {
                into.communities = words(value, 4)?.map(|word| Community(be32(word))).collect();
            }
            code::ORIGINATOR_ID => into.originator_id = Some(Ipv4Addr::from(exactly(value)?)),
            code::CLUSTER_LIST => {
                into.cluster_list = words(value, 4)?.map(|word| Ipv4Addr::from(be32(word))).collect();
            }
            code::AS4_PATH => self.as4_path = Some(AsPath::decode(value, true).map_err(Fault::Discard)?),
            code::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(value, true)?),
            code::LARGE_COMMUNITIES => {
                into.large_communities = words(value, 12)?.map(large_community).collect();
            }
            code::EXTENDED_COMMUNITIES => {
                words(value, 8).map(drop)?;
                into.unknown.push(raw(attribute));
            }
            _ if attribute.flags & flag::OPTIONAL == 0 => {
                let problem = format!("well-known attribute {} is unknown", attribute.code);
                return Err(Fault::Reset(MessageError::new(3, 2, attribute.whole, problem)));
            }
            // Not transitive and not known: quietly ignored (RFC 4271, section 9).
            _ if attribute.flags & flag::TRANSITIVE == 0 => {}
            _ => into.unknown.push(raw(attribute)),
        }
        Ok(())
    }

    fn take_mp_reach(&mut self, value: &[u8]) -> Result<(), Fault> {
        let broken = || multiprotocol(code::MP_REACH, "its next hop cannot be read");
        let mut reader = Reader::new(value);
        let family = negotiated(&mut reader, code::MP_REACH);
        let length = reader.u8().map(usize::from).ok_or_else(broken)?;
        let address = reader.take(length).ok_or_else(broken)?;
        reader.u8().ok_or_else(broken)?;
        family?;
        let address = <[u8; 4]>::try_from(address).map_err(|_| broken())?;
        let prefixes = mp_prefixes(reader.rest(), code::MP_REACH)?;
        let next_hop_fault = next_hop(Ipv4Addr::from(address)).err();
        self.mp_reach = Some(MpReach { next_hop: Ipv4Addr::from(address), prefixes });
        next_hop_fault.map_or(Ok(()), Err)
    }

    fn take_mp_unreach(&mut self, value: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(value);
        negotiated(&mut reader, code::MP_UNREACH)?;
        self.mp_unreach = Some(mp_prefixes(reader.rest(), code::MP_UNREACH)?);
        Ok(())
    }

    /// What can be said once all attributes are known: what is missing, what contradicts.
    fn settle(&mut self, context: &UpdateContext, announces: bool) -> Result<(), MessageError> {
        self.only_mp_unreach = self.seen.is_only(code::MP_UNREACH);
        let reaches = announces || self.mp_reach.as_ref().is_some_and(|reach| !reach.prefixes.is_empty());
        if reaches {
            let mut mandatory = vec![code::ORIGIN, code::AS_PATH];
            mandatory.extend(announces.then_some(code::NEXT_HOP));
            mandatory.extend((context.kind == PeerKind::Internal).then_some(code::LOCAL_PREF));
            if let Some(missing) = mandatory.into_iter().find(|code| !self.seen.contains(*code)) {
                self.malformed(Some(missing), Problem::Missing);
            }
            let external = context.kind == PeerKind::External;
            let first = self.attributes.as_path.first();
            let peer_as = if context.four_byte_as { context.peer_as } else { short(context.peer_as) };
            if external && context.enforce_first_as && first != Some(peer_as) {
                self.malformed(Some(code::AS_PATH), Problem::FirstAs(context.peer_as));
            }
        } else if let Some(malformed) = &self.malformed {
            // Routes of a family that is not spoken show where they are; nothing of ours is hidden.
            let foreign = self.seen.contains(code::MP_REACH) && self.mp_reach.is_none();
            let certain = malformed.problem != Problem::Overrun && (self.only_mp_unreach || foreign);
            if !certain {
                return Err(escalate(malformed));
            }
        }
        self.merge_four_byte();
        Ok(())
    }

    /// RFC 6793, section 4.2.3.
    fn merge_four_byte(&mut self) {
        let aggregator = self.attributes.aggregator;
        if aggregator.is_some_and(|aggregator| aggregator.asn != u32::from(AS_TRANS)) {
            return;
        }
        if aggregator.is_some() && self.as4_aggregator.is_some() {
            self.attributes.aggregator = self.as4_aggregator;
        }
        if let Some(as4_path) = self.as4_path.take() {
            let path = std::mem::take(&mut self.attributes.as_path);
            self.attributes.as_path = path.merged_with(as4_path);
        }
    }
}

/// Which type codes a message has had: one bit each.
#[derive(Debug, Default)]
struct Seen([u64; 4]);

impl Seen {
    /// True if it is new.
    fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        self.0[usize::from(code / 64)] |= 1 << (code % 64);
        new
    }

    fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code / 64)] & (1 << (code % 64)) != 0
    }

    fn is_only(&self, code: u8) -> bool {
        self.contains(code) && self.0.iter().map(|word| word.count_ones()).sum::<u32>() == 1
    }
}

/// Cuts the next attribute off; None if it runs past the list.
fn cut<'a>(reader: &mut Reader<'a>) -> Option<Attribute<'a>> {
    let from = reader.rest();
    let (flags, code) = (reader.u8()?, reader.u8()?);
    let extended = flags & flag::EXTENDED_LENGTH != 0;
    let length = if extended { usize::from(reader.u16()?) } else { usize::from(reader.u8()?) };
    let value = reader.take(length)?;
    let whole = from.get(..from.len() - reader.rest().len())?;
    Some(Attribute { flags, code, value, whole })
}

/// RFC 7606, section 3 (c): the optional and transitive bits of a known attribute.
fn check_flags(attribute: &Attribute<'_>) -> Result<(), Fault> {
    let expected = match attribute.code {
        code::ORIGIN..=code::NEXT_HOP | code::LOCAL_PREF | code::ATOMIC_AGGREGATE => flag::TRANSITIVE,
        code::MED | code::ORIGINATOR_ID | code::CLUSTER_LIST | code::MP_REACH | code::MP_UNREACH => {
            flag::OPTIONAL
        }
        code::AGGREGATOR | code::COMMUNITIES | code::LARGE_COMMUNITIES => flag::OPTIONAL | flag::TRANSITIVE,
        code::EXTENDED_COMMUNITIES => flag::OPTIONAL | flag::TRANSITIVE,
        // RFC 6793, section 6: a malformed one is discarded, and so is one with wrong flags.
        code::AS4_PATH | code::AS4_AGGREGATOR => {
            let right = attribute.flags & 0xc0 == flag::OPTIONAL | flag::TRANSITIVE;
            return if right { Ok(()) } else { Err(Fault::Discard(Problem::Flags(attribute.flags))) };
        }
        _ => return Ok(()),
    };
    if attribute.flags & 0xc0 == expected {
        Ok(())
    } else {
        Err(Fault::Withdraw(Problem::Flags(attribute.flags)))
    }
}

/// RFC 7606, section 3 (g): two of the multiprotocol attributes reset, any other is ignored.
fn duplicate(attribute: u8) -> Result<(), Fault> {
    match attribute {
        code::MP_REACH | code::MP_UNREACH => {
            let problem = format!("{} is there twice", super::attribute_name(attribute));
            Err(Fault::Reset(MessageError::new(3, 1, &[], problem)))
        }
        _ => Err(Fault::Discard(Problem::Duplicate)),
    }
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Fault> {
    value.try_into().map_err(|_| Fault::Withdraw(Problem::Length(value.len())))
}

/// A non-empty list of words of `width` bytes.
fn words(value: &[u8], width: usize) -> Result<std::slice::ChunksExact<'_, u8>, Fault> {
    if value.is_empty() || !value.len().is_multiple_of(width) {
        return Err(Fault::Withdraw(Problem::Length(value.len())));
    }
    Ok(value.chunks_exact(width))
}

fn be32(word: &[u8]) -> u32 {
    word.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn large_community(word: &[u8]) -> LargeCommunity {
    LargeCommunity { global: be32(&word[..4]), local1: be32(&word[4..8]), local2: be32(&word[8..12]) }
}

fn aggregator(value: &[u8], four_byte_as: bool) -> Result<Aggregator, Fault> {
    let mut reader = Reader::new(value);
    let asn = if four_byte_as { reader.u32() } else { reader.u16().map(u32::from) };
    match (asn, reader.ipv4(), reader.is_empty()) {
        // RFC 7607: AS 0 makes it malformed.
        (Some(0), ..) => Err(Fault::Discard(Problem::AsZero)),
        (Some(asn), Some(address), true) => Ok(Aggregator { asn, address }),
        _ => Err(Fault::Discard(Problem::Length(value.len()))),
    }
}

/// RFC 4271, section 6.3: a next hop is the address of a host.
fn next_hop(address: Ipv4Addr) -> Result<Ipv4Addr, Fault> {
    let first = address.octets()[0];
    if first == 0 || first == 127 || first >= 224 {
        return Err(Fault::Withdraw(Problem::NextHop(address)));
    }
    Ok(address)
}

/// Reads the family in front of a multiprotocol attribute. Of those not spoken, no route is read.
fn negotiated(reader: &mut Reader<'_>, attribute: u8) -> Result<(), Fault> {
    match (reader.u16(), reader.u8()) {
        (Some(1), Some(1)) => Ok(()),
        (Some(afi), Some(safi)) => Err(Fault::Discard(Problem::Family { afi, safi })),
        _ => Err(multiprotocol(attribute, "its family cannot be read")),
    }
}

fn mp_prefixes(field: &[u8], attribute: u8) -> Result<Vec<Ipv4Net>, Fault> {
    prefix::decode_all(field).map_err(|problem| multiprotocol(attribute, &problem))
}

fn raw(attribute: &Attribute<'_>) -> RawAttribute {
    let flags = attribute.flags & !flag::EXTENDED_LENGTH;
    RawAttribute { flags, code: attribute.code, value: attribute.value.to_vec() }
}

fn short(asn: u32) -> u32 {
    u16::try_from(asn).unwrap_or(AS_TRANS).into()
}

fn discarded(fault: Fault) -> Fault {
    match fault {
        Fault::Withdraw(problem) => Fault::Discard(problem),
        other => other,
    }
}
