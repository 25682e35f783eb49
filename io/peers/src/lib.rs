//! The one authenticated channel between gateways: its sockets and tasks. What is said, who calls whom and who is let in is
//! decided in `pure/peering`; what messages are for is known to whoever tells and hears them.
//!
//! ```text
//!  Peers::know ──► a task for each address listened at ── Door ──► a task for each caller ─┐
//!                  a task for each gateway that is called ─────────────────────────────────┴─► carry: one link, one socket
//!  Peers::tell ──► the link's queue                       Up, Heard ◄── events, one bounded queue for all links
//! ```
//! Who speaks faster than the events are taken waits, and with it the other gateway's TCP; every link has its turn in the
//! queue. Who does not take what it is told loses its link, and is told everything when it comes again. Tasks end with
//! [`Peers`], or by [`Peers::stop`]; a link that is cut so is no loss, since what matters is told anew at the next one.

mod caller;
mod carry;
mod hub;
mod listener;
mod metrics;
mod peers;

pub use peers::{Event, Events, PeerObserved, Peers, PeersObserved};

#[cfg(test)]
mod tests;
