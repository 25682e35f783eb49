//! Asks DNS for the names that Services of type ExternalName stand for, each when its TTL is over.
//!
//! It decides nothing: whom to ask when, and what becomes of an answer, is in `pure/dns`; to which addresses a Service may
//! lead, in `pure/compile`. Names are asked for as they are, without search domains and without the machine's own table of
//! hosts.

mod asking;
mod metrics;
mod resolver;

pub use asking::Nameservers;
pub use resolver::{Known, Resolver};
