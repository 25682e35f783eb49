//! What plan decided, applied: netlink, nftables, sysctls.
//!
//! ```text
//!   Desired ──► Keeper ──► observe ──► tidegate_plan::plan ──► apply ──► Applied
//!                 ▲                                              │
//!                 └── notifications (a stranger, a link) ◄── kernel ◄┘
//! ```
//! [`Keeper`] is what a node runs; [`Kernel`] is the same without the loop, for `tidegate cleanup` and tests.
//! [`Surroundings`] and [`survey`](survey()) need no privilege.

mod address;
mod capability;
mod error;
mod keeper;
mod kernel;
mod link;
mod metrics;
mod monitor;
mod netlink;
mod nft;
mod route;
mod rule;
mod survey;
mod sysctl;

pub use error::{ObserveError, OpError, OpenError};
pub use keeper::{Applied, Holds, Keeper};
pub use kernel::{Cleanup, Kernel};
pub use link::{Link, Surroundings};
pub use survey::survey;
pub use tidegate_plan::fitness;
