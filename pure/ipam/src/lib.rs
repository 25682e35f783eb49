//! Which addresses a Gateway or Service gets from which pools.
//!
//! [`allocate`] is a function of what every gateway reads alike, so that gateways agree without talking. It never asks
//! the network and keeps no state. Who may have addresses of which pool, and in which order pools are asked, its caller
//! knows.
//!
//! A free choice does not take the lowest free address: it starts at a place that follows from the requester's name.
//! So an object that comes or goes moves nobody else's address, except where two names meet at the same place.

mod allocate;
mod ledger;
mod pool;
mod range;

pub use allocate::{Given, Refusal, Request, allocate};
pub use ledger::{Share, Tenancy};
pub use pool::Pool;
pub use range::{Family, Range, RangeError, parse_range};
