//! TLS towards a backend: whose certificate is believed, and for which name (BackendTLSPolicy).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use thiserror::Error as ThisError;
use tidegate_model::traffic::{AlternativeName, BackendTls, Roots};

use crate::certificate::{CertificateError as OwnCertificateError, certified_key};
use crate::der;
use crate::judge::algorithms;
use crate::provider::provider;
use crate::roots::store;

/// Sessions kept for resumption, for each backend and worker.
const SESSIONS: usize = 64;

/// Why a backend's settings cannot be used.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
pub enum UpstreamTlsError {
    /// It cannot be sent.
    #[error("{0:?} is no host name")]
    ServerName(String),
    /// A name can never match.
    #[error("{0:?} is no name that a certificate can have")]
    AlternativeName(String),
    /// Nothing could be believed.
    #[error("none of the CA certificates can be used")]
    NoRoots,
    /// The own certificate.
    #[error(transparent)]
    Certificate(#[from] OwnCertificateError),
}

/// TLS towards a backend, ready for handshakes.
#[derive(Debug)]
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl UpstreamTls {
    /// Compiles the settings. `system` are the roots of the machine, used only where the settings say so.
    pub fn new(tls: &BackendTls, system: &Arc<RootCertStore>) -> Result<UpstreamTls, UpstreamTlsError> {
        let server_name = DnsName::try_from(tls.server_name.clone())
            .map_err(|_| UpstreamTlsError::ServerName(tls.server_name.clone()))?;
        let unverified = tls.roots == Roots::Unverified;
        let (roots, themselves) = match &tls.roots {
            Roots::System => (system.clone(), Arc::default()),
            Roots::These(roots) => (store(roots.iter().map(Vec::as_slice)), roots.clone()),
            Roots::Unverified => (Arc::new(RootCertStore::empty()), Arc::default()),
        };
        if roots.is_empty() && !unverified {
            return Err(UpstreamTlsError::NoRoots);
        }
        let names = names(tls, &server_name)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            // The suites of the provider serve both versions.
            .map_err(|_| UpstreamTlsError::NoRoots)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { roots, themselves, names, unverified }));
        let mut config = match &tls.certificate {
            Some(certificate) => {
                let own = Arc::new(certified_key(certificate)?);
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)))
            }
            None => builder.with_no_client_auth(),
        };
        // What is believed whatever it is called is not asked for by a name that may mean nothing to it.
        config.enable_sni = !unverified;
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(UpstreamTls { config: Arc::new(config), server_name: ServerName::DnsName(server_name) })
    }

    /// What the library takes; protocols for ALPN are given with each connection.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// What is sent as SNI.
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }
}

/// What went wrong in a handshake with a backend, as the access log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamTlsFault {
    /// Its certificate leads to no root that is believed.
    Issuer,
    /// Its certificate has none of the names.
    Name,
    /// Its certificate is past its end, or not yet valid.
    Expired,
    /// Its certificate is wrong in another way.
    Certificate,
    /// It refused us: our certificate, or what we offered.
    Refused,
    /// It does not speak TLS, or not as it should.
    Protocol,
}

impl UpstreamTlsFault {
    /// What kind of failure an error of the library is.
    pub fn of(error: &Error) -> UpstreamTlsFault {
        match error {
            Error::InvalidCertificate(error) => match error {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => UpstreamTlsFault::Issuer,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    UpstreamTlsFault::Name
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => UpstreamTlsFault::Expired,
                _ => UpstreamTlsFault::Certificate,
            },
            Error::AlertReceived(alert) if *alert != AlertDescription::CloseNotify => {
                UpstreamTlsFault::Refused
            }
            _ => UpstreamTlsFault::Protocol,
        }
    }

    /// The reason in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            UpstreamTlsFault::Issuer => "UpstreamTlsIssuer",
            UpstreamTlsFault::Name => "UpstreamTlsName",
            UpstreamTlsFault::Expired => "UpstreamTlsExpired",
            UpstreamTlsFault::Certificate => "UpstreamTlsCertificate",
            UpstreamTlsFault::Refused => "UpstreamTlsRefused",
            UpstreamTlsFault::Protocol => "UpstreamTlsProtocol",
        }
    }
}

#[derive(Debug)]
enum Name {
    Host(ServerName<'static>),
    Uri(String),
}

fn names(tls: &BackendTls, server_name: &DnsName<'static>) -> Result<Vec<Name>, UpstreamTlsError> {
    if tls.alternative_names.is_empty() {
        return Ok(vec![Name::Host(ServerName::DnsName(server_name.clone()))]);
    }
    let name = |name: &AlternativeName| match name {
        AlternativeName::Uri(uri) => Ok(Name::Uri(uri.clone())),
        AlternativeName::Host(host) => DnsName::try_from(host.clone())
            .map(|host| Name::Host(ServerName::DnsName(host)))
            .map_err(|_| UpstreamTlsError::AlternativeName(host.clone())),
    };
    tls.alternative_names.iter().map(name).collect()
}

/// Checks a backend's certificate: it leads to a root, and has one of the names.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    /// Roots in DER that are believed when they are shown themselves.
    themselves: Arc<[Vec<u8>]>,
    names: Vec<Name>,
    /// Any certificate will do.
    unverified: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.unverified {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(own)?;
        if !is_valid_root(&self.themselves, own, now)? {
            let algorithms = algorithms().all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, now, algorithms)?;
        }
        let has = |name: &Name| match name {
            Name::Host(host) => verify_server_name(&parsed, host).is_ok(),
            Name::Uri(uri) => webpki::EndEntityCert::try_from(own)
                .is_ok_and(|certificate| certificate.valid_uri_names().any(|name| name == uri)),
        };
        if self.names.iter().any(has) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Whether a certificate is one of the roots, and valid now: what signs itself (`openssl req -x509`) is believed by being
/// named, though a path to it cannot be built. An error if it is one, and its time is over or has not come.
pub(crate) fn is_valid_root(
    roots: &[Vec<u8>],
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<bool, Error> {
    if !roots.iter().any(|root| root.as_slice() == certificate.as_ref()) {
        return Ok(false);
    }
    let validity = der::validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let now_secs = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now_secs < validity.not_before_secs {
        return Err(CertificateError::NotValidYet.into());
    }
    if now_secs > validity.not_after_secs {
        return Err(CertificateError::Expired.into());
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
