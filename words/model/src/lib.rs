//! What the objects mean: the [`Model`], in five parts that change apart, one [`Verdict`] per object that states an
//! intent, and what really is ([`observed`]).
//!
//! Data only. `pure/compile` makes the Model; the shells in `io/` follow it. The one thing in it that changes in place
//! is an [`EndpointCell`](traffic::EndpointCell), so that an endpoint's coming and going rebuilds nothing else.

pub mod address;
pub mod drain;
pub mod egress;
pub mod handover;
pub mod machine;
pub mod observed;
pub mod peers;
pub mod seldom;
pub mod spans;
pub mod speaker;
pub mod standing;
pub mod status;
pub mod traffic;
pub mod verdict;

use std::sync::Arc;

pub use address::Addresses;
pub use drain::{DrainedEndpoint, DrainedEndpoints};
pub use egress::Egress;
pub use machine::Machine;
pub use peers::Peers;
pub use seldom::{Seldom, Usual};
pub use speaker::Speaker;
pub use standing::Standing;
pub use status::StatusOf;
pub use traffic::Traffic;
pub use verdict::{Outcome, Problem, Verdict};

/// What was asked for, understood: every alternative included, so that a failover needs no compile.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Model {
    /// What enters: listeners, routes, backends.
    pub traffic: Arc<Traffic>,
    /// What is spoken: elections and BGP peers.
    pub speaker: Arc<Speaker>,
    /// What leaves, and with which address.
    pub egress: Arc<Egress>,
    /// Which addresses are ours to hold, and for what.
    pub addresses: Arc<Addresses>,
    /// Which gateways stand beside this one.
    #[serde(skip_serializing_if = "Peers::is_alone")]
    pub peers: Arc<Peers>,
}
