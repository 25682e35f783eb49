//! Which gateways there are, and which of two calls the other.

use std::net::{IpAddr, SocketAddr};

use tidegate_model::Peers;

/// Why a gateway that proved the secret is not wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// No GatewayNode of that name is known here.
    #[error(
        "{here} knows no GatewayNode named {name:?}: add one there, or give that gateway its name by --node"
    )]
    Unknown {
        /// Who does not know it.
        here: String,
        /// What it calls itself.
        name: String,
    },
    /// It has the name of the one that it calls.
    #[error("two gateways call themselves {0:?}: give each its own name by --node")]
    SameName(String),
    /// It should wait to be called.
    #[error("{here} calls {name}, not the other way round: the gateways read different names")]
    OtherWayRound {
        /// Who calls.
        here: String,
        /// Who is called.
        name: String,
    },
}

/// The gateways of the set, as this one knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    here: String,
    port: u16,
    peers: Peers,
}

impl Roster {
    /// This gateway is called `here`; all listen on `port`.
    pub fn new(here: &str, port: u16, peers: &Peers) -> Roster {
        Roster { here: here.to_owned(), port, peers: peers.clone() }
    }

    /// What this gateway calls itself.
    pub fn here(&self) -> &str {
        &self.here
    }

    /// All other gateways.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.peers.others.keys().map(String::as_str)
    }

    /// Where this gateway listens: nowhere, if nobody calls it.
    pub fn listens(&self) -> Vec<SocketAddr> {
        match self.names().any(|name| name < self.here()) {
            true => self.peers.here.iter().map(|address| (*address, self.port).into()).collect(),
            false => Vec::new(),
        }
    }

    /// Whom this gateway calls, and where: those whose names sort after its own.
    pub fn calls(&self) -> impl Iterator<Item = (&str, Vec<SocketAddr>)> {
        let after = self.peers.others.iter().filter(|(name, _)| **name > self.here);
        after.map(|(name, all)| (name.as_str(), all.iter().map(|ip| (*ip, self.port).into()).collect()))
    }

    /// Which address of this gateway a call comes from, so that the other knows who calls before it has proved anything: the
    /// one that has most of its bits from that network. Nothing: this gateway has none of the family.
    pub fn calls_from(&self, other: IpAddr) -> Option<IpAddr> {
        let common = |own: &&IpAddr| match (**own, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => 0,
        };
        let family = self.peers.here.iter().filter(|own| own.is_ipv4() == other.is_ipv4());
        family.max_by_key(common).copied()
    }

    /// The gateway that has this address.
    pub fn at(&self, address: IpAddr) -> Option<&str> {
        let at = self.peers.others.iter().find(|(_, all)| all.contains(&address));
        at.map(|(name, _)| name.as_str())
    }

    /// Whether one that calls, and proved the secret, is one that should.
    ///
    /// # Errors
    /// It is not, for that reason.
    pub fn judge(&self, name: &str) -> Result<(), Unwelcome> {
        let (here, name) = (self.here.clone(), name.to_owned());
        match name.cmp(&here) {
            std::cmp::Ordering::Equal => Err(Unwelcome::SameName(name)),
            _ if !self.peers.others.contains_key(&name) => Err(Unwelcome::Unknown { here, name }),
            std::cmp::Ordering::Greater => Err(Unwelcome::OtherWayRound { here, name }),
            std::cmp::Ordering::Less => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn roster(here: u8, all: &[u8]) -> Roster {
        let name = |last: u8| format!("gw{last}");
        let others = all.iter().filter(|last| **last != here);
        let others = others.map(|last| (name(*last), vec![address(*last)])).collect();
        Roster::new(&name(here), 9441, &Peers { here: vec![address(here)], others })
    }

    /// Of every two gateways exactly one calls the other, where that one listens and lets it in.
    #[test]
    fn one_of_two() {
        let all = [1, 2, 3, 4];
        for a in all {
            for b in all.into_iter().filter(|b| *b != a) {
                let (one, other) = (roster(a, &all), roster(b, &all));
                let calls = |one: &Roster, other: &Roster| one.calls().any(|(name, _)| name == other.here());
                assert_ne!(calls(&one, &other), calls(&other, &one));
                if calls(&one, &other) {
                    let (_, at) = one.calls().find(|(name, _)| *name == other.here()).unwrap();
                    assert_eq!(at, other.listens());
                    assert_eq!(other.judge(one.here()), Ok(()));
                    assert!(matches!(one.judge(other.here()), Err(Unwelcome::OtherWayRound { .. })));
                }
            }
        }
    }

    /// One that stands alone listens nowhere, nor does one that everybody waits for.
    #[test]
    fn nobody_calls() {
        assert!(roster(1, &[1]).listens().is_empty());
        assert!(roster(1, &[1, 2]).listens().is_empty());
        assert_eq!(roster(2, &[1, 2]).listens(), [SocketAddr::from(([10, 0, 0, 2], 9441))]);
        assert!(Roster::default().listens().is_empty());
    }

    /// A call comes from the network that it goes to, where there is a choice.
    #[test]
    fn source() {
        let here: Vec<IpAddr> =
            ["10.0.0.11", "10.20.0.11", "fd00:1::b"].map(|text| text.parse().unwrap()).into();
        let peers = Peers { here, others: [("gw2".to_owned(), vec![])].into() };
        let roster = Roster::new("gw1", 9441, &peers);
        for (to, from) in
            [("10.20.0.12", "10.20.0.11"), ("10.0.0.1", "10.0.0.11"), ("fd00:1::c", "fd00:1::b")]
        {
            assert_eq!(roster.calls_from(to.parse().unwrap()), Some(from.parse().unwrap()), "{to}");
        }
        assert_eq!(Roster::default().calls_from(address(1)), None);
    }

    /// Who is not known, or has our own name, is told what to do.
    #[test]
    fn unwelcome() {
        let here = roster(2, &[1, 2]);
        let told = here.judge("gw0").unwrap_err().to_string();
        assert!(told.contains("gw2 knows no GatewayNode named \"gw0\""), "{told}");
        assert_eq!(here.judge("gw2"), Err(Unwelcome::SameName("gw2".into())));
        assert_eq!(here.at(address(1)), Some("gw1"));
        assert_eq!(here.at(address(9)), None);
    }
}
