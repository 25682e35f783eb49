//! BackendTLSPolicies: what each Gateway whose routes lead to their Services makes of them.

use std::collections::BTreeSet;

use tidegate_model::StatusOf;
use tidegate_model::status::{AncestorStatus, PolicyStatus, StatusBody};
use tidegate_objects::backend_tls::BackendTlsPolicy;
use tidegate_objects::gateway::CONTROLLER_NAME;
use tidegate_objects::route::ParentRef;
use tidegate_objects::{Key, Kind, Resource};

use super::Facts;
use super::condition::Conditions;
use super::problems::Problems;

/// Gateway API's bound on `status.ancestors`.
pub(super) const ANCESTORS_MAX: usize = 16;

/// Reasons that say of a policy that a reference of it cannot be followed.
const UNRESOLVED: [&str; 3] = ["InvalidCACertificateRef", "InvalidKind", "RefNotPermitted"];

pub(super) fn statuses(facts: &Facts<'_>) -> Vec<StatusOf> {
    let policies = facts.snapshot.backend_tls_policies.values();
    policies.map(|policy| status(facts, policy)).collect()
}

fn status(facts: &Facts<'_>, policy: &Resource<BackendTlsPolicy>) -> StatusOf {
    let problems = Problems::of(facts.verdicts, Kind::BackendTLSPolicy, policy.key());
    let conditions = Conditions(policy.metadata.generation);
    let refused = problems.whole().first();
    let unresolved = problems.with(&UNRESOLVED);
    let ancestors = ancestors(facts, policy).into_iter().take(ANCESTORS_MAX).map(|gateway| AncestorStatus {
        ancestor_ref: ParentRef {
            group: Some(Kind::Gateway.group().to_owned()),
            kind: Some(Kind::Gateway.name().to_owned()),
            namespace: Some(gateway.namespace.to_string()),
            name: gateway.name.to_string(),
            section_name: None,
            port: None,
        },
        controller_name: CONTROLLER_NAME,
        conditions: vec![
            conditions.unless("Accepted", refused.as_ref()),
            conditions.unless("ResolvedRefs", unresolved.as_ref()),
        ],
    });
    let status = StatusBody::Policy(PolicyStatus { ancestors: ancestors.collect() });
    StatusOf::new(Kind::BackendTLSPolicy, policy.key(), status)
}

/// The Gateways whose routes lead to a Service that the policy names.
fn ancestors<'a>(facts: &Facts<'a>, policy: &Resource<BackendTlsPolicy>) -> BTreeSet<&'a Key> {
    let services = policy
        .spec
        .target_refs
        .iter()
        .filter(|target| Kind::find(&target.group, &target.kind) == Some(Kind::Service));
    let keys = services.map(|target| policy.key().sibling(&policy.key().namespace, &target.name));
    keys.filter_map(|key| facts.standing.services.get(&key)).flatten().collect()
}
