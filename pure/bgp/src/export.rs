//! What one session has been told, what it should know, and the messages between the two. Decides
//! nothing about which routes to announce.

use crate::error::EncodeError;
use crate::packet::{
    AsPath, Attributes, Community, Origin, encode_announcements, encode_withdrawals, end_of_rib,
};
use crate::peer::PeerKind;
use crate::session::PeerInfo;
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// LOCAL_PREF sent to internal peers where none is given.
const LOCAL_PREF_DEFAULT: u32 = 100;

/// How a prefix is announced to one peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Advertisement {
    /// Where the peer sends packets: an address it can reach, never the prefix itself.
    pub next_hop: Ipv4Addr,
    /// Internal peers only; they get 100 where there is none.
    pub local_pref: Option<u32>,
    /// Lower is preferred by the neighbouring AS.
    pub med: Option<u32>,
    /// RFC 1997.
    pub communities: Vec<Community>,
    /// How often our AS is repeated in the path beyond the first time; external peers only.
    pub as_path_prepend: u8,
}

impl Advertisement {
    /// A plain one.
    pub fn via(next_hop: Ipv4Addr) -> Advertisement {
        Advertisement { next_hop, local_pref: None, med: None, communities: Vec::new(), as_path_prepend: 0 }
    }
}

/// What is to be sent, and what was not sendable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Export {
    /// Whole UPDATE messages, in this order; for `session::Input::Updates`.
    pub messages: Vec<Vec<u8>>,
    /// Prefixes that are not announced, and why. Withdrawn if they were.
    pub refused: Vec<Refused>,
}

/// A prefix that is not announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub prefix: Ipv4Net,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a prefix is not announced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RefusalReason {
    /// Routers install `unreachable` for an address announced with itself as next hop, and for
    /// every other route with that next hop.
    #[error("an address cannot be its own next hop")]
    NextHopIsItself,
    /// Announced, it would make the other prefix unreachable for the same reason.
    #[error("it is the next hop announced for {0}")]
    NextHopOf(Ipv4Net),
    /// Not the address of a host.
    #[error("{0} cannot be a next hop")]
    NextHop(Ipv4Addr),
    /// Fits no message.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Routes announced to one peer.
#[derive(Debug)]
pub struct AdjOut {
    local_as: u32,
    session: Option<Encoding>,
    /// None until something was asked for: an End-of-RIB before that would be a lie.
    desired: Option<BTreeMap<Ipv4Net, Advertisement>>,
    sent: BTreeMap<Ipv4Net, Advertisement>,
    end_of_rib_sent: bool,
}

/// What the session makes of an advertisement.
#[derive(Debug, Clone, Copy)]
struct Encoding {
    kind: PeerKind,
    four_byte_as: bool,
}

impl AdjOut {
    /// Nothing announced, no session.
    pub fn new(local_as: u32) -> AdjOut {
        AdjOut { local_as, session: None, desired: None, sent: BTreeMap::new(), end_of_rib_sent: false }
    }

    /// What the peer should know from now on. Without a session it is only remembered.
    pub fn set(&mut self, desired: BTreeMap<Ipv4Net, Advertisement>) -> Export {
        self.desired = Some(desired.into_iter().map(|(prefix, ad)| (prefix.trunc(), ad)).collect());
        self.reconcile()
    }

    /// The session has come up: everything is sent, then End-of-RIB.
    pub fn up(&mut self, peer: &PeerInfo) -> Export {
        self.reset();
        self.session = Some(Encoding { kind: peer.kind, four_byte_as: peer.four_byte_as });
        self.reconcile()
    }

    /// The session has ended; the peer knows nothing any more.
    pub fn reset(&mut self) {
        self.session = None;
        self.sent.clear();
        self.end_of_rib_sent = false;
    }

    /// The peer asked for everything again.
    pub fn refresh(&mut self) -> Export {
        // What it still holds and should not stays known, so that it is withdrawn.
        let sent = std::mem::take(&mut self.sent);
        self.end_of_rib_sent = false;
        let mut export = self.reconcile();
        let gone: Vec<_> = sent.into_keys().filter(|prefix| !self.sent.contains_key(prefix)).collect();
        if self.session.is_some() {
            export.messages.extend(encode_withdrawals(&gone));
        }
        export
    }

    /// What the peer has been told.
    pub fn sent(&self) -> &BTreeMap<Ipv4Net, Advertisement> {
        &self.sent
    }

    /// From what was sent to what is desired: announcements first, so that no packet loses its way
    /// where one prefix takes over from another.
    fn reconcile(&mut self) -> Export {
        let Some(desired) = self.desired.take() else { return Export::default() };
        let mut export = Export::default();
        let mut allowed = admissible(&desired, &mut export.refused);
        self.desired = Some(desired);
        let Some(session) = self.session else { return export };

        let mut groups: BTreeMap<Advertisement, Vec<Ipv4Net>> = BTreeMap::new();
        for (prefix, ad) in allowed.iter().filter(|(prefix, ad)| self.sent.get(*prefix) != Some(*ad)) {
            groups.entry(ad.clone()).or_default().push(*prefix);
        }
        for (ad, prefixes) in groups {
            let attributes = self.attributes(session, &ad);
            match encode_announcements(&attributes, ad.next_hop, &prefixes, session.four_byte_as) {
                Ok(messages) => export.messages.extend(messages),
                Err(error) => {
                    for prefix in prefixes {
                        allowed.remove(&prefix);
                        export.refused.push(Refused { prefix, reason: error.into() });
                    }
                }
            }
        }
        let gone: Vec<_> = self.sent.keys().filter(|prefix| !allowed.contains_key(prefix)).copied().collect();
        export.messages.extend(encode_withdrawals(&gone));
        self.sent = allowed;
        if !std::mem::replace(&mut self.end_of_rib_sent, true) {
            export.messages.push(end_of_rib());
        }
        export
    }

    /// RFC 4271, section 5.1: our AS goes in front for external peers, LOCAL_PREF to internal ones.
    fn attributes(&self, session: Encoding, ad: &Advertisement) -> Attributes {
        let communities = ad.communities.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let (as_path, local_pref) = match session.kind {
            PeerKind::External => (vec![self.local_as; 1 + usize::from(ad.as_path_prepend)], None),
            PeerKind::Internal => (Vec::new(), Some(ad.local_pref.unwrap_or(LOCAL_PREF_DEFAULT))),
        };
        Attributes {
            origin: Origin::Igp,
            as_path: AsPath::sequence(as_path),
            med: ad.med,
            local_pref,
            communities,
            ..Attributes::default()
        }
    }
}

/// What may be announced of `desired`.
fn admissible(
    desired: &BTreeMap<Ipv4Net, Advertisement>,
    refused: &mut Vec<Refused>,
) -> BTreeMap<Ipv4Net, Advertisement> {
    let mut gateways: BTreeMap<Ipv4Addr, Ipv4Net> = BTreeMap::new();
    for (prefix, ad) in desired.iter().filter(|(prefix, ad)| !leads_to(prefix, ad.next_hop)) {
        gateways.entry(ad.next_hop).or_insert(*prefix);
    }
    let reason = |prefix: &Ipv4Net, ad: &Advertisement| {
        let first = ad.next_hop.octets()[0];
        if leads_to(prefix, ad.next_hop) {
            Some(RefusalReason::NextHopIsItself)
        } else if first == 0 || first == 127 || first >= 224 {
            Some(RefusalReason::NextHop(ad.next_hop))
        } else if prefix.prefix_len() == 32 {
            gateways.get(&prefix.addr()).map(|of| RefusalReason::NextHopOf(*of))
        } else {
            None
        }
    };
    let mut allowed = BTreeMap::new();
    for (prefix, ad) in desired {
        match reason(prefix, ad) {
            Some(reason) => refused.push(Refused { prefix: *prefix, reason }),
            None => drop(allowed.insert(*prefix, ad.clone())),
        }
    }
    allowed
}

fn leads_to(prefix: &Ipv4Net, address: Ipv4Addr) -> bool {
    prefix.prefix_len() == 32 && prefix.addr() == address
}
