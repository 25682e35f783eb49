//! ARP (RFC 826, RFC 5227): answering for held addresses and announcing them; no sockets and no clock.
//!
//! The addresses stand on no interface that answers for them, so that a dead gateway falls silent on the wire.
//! One [`Session`] speaks for one interface: the shell hands it frames, the addresses to hold and the time, and
//! sends the frames it hands back.
//!
//! Absent on purpose: learning who others are (the kernel's work), and VLAN tags (the interface takes them off).
//! Neighbour Discovery for IPv6 will stand beside [`arp`] and share [`timers`].

pub mod arp;
pub mod error;
pub mod session;
pub mod timers;

pub use arp::{Arp, Mac, Operation};
pub use error::DecodeError;
pub use session::{Input, Output, Session};
