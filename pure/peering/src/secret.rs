//! The secret that the gateways of a set share, as a link proves it.
//!
//! An Ed25519 key follows from the secret (HKDF-SHA-256, RFC 5869), the same on every gateway. Both ends of a link show its
//! public half as a raw public key (RFC 7250) in TLS 1.3 and sign with its private half, so each proves to the other that it
//! holds the secret. The keys of a link come from a key exchange of its own: who learns the secret later cannot read what was
//! said. Nothing is resumed, so a changed secret holds from the next link on.
//!
//! The public half says nothing of a secret that cannot be guessed; whoever connects may see it, so the secret must be long
//! (`peers.keyFile` takes 32 bytes at least).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_eddsa_type};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

/// What is spoken inside (RFC 7301); another language gets another name.
const ALPN: &[u8] = b"tidegate-peers/1";

/// PKCS#8 of an Ed25519 key (RFC 8410 section 7), up to its 32 bytes.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// No key follows from a secret: the cryptographic library refuses it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key can be made of the secret: {0}")]
pub struct SecretError(String);

/// The secret, ready for links. Never printed.
#[derive(Clone)]
pub struct Secret {
    pub(crate) caller: Arc<ClientConfig>,
    pub(crate) called: Arc<ServerConfig>,
}

impl Secret {
    /// Of the bytes that all gateways share.
    ///
    /// # Errors
    /// The library makes no key of them, which no bytes are known to cause.
    pub fn new(shared: &[u8]) -> Result<Secret, SecretError> {
        Secret::settled(shared).map_err(|error| SecretError(error.to_string()))
    }

    /// What tells whether two processes share the same bytes, and nothing that a link is proved with. Not for strangers: bytes
    /// that can be guessed can be tried against it.
    ///
    /// # Errors
    /// The library makes none of them, which no bytes are known to cause.
    pub fn digest(shared: &[u8]) -> Result<[u8; 32], SecretError> {
        derived(shared, b"hand-over").map_err(|error| SecretError(error.to_string()))
    }

    fn settled(shared: &[u8]) -> Result<Secret, Error> {
        let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8(shared)?))?;
        let public = key.public_key().ok_or_else(|| Error::General("a key without a public half".into()))?;
        let public = CertificateDer::from(public.as_ref().to_vec());
        let shown = Arc::new(CertifiedKey::new(vec![public.clone()], key));
        let provider = Arc::new(default_provider());
        let same = Arc::new(Same { public, provider: provider.clone() });
        let mut caller = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(same.clone())
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(shown.clone())));
        caller.alpn_protocols = vec![ALPN.to_vec()];
        caller.enable_sni = false;
        caller.resumption = Resumption::disabled();
        let mut called = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(same)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(shown)));
        called.alpn_protocols = vec![ALPN.to_vec()];
        called.session_storage = Arc::new(NoServerSessionStorage {});
        called.send_tls13_tickets = 0;
        Ok(Secret { caller: Arc::new(caller), called: Arc::new(called) })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The length of a seed.
struct Seed;

impl KeyType for Seed {
    fn len(&self) -> usize {
        32
    }
}

/// The private key that follows from the secret.
fn pkcs8(shared: &[u8]) -> Result<Vec<u8>, Error> {
    Ok([&PKCS8_ED25519[..], &derived(shared, b"link identity")?].concat())
}

/// What follows from the secret for one use.
fn derived(shared: &[u8], purpose: &[u8]) -> Result<[u8; 32], Error> {
    let failed = |_| Error::General("HKDF failed".into());
    let root = Salt::new(HKDF_SHA256, b"tidegate peers").extract(shared);
    let mut seed = [0; 32];
    let purposes = [purpose];
    let okm = root.expand(&purposes, Seed).map_err(failed)?;
    okm.fill(&mut seed).map_err(failed)?;
    Ok(seed)
}

/// Takes the key that follows from our own secret, and no other.
#[derive(Debug)]
struct Same {
    public: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Same {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        match *shown == self.public {
            true => Ok(()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }
}

/// TLS 1.2 is not offered, so nobody can be asked to check one of its signatures.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken here".into()))
}

impl ServerCertVerifier for Same {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Same {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
