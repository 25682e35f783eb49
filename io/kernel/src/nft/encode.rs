//! Table, elements and expressions to netlink messages. One batch is one transaction: all of it or none.

use std::collections::BTreeSet;
use std::io;

use tidegate_plan::nft::elements::{Element, Elements};
use tidegate_plan::nft::expr::{Base, CmpOp, CtKey, Expr, MetaKey, Reg, Verdict};
use tidegate_plan::nft::skeleton::skeleton;
use tidegate_plan::nft::table::{ChainSpec, RuleSpec, SetKind, SetSpec, tag};
use tidegate_plan::{Op, TABLE};

use super::{
    DELSETELEM, DELTABLE, INET, INTERVAL_END, ITEM, NEWCHAIN, NEWOBJ, NEWRULE, NEWSET, NEWSETELEM, NEWTABLE,
    OBJECT_COUNTER, TABLE_NAME, fixed,
};
use crate::netlink::{CREATE, Message, Requests};

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// An element takes at most some 60 bytes and the list is one attribute, under 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 900;
/// nft(8)'s numbers for a comment among the user data of a set, and of anything else.
const SET_COMMENT: u8 = 7;
const COMMENT: u8 = 0;
/// First 4-byte register (`NFT_REG32_00`); 0 is the verdict.
const REG32: u32 = 8;
const VERDICT_REG: u32 = 0;
/// `NFT_META_MARK`.
const MARK: u32 = 3;

/// Applies one nftables operation.
pub(crate) fn apply(socket: &mut Requests, op: &Op) -> io::Result<()> {
    let changes = match op {
        Op::TableRebuild(elements) => rebuild(elements),
        Op::TableChange { delete, add } => {
            let mut changes = element_changes(DELSETELEM, delete);
            changes.extend(element_changes(NEWSETELEM, add));
            changes
        }
        Op::TableDelete => vec![table(DELTABLE, 0)],
        other => return Err(io::Error::other(format!("not an nftables operation: {other}"))),
    };
    transaction(socket, changes)
}

fn transaction(socket: &mut Requests, changes: Vec<Message>) -> io::Result<()> {
    // Family 0, version 0, resource 10 in network byte order: the batch is for nf_tables.
    let bracket = |kind| Message::new(kind, 0, &[0, 0, 0, 10]);
    let last = changes.len();
    let mut batch = vec![bracket(BATCH_BEGIN)];
    batch.extend(changes);
    batch.push(bracket(BATCH_END));
    let refused = socket.batch(batch, last)?;
    match refused.into_iter().next() {
        None => Ok(()),
        Some(first) => {
            Err(io::Error::new(first.error.kind(), format!("{} (message {})", first.error, first.index)))
        }
    }
}

/// Creating the table before deleting it makes the deletion succeed whether or not there was one.
fn rebuild(elements: &Elements) -> Vec<Message> {
    let spec = skeleton();
    let mut named = table(NEWTABLE, CREATE);
    named.attr(6, &user_data(COMMENT, &tag(&spec)));
    let mut changes = vec![table(NEWTABLE, CREATE), table(DELTABLE, 0), named];
    changes.extend(spec.counters.iter().map(|name| counter(name)));
    changes.extend(spec.sets.iter().zip(1..).map(|(set, id)| new_set(set, id)));
    changes.extend(spec.chains.iter().map(new_chain));
    for chain in &spec.chains {
        changes.extend(chain.rules.iter().map(|rule| new_rule(chain.name, rule)));
    }
    changes.extend(element_changes(NEWSETELEM, elements));
    changes
}

fn table(kind: u16, flags: u16) -> Message {
    let mut message = Message::new(kind, flags, &fixed(INET));
    message.text(TABLE_NAME, TABLE);
    message
}

fn counter(name: &'static str) -> Message {
    let mut message = table(NEWOBJ, CREATE);
    message.text(2, name).be32(3, OBJECT_COUNTER).nest(4, |_| {});
    message.attr(8, &user_data(COMMENT, &tag(&name)));
    message
}

fn new_set(set: &SetSpec, id: u32) -> Message {
    let mut message = table(NEWSET, CREATE);
    message.text(2, set.name).be32(3, set.flags()).be32(4, set.key_type()).be32(5, set.key_len());
    if let Some(data) = set.data {
        message.be32(6, data.nft_type()).be32(7, data.bytes());
    }
    if set.kind == SetKind::Ranges {
        message.nest(9, |description| {
            description.nest(2, |fields| {
                for part in set.key {
                    fields.nest(ITEM, |field| {
                        field.be32(1, part.bytes());
                    });
                }
            });
        });
    }
    message.be32(10, id).attr(13, &user_data(SET_COMMENT, &tag(set)));
    message
}

fn new_chain(chain: &ChainSpec) -> Message {
    let mut message = table(NEWCHAIN, CREATE);
    message.text(3, chain.name);
    if let Some(hook) = &chain.hook {
        message.nest(4, |place| {
            place.be32(1, hook.number).be32(2, hook.priority as u32);
        });
        message.be32(5, 1).text(7, hook.chain_type);
    }
    message.attr(12, &user_data(COMMENT, &tag(chain)));
    message
}

fn new_rule(chain: &str, rule: &RuleSpec) -> Message {
    // NLM_F_APPEND: rules stand in the order in which they are sent.
    let mut message = table(NEWRULE, CREATE | 0x800);
    message.text(2, chain).nest(4, |list| {
        for expr in &rule.exprs {
            list.nest(ITEM, |item| encode(item, expr));
        }
    });
    message.attr(7, &user_data(COMMENT, &tag(rule)));
    message
}

/// User data as nft(8) writes it: type, length, value; so the tag shows as a comment.
fn user_data(kind: u8, comment: &str) -> Vec<u8> {
    let len = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    [&[kind, len], comment.as_bytes(), &[0]].concat()
}

fn encode(item: &mut Message, expr: &Expr) {
    let mut put = |name: &str, fill: &dyn Fn(&mut Message)| {
        item.text(1, name).nest(2, fill);
    };
    match expr {
        Expr::Payload { base, offset, len, dreg } => put("payload", &|data| {
            let base = if *base == Base::Network { 1 } else { 2 };
            data.be32(1, reg(*dreg)).be32(2, base).be32(3, *offset).be32(4, *len);
        }),
        Expr::Meta { key, dreg } => put("meta", &|data| {
            let key = match key {
                MetaKey::Mark => MARK,
                MetaKey::NfProto => 15,
                MetaKey::L4Proto => 16,
            };
            data.be32(2, key).be32(1, reg(*dreg));
        }),
        Expr::Ct { key, dreg } => put("ct", &|data| {
            let key = if *key == CtKey::State { 0 } else { 1 };
            data.be32(2, key).be32(1, reg(*dreg));
        }),
        Expr::SetMark { sreg } => put("meta", &|data| {
            data.be32(2, MARK).be32(3, reg(*sreg));
        }),
        Expr::SocketTransparent { dreg } => put("socket", &|data| {
            data.be32(1, 0).be32(2, reg(*dreg));
        }),
        Expr::Cmp { sreg, op, value: constant } => put("cmp", &|data| {
            let op = match op {
                CmpOp::Eq => 0,
                CmpOp::Neq => 1,
                CmpOp::Lte => 3,
            };
            data.be32(1, reg(*sreg)).be32(2, op).nest(3, |inner| value(inner, constant));
        }),
        Expr::Mask { reg, mask } => put("bitwise", &|data| bitwise(data, *reg, mask, &vec![0; mask.len()])),
        Expr::SetBits { reg, bits } => put("bitwise", &|data| {
            let others: Vec<u8> = bits.iter().map(|byte| !byte).collect();
            bitwise(data, *reg, &others, bits);
        }),
        Expr::Lookup { set, sreg, dreg, invert } => put("lookup", &|data| {
            data.text(1, set).be32(2, reg(*sreg));
            if let Some(dreg) = dreg {
                data.be32(3, reg(*dreg));
            }
            data.be32(5, u32::from(*invert));
        }),
        Expr::Counter(name) => put("objref", &|data| {
            data.be32(1, OBJECT_COUNTER).text(2, name);
        }),
        Expr::SourceNat { address } => put("nat", &|data| {
            data.be32(1, 0).be32(2, 2).be32(3, reg(*address));
        }),
        Expr::Verdict(verdict) => put("immediate", &|data| {
            data.be32(1, VERDICT_REG).nest(2, |inner| {
                inner.nest(2, |parts| verdict_parts(parts, *verdict));
            });
        }),
    }
}

/// `reg = (reg & mask) ^ flip`.
fn bitwise(data: &mut Message, both: Reg, mask: &[u8], flip: &[u8]) {
    data.be32(1, reg(both)).be32(2, reg(both)).be32(3, mask.len() as u32);
    data.nest(4, |inner| value(inner, mask)).nest(5, |inner| value(inner, flip));
}

fn verdict_parts(parts: &mut Message, verdict: Verdict) {
    match verdict {
        Verdict::Drop => parts.be32(1, 0),
        Verdict::Return => parts.be32(1, -5i32 as u32),
        Verdict::Jump(chain) => parts.be32(1, -3i32 as u32).text(2, chain),
    };
}

fn value(data: &mut Message, bytes: &[u8]) {
    data.attr(1, bytes);
}

fn reg(reg: Reg) -> u32 {
    REG32 + u32::from(reg.0)
}

fn element_changes(kind: u16, elements: &Elements) -> Vec<Message> {
    let spec = skeleton();
    let mut messages = Vec::new();
    for set in &spec.sets {
        let Some(of_set) = elements.get(set.name) else { continue };
        let parts = parts(set, of_set);
        messages.extend(parts.chunks(ELEMENTS_PER_MESSAGE).map(|chunk| element_message(kind, set, chunk)));
    }
    messages
}

/// An element as the kernel takes it.
struct Part<'a> {
    key: Vec<u8>,
    key_end: Option<&'a [u8]>,
    value: &'a [u8],
    ends: bool,
}

fn parts<'a>(set: &SetSpec, elements: &'a BTreeSet<Element>) -> Vec<Part<'a>> {
    let single = |element: &'a Element| Part {
        key: element.first.clone(),
        key_end: None,
        value: &element.value,
        ends: false,
    };
    match set.kind {
        SetKind::Hash => elements.iter().map(single).collect(),
        SetKind::Ranges => {
            elements.iter().map(|element| Part { key_end: Some(&element.last), ..single(element) }).collect()
        }
        SetKind::Interval => elements
            .iter()
            .flat_map(|element| {
                let end =
                    successor(&element.last).map(|key| Part { key, key_end: None, value: &[], ends: true });
                [Some(single(element)), end]
            })
            .flatten()
            .collect(),
    }
}

/// The next key; none after the last there is, where a range needs no end.
fn successor(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    for byte in next.iter_mut().rev() {
        let (sum, carry) = byte.overflowing_add(1);
        *byte = sum;
        if !carry {
            return Some(next);
        }
    }
    None
}

fn element_message(kind: u16, set: &SetSpec, parts: &[Part<'_>]) -> Message {
    let mut message = table(kind, if kind == NEWSETELEM { CREATE } else { 0 });
    message.text(2, set.name).nest(3, |list| {
        for part in parts {
            list.nest(ITEM, |item| {
                item.nest(1, |key| value(key, &part.key));
                if let Some(end) = part.key_end {
                    item.nest(10, |key| value(key, end));
                }
                if !part.value.is_empty() && kind == NEWSETELEM {
                    item.nest(2, |data| value(data, part.value));
                }
                if part.ends {
                    item.be32(3, INTERVAL_END);
                }
            });
        }
    });
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_key_of_all_has_no_successor() {
        assert_eq!(successor(&[10, 0, 0, 255]), Some(vec![10, 0, 1, 0]));
        assert_eq!(successor(&[255, 255, 255, 255]), None);
    }
}
