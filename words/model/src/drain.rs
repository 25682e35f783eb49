//! Endpoints that somebody has drained by hand: they get nothing new, and what is under way to them ends by itself.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An endpoint as a person names it: `10.0.0.1:8080`, or `10.0.0.1` for every port there. IPv6 with a port stands in
/// brackets. Is read from and written as that text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DrainedEndpoint {
    /// Every port of an address.
    Host(IpAddr),
    /// One port of an address.
    Port(SocketAddr),
}

impl DrainedEndpoint {
    /// Whether it is meant, or among those that are.
    pub fn covers(&self, endpoint: SocketAddr) -> bool {
        match self {
            DrainedEndpoint::Host(host) => *host == endpoint.ip(),
            DrainedEndpoint::Port(address) => *address == endpoint,
        }
    }

    fn host(&self) -> IpAddr {
        match self {
            DrainedEndpoint::Host(host) => *host,
            DrainedEndpoint::Port(address) => address.ip(),
        }
    }
}

impl fmt::Display for DrainedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DrainedEndpoint::Host(host) => host.fmt(f),
            DrainedEndpoint::Port(address) => address.fmt(f),
        }
    }
}

impl From<DrainedEndpoint> for String {
    fn from(endpoint: DrainedEndpoint) -> String {
        endpoint.to_string()
    }
}

impl FromStr for DrainedEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<DrainedEndpoint, String> {
        if let Ok(host) = text.parse::<IpAddr>() {
            return Ok(DrainedEndpoint::Host(host.to_canonical()));
        }
        match text.parse::<SocketAddr>() {
            // A scope would make it another address than the one in an EndpointSlice.
            Ok(address) => Ok(DrainedEndpoint::Port((address.ip().to_canonical(), address.port()).into())),
            Err(_) => Err(format!(
                "`{text}` is no endpoint: write an address, 10.0.0.1 or fd00::1, or one with its port, 10.0.0.1:8080 or [fd00::1]:8080"
            )),
        }
    }
}

impl TryFrom<String> for DrainedEndpoint {
    type Error = String;

    fn try_from(text: String) -> Result<DrainedEndpoint, String> {
        text.parse()
    }
}

/// All that are drained by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DrainedEndpoints(BTreeSet<DrainedEndpoint>);

impl DrainedEndpoints {
    /// How many there may be: so many fit a message of a hand-over, and nobody drains more by hand.
    pub const MAX: usize = 1000;

    /// Whether this endpoint is drained.
    pub fn contains(&self, endpoint: SocketAddr) -> bool {
        !self.0.is_empty()
            && (self.0.contains(&DrainedEndpoint::Host(endpoint.ip()))
                || self.0.contains(&DrainedEndpoint::Port(endpoint)))
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each, as it was named.
    pub fn iter(&self) -> impl Iterator<Item = &DrainedEndpoint> {
        self.0.iter()
    }

    /// Drains one; again is no mistake.
    ///
    /// # Errors
    /// There are [`MAX`](Self::MAX) already.
    pub fn drain(&mut self, endpoint: DrainedEndpoint) -> Result<(), String> {
        if self.0.len() >= Self::MAX && !self.0.contains(&endpoint) {
            return Err(format!(
                "{} endpoints are drained by hand, and no more can be: take some back, or set conditions.ready to false in their EndpointSlices",
                Self::MAX
            ));
        }
        self.0.insert(endpoint);
        Ok(())
    }

    /// Takes one back; an address without a port also takes back those ports of it that were named alone.
    ///
    /// # Errors
    /// It is not drained, or only as one port of an address that is.
    pub fn undo(&mut self, endpoint: DrainedEndpoint) -> Result<(), String> {
        let (before, host) = (self.0.len(), endpoint.host());
        match endpoint {
            DrainedEndpoint::Host(host) => self.0.retain(|known| known.host() != host),
            DrainedEndpoint::Port(_) if self.0.contains(&DrainedEndpoint::Host(host)) => {
                return Err(format!("{host} is drained with all of its ports: take back {host}"));
            }
            DrainedEndpoint::Port(_) => _ = self.0.remove(&endpoint),
        }
        if self.0.len() == before { Err(format!("{endpoint} is not drained")) } else { Ok(()) }
    }
}

/// Each alone, of as many as there may be.
impl FromIterator<DrainedEndpoint> for DrainedEndpoints {
    fn from_iter<I: IntoIterator<Item = DrainedEndpoint>>(endpoints: I) -> Self {
        DrainedEndpoints(endpoints.into_iter().take(Self::MAX).collect())
    }
}

/// Each with its port.
impl FromIterator<SocketAddr> for DrainedEndpoints {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(endpoints: I) -> Self {
        endpoints.into_iter().map(DrainedEndpoint::Port).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> DrainedEndpoint {
        text.parse().unwrap()
    }

    /// Text names one port or a whole address, is written as it was read, and anything else is told what to write.
    #[test]
    fn names() {
        for (text, covered, other) in [
            ("10.0.0.1", "10.0.0.1:80", "10.0.0.2:80"),
            ("10.0.0.1:80", "10.0.0.1:80", "10.0.0.1:81"),
            ("fd00::1", "[fd00::1]:80", "[fd00::2]:80"),
            ("[fd00::1]:80", "[fd00::1]:80", "[fd00::1]:81"),
        ] {
            let named = endpoint(text);
            assert_eq!(named.to_string(), text);
            assert_eq!(serde_json::to_value(named).unwrap(), text);
            assert!(
                named.covers(covered.parse().unwrap()) && !named.covers(other.parse().unwrap()),
                "{text}"
            );
            let all: DrainedEndpoints = [named].into_iter().collect();
            assert!(
                all.contains(covered.parse().unwrap()) && !all.contains(other.parse().unwrap()),
                "{text}"
            );
        }
        assert_eq!(endpoint("::ffff:10.0.0.1"), endpoint("10.0.0.1"));
        for text in ["", "web", "10.0.0.1:", "10.0.0.1:99999", "10.0.0.0/8", "fd00::1:", "*"] {
            assert!(text.parse::<DrainedEndpoint>().unwrap_err().contains("is no endpoint"), "{text}");
        }
    }

    /// What is taken back was drained; an address takes its ports along, a port of a drained address stays.
    #[test]
    fn there_and_back() {
        let mut all = DrainedEndpoints::default();
        for text in ["10.0.0.1:80", "10.0.0.1:80", "10.0.0.1:81", "10.0.0.1", "10.0.0.2:80"] {
            all.drain(endpoint(text)).unwrap();
        }
        assert!(all.undo(endpoint("10.0.0.1:80")).unwrap_err().contains("all of its ports"));
        assert_eq!(all.iter().count(), 4, "what is refused changes nothing");
        all.undo(endpoint("10.0.0.1")).unwrap();
        assert_eq!(all.iter().copied().collect::<Vec<_>>(), [endpoint("10.0.0.2:80")]);
        assert!(all.undo(endpoint("10.0.0.1")).unwrap_err().contains("is not drained"));
        assert!(all.undo(endpoint("10.0.0.2:81")).unwrap_err().contains("is not drained"));
        all.undo(endpoint("10.0.0.2:80")).unwrap();
        assert!(all.is_empty());
    }

    /// There is a bound; at it who is drained may be drained again, and nobody else.
    #[test]
    fn bound() {
        let address = |port: usize| DrainedEndpoint::Port(([10, 0, 0, 1], port as u16).into());
        let mut all: DrainedEndpoints = (0..DrainedEndpoints::MAX + 5).map(address).collect();
        assert_eq!(all.iter().count(), DrainedEndpoints::MAX);
        all.drain(address(0)).unwrap();
        assert!(all.drain(address(DrainedEndpoints::MAX)).is_err());
    }
}
