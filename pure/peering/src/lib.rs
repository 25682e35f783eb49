//! The channel between the gateways of a set: proof of the shared secret, messages, who calls whom. No sockets, no clock.
//!
//! ```text
//!  GatewayNodes ──► Roster: which names this gateway calls, which may call it     Calling: which address next, and when
//!                                                                                 Door: how many may be unproven at once
//!   caller                                                    called
//!     │ ◄──── TLS 1.3, both prove that they hold the secret ────► │   Secret: raw public keys (RFC 7250) that follow from it
//!     │ ── Hello, my name ──────────────────────────────────────► │   known and expected to call? else Refused
//!     │ ◄────────────────────────────────────── Hello, my name ── │   the one I called? else the link ends
//!     │ ◄───────────── Alive, and messages by topic ────────────► │   Link: one end of it
//! ```
//! Of two gateways the one whose name sorts first calls, so there is one link for each pair. A link carries frames; a frame is
//! a message of a topic in a version ([`Message`]), and one that the other does not know is passed over, so that gateways of
//! different versions stand beside each other.

mod calling;
mod door;
mod fault;
mod frame;
mod link;
mod message;
mod roster;
mod secret;

pub use calling::Calling;
pub use door::{Door, PENDING_EACH_MAX, STRANGERS_MAX, Visit};
pub use fault::Fault;
pub use frame::{FRAME_BYTES_MAX, Frame, Frames};
pub use link::{HELLO_WITHIN, Input, Link, Output, SILENCE_MAX};
pub use message::{KEYS_MAX, Message, NAME_BYTES_MAX};
pub use roster::{Roster, Unwelcome};
pub use secret::{Secret, SecretError};
