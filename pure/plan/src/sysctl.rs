//! Kernel settings under `/proc/sys/net`: their names, the values Tidegate needs, and the record of what was there.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of the setting that makes a host a router.
pub const IP_FORWARD: &str = "net/ipv4/ip_forward";

/// A setting, written with slashes (`net/ipv4/conf/eth0.7/arp_ignore`), because interface names may hold dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlKey(String);

/// A name that is no setting of the network stack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a setting under net/")]
pub struct BadSysctl(String);

impl SysctlKey {
    /// The path below `/proc/sys`. It starts with `net/` and never leaves it.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SysctlKey {
    type Error = BadSysctl;

    fn try_from(name: String) -> Result<Self, BadSysctl> {
        let inside = name.starts_with("net/")
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if inside && !name.contains('\0') { Ok(Self(name)) } else { Err(BadSysctl(name)) }
    }
}

impl From<SysctlKey> for String {
    fn from(key: SysctlKey) -> String {
        key.0
    }
}

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a setting was before we changed it, kept on disk until it is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The value found.
    pub original: String,
    /// The value we wrote. If something else is read later, somebody changed it after us and it is left alone.
    pub ours: String,
    /// Other settings that the kernel changes along with this one (`ip_forward` rewrites `forwarding` of every
    /// interface), with the values found.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<SysctlKey, String>,
}

/// The settings a gateway needs on the interfaces concerned. Names that cannot be interfaces are passed over.
///
/// - `ip_forward=1`: it routes.
/// - `arp_ignore=1`, `arp_announce=2`: the kernel neither answers ARP for addresses on `lo` nor uses them as the sender
///   of a request, so that only a living process claims them (DESIGN, rule 6).
/// - `send_redirects=0`: a host that uses a floating next hop is not told to use another gateway. The kernel takes the
///   larger of `all` and the interface, so both.
pub fn for_gateway<'a>(interfaces: impl IntoIterator<Item = &'a str>) -> BTreeMap<SysctlKey, String> {
    let fixed = [(IP_FORWARD.to_owned(), "1"), ("net/ipv4/conf/all/send_redirects".to_owned(), "0")];
    let each = interfaces.into_iter().filter(|name| !name.contains('/')).flat_map(|name| {
        [("arp_ignore", "1"), ("arp_announce", "2"), ("send_redirects", "0")]
            .map(|(leaf, value)| (format!("net/ipv4/conf/{name}/{leaf}"), value))
    });
    fixed
        .into_iter()
        .chain(each)
        .filter_map(|(key, value)| Some((SysctlKey::try_from(key).ok()?, value.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leads_out_of_net() {
        for bad in ["kernel/panic", "net/../kernel/panic", "net//x", "/net/ipv4", "net/a\0b", ""] {
            assert!(SysctlKey::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert!(SysctlKey::try_from("net/ipv4/conf/eth0.7/arp_ignore".to_owned()).is_ok());
    }

    #[test]
    fn a_gateway_gets_its_settings_per_interface_and_nothing_for_a_name_with_a_slash() {
        let keys: Vec<String> =
            for_gateway(["eth0", "a/b"]).iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            keys,
            [
                "net/ipv4/conf/all/send_redirects=0",
                "net/ipv4/conf/eth0/arp_announce=2",
                "net/ipv4/conf/eth0/arp_ignore=1",
                "net/ipv4/conf/eth0/send_redirects=0",
                "net/ipv4/ip_forward=1"
            ]
        );
    }
}
