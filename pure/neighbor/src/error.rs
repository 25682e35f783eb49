//! Why a frame is not ARP for IPv4 on Ethernet. Its sender is to blame, or it is simply something else.

use thiserror::Error;

/// What is wrong with a received frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// Fewer bytes than an Ethernet header and an ARP packet have.
    #[error("{found} bytes, an ARP frame has at least {needed}")]
    Truncated {
        /// Bytes received.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// Another protocol.
    #[error("EtherType {found:#06x}, ARP is 0x0806")]
    EtherType {
        /// As received.
        found: u16,
    },
    /// ARP, but not for IPv4 addresses on Ethernet.
    #[error("hardware type {hardware}, protocol {protocol:#06x}, lengths {lengths:?}: not IPv4 on Ethernet")]
    Kind {
        /// Hardware type, 1 for Ethernet.
        hardware: u16,
        /// Protocol type, 0x0800 for IPv4.
        protocol: u16,
        /// Lengths of hardware and protocol addresses, 6 and 4.
        lengths: (u8, u8),
    },
    /// Neither a request nor a reply.
    #[error("operation {found}, known are 1 (request) and 2 (reply)")]
    Operation {
        /// As received.
        found: u16,
    },
}
