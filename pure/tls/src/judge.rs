//! Client certificates: what is asked for, and what is thought of the one that came.
//!
//! A resumed session brings the certificate of its first handshake along without the library looking at it again; so
//! every verdict that counts is asked for after the handshake, with the roots of now.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tidegate_model::traffic::{ClientValidation, Roots};

use crate::provider::provider;
use crate::roots::store;
use crate::upstream::is_valid_root;

/// What is known of a client's certificate after the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None was asked for, or none came.
    #[default]
    None,
    /// It leads to the roots.
    Verified,
    /// It does not, and the listener serves such clients all the same.
    Unverified,
}

/// Asks for a certificate and checks it.
#[derive(Debug)]
pub(crate) struct Judge {
    chain: Arc<dyn ClientCertVerifier>,
    /// Certificates that are believed when they are shown themselves, in DER.
    themselves: Arc<[Vec<u8>]>,
    optional: bool,
}

impl Judge {
    /// Nothing if the roots cannot be used.
    pub(crate) fn new(validation: &ClientValidation) -> Option<Judge> {
        let Roots::These(roots) = &validation.roots else { return None };
        let store = store(roots.iter().map(Vec::as_slice));
        let chain = WebPkiClientVerifier::builder_with_provider(store, provider()).build().ok()?;
        Some(Judge { chain, themselves: roots.clone(), optional: validation.optional })
    }

    /// What is thought of the certificates now.
    pub(crate) fn verdict(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        now: UnixTime,
    ) -> Result<ClientCertificate, Error> {
        let Some((own, others)) = certificates.and_then(<[_]>::split_first) else {
            return if self.optional {
                Ok(ClientCertificate::None)
            } else {
                Err(Error::NoCertificatesPresented)
            };
        };
        match self.check(own, others, now) {
            Ok(_) => Ok(ClientCertificate::Verified),
            Err(_) if self.optional => Ok(ClientCertificate::Unverified),
            Err(error) => Err(error),
        }
    }

    fn check(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if is_valid_root(&self.themselves, own, now)? {
            return Ok(ClientCertVerified::assertion());
        }
        self.chain.verify_client_cert(own, others, now)
    }
}

impl ClientCertVerifier for Judge {
    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    /// Where a certificate is optional, any will do here; what it is worth is told after the handshake.
    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.optional { Ok(ClientCertVerified::assertion()) } else { self.check(own, others, now) }
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
        self.chain.supported_verify_schemes()
    }
}

pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}
