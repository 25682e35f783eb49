//! Ranges of addresses, as pools write them: a CIDR, or `first-last`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The address with these bits; none, if it would have too many.
    fn address(self, bits: u128) -> Option<IpAddr> {
        match self {
            Family::V4 => u32::try_from(bits).ok().map(|bits| Ipv4Addr::from_bits(bits).into()),
            Family::V6 => Some(Ipv6Addr::from_bits(bits).into()),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Family::V4 { "IPv4" } else { "IPv6" })
    }
}

/// An address as a number.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Addresses of one family from `first` to `last`, both included; `first` is never above `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The lowest.
    pub first: IpAddr,
    /// The highest.
    pub last: IpAddr,
}

impl Range {
    /// That of a network.
    pub fn of(net: IpNet) -> Range {
        Range { first: net.network(), last: net.broadcast() }
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// How many addresses it holds; 0.0.0.0/0 holds 2^32, and ::/0 is counted one short.
    pub fn size(&self) -> u128 {
        (bits(self.last) - bits(self.first)).saturating_add(1)
    }

    /// Whether the address is inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && (self.first..=self.last).contains(&address)
    }

    /// What both have in common.
    pub fn intersect(&self, other: &Range) -> Option<Range> {
        let common = Range { first: self.first.max(other.first), last: self.last.min(other.last) };
        (self.family() == other.family() && common.first <= common.last).then_some(common)
    }

    /// The address at this place, counted from the lowest.
    pub(crate) fn at(&self, place: u128) -> Option<IpAddr> {
        let address = self.family().address(bits(self.first).checked_add(place)?)?;
        (address <= self.last).then_some(address)
    }

    /// How many of its addresses end in .0 or .255; none of IPv6 do.
    pub(crate) fn buggy(&self) -> u128 {
        let up_to = |count: u128| count.div_ceil(256) + count / 256;
        match self.family() {
            Family::V4 => up_to(bits(self.last) + 1) - up_to(bits(self.first)),
            Family::V6 => 0,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Why a text is no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeError {
    /// Neither a CIDR nor `first-last`.
    Syntax,
    /// The first address is above the last.
    Backwards,
    /// The two ends are of different families.
    Families,
}

/// Reads `10.0.50.0/24` or `10.0.50.10-10.0.50.19`; spaces around the hyphen are allowed.
pub fn parse_range(text: &str) -> Result<Range, RangeError> {
    let Some((first, last)) = text.split_once('-') else {
        return match text.trim().parse::<IpNet>() {
            Ok(net) => Ok(Range::of(net)),
            Err(_) => Err(RangeError::Syntax),
        };
    };
    let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| RangeError::Syntax);
    let (first, last) = (address(first)?, address(last)?);
    match Family::of(first) == Family::of(last) {
        false => Err(RangeError::Families),
        true if first > last => Err(RangeError::Backwards),
        true => Ok(Range { first, last }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both spellings of MetalLB are read, and each mistake is told apart.
    #[test]
    fn spellings() {
        for (text, expected) in [
            ("10.0.50.0/30", Ok("10.0.50.0-10.0.50.3")),
            ("10.0.50.7/32", Ok("10.0.50.7")),
            ("10.0.50.10-10.0.50.19", Ok("10.0.50.10-10.0.50.19")),
            (" 10.0.50.10 - 10.0.50.10 ", Ok("10.0.50.10")),
            ("10.0.50.1", Err(RangeError::Syntax)),
            ("10.0.50.0/33", Err(RangeError::Syntax)),
            ("10.0.50.300-10.0.50.301", Err(RangeError::Syntax)),
            ("10.0.50.19-10.0.50.10", Err(RangeError::Backwards)),
            ("10.0.50.19-fd00::1", Err(RangeError::Families)),
            ("fd00::/120", Ok("fd00::-fd00::ff")),
            ("fd00::1-fd00::9", Ok("fd00::1-fd00::9")),
            ("fd00::9-fd00::1", Err(RangeError::Backwards)),
            ("", Err(RangeError::Syntax)),
        ] {
            assert_eq!(
                parse_range(text).map(|range| range.to_string()),
                expected.map(str::to_owned),
                "{text}"
            );
        }
    }

    /// The whole space has a size that needs more than 32 bits; that of IPv6 fits its number all but one.
    #[test]
    fn sizes() {
        for (text, size) in
            [("0.0.0.0/0", 1 << 32), ("10.0.0.1-10.0.0.3", 3), ("fd00::/64", 1 << 64), ("::/0", u128::MAX)]
        {
            assert_eq!(parse_range(text).map(|range| range.size()), Ok(size), "{text}");
        }
    }

    /// Addresses that end in .0 and .255 are counted wherever a range begins and ends.
    #[test]
    fn buggy_ones() {
        for (text, expected) in [
            ("10.0.0.0/24", 2),
            ("10.0.0.0/22", 8),
            ("10.0.0.1-10.0.0.254", 0),
            ("10.0.0.255-10.0.1.0", 2),
            ("10.0.0.0/32", 1),
            ("0.0.0.0/0", 1 << 25),
            ("fd00::/64", 0),
        ] {
            assert_eq!(parse_range(text).map(|range| range.buggy()), Ok(expected), "{text}");
        }
    }

    /// Families are never mixed.
    #[test]
    fn families_are_apart() {
        let range = |text: &str| parse_range(text).expect("a range");
        assert_eq!(range("0.0.0.0/0").intersect(&range("::/0")), None);
        assert!(!range("::/0").contains(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(range("10.0.0.0/30").at(4), None);
        assert_eq!(range("255.255.255.255/32").at(1), None);
    }
}
