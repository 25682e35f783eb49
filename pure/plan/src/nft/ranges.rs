//! Prefixes to ranges that do not overlap, because a kernel set takes no overlapping ranges and knows no longest prefix.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// A closed range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Range {
    /// First address.
    pub(super) first: Ipv4Addr,
    /// Last address, included.
    pub(super) last: Ipv4Addr,
}

/// For every address the value of its longest prefix, as few ranges as possible, in ascending order.
pub(super) fn flatten<V: Copy + PartialEq>(prefixes: &BTreeMap<Ipv4Net, V>) -> Vec<(Range, V)> {
    let mut out: Vec<(u64, u64, V)> = Vec::new();
    // Prefixes in order of address, shorter first: an enclosing one lies below the ones it encloses on the stack.
    let mut open: Vec<(u64, V)> = Vec::new();
    let mut at = 0u64;
    let mut emit = |from: u64, to: u64, value: V| match out.last_mut() {
        _ if from > to => {}
        Some((_, last, of_last)) if *last + 1 == from && *of_last == value => *last = to,
        _ => out.push((from, to, value)),
    };
    for (net, value) in prefixes {
        let (first, last) = (number(net.network()), number(net.broadcast()));
        while let Some(&(end, above)) = open.last().filter(|(end, _)| *end < first) {
            emit(at, end, above);
            at = at.max(end + 1);
            open.pop();
        }
        if let Some(&(_, above)) = open.last()
            && first > 0
        {
            emit(at, first - 1, above);
        }
        at = first;
        open.push((last, *value));
    }
    while let Some((end, above)) = open.pop() {
        emit(at, end, above);
        at = at.max(end + 1);
    }
    out.into_iter()
        .map(|(first, last, value)| (Range { first: address(first), last: address(last) }, value))
        .collect()
}

fn number(address: Ipv4Addr) -> u64 {
    u64::from(u32::from(address))
}

fn address(number: u64) -> Ipv4Addr {
    Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(text: &[(&str, u8)]) -> Vec<String> {
        let prefixes = text.iter().map(|(net, value)| (net.parse().unwrap(), *value)).collect();
        flatten(&prefixes)
            .iter()
            .map(|(range, value)| format!("{}-{} {value}", range.first, range.last))
            .collect()
    }

    #[test]
    fn a_longer_prefix_cuts_a_hole_in_a_shorter_one() {
        assert_eq!(
            ranges(&[("10.0.0.0/8", 1), ("10.1.0.0/16", 2)]),
            ["10.0.0.0-10.0.255.255 1", "10.1.0.0-10.1.255.255 2", "10.2.0.0-10.255.255.255 1"]
        );
    }

    #[test]
    fn neighbours_of_one_value_become_one_range() {
        assert_eq!(
            ranges(&[("10.0.0.0/9", 1), ("10.128.0.0/9", 1), ("10.3.0.0/16", 1)]),
            ["10.0.0.0-10.255.255.255 1"]
        );
    }

    #[test]
    fn the_ends_of_the_address_space_are_reached_and_not_passed() {
        assert_eq!(
            ranges(&[("0.0.0.0/0", 1), ("255.255.255.255/32", 2), ("0.0.0.0/32", 3)]),
            ["0.0.0.0-0.0.0.0 3", "0.0.0.1-255.255.255.254 1", "255.255.255.255-255.255.255.255 2"]
        );
    }

    proptest! {
        /// Every address gets the value of its longest prefix, and ranges ascend without touching one of equal value.
        #[test]
        fn ranges_mean_longest_prefix(
            nets in proptest::collection::btree_map((0u32..64, 24u8..=32), 0u8..3, 0..12),
        ) {
            let prefixes: BTreeMap<Ipv4Net, u8> = nets
                .iter()
                .map(|((low, len), value)| (Ipv4Net::new((0x0a00_0000 | (low * 5)).into(), *len).unwrap().trunc(), *value))
                .collect();
            let flat = flatten(&prefixes);
            for pair in flat.windows(2) {
                prop_assert!(pair[0].0.last < pair[1].0.first);
                let touch = u32::from(pair[0].0.last) + 1 == u32::from(pair[1].0.first);
                prop_assert!(!(touch && pair[0].1 == pair[1].1));
            }
            for low in 0u32..600 {
                let probe = Ipv4Addr::from(0x0a00_0000 | low);
                let want = prefixes.iter().filter(|(net, _)| net.contains(&probe)).max_by_key(|(net, _)| net.prefix_len());
                let have = flat.iter().find(|(range, _)| range.first <= probe && probe <= range.last);
                prop_assert_eq!(want.map(|(_, v)| *v), have.map(|(_, v)| *v), "{}", probe);
            }
        }
    }
}
