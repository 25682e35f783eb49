//! The channel over which one process hands its sockets and its state to the next, and the words spoken on it.
//!
//! ```text
//!        old                                                new
//!         │ ◄─────────────────── Hello ───────────────────── │ connects; same user, same protocol
//!         │ ── Welcome (locks, admin), Sockets…, Prepared ─► │ compiles, adopts, opens nothing
//!         │ ◄────────────────── TakeOver ─────────────────── │ could serve
//!  leaves │ ── Sockets…, Elections…, Sessions…, Complete ──► │ speaks as master beside the old one
//!  data-  │ ◄─────────────────── Taken ───────────────────── │
//!  grams  │ ─────────────────── Released ──────────────────► │ accepts, programs the kernel
//!  alone  │ ─────────────────── Draining… ─────────────────► │ shows what the old one still holds
//! ```
//! Until `Taken` the old process can go on as if nothing had happened, and does when the channel breaks. From then on the new
//! one is responsible, whatever becomes of the old one.
//!
//! A message is one datagram of a Unix socket that keeps bounds (`SOCK_SEQPACKET`): JSON of at most
//! [`MESSAGE_BYTES_MAX`] with at most [`DESCRIPTORS_MAX`] descriptors. Calls block, each for a time that the caller sets; run
//! them where that does no harm. Nothing here knows what the sockets are for.

mod channel;
mod listener;
mod message;
mod notify;

pub use channel::{Channel, ChannelError};
pub use listener::Listener;
pub use message::{DESCRIPTORS_MAX, MESSAGE_BYTES_MAX, Message, PROTOCOL};
pub use notify::Manager;
