//! Which pod leaves with which address: selection, classes, disjoint destinations.
//!
//! ```text
//!   pods ──selectors──► class (the list of policies that select a pod) ──┐
//!   policies ──destinations less exclusions, longest prefix first──► disjoint intervals per class ──► address or drop
//! ```
//!
//! A [`Table`] belongs to one compiled [`Egress`](tidegate_model::Egress) and learns pods one by one; what it says to
//! the kernel ([`Table::kernel`]) and to a person ([`Table::decide`]) comes from the same intervals. It never asks the
//! network. IPv4 only.
//!
//! What a policy excludes, that policy does not touch, whatever the prefix lengths; another policy that selects the
//! pod still may.

mod class;
mod destination;
mod select;
mod table;

pub use class::{CLASSES_MAX, ClassId};
pub use destination::{Destination, Leaves};
pub use select::selects;
pub use table::{KernelTables, Table};
