//! Bundles of certificates that are believed.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;

use crate::certificate::PEM_BYTES_MAX;

/// Certificates of one bundle.
pub const ROOTS_MAX: usize = 4096;

/// Why a bundle cannot be used; each is a sentence for its owner.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RootsError {
    /// The size is out of bounds.
    #[error("the bundle of CA certificates is larger than 1 MiB")]
    TooLarge,
    /// More than [`ROOTS_MAX`].
    #[error("the bundle holds more than {ROOTS_MAX} CA certificates")]
    TooMany,
    /// The armour is broken.
    #[error("the bundle of CA certificates is no PEM: a certificate in it is cut off or garbled")]
    Garbled,
    /// There is none.
    #[error("the bundle holds no CA certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    Empty,
    /// A certificate cannot be used as a root.
    #[error("certificate {0} of the bundle is no X.509 certificate")]
    NotX509(usize),
}

/// Reads a bundle of CA certificates; the answer is never empty.
pub fn roots(pem: &[u8]) -> Result<Arc<[Vec<u8>]>, RootsError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(RootsError::TooLarge);
    }
    let mut roots = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| RootsError::Garbled)?;
        if roots.len() == ROOTS_MAX {
            return Err(RootsError::TooMany);
        }
        webpki::anchor_from_trusted_cert(&certificate).map_err(|_| RootsError::NotX509(roots.len() + 1))?;
        roots.push(certificate.to_vec());
    }
    if roots.is_empty() { Err(RootsError::Empty) } else { Ok(roots.into()) }
}

/// Roots as the library wants them. Those that cannot be used are left out; the number that can is its length.
pub fn store<'r>(roots: impl IntoIterator<Item = &'r [u8]>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in roots {
        // What cannot be read cannot be led to either.
        let _ = store.add(CertificateDer::from_slice(root).into_owned());
    }
    Arc::new(store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    /// A bundle gives its certificates in order, whatever text stands between them.
    #[test]
    fn bundles() {
        let (one, two) = (Authority::new("one"), Authority::new("two"));
        let text = format!("# ours\n{}\n\n# theirs\n{}", one.pem(), two.pem());
        let found = roots(text.as_bytes()).unwrap();
        assert_eq!(found.to_vec(), [one.der(), two.der()]);
        assert_eq!(store(found.iter().map(Vec::as_slice)).len(), 2);
    }

    /// What is no bundle is refused with a sentence.
    #[test]
    fn refused() {
        let pem = Authority::new("one").pem();
        let garbled = &pem[..pem.len() - 30];
        let foreign = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, error) in [
            (String::new(), RootsError::Empty),
            ("none here".into(), RootsError::Empty),
            (garbled.into(), RootsError::Garbled),
            (format!("{pem}{foreign}"), RootsError::NotX509(2)),
            (" ".repeat(PEM_BYTES_MAX + 1), RootsError::TooLarge),
        ] {
            assert_eq!(roots(text.as_bytes()), Err(error));
        }
    }
}
