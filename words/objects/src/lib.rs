//! What users write: the Kubernetes kinds Tidegate reads, and the [`Snapshot`] of them.
//!
//! Data only. Standard Gateway API kinds, foreign kinds and our own are held as their projects spell them; of the
//! core kinds (Pod, Service, EndpointSlice…) only what Tidegate uses is kept, because clusters hold many of them.
//! Text becomes these types in `pure/decode`; their meaning is found in `pure/compile`.

pub mod backend_tls;
pub mod core;
pub mod dns;
pub mod egress;
pub mod gateway;
pub mod ingress;
pub mod kind;
pub mod metadata;
pub mod metallb;
pub mod multicluster;
pub mod ours;
pub mod policy;
pub mod quantity;
pub mod reference;
pub mod route;
mod schema;
pub mod selector;
pub mod snapshot;

pub use kind::{Kind, Object, Role, Scope};
pub use metadata::{Key, Metadata, ObjectRef, Resource};
pub use quantity::Quantity;
pub use selector::LabelSelector;
pub use snapshot::Snapshot;
