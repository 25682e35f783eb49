//! TLS that ends here, and TLS that begins here.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use tidegate_objects::Key;

use super::HostPattern;

/// TLS of a listener, ended here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerTls {
    /// The certificates; the first whose names cover the server name is shown, else the first. Never empty.
    pub certificates: Vec<Arc<Certificate>>,
    /// The lowest version accepted.
    pub min_version: TlsVersion,
    /// The highest version accepted.
    pub max_version: TlsVersion,
    /// Cipher suites by IANA name, preferred first; empty: the library's own choice.
    pub ciphers: Vec<String>,
    /// Protocols offered by ALPN, preferred first.
    pub alpn: Vec<String>,
    /// Whether a session may be resumed with a ticket.
    pub resumption: bool,
    /// What is asked of a client's certificate.
    pub client_validation: Option<Arc<ClientValidation>>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// A certificate chain with its private key, both sound and fitting each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The Secret it comes from.
    pub secret: Key,
    /// The DNS names of the first certificate.
    pub names: Vec<HostPattern>,
    /// DER, the server's own first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8, SEC1 or PKCS#1 DER; never printed.
    pub key: PrivateKey,
    /// A stapled OCSP response, if the Secret has one.
    pub ocsp: Option<Vec<u8>>,
    /// When the first certificate ends, in seconds since 1970.
    pub not_after_secs: i64,
}

/// A private key in DER.
#[derive(Clone, PartialEq, Eq)]
pub enum PrivateKey {
    /// PKCS#8.
    Pkcs8(Vec<u8>),
    /// SEC1 (EC).
    Sec1(Vec<u8>),
    /// PKCS#1 (RSA).
    Pkcs1(Vec<u8>),
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.secret)
    }
}

impl Serialize for Certificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.secret)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// What is asked of a client's certificate (Gateway's `frontend` validation).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientValidation {
    /// Certificates it must lead to.
    pub roots: Roots,
    /// Whether clients without one, or with one that leads elsewhere, are served all the same
    /// (`AllowInsecureFallback`).
    pub optional: bool,
}

/// TLS towards a backend (BackendTLSPolicy).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendTls {
    /// The name sent as SNI, and asked for in the certificate unless `alternative_names` are given.
    pub server_name: String,
    /// Names of which the certificate must have one; empty: the server name.
    pub alternative_names: Vec<AlternativeName>,
    /// Certificates that the backend's must lead to.
    pub roots: Roots,
    /// What is shown to the backend (Gateway's `tls.backend`).
    pub certificate: Option<Arc<Certificate>>,
}

impl BackendTls {
    /// Whether any certificate is believed.
    pub fn is_unverified(&self) -> bool {
        self.roots == Roots::Unverified
    }
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AlternativeName {
    /// A DNS name; a certificate's wildcard covers it.
    Host(String),
    /// A URI, compared byte by byte (SPIFFE).
    Uri(String),
}

/// Certificates that are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Roots {
    /// Those of this machine.
    System,
    /// These, in DER; never empty.
    These(#[serde(serialize_with = "count")] Arc<[Vec<u8>]>),
    /// Any certificate is believed, of whatever name: who stands between may read and change everything
    /// (`backend-protocol: HTTPS` of an Ingress).
    Unverified,
}

fn count<S: Serializer>(roots: &Arc<[Vec<u8>]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{} certificates", roots.len()))
}
