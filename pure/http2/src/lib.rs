//! HTTP/2 (RFC 9113) and HPACK (RFC 7541), both roles; no sockets and no clock.
//!
//! ```text
//!   bytes ─► Connection::receive ─► Event (head, data, trailers, reset, …)
//!                 │  hpack::Decoder ─► Fields (HTTP/1 lines, checked at the door)
//!   bytes ◄─ Connection::output ◄── respond / open / send_data / send_trailers / reset
//! ```
//!
//! One `Connection` is one machine. The shell that owns the socket hands it what it read, draws events until there are
//! none, and writes what `output` holds: frames of many streams leave in one write. Nothing is allocated for a header
//! or an event. What a peer may cost is counted in `Limits`; past them the connection says GOAWAY and ends.

pub mod connection;
pub mod error;
pub mod fields;
mod flood;
mod frame;
pub mod hpack;
pub mod limits;
mod rules;
mod settings;
mod stream;
mod window;

pub use connection::{Connection, Event, RequestLine, Role};
pub use error::{ConnectionError, ErrorCode, Fault, Flood, Malformed, OpenError, ResetBy, SendError};
pub use fields::{Field, Fields};
pub use hpack::FieldWriter;
pub use limits::{Budget, Limits};
pub use settings::PeerSettings;
pub use stream::StreamId;
