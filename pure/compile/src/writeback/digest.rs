//! [`digest`]: a short sum of a status, so that it need not be kept to know whether it is what it should be.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde_json::Value;
use tidegate_objects::gateway::CONTROLLER_NAME;

/// Lists of a status that several controllers share, with the field of an entry that names what it is about.
pub(super) const SHARED: [(&str, &str); 2] = [("parents", "parentRef"), ("ancestors", "ancestorRef")];

/// A sum of a value, whatever the order of its fields. Times of transitions and what is empty do not count, and neither
/// does the difference between a default of a reference written and left out. Zero: nothing is left.
pub fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    match feed(value, &mut hasher) {
        // Never zero: that says that there is nothing.
        true => hasher.finish() | 1,
        false => 0,
    }
}

/// The same of a status that stands in a cluster: of lists that controllers share, our entries only.
pub fn of_standing(status: &Value) -> u64 {
    let shared = SHARED.iter().find_map(|(list, _)| Some((*list, status.get(list)?.as_array()?)));
    let Some((list, entries)) = shared else { return digest(status) };
    let ours: Vec<&Value> = entries.iter().filter(|entry| is_ours(entry)).collect();
    digest(&serde_json::json!({ list: ours }))
}

/// Whether an entry of a shared list is ours.
pub(super) fn is_ours(entry: &Value) -> bool {
    entry["controllerName"] == CONTROLLER_NAME
}

/// Whether two values are the same, as far as [`digest`] looks at them; times count here.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let of =
                |key: &str, map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            a.keys().chain(b.keys()).all(|key| equal(&of(key, a), &of(key, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        _ => one == other || is_empty(one) && is_empty(other),
    }
}

/// Whether two references are to the same: defaults may be written or left out.
pub(super) fn same_reference(one: &Value, other: &Value) -> bool {
    digest(&serde_json::json!({ "parentRef": one })) == digest(&serde_json::json!({ "parentRef": other }))
}

/// Whether a value says nothing: null, or an empty list or map, or one of such.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// Whether anything was fed.
fn feed(value: &Value, hasher: &mut DefaultHasher) -> bool {
    match value {
        _ if is_empty(value) => return false,
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_unstable();
            let counted = keys.into_iter().filter(|key| *key != "lastTransitionTime");
            let mut any = false;
            for key in counted.filter(|key| !is_empty(&fields[key.as_str()])) {
                any = true;
                key.hash(hasher);
                if SHARED.iter().any(|(_, reference)| key == reference) {
                    feed_reference(&fields[key.as_str()], hasher);
                } else {
                    feed(&fields[key.as_str()], hasher);
                }
            }
            '}'.hash(hasher);
            return any;
        }
        Value::Array(items) => {
            for item in items {
                feed(item, hasher);
            }
            ']'.hash(hasher);
        }
        Value::String(text) => text.hash(hasher),
        Value::Bool(bool) => bool.hash(hasher),
        other => other.to_string().hash(hasher),
    }
    true
}

fn feed_reference(reference: &Value, hasher: &mut DefaultHasher) {
    for (field, default) in [
        ("group", "gateway.networking.k8s.io"),
        ("kind", "Gateway"),
        ("namespace", ""),
        ("name", ""),
        ("sectionName", ""),
    ] {
        reference[field].as_str().unwrap_or(default).hash(hasher);
    }
    reference["port"].as_u64().hash(hasher);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What an API server changes about a status (order, empty fields, defaults of references) changes no sum, nor do times;
    /// everything else does.
    #[test]
    fn sums() {
        let condition = |status: &str, time: &str| json!({"type": "Accepted", "status": status, "reason": "Accepted", "message": "", "lastTransitionTime": time});
        let ours = |reference: Value, status: &str, time: &str| json!({"parentRef": reference, "controllerName": CONTROLLER_NAME, "conditions": [condition(status, time)]});
        let wanted = json!({"parents": [ours(json!({"name": "a"}), "True", "")]});
        let full = json!({"kind": "Gateway", "name": "a", "group": "gateway.networking.k8s.io"});
        let foreign = json!({"parentRef": {"name": "b"}, "controllerName": "other", "conditions": []});
        let standing = json!({"parents": [foreign, ours(full.clone(), "True", "2026")], "x": null});
        assert_eq!(digest(&wanted), of_standing(&standing));
        let other = json!({"parents": [ours(full, "False", "2026")]});
        assert_ne!(digest(&wanted), of_standing(&other));
        assert_ne!(digest(&json!({"a": "b"})), digest(&json!({"ab": ""})));
        assert_ne!(digest(&json!([["a"], "b"])), digest(&json!([["a", "b"]])));
        // Nothing is nothing, whoever shares the list.
        let strangers = json!({"parents": [{"parentRef": {"name": "b"}, "controllerName": "other"}]});
        for nothing in
            [json!({}), json!(null), json!({"parents": []}), strangers, json!({"loadBalancer": {}})]
        {
            assert_eq!(of_standing(&nothing), 0, "{nothing}");
        }
        assert_ne!(digest(&json!({"attachedRoutes": 0})), 0);
    }
}
