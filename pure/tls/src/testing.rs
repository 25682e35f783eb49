//! Certificates for tests, made on the spot; built only for tests (feature `testing`).

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use tidegate_model::traffic::Certificate;
use tidegate_objects::Key;

use crate::ticket::Dice;

/// One who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Leaf {
    /// The certificate.
    pub der: Vec<u8>,
    /// The certificate.
    pub cert_pem: String,
    /// The key, PKCS#8.
    pub key_pem: String,
}

impl Authority {
    /// An authority of this name with a key of its own.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its own certificate.
    pub fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for these names, good until long after.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.dated(names, (2020, 4000))
    }

    /// A certificate for these names, from the first day of one year to that of another.
    pub fn dated(&self, names: &[&str], (from, to): (i32, i32)) -> Leaf {
        let mut params = named(names);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        Leaf::new(&params.signed_by(&key, &self.0).unwrap(), &key)
    }

    /// An authority that this one vouches for.
    pub fn intermediate(&self, name: &str) -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Authority(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }
}

impl Leaf {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Leaf {
        Leaf { der: certificate.der().to_vec(), cert_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// One that signs itself and calls itself an authority, as `openssl req -x509` makes them.
    pub fn self_signed(names: &[&str]) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = named(names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Leaf::new(&params.self_signed(&key).unwrap(), &key)
    }

    /// As the Model has it, from a Secret of this name.
    pub fn certificate(&self, secret: &str) -> Certificate {
        let key = Key::new("test", "shop", secret);
        crate::certificate(key, self.cert_pem.as_bytes(), self.key_pem.as_bytes(), None).unwrap()
    }
}

/// `scheme:` makes a URI, all else is a DNS name.
fn named(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.subject_alt_names = names
        .iter()
        .map(|&name| match name.contains(':') {
            true => SanType::URI(name.try_into().unwrap()),
            false => SanType::DnsName(name.try_into().unwrap()),
        })
        .collect();
    params
}

/// Dice that count: what they show once they never show again.
#[derive(Debug)]
pub struct TestDice(Option<AtomicU64>);

impl TestDice {
    /// Dice that begin with this number; two that begin far apart never show the same.
    pub fn from(first: u64) -> TestDice {
        TestDice(Some(AtomicU64::new(first)))
    }

    /// There are none.
    pub fn none() -> TestDice {
        TestDice(None)
    }
}

impl Default for TestDice {
    fn default() -> TestDice {
        TestDice::from(0)
    }
}

impl Dice for TestDice {
    fn fill(&self, bytes: &mut [u8]) -> bool {
        let Some(next) = &self.0 else { return false };
        for bytes in bytes.chunks_mut(8) {
            let shown = next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            bytes.copy_from_slice(&shown[8 - bytes.len()..]);
        }
        true
    }
}
