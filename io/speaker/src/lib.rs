//! BGP, VRRP and ARP on real sockets.
//!
//! Two threads: [`elections`] (VRRP and ARP, never late) and [`sessions`] (BGP, sometimes busy). Each makes itself like
//! the [`Speaker`](tidegate_model::Speaker) part of the Model that [`Speaker::declare`] hands it, and publishes what it
//! observes. Neither touches the kernel's tables: what was learned is published for `io/kernel` to install.

mod elections;
mod links;
mod sessions;
mod speaker;

pub use elections::Election;
pub use sessions::{Learned, LearnedRoute, SessionStatus, SessionsObserved};
pub use speaker::Speaker;
