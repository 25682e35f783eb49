//! Ranges of addresses, as pools write them: a CIDR, or `first-last`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// Addresses from `first` to `last`, both included; `first` is never above `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The lowest.
    pub first: Ipv4Addr,
    /// The highest.
    pub last: Ipv4Addr,
}

impl Range {
    /// How many addresses it holds; 0.0.0.0/0 holds 2^32.
    pub fn size(&self) -> u64 {
        u64::from(self.last.to_bits()) - u64::from(self.first.to_bits()) + 1
    }

    /// Whether the address is inside.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// What both have in common.
    pub fn intersect(&self, other: &Range) -> Option<Range> {
        let common = Range { first: self.first.max(other.first), last: self.last.min(other.last) };
        (common.first <= common.last).then_some(common)
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
    /// A sound range of IPv6 addresses.
    Ipv6,
}

/// Reads `10.0.50.0/24` or `10.0.50.10-10.0.50.19`; spaces around the hyphen are allowed.
pub fn parse_range(text: &str) -> Result<Range, RangeError> {
    let Some((first, last)) = text.split_once('-') else {
        return match text.trim().parse::<IpNet>() {
            Ok(IpNet::V4(net)) => Ok(Range { first: net.network(), last: net.broadcast() }),
            Ok(IpNet::V6(_)) => Err(RangeError::Ipv6),
            Err(_) => Err(RangeError::Syntax),
        };
    };
    let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| RangeError::Syntax);
    match (address(first)?, address(last)?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Ok(Range { first, last }),
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => Err(RangeError::Ipv6),
        (a, b) if a.is_ipv4() == b.is_ipv4() => Err(RangeError::Backwards),
        _ => Err(RangeError::Families),
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
            ("fd00::/120", Err(RangeError::Ipv6)),
            ("fd00::1-fd00::9", Err(RangeError::Ipv6)),
            ("", Err(RangeError::Syntax)),
        ] {
            assert_eq!(
                parse_range(text).map(|range| range.to_string()),
                expected.map(str::to_owned),
                "{text}"
            );
        }
    }

    /// The whole space has a size that needs more than 32 bits.
    #[test]
    fn sizes() {
        assert_eq!(parse_range("0.0.0.0/0").map(|range| range.size()), Ok(1 << 32));
        assert_eq!(parse_range("10.0.0.1-10.0.0.3").map(|range| range.size()), Ok(3));
    }
}
