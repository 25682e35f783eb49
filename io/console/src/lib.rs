//! The admin address: health, metrics, status and explanations, over HTTP on loopback.
//!
//! Owns the socket and the shape of the API. Never decides anything: what it shows comes from a [`View`] that the
//! binary supplies, and metrics from the registry that every shell writes to.

mod routes;
mod server;
mod view;

pub use server::{Console, ConsoleError, Serving};
pub use view::{
    Confirm, Confirmed, DrainWish, Drained, DrainedFrom, EgressQuery, Explained, HttpQuery, Statuses, View,
};
