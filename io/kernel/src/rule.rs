//! Policy routing rules through the rtnetlink crate: those in our range of priorities that carry our protocol number.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion};
use tidegate_plan::{OURS, RULE_PRIORITIES, Rule};

use crate::error::to_io;

/// Rules of ours.
pub(crate) async fn observe(handle: &Handle) -> io::Result<BTreeSet<Rule>> {
    let mut found = BTreeSet::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let mut dump = std::pin::pin!(handle.rule().get(version).execute());
        while let Some(message) = dump.try_next().await.map_err(to_io)? {
            found.extend(decode(&message));
        }
    }
    Ok(found)
}

/// Adds a rule.
pub(crate) async fn add(handle: &Handle, rule: &Rule) -> io::Result<()> {
    let mut request = handle.rule().add();
    *request.message_mut() = encode(rule);
    request.execute().await.map_err(to_io)
}

/// Deletes a rule.
pub(crate) async fn delete(handle: &Handle, rule: &Rule) -> io::Result<()> {
    handle.rule().del(encode(rule)).execute().await.map_err(to_io)
}

fn encode(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.action = RuleAction::ToTable;
    message.header.src_len = rule.from.map_or(0, |net| net.prefix_len());
    message.header.dst_len = rule.to.map_or(0, |net| net.prefix_len());
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(OURS)));
    attributes.extend(rule.from.map(|net| RuleAttribute::Source(net.addr())));
    attributes.extend(rule.to.map(|net| RuleAttribute::Destination(net.addr())));
    if let Some((mark, mask)) = rule.mark {
        attributes.push(RuleAttribute::FwMark(mark));
        attributes.push(RuleAttribute::FwMask(mask));
    }
    message
}

fn decode(message: &RuleMessage) -> Option<Rule> {
    let ipv6 = message.header.family == AddressFamily::Inet6;
    let mut rule =
        Rule { priority: 0, ipv6, from: None, to: None, mark: None, table: u32::from(message.header.table) };
    let (mut ours, mut mark, mut mask) = (false, None, u32::MAX);
    let net = |address: &IpAddr, len| IpNet::new(*address, len).ok();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) => ours = u8::from(*protocol) == OURS,
            RuleAttribute::Source(address) => rule.from = net(address, message.header.src_len),
            RuleAttribute::Destination(address) => rule.to = net(address, message.header.dst_len),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = *value,
            _ => {}
        }
    }
    rule.mark = mark.map(|mark| (mark, mask));
    (ours && RULE_PRIORITIES.contains(&rule.priority)).then_some(rule)
}
