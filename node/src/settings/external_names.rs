//! `externalNames` of the bootstrap file: where Services of type ExternalName may lead, and who is asked for names.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer};
use tidegate_objects::dns::NamePattern;
use tidegate_resolver::Nameservers;

use super::parsed;

/// The port of DNS (RFC 1035 section 4.2).
const DNS: u16 = 53;

/// `externalNames` of the bootstrap file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExternalNames {
    /// Names and addresses that are refused otherwise; `*.` and a name: all below it.
    allowed: Vec<Allowed>,
    /// Who is asked, each an address, with a port or without; empty: as `/etc/resolv.conf` says.
    nameservers: Vec<Nameserver>,
}

impl ExternalNames {
    /// What is allowed.
    pub fn allowed(&self) -> Vec<NamePattern> {
        self.allowed.iter().map(|Allowed(pattern)| pattern.clone()).collect()
    }

    /// Who is asked.
    pub fn nameservers(&self) -> Nameservers {
        match &self.nameservers[..] {
            [] => Nameservers::System,
            listed => Nameservers::Listed(listed.iter().map(|Nameserver(address)| *address).collect()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed(NamePattern);

impl<'de> Deserialize<'de> for Allowed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, |text| {
            let wrong = |wrong| {
                format!(
                    "`{text}` {wrong}; write a DNS name, `*.` and a DNS name for all below it, or an address"
                )
            };
            NamePattern::parse(text).map(Allowed).map_err(wrong)
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Nameserver(SocketAddr);

impl<'de> Deserialize<'de> for Nameserver {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, |text| {
            let plain = || text.parse().ok().map(|address| SocketAddr::new(address, DNS));
            let found = text.parse().ok().or_else(plain);
            found.map(Nameserver).ok_or_else(|| {
                format!("expected an IP address, with a port or without, such as `10.0.0.53`, found `{text}`")
            })
        })
    }
}
