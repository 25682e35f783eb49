//! Names outside of Kubernetes, as Services of type ExternalName have them, and what DNS says of them.
//!
//! Who asks, and when, is the business of `io/names`; who may be led where is decided in `pure/compile`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Serialize, Serializer};

/// How many addresses of one name are used: the lowest.
pub const ADDRESSES_MAX: usize = 256;

/// How many names there may be between a name and its addresses; resolvers follow fewer.
pub const ALIASES_MAX: usize = 16;

/// A DNS name, absolute: lower case, without the last dot, 1 to 253 octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

impl DnsName {
    /// Reads a name (RFC 1123 section 2.1, and `_`, which DNS has); a last dot may be there or not.
    ///
    /// # Errors
    /// What is wrong with it, as a part of a sentence.
    pub fn parse(text: &str) -> Result<DnsName, &'static str> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err("is empty");
        }
        if name.len() > 253 {
            return Err("is longer than 253 characters");
        }
        for label in name.split('.') {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if label.is_empty() || label.len() > 63 {
                return Err("has a part that is not 1 to 63 characters long");
            }
            if !label.bytes().all(plain) || label.starts_with('-') || label.ends_with('-') {
                return Err("has a part that is not letters, digits, `-` and `_`");
            }
        }
        // Programs differ in what address such a name is, and none is meant to be asked of DNS (RFC 3696 section 2).
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X")
        {
            return Err("ends in a number, and is no address either");
        }
        Ok(DnsName(name.to_ascii_lowercase().into()))
    }

    /// The name, without the last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for DnsName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A name or address that the owner of a gateway has written down, or `*.` and a name: all names below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamePattern(String);

impl NamePattern {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, as a part of a sentence.
    pub fn parse(text: &str) -> Result<NamePattern, &'static str> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(NamePattern(address.to_string()));
        }
        let (star, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
        Ok(NamePattern(format!("{star}{}", DnsName::parse(name)?)))
    }

    /// Whether it is for this name, or this address as a text.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_prefix("*.") {
            Some(above) => {
                name.strip_suffix(above).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            None => self.0 == name,
        }
    }
}

/// The addresses of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    addresses: Vec<IpAddr>,
    aliases: Vec<DnsName>,
}

impl Answer {
    /// Of these, those that are used: in order, each once, [`ADDRESSES_MAX`] at most.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Answer {
        let distinct: BTreeSet<IpAddr> = addresses.into_iter().collect();
        Answer { addresses: distinct.into_iter().take(ADDRESSES_MAX).collect(), aliases: Vec::new() }
    }

    /// Found by these names, for which the name itself stands (CNAME); [`ALIASES_MAX`] at most.
    pub fn through(self, aliases: impl IntoIterator<Item = DnsName>) -> Answer {
        Answer { aliases: aliases.into_iter().take(ALIASES_MAX).collect(), ..self }
    }

    /// The addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The names by which they were found.
    pub fn aliases(&self) -> &[DnsName] {
        &self.aliases
    }
}

/// What is known of each name: the last good answer. A name that never had one is not there. It is in a
/// [`Snapshot`](crate::Snapshot) beside the objects, and like EndpointSlices it is membership: a change is not compiled.
pub type Answers = OrdMap<DnsName, Arc<Answer>>;

#[cfg(test)]
mod tests {
    use super::*;

    /// A name is read in one spelling, and what only looks like one is refused: above all other spellings of addresses.
    #[test]
    fn names() {
        for (text, name) in [("A.Example.", "a.example"), ("_x.b-1.example", "_x.b-1.example"), ("db", "db")]
        {
            assert_eq!(DnsName::parse(text).map(|name| name.to_string()), Ok(name.to_owned()), "{text}");
        }
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["abcdefgh"; 30].join(".");
        for text in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a b.c",
            "a/b",
            "127.1",
            "0x7f.1",
            "2130706433",
            "a.0x7F",
            "a\n.b",
            "ä.example",
            "*.a.b",
            "[::1]",
            &long,
            &longer,
        ] {
            assert!(DnsName::parse(text).is_err(), "{text}");
        }
    }

    /// A pattern is for its own name, or for all below it and not for itself; an address is one in every spelling.
    #[test]
    fn patterns() {
        let below = NamePattern::parse("*.SVC.cluster.local.").unwrap();
        for (name, is) in [
            ("a.b.svc.cluster.local", true),
            ("svc.cluster.local", false),
            (".svc.cluster.local", false),
            ("xsvc.cluster.local", false),
        ] {
            assert_eq!(below.matches(name), is, "{name}");
        }
        assert!(NamePattern::parse("a.example").unwrap().matches("a.example"));
        assert!(!NamePattern::parse("a.example").unwrap().matches("b.a.example"));
        assert!(NamePattern::parse("0:0::1").unwrap().matches("::1"));
        for wrong in ["*", "*.", "*.*.a", "a.*", ""] {
            assert!(NamePattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// However many addresses an answer has, no more are used than can be.
    #[test]
    fn answers_are_bounded() {
        let many = (0..10_000_u32).rev().map(|number| IpAddr::V4((0x0a00_0000 + number).into()));
        let answer = Answer::new(many.clone().chain(many));
        assert_eq!(answer.addresses().len(), ADDRESSES_MAX);
        assert_eq!(answer.addresses()[0].to_string(), "10.0.0.0");
        assert!(answer.addresses().is_sorted());
    }
}
