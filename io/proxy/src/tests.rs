//! The proxy over loopback, between raw clients and raw origins.

mod backends;
mod bodies;
mod changes;
mod clients;
mod crowd;
mod datagram;
mod express;
mod failures;
mod grpc_web;
mod handover;
mod harness;
mod health;
mod http;
mod http2;
mod https;
mod loops;
mod passthrough;
mod proxy_header;
mod relay;
mod rules;
mod services;
mod slow;
mod spans;
mod streams;
mod turns;
