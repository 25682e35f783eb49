//! A Secret's certificate chain and private key: read, and checked against each other.
//!
//! Names come from the subject alternative names only: the common name has been no host name since RFC 9525.

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tidegate_model::traffic::{Certificate, HostPattern, PrivateKey};
use tidegate_objects::Key;

use crate::der;
use crate::provider::provider;

/// Bytes of a PEM text; a Secret holds no more.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;

/// Certificates of a chain.
pub const CHAIN_CERTIFICATES_MAX: usize = 16;

/// Why a certificate cannot be served; each is a sentence for the owner of the Secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// The size is out of bounds.
    #[error("{0} is larger than 1 MiB")]
    TooLarge(&'static str),
    /// The armour is broken.
    #[error("{0} is no PEM: a part of it is cut off or garbled")]
    Garbled(&'static str),
    /// There is none.
    #[error("tls.crt holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// More than [`CHAIN_CERTIFICATES_MAX`].
    #[error("tls.crt holds more than {CHAIN_CERTIFICATES_MAX} certificates")]
    ChainTooLong,
    /// A certificate cannot be read.
    #[error("certificate {0} of tls.crt is no X.509 certificate of version 3")]
    NotX509(usize),
    /// There is none.
    #[error("tls.key holds no private key in PEM (PKCS#8, SEC1 or PKCS#1)")]
    NoKey,
    /// It needs a passphrase.
    #[error("tls.key is encrypted with a passphrase; store it decrypted")]
    KeyEncrypted,
    /// Its algorithm or size is not served.
    #[error(
        "tls.key is no key that can be served: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    KeyUnsupported,
    /// They do not belong together.
    #[error("tls.key does not fit tls.crt")]
    KeyDoesNotFit,
}

/// Reads the chain and key of a Secret. `ocsp` is a response in DER that is stapled as it is.
pub fn certificate(
    secret: Key,
    cert_pem: &[u8],
    key_pem: &[u8],
    ocsp: Option<&[u8]>,
) -> Result<Certificate, CertificateError> {
    let chain = chain(cert_pem)?;
    let key = private_key(key_pem)?;
    let not_x509 = || CertificateError::NotX509(1);
    let leaf = CertificateDer::from_slice(&chain[0]);
    let names = webpki::EndEntityCert::try_from(&leaf).map_err(|_| not_x509())?;
    let names = names.valid_dns_names().map(pattern).collect();
    let not_after_secs = der::validity(&chain[0]).ok_or_else(not_x509)?.not_after_secs;
    let ocsp = ocsp.filter(|response| !response.is_empty()).map(<[u8]>::to_vec);
    let certificate = Certificate { secret, names, chain, key, ocsp, not_after_secs };
    let certified = certified_key(&certificate)?;
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(CertificateError::KeyDoesNotFit)
        }
        _ => Ok(certificate),
    }
}

/// The certificate as the library wants it.
pub(crate) fn certified_key(certificate: &Certificate) -> Result<CertifiedKey, CertificateError> {
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = key_der(&certificate.key);
    let key = provider().key_provider.load_private_key(key).map_err(|_| CertificateError::KeyUnsupported)?;
    let mut certified = CertifiedKey::new(chain, key);
    certified.ocsp = certificate.ocsp.clone();
    Ok(certified)
}

fn chain(pem: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(CertificateError::TooLarge("tls.crt"));
    }
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| CertificateError::Garbled("tls.crt"))?;
        if chain.len() == CHAIN_CERTIFICATES_MAX {
            return Err(CertificateError::ChainTooLong);
        }
        if der::validity(&certificate).is_none() {
            return Err(CertificateError::NotX509(chain.len() + 1));
        }
        chain.push(certificate.to_vec());
    }
    if chain.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(chain) }
}

/// The first private key; what else is there (`EC PARAMETERS`) is passed over.
fn private_key(pem: &[u8]) -> Result<PrivateKey, CertificateError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(CertificateError::TooLarge("tls.key"));
    }
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        match section.map_err(|_| CertificateError::Garbled("tls.key"))? {
            (SectionKind::PrivateKey, der) => return Ok(PrivateKey::Pkcs8(der)),
            (SectionKind::EcPrivateKey, der) => return Ok(PrivateKey::Sec1(der)),
            (SectionKind::RsaPrivateKey, der) => return Ok(PrivateKey::Pkcs1(der)),
            _ => {}
        }
    }
    let says = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    let encrypted = says(b"BEGIN ENCRYPTED PRIVATE KEY") || says(b"Proc-Type: 4,ENCRYPTED");
    Err(if encrypted { CertificateError::KeyEncrypted } else { CertificateError::NoKey })
}

fn key_der(key: &PrivateKey) -> PrivateKeyDer<'static> {
    match key {
        PrivateKey::Pkcs8(der) => PrivateKeyDer::Pkcs8(der.clone().into()),
        PrivateKey::Sec1(der) => PrivateKeyDer::Sec1(der.clone().into()),
        PrivateKey::Pkcs1(der) => PrivateKeyDer::Pkcs1(der.clone().into()),
    }
}

fn pattern(name: &str) -> HostPattern {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(parent) => HostPattern::Under(parent.to_owned()),
        None => HostPattern::Exact(name),
    }
}

#[cfg(test)]
mod tests;
