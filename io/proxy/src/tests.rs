//! The proxy over loopback, between raw clients and raw origins.

mod changes;
mod failures;
mod harness;
mod http;
