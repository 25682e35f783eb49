//! Our one nftables table: what it is made of, what it must contain, and how it differs from what stands.

pub(crate) mod diff;
pub mod elements;
pub mod expr;
mod ranges;
pub mod skeleton;
pub mod table;
