//! Who has which address, and who may have it too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// On which terms somebody has an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenancy {
    /// With whom it may be shared; none: with nobody.
    pub share: Option<Share>,
    /// Number of the protocol (IANA) and port: no two have the same of one address.
    pub ports: BTreeSet<(u8, u16)>,
}

/// Those who share an address have the same of both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// The sharing key.
    pub key: String,
    /// What they lead to, where that matters; else empty.
    pub leads_to: String,
}

impl Tenancy {
    /// Whether both may have one address.
    fn agrees(&self, other: &Tenancy) -> bool {
        self.share.is_some() && self.share == other.share && self.ports.is_disjoint(&other.ports)
    }
}

/// What is given so far.
pub(crate) struct Ledger<'t, K> {
    tenants: BTreeMap<IpAddr, Vec<(K, &'t Tenancy)>>,
    shared: BTreeMap<&'t Share, BTreeSet<IpAddr>>,
}

impl<'t, K: Clone> Ledger<'t, K> {
    pub fn new() -> Self {
        Ledger { tenants: BTreeMap::new(), shared: BTreeMap::new() }
    }

    /// Whether nobody has it.
    pub fn is_free(&self, address: IpAddr) -> bool {
        !self.tenants.contains_key(&address)
    }

    /// Who keeps somebody with this tenancy from having it too.
    pub fn hinders(&self, address: IpAddr, tenancy: &Tenancy) -> Option<&K> {
        let tenants = self.tenants.get(&address)?;
        tenants.iter().find(|(_, other)| !tenancy.agrees(other)).map(|(key, _)| key)
    }

    /// The addresses of those who share on the same terms.
    pub fn of_share(&self, tenancy: &Tenancy) -> impl Iterator<Item = IpAddr> + '_ {
        let shared = tenancy.share.as_ref().and_then(|share| self.shared.get(share));
        shared.into_iter().flatten().copied()
    }

    pub fn take(&mut self, address: IpAddr, key: &K, tenancy: &'t Tenancy) {
        self.tenants.entry(address).or_default().push((key.clone(), tenancy));
        if let Some(share) = &tenancy.share {
            self.shared.entry(share).or_default().insert(address);
        }
    }
}
