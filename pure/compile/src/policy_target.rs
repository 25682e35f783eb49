//! What policies attach to (GEP-713): each target belongs to the oldest policy that names it.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_objects::reference::TargetRef;
use tidegate_objects::snapshot::Objects;
use tidegate_objects::{Key, Kind, Resource, Snapshot};

use crate::verdicts::Verdicts;
use crate::words::{list, meant};

/// An object, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub kind: Kind,
    pub key: Key,
    /// A port of a Service, a rule of a route, a listener of a Gateway; none: all of it.
    pub section: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)?;
        self.section.as_ref().map_or(Ok(()), |section| write!(f, " ({section})"))
    }
}

/// Why a policy does not attach there: the policy's reason, the field below the reference, a sentence.
pub(crate) type Refusal = (&'static str, &'static str, String);

/// Policies of one kind, and what they may attach to.
pub(crate) struct Policies<'a, P> {
    pub kind: Kind,
    pub all: &'a Objects<P>,
    pub targets: fn(&P) -> &[TargetRef],
    pub snapshot: &'a Snapshot,
    /// Kinds that it may be attached to.
    pub attaches_to: &'static [Kind],
}

impl<'a, P> Policies<'a, P> {
    /// Which policy each target belongs to. A policy that loses all its targets is rejected.
    pub fn settle(&self, verdicts: &mut Verdicts) -> BTreeMap<Target, &'a Resource<P>> {
        let mut policies: Vec<&'a Resource<P>> = self.all.values().map(|policy| &**policy).collect();
        policies.sort_by_key(|policy| policy.metadata.precedence());
        let mut settled = BTreeMap::new();
        for policy in policies {
            self.claim(policy, &mut settled, verdicts);
        }
        settled
    }

    fn claim(
        &self,
        policy: &'a Resource<P>,
        settled: &mut BTreeMap<Target, &'a Resource<P>>,
        verdicts: &mut Verdicts,
    ) {
        let (mut refusals, mut won) = (Vec::new(), false);
        let references = (self.targets)(&policy.spec);
        for (index, reference) in references.iter().enumerate() {
            let taken = self.find(policy.key(), reference).and_then(|target| match settled.get(&target) {
                Some(other) if other.key() != policy.key() => Err((
                    "Conflicted",
                    "",
                    format!("{target} belongs to {}, which is older or comes first by name", other.key()),
                )),
                _ => Ok(target),
            });
            match taken {
                Ok(target) => {
                    won = true;
                    settled.insert(target, policy);
                }
                Err((reason, field, message)) => {
                    let dot = if field.is_empty() { "" } else { "." };
                    refusals.push((reason, format!("spec.targetRefs[{index}]{dot}{field}"), message));
                }
            }
        }
        if references.is_empty() {
            let message = "the policy names no target, so it does nothing; add one".to_owned();
            refusals.push(("TargetNotFound", "spec.targetRefs".to_owned(), message));
        }
        for (reason, field, message) in refusals {
            match won {
                true => verdicts.part(self.kind, policy.key(), reason, field, message),
                false => verdicts.whole(self.kind, policy.key(), reason, field, message),
            }
        }
    }

    fn find(&self, policy: &Key, reference: &TargetRef) -> Result<Target, Refusal> {
        let kind = Kind::find(&reference.group, &reference.kind);
        let Some(kind) = kind.filter(|kind| self.attaches_to.contains(kind)) else {
            let message = format!(
                "{} of group {:?} is nothing that a {} attaches to; it attaches to {}",
                reference.kind,
                reference.group,
                self.kind,
                list(self.attaches_to)
            );
            return Err(("Invalid", "kind", message));
        };
        let key = policy.sibling(&policy.namespace, &reference.name);
        let Some(sections) = sections(self.snapshot, kind, &key) else {
            let message = format!("{kind} {key} does not exist; create it or correct the name");
            return Err(("TargetNotFound", "name", message));
        };
        if let Some(section) = &reference.section_name
            && !sections.contains(&section.as_str())
        {
            let message = format!(
                "{kind} {key} has no part named {section:?}{}; it has {}",
                meant(section, sections.iter().copied()),
                list(&sections)
            );
            return Err(("TargetNotFound", "sectionName", message));
        }
        Ok(Target { kind, key, section: reference.section_name.clone() })
    }
}

/// The names of an object's parts; none if there is no such object.
fn sections<'a>(snapshot: &'a Snapshot, kind: Kind, key: &Key) -> Option<Vec<&'a str>> {
    let names = match kind {
        Kind::Service => {
            let service = snapshot.services.get(key)?;
            service.spec.ports.iter().map(|port| port.name.as_str()).filter(|name| !name.is_empty()).collect()
        }
        Kind::Gateway => {
            snapshot.gateways.get(key)?.spec.listeners.iter().map(|listener| listener.name.as_str()).collect()
        }
        Kind::ListenerSet => {
            let set = snapshot.listener_sets.get(key)?;
            set.spec.listeners.iter().map(|listener| listener.name.as_str()).collect()
        }
        Kind::HTTPRoute => {
            snapshot.http_routes.get(key)?.spec.rules.iter().filter_map(|rule| rule.name.as_deref()).collect()
        }
        Kind::GRPCRoute => {
            snapshot.grpc_routes.get(key)?.spec.rules.iter().filter_map(|rule| rule.name.as_deref()).collect()
        }
        Kind::TLSRoute => {
            snapshot.tls_routes.get(key)?.spec.rules.iter().filter_map(|rule| rule.name.as_deref()).collect()
        }
        Kind::TCPRoute => {
            snapshot.tcp_routes.get(key)?.spec.rules.iter().filter_map(|rule| rule.name.as_deref()).collect()
        }
        Kind::UDPRoute => {
            snapshot.udp_routes.get(key)?.spec.rules.iter().filter_map(|rule| rule.name.as_deref()).collect()
        }
        _ => return None,
    };
    Some(names)
}
