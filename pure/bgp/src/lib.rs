//! BGP-4 (RFC 4271): messages, sessions, tables; no sockets and no clock.
//!
//! ```text
//!   bytes ─► packet ─► session ─► Route(Update) ─► rib::Table ─► changes(): prefix -> next hops
//!   bytes ◄─ packet ◄─ session ◄─ messages ◄────── export::AdjOut ◄─ what is to be announced
//! ```
//!
//! The four rooms meet only in the shell that owns the sockets: a session holds no routes, a table
//! knows no connections. IPv4 unicast is spoken; where IPv6 will join, the code says `Family`.

pub mod error;
pub mod export;
pub mod packet;
pub mod peer;
mod random;
pub mod rib;
pub mod session;
pub mod timers;

pub use error::{ConfigError, EncodeError, MessageError};
pub use peer::{PeerKind, RemoteAs};
