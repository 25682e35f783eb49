//! Our own kinds (`tidegate.dev`): conditions from the verdict alone; of policies, one entry for each object that they name
//! (GEP-713).

use tidegate_model::status::{AncestorStatus, Condition, ConditionsStatus, PolicyStatus, StatusBody};
use tidegate_model::{Outcome, StatusOf};
use tidegate_objects::gateway::CONTROLLER_NAME;
use tidegate_objects::reference::TargetRef;
use tidegate_objects::route::ParentRef;
use tidegate_objects::{Key, Kind, Metadata, ObjectRef};

use super::Facts;
use super::condition::{Conditions, Why};
use super::policy::ANCESTORS_MAX;
use super::problems::Problems;

/// Their API group.
const GROUP: &str = "tidegate.dev";

/// Reasons that say that a reference cannot be followed.
const UNRESOLVED: [&str; 6] =
    ["TargetNotFound", "PoolNotFound", "PeerNotFound", "BackendNotFound", "RefNotPermitted", "InvalidKind"];

pub(super) fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let ours = facts.snapshot.intents().filter(|(kind, _)| kind.group() == GROUP);
    ours.map(|(kind, metadata)| StatusOf::new(kind, &metadata.key, status(facts, kind, metadata))).collect()
}

fn status(facts: &Facts<'_>, kind: Kind, metadata: &Metadata) -> StatusBody {
    let (client, backend) =
        (&facts.snapshot.client_traffic_policies, &facts.snapshot.backend_traffic_policies);
    let targets = match kind {
        Kind::ClientTrafficPolicy => client.get(&metadata.key).map(|policy| &policy.spec.target_refs),
        Kind::BackendTrafficPolicy => backend.get(&metadata.key).map(|policy| &policy.spec.target_refs),
        _ => None,
    };
    let Some(targets) = targets else {
        let conditions = conditions(facts, kind, metadata, None);
        return StatusBody::Conditions(ConditionsStatus { conditions });
    };
    let ancestors = targets.iter().enumerate().take(ANCESTORS_MAX).map(|(index, target)| AncestorStatus {
        ancestor_ref: reference(target),
        controller_name: CONTROLLER_NAME,
        conditions: conditions(facts, kind, metadata, Some(index)),
    });
    StatusBody::Policy(PolicyStatus { ancestors: ancestors.collect() })
}

fn reference(target: &TargetRef) -> ParentRef {
    ParentRef {
        group: Some(target.group.clone()),
        kind: Some(target.kind.clone()),
        namespace: None,
        name: target.name.clone(),
        section_name: target.section_name.clone(),
        port: None,
    }
}

/// What holds of an object; of a policy, for the target of this index: what is wrong with another target is not its affair.
fn conditions(facts: &Facts<'_>, kind: Kind, metadata: &Metadata, target: Option<usize>) -> Vec<Condition> {
    let key: &Key = &metadata.key;
    let all = Problems::of(facts.verdicts, kind, key);
    let field = target.map(|index| format!("spec.targetRefs[{index}]"));
    let of_target = field.as_deref().map(|field| all.at(field));
    let problems = match &field {
        Some(field) => all.at_or_not_below(field, "spec.targetRefs"),
        None => all,
    };
    let conditions = Conditions(metadata.generation);
    let verdict = facts.verdicts.get(&ObjectRef { kind, key: key.clone() });
    let refused = problems.whole().first().or_else(|| of_target.and_then(|problems| problems.first()));
    let accepted = match (&refused, verdict.map(|verdict| verdict.outcome), problems.first()) {
        (None, Some(Outcome::Partially), Some(why)) => {
            conditions.holds("Accepted", "PartiallyAccepted", &format!("in part: {}", why.message))
        }
        _ => conditions.unless("Accepted", refused.as_ref()),
    };
    let unresolved = problems.with(&UNRESOLVED);
    let hindrance = refused.map(|why| Why::new("Invalid", why.message));
    let hindrance = hindrance.or_else(|| facts.notice.map(|notice| Why::new("NoResources", notice)));
    vec![
        accepted,
        conditions.unless("ResolvedRefs", unresolved.as_ref()),
        conditions.unless("Programmed", hindrance.as_ref()),
    ]
}
