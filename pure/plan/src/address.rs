//! An address on an interface. Who put it there is told by its protocol number, which `Observed` keeps beside it.

use std::fmt;

use ipnet::IpNet;

/// An address as it stands on an interface: `10.0.50.20/32` on `lo`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Name of the interface; `lo` for all that only a living process may claim (DESIGN, rule 6).
    pub interface: String,
    /// The address and its prefix length, /32 or /128 on `lo`.
    pub net: IpNet,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.net, self.interface)
    }
}
