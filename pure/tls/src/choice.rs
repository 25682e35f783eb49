//! Which certificate a client is shown.
//!
//! The first that has the server name itself, else the first that has a wildcard for it, else the first of the listener;
//! a certificate whose key the client cannot verify (RSA beside ECDSA) is passed over while there is another. A
//! wildcard stands for one label, as clients have it (RFC 9525 section 6.3); the Model's stand for more.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tidegate_model::traffic::{Certificate, HostPattern};

use crate::certificate::{CertificateError, certified_key};

/// The certificates of a listener by name.
#[derive(Debug)]
pub struct Shown {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<usize>>,
    under: HashMap<String, Vec<usize>>,
}

impl Shown {
    /// Makes them ready. Without any, no handshake succeeds.
    pub fn new(certificates: &[Arc<Certificate>]) -> Result<Shown, CertificateError> {
        let mut shown = Shown { all: Vec::new(), exact: HashMap::new(), under: HashMap::new() };
        for (index, certificate) in certificates.iter().enumerate() {
            shown.all.push(Arc::new(certified_key(certificate)?));
            for name in &certificate.names {
                let (map, name) = match name {
                    HostPattern::Exact(name) => (&mut shown.exact, name),
                    HostPattern::Under(parent) => (&mut shown.under, parent),
                };
                map.entry(name.clone()).or_default().push(index);
            }
        }
        Ok(shown)
    }

    /// The place, among those given, of the certificate for a client that sent this name (lower case) and accepts what
    /// `usable` says.
    pub fn choose(&self, server_name: Option<&str>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let name = server_name.unwrap_or_default().trim_end_matches('.');
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        let of = |map: &HashMap<String, Vec<usize>>, name: &str| map.get(name).cloned().unwrap_or_default();
        let mut covering = of(&self.exact, name).into_iter().chain(of(&self.under, parent));
        covering.find(|&index| usable(index)).or_else(|| (0..self.all.len()).find(|&index| usable(index)))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes: &[SignatureScheme] = hello.signature_schemes();
        let index =
            self.choose(hello.server_name(), |index| self.all[index].key.choose_scheme(schemes).is_some());
        index.map(|index| self.all[index].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    /// The name itself goes before a wildcard, a wildcard before the first; a wildcard covers one label; a certificate
    /// that the client cannot use is passed over.
    #[test]
    fn choices() {
        let ca = Authority::new("ca");
        let certificates = [
            ca.leaf(&["first.example"]).certificate("a"),
            ca.leaf(&["*.shop.example", "shop.example"]).certificate("b"),
            ca.leaf(&["www.shop.example"]).certificate("c"),
            ca.leaf(&["www.shop.example"]).certificate("d"),
        ];
        let shown = Shown::new(&certificates.map(Arc::new)).unwrap();
        for (name, unusable, place) in [
            (Some("first.example"), None, 0),
            (Some("shop.example"), None, 1),
            (Some("a.shop.example"), None, 1),
            (Some("a.shop.example."), None, 1),
            (Some("a.b.shop.example"), None, 0),
            (Some("www.shop.example"), None, 2),
            (Some("www.shop.example"), Some(2), 3),
            (Some("example"), None, 0),
            (Some(""), None, 0),
            (None, None, 0),
            (None, Some(0), 1),
        ] {
            assert_eq!(shown.choose(name, |index| Some(index) != unusable), Some(place), "{name:?}");
        }
        assert_eq!(shown.choose(None, |_| false), None);
    }
}
