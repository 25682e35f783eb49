//! ReferenceGrants: who may refer to what across namespaces.

use std::collections::BTreeMap;

use tidegate_objects::gateway::GrantTo;
use tidegate_objects::{Key, Kind, Snapshot};

use crate::report::Report;
use crate::verdicts::Verdicts;
use crate::words::meant;

/// Group of Gateway API's kinds.
pub(crate) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Whom a grant names: source, namespace granting, kind and namespace granted.
type From<'a> = (&'a str, &'a str, Kind, &'a str);

/// Grants, for every kind that may refer to something elsewhere.
pub(crate) struct Grants<'a>(BTreeMap<From<'a>, Vec<&'a GrantTo>>);

impl<'a> Grants<'a> {
    /// Grants for kinds that we read; those for others concern others.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut grants: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, grant) in &snapshot.reference_grants {
            for from in &grant.spec.from {
                if let Some(kind) = Kind::find(&from.group, &from.kind) {
                    let place = (&*key.source, &*key.namespace, kind, from.namespace.as_str());
                    grants.entry(place).or_default().extend(&grant.spec.to);
                }
            }
        }
        Grants(grants)
    }

    /// Whether an object may refer to another: both are in one namespace, or a grant in the other's says so.
    pub fn allow(&self, from: (Kind, &Key), to: (Kind, &Key)) -> bool {
        let ((from_kind, from), (to_kind, to)) = (from, to);
        from.namespace == to.namespace
            || self.0.get(&(&*to.source, &*to.namespace, from_kind, &*from.namespace)).is_some_and(
                |granted| {
                    granted.iter().any(|granted| {
                        granted.group == to_kind.group()
                            && granted.kind == to_kind.name()
                            && granted.name.as_deref().is_none_or(|name| name == &*to.name)
                    })
                },
            )
    }
}

/// What a grant may be for.
const GRANTED: [Kind; 5] =
    [Kind::Service, Kind::Secret, Kind::ConfigMap, Kind::ClusterService, Kind::ServiceImport];

/// Says of grants what in them nearly names a kind of ours, and so grants nothing. Kinds of other projects may be meant
/// for others.
pub(crate) fn note_mistakes(snapshot: &Snapshot, verdicts: &mut Verdicts) {
    for (key, grant) in &snapshot.reference_grants {
        let mut report = Report::new(Kind::ReferenceGrant, key, "spec", verdicts);
        for (index, from) in grant.spec.from.iter().enumerate() {
            let may_refer = |kind: &&Kind| kind.group() == GATEWAY_GROUP || **kind == Kind::ClusterService;
            let ours = Kind::ALL.iter().filter(may_refer);
            note_mistake(&from.group, &from.kind, ours, &mut report.at(&format!("from[{index}]")));
        }
        for (index, to) in grant.spec.to.iter().enumerate() {
            note_mistake(&to.group, &to.kind, GRANTED.iter(), &mut report.at(&format!("to[{index}]")));
        }
    }
}

fn note_mistake<'k>(
    group: &str,
    kind: &str,
    known: impl Iterator<Item = &'k Kind> + Clone,
    report: &mut Report<'_>,
) {
    let same = |name: &str| name.eq_ignore_ascii_case(kind);
    let (message, field) = match known.clone().find(|known| same(known.name())) {
        Some(known) if known.name() != kind => {
            (format!("nothing is a {kind}, so nothing is granted (is {:?} meant?)", known.name()), "kind")
        }
        Some(known) if known.group() != group => {
            (format!("{kind} is of group {:?}, not {group:?}, so nothing is granted", known.group()), "group")
        }
        Some(_) => return,
        None => match meant(kind, known.map(|known| known.name())) {
            close if close.is_empty() || Kind::find(group, kind).is_some() => return,
            close => (format!("nothing is a {kind}, so nothing is granted{close}"), "kind"),
        },
    };
    report.warn("NoEffect", field, message);
}
