//! Routes by our own encoder: dump, changes in batches, and a lookup. 10,000 changes take some 15 ms this way.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use tidegate_plan::{MAIN_TABLE, NextHop, OURS, Observed, Op, RouteKey};

use crate::link::Link;
use crate::netlink::{CREATE, DUMP, EXCL, Message, REPLACE, Received, Requests, attributes, number};

const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;

const DST: u16 = 1;
const OIF: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const MULTIPATH: u16 = 9;
const TABLE: u16 = 15;
const VIA: u16 = 18;

const UNICAST: u8 = 1;
const LOCAL: u8 = 2;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;
const SCOPE_NOWHERE: u8 = 255;
const ONLINK: u8 = 4;
const CLONED: u32 = 0x200;
const LOCAL_TABLE: u32 = 255;
const INET: u8 = 2;
const INET6: u8 = 10;
const NEXT_HOP_LEN: usize = 8;

/// Changes per datagram.
const BATCH: usize = 128;

/// Fills the routes of `observed`; `names` maps interface indices.
pub(crate) fn observe(
    socket: &mut Requests,
    names: &BTreeMap<u32, String>,
    observed: &mut Observed,
) -> io::Result<()> {
    for family in [INET, INET6] {
        let question = Message::new(GETROUTE, DUMP, &[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let found = socket.ask(question, Vec::new, |found, message| found.extend(decode(message, names)))?;
        for route in found {
            if route.protocol == OURS {
                observed.routes.insert(route.key, route.next_hops);
            } else {
                observed.foreign_routes.insert(route.key);
            }
        }
    }
    Ok(())
}

/// Applies route operations in order, and returns the failed ones by their place in `ops`.
pub(crate) fn apply(socket: &mut Requests, ops: &[&Op]) -> Vec<(usize, io::Error)> {
    let mut failed = Vec::new();
    for (chunk, base) in ops.chunks(BATCH).zip((0..).step_by(BATCH)) {
        let (mut batch, mut places) = (Vec::new(), Vec::new());
        for (at, op) in chunk.iter().enumerate() {
            match encode(op) {
                Ok(message) => {
                    batch.push(message);
                    places.push(base + at);
                }
                Err(error) => failed.push((base + at, error)),
            }
        }
        let Some(last) = batch.len().checked_sub(1) else { continue };
        match socket.batch(batch, last) {
            Ok(refused) => failed.extend(refused.into_iter().map(|no| (places[no.index], no.error))),
            Err(error) => {
                failed.extend(places.iter().map(|at| (*at, io::Error::new(error.kind(), error.to_string()))));
            }
        }
    }
    failed
}

fn encode(op: &Op) -> io::Result<Message> {
    match op {
        Op::RouteAdd(key, next_hops) => change(NEWROUTE, CREATE | EXCL, key, next_hops),
        Op::RouteReplace(key, next_hops) => change(NEWROUTE, CREATE | REPLACE, key, next_hops),
        Op::RouteDelete(key) => change(DELROUTE, 0, key, &[]),
        other => Err(io::Error::other(format!("not a route operation: {other}"))),
    }
}

fn change(kind: u16, flags: u16, key: &RouteKey, next_hops: &[NextHop]) -> io::Result<Message> {
    let family = if key.destination.addr().is_ipv4() { INET } else { INET6 };
    let scope = match next_hops {
        [] => SCOPE_NOWHERE,
        [only] if only.is_local() => SCOPE_HOST,
        hops if family == INET && hops.iter().all(|hop| hop.gateway.is_none()) => SCOPE_LINK,
        _ => SCOPE_UNIVERSE,
    };
    let table = u8::try_from(key.table).unwrap_or(0);
    let single_flags = if let [only] = next_hops { next_hop_flags(only) } else { 0 };
    let type_ = match next_hops {
        [] => 0,
        [only] if only.is_local() => LOCAL,
        _ => UNICAST,
    };
    let header = fixed(family, key.destination.prefix_len(), table, scope, type_, u32::from(single_flags));
    let mut message = Message::new(kind, flags, &header);
    message.attr(DST, &octets(key.destination.addr()));
    message.ne32(TABLE, key.table).ne32(PRIORITY, key.metric);
    match next_hops {
        [] => {}
        [only] => {
            if let Some(index) = index_of(only)? {
                message.ne32(OIF, index);
            }
            gateway(&mut message, family, only);
        }
        several => multipath(&mut message, family, several)?,
    }
    Ok(message)
}

fn multipath(message: &mut Message, family: u8, next_hops: &[NextHop]) -> io::Result<()> {
    let mut indexed = Vec::with_capacity(next_hops.len());
    for hop in next_hops {
        indexed.push((hop, index_of(hop)?.unwrap_or(0)));
    }
    message.nest(MULTIPATH, |list| {
        for (hop, index) in indexed {
            let weight = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
            let [a, b, c, d] = index.to_ne_bytes();
            let at = list.raw(&[0, 0, next_hop_flags(hop), weight, a, b, c, d]);
            gateway(list, family, hop);
            list.close_raw(at);
        }
    });
    Ok(())
}

fn gateway(message: &mut Message, family: u8, hop: &NextHop) {
    match hop.gateway {
        Some(address) if family == INET && address.is_ipv6() => {
            let via = [&u16::from(INET6).to_ne_bytes()[..], &octets(address)].concat();
            message.attr(VIA, &via);
        }
        Some(address) => {
            message.attr(GATEWAY, &octets(address));
        }
        None => {}
    }
}

fn next_hop_flags(hop: &NextHop) -> u8 {
    if hop.onlink { ONLINK } else { 0 }
}

fn index_of(hop: &NextHop) -> io::Result<Option<u32>> {
    let Some(name) = &hop.interface else { return Ok(None) };
    match if_nametoindex(name.as_str()) {
        Ok(index) => Ok(Some(index)),
        Err(_) => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {name}"))),
    }
}

/// `struct rtmsg`. A deletion names our protocol too, so that it never takes a stranger's route.
fn fixed(family: u8, len: u8, table: u8, scope: u8, type_: u8, flags: u32) -> [u8; 12] {
    let [a, b, c, d] = flags.to_ne_bytes();
    [family, len, 0, 0, table, OURS, scope, type_, a, b, c, d]
}

struct Found {
    key: RouteKey,
    protocol: u8,
    next_hops: Vec<NextHop>,
}

fn decode(message: &Received<'_>, names: &BTreeMap<u32, String>) -> Option<Found> {
    let (header, rest) = message.payload.split_at_checked(12)?;
    let flags = number(&header[8..12]);
    let attributes: BTreeMap<u16, &[u8]> = attributes(rest).collect();
    let table = attributes.get(&TABLE).map_or(u32::from(header[4]), |value| number(value));
    if message.kind != NEWROUTE || flags & CLONED != 0 || table == LOCAL_TABLE {
        return None;
    }
    let destination = match attributes.get(&DST) {
        Some(value) => address(value)?,
        None if header[0] == INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let metric = attributes.get(&PRIORITY).map_or(0, |value| number(value));
    let next_hops = match attributes.get(&MULTIPATH) {
        Some(list) => decode_multipath(list, names),
        None => vec![decode_next_hop(&attributes, None, flags as u8, 1, names)],
    };
    let key = RouteKey { table, destination: IpNet::new(destination, header[1]).ok()?, metric };
    Some(Found { key, protocol: header[5], next_hops })
}

fn decode_multipath(mut list: &[u8], names: &BTreeMap<u32, String>) -> Vec<NextHop> {
    let mut hops = Vec::new();
    while let Some(head) = list.get(..NEXT_HOP_LEN) {
        let len = number(&head[..2]) as usize;
        let Some(inner) = list.get(NEXT_HOP_LEN..len) else { break };
        let weight = u16::from(head[3]) + 1;
        hops.push(decode_next_hop(
            &attributes(inner).collect(),
            Some(number(&head[4..8])),
            head[2],
            weight,
            names,
        ));
        list = list.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    hops
}

fn decode_next_hop(
    attributes: &BTreeMap<u16, &[u8]>,
    index: Option<u32>,
    flags: u8,
    weight: u16,
    names: &BTreeMap<u32, String>,
) -> NextHop {
    let via = attributes.get(&VIA).and_then(|value| address(value.get(2..)?));
    let index = index.or_else(|| attributes.get(&OIF).map(|value| number(value)));
    NextHop {
        gateway: attributes.get(&GATEWAY).and_then(|value| address(value)).or(via),
        interface: index.and_then(|index| names.get(&index).cloned()),
        onlink: flags & ONLINK != 0,
        weight,
    }
}

/// Unicast routes of the main table that others made, each with the interface of its first next hop.
pub(crate) fn foreign_routes(links: &[Link]) -> io::Result<Vec<(IpNet, String)>> {
    let names: BTreeMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
    let mut socket = Requests::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    let question = Message::new(GETROUTE, DUMP, &[INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let found = socket.ask(question, Vec::new, |found, message| found.extend(decode(message, &names)))?;
    let foreign = found.into_iter().filter(|route| route.protocol != OURS && route.key.table == MAIN_TABLE);
    Ok(foreign
        .filter_map(|route| Some((route.key.destination, route.next_hops.first()?.interface.clone()?)))
        .collect())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
