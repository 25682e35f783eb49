use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::*;
use crate::testing::{Authority, Leaf};

fn read(cert: &str, key: &str) -> Result<Certificate, CertificateError> {
    certificate(Key::new("test", "shop", "tls"), cert.as_bytes(), key.as_bytes(), None)
}

/// The EC key of a PKCS#8 PEM in SEC1: the inner OCTET STRING of a P-256 key as rcgen writes it.
fn sec1(pkcs8_pem: &str) -> String {
    let der = PrivateKeyDer::from_pem_slice(pkcs8_pem.as_bytes()).unwrap();
    let bytes = der.secret_der();
    let at = bytes.windows(2).position(|window| window == [0x04, 0x6d]).unwrap() + 2;
    armoured("EC PRIVATE KEY", &bytes[at..at + 0x6d])
}

fn armoured(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for chunk in der.chunks(3) {
        let word = chunk.iter().chain(&[0, 0]).take(3).fold(0, |word, &byte| word << 8 | usize::from(byte));
        let digits = (0..4).map(|place| char::from(DIGITS[word >> (18 - 6 * place) & 63]));
        text.extend(digits.take(chunk.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    text + &format!("\n-----END {label}-----\n")
}

/// Names, end, chain and key of a certificate are read; a wildcard is a pattern.
#[test]
fn a_chain_is_read() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let leaf = middle.dated(&["shop.example", "*.Shop.example", "spiffe://x/y"], (2020, 2030));
    let text = format!("some words\n{}{}", leaf.cert_pem, middle.pem());
    let key = Key::new("test", "shop", "tls");
    let found = certificate(key.clone(), text.as_bytes(), leaf.key_pem.as_bytes(), Some(b"ocsp")).unwrap();
    assert_eq!(found.secret, key);
    assert_eq!(
        found.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["shop.example", "*.shop.example"]
    );
    assert_eq!(found.chain, [leaf.der, middle.der()]);
    assert_eq!(found.not_after_secs, 1_893_456_000);
    assert_eq!(found.ocsp.as_deref(), Some(&b"ocsp"[..]));
    assert!(matches!(found.key, PrivateKey::Pkcs8(_)));
}

/// Keys are taken as PKCS#8, SEC1 (behind `EC PARAMETERS`), and of each algorithm that is served.
#[test]
fn keys() {
    let leaf = Authority::new("ca").leaf(&["a.example"]);
    let parameters = armoured("EC PARAMETERS", &[6, 8, 42, 134, 72, 206, 61, 3, 1, 7]);
    let found = read(&leaf.cert_pem, &format!("{parameters}{}", sec1(&leaf.key_pem))).unwrap();
    assert!(matches!(found.key, PrivateKey::Sec1(_)));
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate =
            rcgen::CertificateParams::new(["a.example".into()]).unwrap().self_signed(&key).unwrap();
        read(&certificate.pem(), &key.serialize_pem()).unwrap();
    }
}

/// A pair that was exchanged by halves, or is broken, is refused with a sentence that says what to do.
#[test]
fn refused() {
    let ca = Authority::new("ca");
    let (one, two) = (ca.leaf(&["a.example"]), ca.leaf(&["a.example"]));
    let Leaf { cert_pem, key_pem, .. } = &one;
    let long = cert_pem.repeat(CHAIN_CERTIFICATES_MAX + 1);
    let foreign = armoured("CERTIFICATE", &[1, 2, 3]);
    let encrypted = key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let strange = armoured("PRIVATE KEY", &[0x30, 0]);
    let large = " ".repeat(PEM_BYTES_MAX + 1);
    for (cert, key, error) in [
        (cert_pem.as_str(), two.key_pem.as_str(), CertificateError::KeyDoesNotFit),
        (key_pem, cert_pem, CertificateError::NoCertificate),
        ("", key_pem, CertificateError::NoCertificate),
        (cert_pem, "", CertificateError::NoKey),
        (cert_pem, cert_pem, CertificateError::NoKey),
        (cert_pem, &encrypted, CertificateError::KeyEncrypted),
        (cert_pem, &strange, CertificateError::KeyUnsupported),
        (&cert_pem[..cert_pem.len() - 40], key_pem, CertificateError::Garbled("tls.crt")),
        (cert_pem, &key_pem[..key_pem.len() - 40], CertificateError::Garbled("tls.key")),
        (&long, key_pem, CertificateError::ChainTooLong),
        (&foreign, key_pem, CertificateError::NotX509(1)),
        (&format!("{cert_pem}{foreign}"), key_pem, CertificateError::NotX509(2)),
        (&large, key_pem, CertificateError::TooLarge("tls.crt")),
        (cert_pem, &large, CertificateError::TooLarge("tls.key")),
    ] {
        assert_eq!(read(cert, key), Err(error));
    }
    assert_eq!(CertificateError::KeyDoesNotFit.to_string(), "tls.key does not fit tls.crt");
}
