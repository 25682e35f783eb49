//! Which address a Gateway or Service gets from which pool.
//!
//! [`allocate`] is a function of what every gateway reads alike, so that gateways agree without talking. It never asks
//! the network and keeps no state. IPv4 only.
//!
//! A free choice does not take the lowest free address: it starts at a place that follows from the requester's name.
//! So an object that comes or goes moves nobody else's address, except where two names meet at the same place.

mod allocate;
mod range;

pub use allocate::{Assigned, Pool, Refusal, Request, allocate};
pub use range::{Range, RangeError, parse_range};
