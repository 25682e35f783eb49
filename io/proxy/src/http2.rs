//! HTTP/2 (RFC 9113) on sockets, towards clients and endpoints: the machine of `tidegate-http2`, a wire, and a task for each
//! stream. Never parses a frame and never decides what becomes of a request.
//!
//! ```text
//!  wire ◄─► Session (one driver task: reads, feeds the machine, writes what all streams sent in one go)
//!              │ Stream, a handle for each task
//!  server ─────┤ a client's request ─► exchange, by Client::Http2, Source::Http2, Sink::Http2
//!  client ─────┘ an attempt ─► Call on one of the Sessions of an endpoint, by Upstream::Http2
//! ```

mod call;
mod head;
mod kit;
mod message;
mod runner;
mod server;
mod session;
mod sessions;
mod stream;
mod waiting;
mod websocket;

pub use call::Call;
pub use head::{BlockWriter, Facts};
pub use kit::Kit;
pub use message::{Receiver, Sender};
pub use server::{Newcomer, PREFACE_HEAD};
pub use session::Session;
pub use sessions::{Sessions, Wear};
pub use stream::Stream;
pub use websocket::PROTOCOL as WEBSOCKET;

/// Marks the tag of a session's deadline beside its door's: it hears of the door's end at once.
pub const TAG: u64 = 1 << 63;
