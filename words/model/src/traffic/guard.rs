//! Who may come to a rule, and with how much.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;
use serde::Serialize;

use crate::Usual;

/// What is looked at before a request is served; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// Clients of other addresses are refused with 403; empty: all may come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// Clients of these addresses are refused with 403, whatever `allow` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<IpNet>,
    /// Bytes of a request's body; more is 413; none: the listener's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
}

impl Guard {
    /// Whether a client of this address may come.
    pub fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let among = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&client));
        (self.allow.is_empty() || among(&self.allow)) && !among(&self.deny)
    }
}

impl Usual for Guard {
    fn usual() -> &'static Guard {
        static NONE: LazyLock<Guard> = LazyLock::new(Guard::default);
        &NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address must be among those that may come, if any are named, and among none of those that may not.
    #[test]
    fn who_may_come() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        for (allow, deny, client, expected) in [
            (nets(&[]), nets(&[]), "192.0.2.1", true),
            (nets(&["192.0.2.0/24"]), nets(&[]), "192.0.2.1", true),
            (nets(&["192.0.2.0/24"]), nets(&[]), "::ffff:192.0.2.1", true),
            (nets(&["192.0.2.0/24"]), nets(&[]), "198.51.100.1", false),
            (nets(&[]), nets(&["192.0.2.0/24"]), "192.0.2.1", false),
            (nets(&["192.0.2.0/24"]), nets(&["192.0.2.1/32"]), "192.0.2.1", false),
            (nets(&["2001:db8::/32"]), nets(&[]), "2001:db8::1", true),
            (nets(&["2001:db8::/32"]), nets(&[]), "192.0.2.1", false),
        ] {
            let guard = Guard { allow, deny, body_bytes: None };
            assert_eq!(guard.admits(client.parse().unwrap()), expected, "{guard:?} {client}");
        }
    }
}
