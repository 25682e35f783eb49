//! A CustomResourceDefinition (apiextensions.k8s.io/v1) around the schema of a kind.

use serde_json::{Value, json};
use tidegate_objects::Scope;

use crate::table::{Column, Defined};

/// What is applied to a cluster.
pub fn definition(defined: &Defined) -> Value {
    let (kind, group) = (defined.kind, defined.kind.group());
    let plural = defined.plural;
    let scope = match kind.scope() {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    // Our kinds have one version each.
    let versions: Vec<Value> = kind.versions().iter().map(|name| version(defined, name)).collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            "labels": labels(plural),
        },
        "spec": {
            "group": group,
            "names": {
                "kind": kind.name(),
                "listKind": format!("{}List", kind.name()),
                "plural": plural,
                "singular": kind.name().to_lowercase(),
                "shortNames": [defined.short],
                "categories": ["tidegate"],
            },
            "scope": scope,
            "versions": versions,
        },
    })
}

/// Gateway API asks for a label on what attaches to its objects (GEP-713), so that tools find policies.
fn labels(plural: &str) -> Value {
    match plural.ends_with("policies") {
        true => json!({"app.kubernetes.io/name": "tidegate", "gateway.networking.k8s.io/policy": "Direct"}),
        false => json!({"app.kubernetes.io/name": "tidegate"}),
    }
}

fn version(defined: &Defined, name: &str) -> Value {
    let shown = |column: &Column| json!({"name": column.name, "type": column.holds, "jsonPath": column.path});
    let mut columns: Vec<Value> = defined.columns.iter().map(shown).collect();
    let accepted = accepted(defined);
    columns.push(json!({"name": "Accepted", "type": "string", "jsonPath": accepted}));
    columns.push(json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}));
    json!({
        "name": name,
        "served": true,
        "storage": true,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": {
            "description": defined.about,
            "type": "object",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"description": format!("`{}/{name}`.", defined.kind.group()), "type": "string"},
                "kind": {"description": format!("`{}`.", defined.kind.name()), "type": "string"},
                "metadata": {"type": "object"},
                "spec": (defined.spec)().to_value(),
                "status": status(defined),
            },
        }},
    })
}

fn is_policy(defined: &Defined) -> bool {
    defined.plural.ends_with("policies")
}

fn accepted(defined: &Defined) -> &'static str {
    match is_policy(defined) {
        true => ".status.ancestors[*].conditions[?(@.type==\"Accepted\")].status",
        false => ".status.conditions[?(@.type==\"Accepted\")].status",
    }
}

/// Conditions; of policies for each ancestor, as Gateway API's PolicyStatus has them.
fn status(defined: &Defined) -> Value {
    let mut properties = json!({"conditions": conditions()});
    if is_policy(defined) {
        properties["ancestors"] = ancestors();
    }
    json!({
        "description": "What Tidegate makes of the object.",
        "type": "object",
        "properties": properties,
    })
}

fn conditions() -> Value {
    let text = |about: &str, max: u32| json!({"description": about, "type": "string", "maxLength": max});
    let mut reason = text("Why, in one word.", 1024);
    reason["minLength"] = 1.into();
    reason["pattern"] = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$".into();
    json!({
        "description": "What holds of the object: `Accepted`, `ResolvedRefs`, `Programmed`, `Ready`.",
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": text("Which condition.", 316),
                "status": {"description": "Whether it holds.", "type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"description": "The generation of the object that this was found for.",
                    "type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"description": "Since when.", "type": "string", "format": "date-time"},
                "reason": reason,
                "message": text("A sentence that says what to change.", 32768),
            },
        },
    })
}

fn ancestors() -> Value {
    let text = |about: &str| json!({"description": about, "type": "string"});
    json!({
        "description": "The objects that the policy holds for, and what holds of it there (Gateway API's PolicyStatus).",
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "required": ["ancestorRef", "controllerName", "conditions"],
            "properties": {
                "ancestorRef": {
                    "description": "The object.",
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "group": {"type": "string", "default": "gateway.networking.k8s.io"},
                        "kind": {"type": "string", "default": "Gateway"},
                        "namespace": text("Its namespace; absent: that of the policy."),
                        "name": text("Its name."),
                        "sectionName": text("A part of it."),
                        "port": {"description": "A port of it.", "type": "integer", "format": "int32",
                            "minimum": 1, "maximum": 65535},
                    },
                },
                "controllerName": text("Who says so."),
                "conditions": conditions(),
            },
        },
    })
}
