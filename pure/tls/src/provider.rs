//! Cryptography: aws-lc-rs, its cipher suites by the names that IANA gave them, and the versions of TLS.
//!
//! Key exchange is what the library offers: X25519, P-256, P-384, and the post-quantum hybrid X25519MLKEM768. A server
//! takes what the client puts first; towards backends X25519 comes first.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};
use tidegate_model::traffic::TlsVersion;

/// Every cipher suite there is, by its IANA name, in the order that holds when none are named: TLS 1.3 first,
/// AES-128-GCM first in each version.
pub static CIPHER_SUITES: [(&str, SupportedCipherSuite); 9] = [
    ("TLS_AES_128_GCM_SHA256", cipher_suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", cipher_suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Whether this is the IANA name of a cipher suite that can be served.
pub fn is_cipher_suite(name: &str) -> bool {
    CIPHER_SUITES.iter().any(|(known, _)| *known == name)
}

/// The library with its suites in our order; one for the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(with_suites(&[])));
    PROVIDER.clone()
}

/// The library with these suites only, in this order. A version of TLS for which none is named keeps all of its own, as
/// with OpenSSL, whose list knows nothing of TLS 1.3. Names that are unknown are left out.
pub(crate) fn with_suites(names: &[String]) -> CryptoProvider {
    let named: Vec<_> =
        names.iter().filter_map(|name| CIPHER_SUITES.iter().find(|(known, _)| known == name)).collect();
    let is_new = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let mut suites: Vec<_> = named.iter().map(|(_, suite)| *suite).collect();
    for version in [true, false] {
        if !suites.iter().any(|suite| is_new(suite) == version) {
            suites.extend(
                CIPHER_SUITES.iter().map(|(_, suite)| *suite).filter(|suite| is_new(suite) == version),
            );
        }
    }
    CryptoProvider { cipher_suites: suites, ..default_provider() }
}

/// The versions from one to the other.
pub(crate) fn versions(min: TlsVersion, max: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_3, &version::TLS13), (TlsVersion::V1_2, &version::TLS12)];
    all.into_iter().filter(|(name, _)| (min..=max).contains(name)).map(|(_, version)| version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(provider: &CryptoProvider) -> Vec<&'static str> {
        let name = |suite| CIPHER_SUITES.iter().find(|(_, known)| known == suite).unwrap().0;
        provider.cipher_suites.iter().map(name).collect()
    }

    /// Without names all suites are offered, AES-128-GCM first; the table has every suite of the library.
    #[test]
    fn all_suites() {
        let found = names(&provider());
        assert_eq!(found.len(), default_provider().cipher_suites.len());
        assert_eq!(found[0], "TLS_AES_128_GCM_SHA256");
    }

    /// Named suites come in the order given, and the version that none was named for keeps its own.
    #[test]
    fn named_suites() {
        let list =
            ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_NULL", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
        let found = names(&with_suites(&list.map(str::to_owned)));
        assert_eq!(found[..2], [list[0], list[2]]);
        assert_eq!(found[2..].iter().filter(|name| name.starts_with("TLS_ECDHE")).count(), 0);
        assert_eq!(found.len(), 5);
    }
}
