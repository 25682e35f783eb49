//! Writing back to a cluster what it is told of its objects: everything about it that is decided.
//!
//! ```text
//!   statuses, Services, concerns ──► Wanted ─┐
//!   what reflectors have seen ───────────────┴─► Desk: whose turn ──► read, decide ──► apply, replace or nothing
//!                    a Lease ──► Election: whether it is ours to write at all
//! ```
//! Who sends it is `io/kube`. Nothing here knows a socket; time and chance are passed in.

mod concern;
mod decide;
mod desk;
mod digest;
mod election;
mod herald;
mod made;
mod wanted;

pub use concern::{Concern, event, event_path, repeated};
pub use decide::{Write, decide};
pub use desk::{Desk, Outcome, Turn};
pub use digest::{digest, of_standing};
pub use election::{Election, Record, Step};
pub use herald::Herald;
pub use made::{MANAGED_BY, Making, is_made, make};
pub use wanted::{Item, Piece, Wanted};

/// The field manager under which everything is applied.
pub const MANAGER: &str = "tidegate";
