//! TLS of a Gateway: certificates of listeners, of clients and towards backends. Names certificates, holds none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reference::{NamespacedRef, SecretRef};

/// `tls` of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// Who ends the TLS session.
    pub mode: TlsMode,
    /// Certificates with their keys, at most 64; at least one where TLS ends here.
    pub certificate_refs: Vec<SecretRef>,
    /// Options of implementations, each with a domain in its name.
    pub options: BTreeMap<String, String>,
}

/// Who ends a TLS session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// The Gateway.
    #[default]
    Terminate,
    /// The backend; the Gateway sees the server name only.
    Passthrough,
}

/// `tls` of a Gateway (Gateway API GEP-91 and GEP-3155).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayTls {
    /// Towards backends.
    pub backend: Option<GatewayBackendTls>,
    /// Towards clients.
    pub frontend: Option<FrontendTls>,
}

/// How a Gateway shows itself to backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayBackendTls {
    /// Its client certificate and key.
    pub client_certificate_ref: Option<SecretRef>,
}

/// How the certificates of clients are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendTls {
    /// On every HTTPS listener whose port has no entry of its own.
    pub default: FrontendTlsConfig,
    /// On the listeners of a port; at most 64, each port once.
    #[serde(default)]
    pub per_port: Vec<FrontendTlsPort>,
}

/// What is asked of clients on one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontendTlsPort {
    /// The port, 1 to 65535.
    pub port: u16,
    /// What is asked.
    pub tls: FrontendTlsConfig,
}

/// What is asked of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FrontendTlsConfig {
    /// How their certificate is verified; absent: none is asked for.
    pub validation: Option<FrontendValidation>,
}

/// How a client's certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendValidation {
    /// ConfigMaps (key `ca.crt`) or Secrets with the authorities trusted, 1 to 16.
    #[serde(rename = "caCertificateRefs")]
    pub ca_certificate_refs: Vec<NamespacedRef>,
    /// What becomes of a client without a valid certificate.
    #[serde(default)]
    pub mode: FrontendValidationMode,
}

/// What becomes of a client without a valid certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontendValidationMode {
    /// The handshake fails.
    #[default]
    AllowValidOnly,
    /// It is served; backends decide.
    AllowInsecureFallback,
}
