//! A pool: its ranges, what it may give, and where a free choice finds something.

use std::net::IpAddr;

use crate::{Family, Range};

/// Addresses that may be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name, unique.
    pub name: String,
    /// Its addresses; where ranges overlap an address still counts once.
    pub ranges: Vec<Range>,
    /// Whether addresses that end in .0 and .255 are left out.
    pub avoid_buggy_ips: bool,
}

impl Pool {
    /// Whether `address` may be given out from here.
    pub fn offers(&self, address: IpAddr) -> bool {
        let is_buggy = |address| matches!(address, IpAddr::V4(v4) if matches!(v4.octets()[3], 0 | 255));
        !(self.avoid_buggy_ips && is_buggy(address)) && self.contains(address)
    }

    /// Whether `address` lies in here, given out or not.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// Whether it has addresses of this family.
    pub fn has(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| range.family() == family)
    }

    /// How many addresses of this family it may give out, each counted once.
    pub fn capacity(&self, family: Family) -> u128 {
        let mut ranges: Vec<Range> = self.of(family).copied().collect();
        ranges.sort();
        let mut apart: Vec<Range> = Vec::new();
        for range in ranges {
            match apart.last_mut() {
                Some(last) if range.first <= last.last => last.last = last.last.max(range.last),
                _ => apart.push(range),
            }
        }
        let left_out = |range: &Range| if self.avoid_buggy_ips { range.buggy() } else { 0 };
        apart.iter().fold(0, |sum: u128, range| sum.saturating_add(range.size() - left_out(range)))
    }

    /// The first address from the place `start` on, round and round, that is offered and `free`. Looks at no more than
    /// one address beyond those that are not.
    pub(crate) fn free_from(
        &self,
        family: Family,
        start: u64,
        free: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        let size = self.of(family).fold(0, |sum: u128, range| sum.saturating_add(range.size()));
        let start = u128::from(start).checked_rem(size)?;
        let places = (start..size).chain(0..start);
        places
            .filter_map(|place| self.at(family, place))
            .find(|address| self.offers(*address) && free(*address))
    }

    fn of(&self, family: Family) -> impl Iterator<Item = &Range> {
        self.ranges.iter().filter(move |range| range.family() == family)
    }

    /// The address at this place, counted through all ranges of the family.
    fn at(&self, family: Family, mut place: u128) -> Option<IpAddr> {
        for range in self.of(family) {
            if place < range.size() {
                return range.at(place);
            }
            place -= range.size();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_range;

    fn pool(ranges: &[&str], avoid_buggy_ips: bool) -> Pool {
        let ranges = ranges.iter().map(|text| parse_range(text).expect("a range")).collect();
        Pool { name: "p".into(), ranges, avoid_buggy_ips }
    }

    /// What overlaps counts once, what is left out does not count, and each family is counted for itself.
    #[test]
    fn capacities() {
        let mixed = pool(&["10.0.0.0/24", "10.0.0.128-10.0.1.3", "fd00::/120"], true);
        assert_eq!((mixed.capacity(Family::V4), mixed.capacity(Family::V6)), (257, 256));
        assert_eq!(pool(&["::/0", "fd00::/64"], false).capacity(Family::V6), u128::MAX);
        assert_eq!(pool(&["fd00::/64"], false).capacity(Family::V4), 0);
    }

    /// A choice in a huge pool ends as soon as something is free, and one in a full pool ends too.
    #[test]
    fn a_choice_ends() {
        let huge = pool(&["fd00::/8"], false);
        assert_eq!(huge.free_from(Family::V6, 7, |_| true), "fd00::7".parse().ok());
        assert_eq!(huge.free_from(Family::V4, 7, |_| true), None);
        assert_eq!(pool(&["10.0.0.0/30"], false).free_from(Family::V4, 3, |_| false), None);
        let last = pool(&["10.0.0.0/30", "10.0.1.0/31"], false);
        let taken: IpAddr = "10.0.1.1".parse().expect("an address");
        assert_eq!(last.free_from(Family::V4, 5, |address| address != taken), "10.0.0.0".parse().ok());
    }
}
