//! Snapshot to Model and verdicts. Total: it never fails.
//!
//! ```text
//!   Gateways, Services, pools ──► addresses, sockets ──► routes, endpoints ──► Traffic
//!                              │ VIPs
//!   VRRPAdvertisements ────────┴──► elections ──┐
//!   BGPPeers, BGP- and RouteAdvertisements ─────┴──► what each peer is told ──► Speaker
//!   egress policies ──► Egress          all of them ──► Addresses
//! ```
//!
//! [`compile`] is for intent: everything, coalesced, off every hot path. [`membership`] is for endpoints that come and
//! go: it swaps the cells of the backends concerned and rebuilds nothing else. Nothing here asks a clock or a socket;
//! what a decision needs to know of the machine is in [`Machine`](tidegate_model::Machine).

mod assign;
mod attach;
mod backend;
mod backend_policy;
mod backend_tls;
mod bgp;
mod certificate;
mod client_policy;
mod cluster_service;
mod compile;
mod conflict;
pub mod duration;
mod egress;
mod election;
mod endpoint_mode;
mod endpoints;
mod entrance;
mod export;
mod filter;
mod gateway;
mod grants;
mod grpc_rule;
mod held;
mod http2;
mod http_route;
mod http_rule;
mod import;
pub mod ingress;
pub mod kernel;
mod leg;
mod listener;
mod listener_set;
mod membership;
mod node;
mod outside;
mod place;
mod policy_target;
mod pool;
pub mod readiness;
mod referenced;
mod report;
mod route_advertisement;
mod rule;
mod service;
mod service_door;
mod standing;
pub mod status;
mod stream_route;
mod verdicts;
mod vrrp;
mod words;
pub mod writeback;

pub use compile::{Compiled, compile};
pub use membership::{Membership, changed_services, membership};
pub use referenced::{referenced, same_references};
