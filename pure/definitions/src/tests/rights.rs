//! The rights that the manifests give are those that are used: every kind that is read, and no other.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_objects::Kind;

use super::root;

type Right = (String, String, String);

/// The roles of a file: kind, name, and each right as verb, group and resource.
fn roles(file: &str) -> Vec<(String, String, BTreeSet<Right>)> {
    let text = std::fs::read_to_string(root().join("deploy/manifests").join(file)).expect("manifests");
    let documents = text.split("\n---").filter_map(|part| tidegate_decode::settings::<Value>(part).ok());
    let roles = documents.filter(|(role, _)| role["rules"].is_array()).map(|(role, _)| {
        let words = |value: &Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let mut rights = BTreeSet::new();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        rights.insert((verb, group.clone(), resource.clone()));
                    }
                }
            }
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&role["kind"]), text(&role["metadata"]["name"]), rights)
    });
    roles.collect()
}

/// The name of a kind in paths, as English and Kubernetes have it.
fn plural(kind: Kind) -> String {
    let name = kind.name().to_lowercase();
    match name.strip_suffix('y') {
        Some(stem) if !name.ends_with("ay") => format!("{stem}ies"),
        _ if name.ends_with('s') => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

/// In a cluster and outside, gateways may list and watch every kind that they read, everywhere; of Secrets and ConfigMaps none, where
/// nothing is asked for.
#[test]
fn what_is_read() {
    let named = |kind: &Kind| matches!(kind, Kind::Secret | Kind::ConfigMap);
    let read = Kind::ALL.iter().copied().filter(|kind| !named(kind));
    let expected: BTreeSet<Right> = read
        .flat_map(|kind| {
            ["list", "watch"].map(|verb| (verb.to_owned(), kind.group().to_owned(), plural(kind)))
        })
        .collect();
    for file in ["in-cluster.yaml", "external.yaml"] {
        let roles = roles(file);
        let (.., rights) =
            roles.iter().find(|(kind, name, _)| kind == "ClusterRole" && name == "tidegate").expect(file);
        let missing: Vec<_> = expected.difference(rights).collect();
        let needless: Vec<_> = rights.difference(&expected).collect();
        assert!(
            missing.is_empty() && needless.is_empty(),
            "{file}: missing {missing:?}, needless {needless:?}: change deploy/helm/tidegate/templates/rbac.yaml, then run scripts/manifests"
        );
        let all = roles.iter().flat_map(|(.., rights)| rights);
        let secret: Vec<_> = all
            .filter(|(_, _, resource)| ["secrets", "configmaps", "*"].contains(&resource.as_str()))
            .collect();
        assert!(secret.is_empty(), "{file}: {secret:?}");
    }
}

/// The plurals of our own table are those by which rights are given.
#[test]
fn plurals() {
    for defined in crate::DEFINED {
        assert_eq!(plural(defined.kind), defined.plural);
    }
    assert_eq!(plural(Kind::GatewayClass), "gatewayclasses");
    assert_eq!(plural(Kind::Gateway), "gateways");
}
