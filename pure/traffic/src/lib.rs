//! Which route, rule, backend and endpoint serve a request.
//!
//! A [`Router`] is compiled from one [`Entrance`](tidegate_model::traffic::Entrance) and answers for one socket. The
//! proxy and `tidegate explain http` ask the same functions, so that they cannot disagree. Everything that varies
//! (random numbers, turns) is passed in; nothing here waits, reads a clock or allocates on the common path.
//!
//! The order of questions: [`host`] and [`path`] settle what the request names, [`Router::route`] finds the rule,
//! [`balance`] the backend and the endpoint, [`headers`] and [`client`] what is written to it.

pub mod balance;
pub mod block;
pub mod client;
pub mod compression;
pub mod conduct;
pub mod cors;
pub mod explain;
pub mod hash;
pub mod headers;
pub mod host;
pub mod mirror;
pub mod path;
pub mod proxy_protocol;
pub mod redirect;
pub mod refusal;
pub mod request;
pub mod retry;
pub mod rewrite;
pub mod router;
pub mod session;
pub mod slack;
pub mod sni;
pub mod trace;

mod candidate;
mod host_table;
mod name;
mod path_index;
mod siphash;
mod text;

pub use explain::{Explanation, Question, entrance_for, explain, explain_tls};
pub use refusal::Refusal;
pub use request::{HeaderLines, RequestView};
pub use router::{Decision, Matched, Outcome, Router};
pub use sni::SniRoutes;

#[cfg(test)]
mod tests;
