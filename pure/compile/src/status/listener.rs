//! The part of a status that is about one listener.

use std::net::{IpAddr, SocketAddr};

use tidegate_model::standing::ListenerStanding;
use tidegate_model::status::{Condition, GroupKind, ListenerStatus};
use tidegate_objects::gateway::FrontendTls;

use super::condition::{Conditions, Why};
use super::problems::Problems;
use super::{Facts, Opened};

/// Reasons that say of a listener that a reference of it cannot be followed.
const UNRESOLVED: [&str; 5] = [
    "RefNotPermitted",
    "InvalidCertificateRef",
    "InvalidRouteKinds",
    "InvalidCACertificateRef",
    "InvalidCACertificateKind",
];

/// Reasons that say of two listeners that they ask for the same.
const CONFLICTED: [&str; 2] = ["HostnameConflict", "ProtocolConflict"];

/// What became of a listener.
pub(super) struct Judged {
    pub status: ListenerStatus,
    /// It can be served.
    pub served: bool,
    /// It is served, at every place of its Gateway.
    pub programmed: bool,
    /// Every reference of it can be followed.
    pub resolved: bool,
    /// A socket of it cannot be opened.
    pub closed: Option<Why>,
}

/// What is asked of a listener.
pub(super) struct Question<'q> {
    pub facts: &'q Facts<'q>,
    pub listener: &'q ListenerStanding,
    /// What the verdict of its owner says of it.
    pub problems: Problems<'q>,
    /// What the verdict of its Gateway says of the authorities whose certificates its clients must show.
    pub authorities: Problems<'q>,
    /// Where its Gateway listens.
    pub places: &'q [IpAddr],
    /// Why its Gateway or ListenerSet takes no part.
    pub refused: Option<&'q Why>,
    pub attached_routes: usize,
    pub conditions: Conditions,
}

impl Question<'_> {
    pub fn judge(self) -> Judged {
        let conflicted = self.problems.with(&CONFLICTED);
        let unresolved = self.problems.with(&UNRESOLVED).or_else(|| self.authorities.with(&UNRESOLVED));
        let refused = self.refusal(conflicted.as_ref());
        let (hindrance, closed) = self.hindrance(conflicted.as_ref());
        let conditions = self.conditions;
        let programmed = match &hindrance {
            Some(why) => conditions.fails("Programmed", why),
            None => conditions.holds("Programmed", "Programmed", ""),
        };
        let mut all = vec![
            conditions.unless("Accepted", refused.as_ref()),
            conflict(conditions, conflicted.as_ref()),
            conditions.unless("ResolvedRefs", unresolved.as_ref()),
            programmed,
        ];
        if self.listener.overlaps {
            let message = "another listener of this port ends TLS for some of the same hosts; a request for a host of the other one is answered with 421";
            all.push(conditions.holds("OverlappingTLSConfig", "OverlappingHostnames", message));
        }
        let kinds = self.listener.kinds.iter();
        let status = ListenerStatus {
            name: self.listener.name.clone(),
            supported_kinds: kinds.map(|kind| GroupKind { group: kind.group(), kind: kind.name() }).collect(),
            attached_routes: self.attached_routes,
            conditions: all,
        };
        let (programmed, resolved) = (hindrance.is_none(), unresolved.is_none());
        Judged { status, served: self.listener.served, programmed, resolved, closed }
    }

    /// Why it is not accepted. References are another condition's affair, except for authorities: without any of them no
    /// client could come in.
    fn refusal(&self, conflicted: Option<&Why>) -> Option<Why> {
        if let Some(why) = conflicted {
            return Some(why.clone());
        }
        if self.listener.served {
            return None;
        }
        let mut others = self.problems.iter().filter(|problem| !UNRESOLVED.contains(&problem.reason));
        others.next().map(super::problems::why)
    }

    /// Why it is not programmed, and whether that is a socket.
    fn hindrance(&self, conflicted: Option<&Why>) -> (Option<Why>, Option<Why>) {
        if let Some(why) = conflicted {
            return (Some(why.clone()), None);
        }
        if let Some(why) = self.refused {
            return (Some(Why::new("Invalid", why.message.clone())), None);
        }
        if !self.listener.served {
            let message = self.problems.first().map(|why| why.message);
            let message = message.unwrap_or_else(|| "it cannot be served".to_owned());
            return (Some(Why::new("Invalid", message)), None);
        }
        let mut pending = None;
        for place in self.places {
            let socket = SocketAddr::new(*place, self.listener.port);
            match (self.facts.sockets)(socket, self.listener.transport) {
                Opened::Yes => {}
                Opened::NotYet => pending = Some(Why::new("Pending", format!("{socket} is not open yet"))),
                Opened::Failed(reason) => {
                    let why = Why::new("Pending", format!("{socket} cannot be opened: {reason}"));
                    return (Some(why.clone()), Some(why));
                }
            }
        }
        (pending, None)
    }
}

fn conflict(conditions: Conditions, conflicted: Option<&Why>) -> Condition {
    use tidegate_model::status::ConditionStatus::{False, True};
    match conflicted {
        Some(why) => conditions.make("Conflicted", True, why.reason, why.message.clone()),
        None => conditions.make("Conflicted", False, "NoConflicts", ""),
    }
}

/// The field of a Gateway that says what certificates the clients of an HTTPS port must show.
pub(super) fn authorities_field(frontend: Option<&FrontendTls>, port: u16) -> String {
    let ports = frontend.map_or(&[][..], |frontend| &frontend.per_port);
    match ports.iter().position(|asked| asked.port == port) {
        Some(index) => format!("spec.tls.frontend.perPort[{index}]"),
        None => "spec.tls.frontend.default".to_owned(),
    }
}
