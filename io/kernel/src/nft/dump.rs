//! Our table as the kernel holds it: chains, tags of rules, sets, elements, counters.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use tidegate_plan::TABLE;
use tidegate_plan::nft::elements::Element;
use tidegate_plan::nft::table::{ObservedChain, ObservedSet, ObservedTable};

use super::{
    GETCHAIN, GETOBJ, GETRULE, GETSET, GETSETELEM, GETTABLE, INET, INTERVAL_END, ITEM, NEWCHAIN, NEWOBJ,
    NEWRULE, NEWSET, NEWSETELEM, NEWTABLE, TABLE_NAME, fixed,
};
use crate::netlink::{ACK, DUMP, Message, Requests, attributes, big_endian, string};

const FLAG_INTERVAL: u32 = 0x4;
const FLAG_CONCAT: u32 = 0x80;

/// Reads our table; none if there is none.
pub(crate) fn observe(socket: &mut Requests) -> io::Result<Option<ObservedTable>> {
    let Some(mut table) = table(socket)? else { return Ok(None) };
    table.counters = counters(socket)?.into_iter().map(|(name, counter)| (name, counter.tag)).collect();
    table.sets = sets(socket)?;
    for (name, set) in &mut table.sets {
        set.elements = elements(socket, name, set.flags)?;
    }
    table.chains = chains(socket)?;
    for (chain, rule) in rules(socket)? {
        if let Some(chain) = table.chains.get_mut(&chain) {
            chain.rules.push(rule);
        }
    }
    Ok(Some(table))
}

/// What the counters of our table say, in packets.
pub(crate) fn counted(socket: &mut Requests) -> io::Result<BTreeMap<String, u64>> {
    Ok(counters(socket)?.into_iter().map(|(name, counter)| (name, counter.packets)).collect())
}

/// Whether this kernel has nf_tables and lets us use it.
pub(crate) fn available(socket: &mut Requests) -> io::Result<()> {
    table(socket).map(|_| ())
}

fn question(kind: u16, flags: u16) -> Message {
    let mut message = Message::new(kind, flags, &fixed(INET));
    message.text(TABLE_NAME, TABLE);
    message
}

/// The attributes of a message of our table.
fn ours(payload: &[u8]) -> Option<BTreeMap<u16, &[u8]>> {
    let (header, rest) = payload.split_at_checked(4)?;
    let found: BTreeMap<u16, &[u8]> = attributes(rest).collect();
    (header[0] == INET && found.get(&TABLE_NAME).is_some_and(|name| string(name) == TABLE)).then_some(found)
}

fn text(found: &BTreeMap<u16, &[u8]>, kind: u16) -> String {
    found.get(&kind).map(|value| string(value)).unwrap_or_default()
}

fn word(found: &BTreeMap<u16, &[u8]>, kind: u16) -> u32 {
    found.get(&kind).map_or(0, |value| big_endian(value))
}

/// The comment among user data, whatever number the kind of object gives it.
fn comment(found: &BTreeMap<u16, &[u8]>, kind: u16) -> String {
    found.get(&kind).and_then(|data| string(data.get(2..)?).into()).unwrap_or_default()
}

fn table(socket: &mut Requests) -> io::Result<Option<ObservedTable>> {
    let asked = socket.ask(
        question(GETTABLE, ACK),
        || None,
        |found, message| {
            if let (NEWTABLE, Some(table)) = (message.kind, ours(message.payload)) {
                let tag = comment(&table, 6);
                *found = Some(ObservedTable { flags: word(&table, 2), tag, ..ObservedTable::default() });
            }
        },
    );
    match asked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

struct Counter {
    tag: String,
    packets: u64,
}

fn counters(socket: &mut Requests) -> io::Result<BTreeMap<String, Counter>> {
    socket.ask(question(GETOBJ, DUMP), BTreeMap::new, |found, message| {
        if let (NEWOBJ, Some(object)) = (message.kind, ours(message.payload)) {
            let data: BTreeMap<u16, &[u8]> =
                object.get(&4).into_iter().flat_map(|data| attributes(data)).collect();
            let packets = data.get(&2).and_then(|value| <[u8; 8]>::try_from(*value).ok());
            let packets = packets.map_or(0, u64::from_be_bytes);
            found.insert(text(&object, 2), Counter { tag: comment(&object, 8), packets });
        }
    })
}

fn sets(socket: &mut Requests) -> io::Result<BTreeMap<String, ObservedSet>> {
    socket.ask(question(GETSET, DUMP), BTreeMap::new, |found, message| {
        if let (NEWSET, Some(set)) = (message.kind, ours(message.payload)) {
            let seen = ObservedSet {
                tag: comment(&set, 13),
                flags: word(&set, 3),
                key_type: word(&set, 4),
                key_len: word(&set, 5),
                elements: BTreeSet::new(),
            };
            found.insert(text(&set, 2), seen);
        }
    })
}

fn chains(socket: &mut Requests) -> io::Result<BTreeMap<String, ObservedChain>> {
    socket.ask(question(GETCHAIN, DUMP), BTreeMap::new, |found, message| {
        if let (NEWCHAIN, Some(chain)) = (message.kind, ours(message.payload)) {
            let hook = chain.get(&4).map(|data| {
                let place: BTreeMap<u16, &[u8]> = attributes(data).collect();
                (text(&chain, 7), word(&place, 1), word(&place, 2) as i32)
            });
            let accepts = chain.get(&5).is_none_or(|policy| big_endian(policy) == 1);
            let seen = ObservedChain { tag: comment(&chain, 12), hook, accepts, rules: Vec::new() };
            found.insert(text(&chain, 3), seen);
        }
    })
}

/// Chain and tag of each rule, in order.
fn rules(socket: &mut Requests) -> io::Result<Vec<(String, String)>> {
    socket.ask(question(GETRULE, DUMP), Vec::new, |found, message| {
        if let (NEWRULE, Some(rule)) = (message.kind, ours(message.payload)) {
            found.push((text(&rule, 2), comment(&rule, 7)));
        }
    })
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    key: Vec<u8>,
    /// Orders an end before a start of the same key: ranges that touch.
    starts: bool,
    key_end: Option<Vec<u8>>,
    value: Vec<u8>,
}

fn elements(socket: &mut Requests, set: &str, flags: u32) -> io::Result<BTreeSet<Element>> {
    let mut asks = question(GETSETELEM, DUMP);
    asks.text(2, set);
    let parts = socket.ask(asks, Vec::new, |found, message| {
        if let (NEWSETELEM, Some(list)) = (message.kind, ours(message.payload)) {
            let items = list.get(&3).into_iter().flat_map(|items| attributes(items));
            found.extend(items.filter(|(kind, _)| *kind == ITEM).map(|(_, item)| part(item)));
        }
    })?;
    if flags & FLAG_INTERVAL != 0 && flags & FLAG_CONCAT == 0 {
        return Ok(intervals(parts));
    }
    Ok(parts
        .into_iter()
        .map(|part| Element {
            last: part.key_end.unwrap_or_else(|| part.key.clone()),
            first: part.key,
            value: part.value,
        })
        .collect())
}

fn part(item: &[u8]) -> Part {
    let found: BTreeMap<u16, &[u8]> = attributes(item).collect();
    let value = |kind| found.get(&kind).and_then(|data| attributes(data).find(|(kind, _)| *kind == 1));
    let bytes = |kind| value(kind).map(|(_, bytes)| bytes.to_vec());
    Part {
        key: bytes(1).unwrap_or_default(),
        starts: word(&found, 3) & INTERVAL_END == 0,
        key_end: bytes(10),
        value: bytes(2).unwrap_or_default(),
    }
}

/// Starts and half-open ends to ranges; a start without an end reaches to the last key.
fn intervals(mut parts: Vec<Part>) -> BTreeSet<Element> {
    parts.sort();
    let mut found = BTreeSet::new();
    let mut open: Option<Part> = None;
    for part in parts {
        match (part.starts, open.take()) {
            (true, _) => open = Some(part),
            (false, Some(start)) => {
                found.insert(Element { first: start.key, last: predecessor(&part.key), value: start.value });
            }
            // nft(8) writes an end before the first start, which ends nothing.
            (false, None) => {}
        }
    }
    if let Some(start) = open {
        found.insert(Element { last: vec![0xff; start.key.len()], first: start.key, value: start.value });
    }
    found
}

fn predecessor(key: &[u8]) -> Vec<u8> {
    let mut previous = key.to_vec();
    for byte in previous.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            break;
        }
    }
    previous
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(key: [u8; 4], starts: bool) -> Part {
        Part { key: key.to_vec(), starts, key_end: None, value: Vec::new() }
    }

    #[test]
    fn ends_are_not_part_of_a_range_and_the_last_range_may_lack_one() {
        let parts = vec![
            part([224, 0, 0, 0], true),
            part([11, 0, 0, 0], true),
            part([11, 0, 0, 0], false),
            part([0, 0, 0, 0], false),
            part([12, 0, 0, 0], false),
            part([10, 0, 0, 0], true),
        ];
        let found: Vec<(Vec<u8>, Vec<u8>)> =
            intervals(parts).into_iter().map(|e| (e.first, e.last)).collect();
        assert_eq!(
            found,
            [
                (vec![10, 0, 0, 0], vec![10, 255, 255, 255]),
                (vec![11, 0, 0, 0], vec![11, 255, 255, 255]),
                (vec![224, 0, 0, 0], vec![255; 4]),
            ]
        );
    }
}
