//! VRRP version 3 (RFC 9568): messages and elections; no sockets and no clock.
//!
//! One [`Session`] decides for one group of addresses that move together. The shell hands it adverts, link and
//! readiness changes and the time; it hands back adverts to send and the word to claim or to release.
//!
//! RFC 9568 writes *Active* where RFC 5798 and every tool in the field (keepalived, FRR, switches) write
//! *Master*. We say Master.
//!
//! Absent on purpose: version 2, accept mode (RFC 9568 section 6.1, the kernel skeleton decides who answers),
//! and the address owner (priority 255): no gateway owns a floating address.

pub mod error;
pub mod id;
pub mod packet;
pub mod session;
pub mod timers;

pub use error::{ConfigError, DecodeError};
pub use id::{priorities, virtual_router_ids, virtual_router_ids_except};
pub use packet::{Advert, Checksum, Received, Vrid};
pub use session::{
    ClaimReason, Config, Heard, HeardMemory, Input, LegConfig, LegId, LegMemory, LegStatus, Memory, Output,
    Priority, ReleaseReason, Report, Session, State, Status,
};
pub use timers::AdvertInterval;
