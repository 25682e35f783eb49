//! BackendTLSPolicy (Gateway API v1.6): TLS towards a Service, and how its certificate is verified.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::reference::{LocalRef, TargetRef};

/// BackendTLSPolicy `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicy {
    /// Services, or with `sectionName` one port of one, by name; 1 to 16.
    pub target_refs: Vec<TargetRef>,
    /// How the backend's certificate is verified.
    pub validation: BackendTlsValidation,
    /// Options of implementations, each with a domain in its name.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// How a backend's certificate is verified. Either authorities or well-known ones are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsValidation {
    /// ConfigMaps (key `ca.crt`) with the authorities trusted, at most 8.
    #[serde(default)]
    pub ca_certificate_refs: Vec<LocalRef>,
    /// `System`: the authorities that the machine trusts.
    #[serde(rename = "wellKnownCACertificates", default)]
    pub well_known_ca_certificates: Option<String>,
    /// The server name sent (SNI); without `subjectAltNames` the certificate must be for it too.
    pub hostname: String,
    /// Names of which the certificate must have one, at most 5.
    #[serde(default)]
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A name in a certificate (RFC 5280 section 4.2.1.6): `type` says which of the others is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectAltName {
    /// Which kind of name.
    #[serde(rename = "type")]
    pub name_type: SubjectAltNameType,
    /// A DNS name, perhaps beginning with `*.`.
    #[serde(default)]
    pub hostname: Option<String>,
    /// An absolute URI, as SPIFFE ids are.
    #[serde(default)]
    pub uri: Option<String>,
}

/// A kind of name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubjectAltNameType {
    /// A DNS name.
    Hostname,
    /// A URI.
    #[serde(rename = "URI")]
    Uri,
}
