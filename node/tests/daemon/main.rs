//! The binary `tidegate`, run as a user runs it: real processes, real sockets on loopback, no mock.
//!
//! One test binary, so that it links once; a module for each subject. Every daemon runs without `CAP_NET_ADMIN`
//! ([`place`] sees to it), so no test changes this machine's kernel.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod admin;
mod bad_input;
mod change;
mod confirm;
mod doctor;
mod drain;
mod hello;
mod http;
mod node_name;
mod origin;
mod peers;
mod place;
mod services;
mod start;
mod stop;
mod takeover;
mod trace;
mod unprivileged;
