//! What can be wrong: a packet (the sender is to blame) or a configuration (we are).

use std::net::IpAddr;

use thiserror::Error;

/// Why a received payload is not a VRRP version 3 advert (RFC 9568 section 7.1). The sender is to blame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Error)]
pub enum DecodeError {
    /// The IP header said something other than 255: the packet crossed a router, or was forged from afar.
    #[error("TTL is {found}, it must be 255")]
    Ttl {
        /// TTL or hop limit as received.
        found: u8,
    },
    /// Fewer bytes than the header, or than the address count asks for.
    #[error("{found} bytes, but {needed} are needed")]
    Truncated {
        /// Bytes received.
        found: usize,
        /// Bytes that the header, or its address count, needs.
        needed: usize,
    },
    /// More bytes than the address count accounts for.
    #[error("{found} bytes, but the address count accounts for {expected}")]
    Trailing {
        /// Bytes received.
        found: usize,
        /// Bytes accounted for.
        expected: usize,
    },
    /// Another version of the protocol; 2 is the likely one.
    #[error("VRRP version {found}, this group speaks version 3")]
    Version {
        /// Version as received.
        found: u8,
    },
    /// Type is not 1 (advertisement), the only one that exists.
    #[error("packet type {found}, the only one is 1 (advertisement)")]
    Type {
        /// Type as received.
        found: u8,
    },
    /// Virtual router id 0.
    #[error("virtual router id 0, it must be 1 to 255")]
    VirtualRouterId,
    /// An advert that lists no address (RFC 9568 section 5.2.5: at least 1).
    #[error("no address listed, there must be at least one")]
    NoAddress,
    /// Maximum advertisement interval 0: timers derived from it would never stop firing.
    #[error("advertisement interval 0, it must be 1 to 4095 hundredths of a second")]
    Interval,
    /// Neither form of the checksum fits.
    #[error(
        "checksum is {found:#06x}; right would be {with:#06x} with the pseudo-header or {without:#06x} without"
    )]
    Checksum {
        /// Checksum as received.
        found: u16,
        /// What it would be with the pseudo-header.
        with: u16,
        /// What it would be without.
        without: u16,
    },
    /// Source and destination are of different families.
    #[error("source and destination are of different address families")]
    Family,
}

/// Why a group cannot be run as configured.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// No leg at all, or more than [`MAX_LEGS`](crate::session::MAX_LEGS).
    #[error("a group has 1 to {max} legs, this one has {found}")]
    Legs {
        /// Legs given.
        found: usize,
        /// Legs allowed.
        max: usize,
    },
    /// Two legs with one id.
    #[error("two legs share the id of {interface}")]
    DuplicateLeg {
        /// Interface of the second one.
        interface: String,
    },
    /// A leg that lists no address, or more than an advert can carry.
    #[error("{interface}: an advert lists 1 to 255 addresses, this one {found}")]
    Addresses {
        /// Interface of the leg.
        interface: String,
        /// Addresses given.
        found: usize,
    },
    /// More unicast peers than [`MAX_UNICAST_PEERS`](crate::session::MAX_UNICAST_PEERS).
    #[error("{interface}: at most {max} unicast peers, this leg has {found}")]
    UnicastPeers {
        /// Interface of the leg.
        interface: String,
        /// Peers given.
        found: usize,
        /// Peers allowed.
        max: usize,
    },
    /// An address or peer that is not of the family of the leg's own source address.
    #[error("{interface}: {address} is not of the same family as the source address {source_address}")]
    Family {
        /// Interface of the leg.
        interface: String,
        /// The odd one.
        address: IpAddr,
        /// The leg's own primary address.
        source_address: IpAddr,
    },
}
