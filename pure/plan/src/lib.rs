//! Desired and observed kernel state to operations.
//!
//! The caller fills a [`Desired`], `io/kernel` reads an [`Observed`], and [`plan`] says what must be done so that the
//! second becomes the first. Nothing here touches the kernel; whoever applies the operations has no choices left.
//!
//! What is ours is marked: addresses and routes carry the protocol number [`OURS`], rules stand in
//! [`RULE_PRIORITIES`], nftables objects live in the one table [`TABLE`]. Whatever lacks the mark is never changed.

mod address;
mod desired;
pub mod fitness;
pub mod nft;
mod observed;
mod op;
mod plan;
mod route;
mod rule;
pub mod sysctl;

pub use address::Address;
pub use desired::Desired;
pub use nft::elements::{ClassId, Egress, Filter};
pub use nft::skeleton::{TABLE, TRANSPARENT_MARK};
pub use observed::{Impossible, Observed};
pub use op::{Note, Op};
pub use plan::{Plan, cleanup_plan, plan};
pub use route::{MAIN_TABLE, NextHop, RouteKey, TRANSPARENT_PRIORITY, TRANSPARENT_TABLE};
pub use rule::{RULE_PRIORITIES, Rule};
pub use sysctl::{BadSysctl, IP_FORWARD, Recorded, SysctlKey};

/// The protocol number that our addresses (`IFA_PROTO`), routes (`rtm_protocol`) and rules (`FRA_PROTOCOL`) carry.
pub const OURS: u8 = 84;
