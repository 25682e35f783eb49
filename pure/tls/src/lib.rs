//! Certificates: read, checked against their keys, matched to names; TLS settings from the Model.
//!
//! ```text
//!  Secret ── certificate() ──► Certificate ─┐
//!  ConfigMap ── roots() ──► Roots ──────────┴► ServerTls ── ListenerTls::new ──► rustls::ServerConfig
//!                                              BackendTls ─ UpstreamTls::new ──► rustls::ClientConfig
//!  Ring: which keys seal and open tickets ── TicketKeys ──► one ticketer for each way of checking clients
//! ```
//!
//! Nothing here touches a socket. The dice of tickets are given as [`Dice`], their clock
//! as an argument; rustls itself looks at the system's
//! clock when it checks a certificate, and takes the randomness of a handshake from aws-lc.

mod certificate;
mod choice;
mod der;
mod hello;
mod judge;
mod listener;
mod provider;
mod ring;
mod roots;
mod ticket;
mod upstream;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use certificate::{CHAIN_CERTIFICATES_MAX, CertificateError, PEM_BYTES_MAX, certificate};
pub use choice::Shown;
pub use hello::{ClientHello, HELLO_BYTES_MAX, HelloError, HelloScan, RAW_HELLO_BYTES_MAX};
pub use judge::ClientCertificate;
pub use listener::{ListenerTls, ServerTlsError};
pub use provider::{CIPHER_SUITES, is_cipher_suite};
pub use ring::{Input, ROTATION_MAX, ROTATION_MIN, Ring};
pub use roots::{ROOTS_MAX, RootsError, roots, store};
pub use ticket::{Dice, TicketKeys, Ticketer};
pub use upstream::{UpstreamTls, UpstreamTlsError, UpstreamTlsFault};
