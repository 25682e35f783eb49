//! [`decide`]: what is to be written, given what stands there.
//!
//! Where a status is a list that several controllers share (`parents` of routes, `ancestors` of policies; atomic, as their
//! definitions say), it is replaced with the entries of others as they stand. Everything else is applied, server side: what
//! others have added stays theirs, and what we do not say any more goes.

use serde_json::{Map, Value, json};

use super::MANAGER;
use super::digest::{SHARED, equal, is_empty, is_ours, same_reference};

/// The most entries of a shared list; Gateway API's bounds, as their definitions have them.
const ENTRIES_MAX: [(&str, usize); 2] = [("parents", 32), ("ancestors", 16)];

/// What is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// `status`, to be applied by our field manager, by force.
    Apply(Value),
    /// `status` whole, to be put in place of what stood there, where that has not changed meanwhile.
    Replace(Value),
}

/// What is to be written for an object that stands so in the cluster, if anything is. `wanted` is its status without times,
/// `time` that of conditions whose status is another one now (RFC 3339).
pub fn decide(object: &Value, wanted: &Value, time: &str) -> Option<Write> {
    let standing = &object["status"];
    if let Some((list, reference)) = SHARED.iter().find(|(list, _)| wanted.get(list).is_some()) {
        return replaced(standing, wanted, (list, reference), time).map(Write::Replace);
    }
    let status = timed(wanted, standing, time);
    let owned = owned(object, Some("status")).map(|fields| &fields["f:status"]);
    let stale = owned.is_some_and(|owned| is_stale(owned, &status));
    (stale || !covers(standing, &status)).then_some(Write::Apply(status))
}

/// The status with the list as it should be, if it is not.
fn replaced(standing: &Value, wanted: &Value, (list, reference): (&str, &str), time: &str) -> Option<Value> {
    let none = Vec::new();
    let entries = |status: &Value| status[list].as_array().cloned().unwrap_or_default();
    let (before, mut ours) = (entries(standing), wanted[list].as_array().unwrap_or(&none).clone());
    let most = ENTRIES_MAX.iter().find(|(bounded, _)| *bounded == list).map_or(usize::MAX, |(_, most)| *most);
    let foreign = before.iter().filter(|entry| !is_ours(entry)).count();
    ours.truncate(most.saturating_sub(foreign));
    let mut after = Vec::new();
    for entry in &before {
        if !is_ours(entry) {
            after.push(entry.clone());
        } else if let Some(at) =
            ours.iter().position(|our| same_reference(&our[reference], &entry[reference]))
        {
            after.push(timed(&ours.remove(at), entry, time));
        }
    }
    after.extend(ours.iter().map(|our| timed(our, &Value::Null, time)));
    let same =
        before.len() == after.len() && before.iter().zip(&after).all(|(a, b)| same_entry(a, b, reference));
    if same {
        return None;
    }
    let mut status = standing.as_object().cloned().unwrap_or_default();
    status.insert(list.to_owned(), after.into());
    Some(status.into())
}

/// Whether two entries say the same of the same.
fn same_entry(one: &Value, other: &Value, reference: &str) -> bool {
    let without = |entry: &Value| {
        let mut entry = entry.as_object().cloned().unwrap_or_default();
        entry.shift_remove(reference);
        Value::Object(entry)
    };
    same_reference(&one[reference], &other[reference]) && equal(&without(one), &without(other))
}

/// A value with a time for each condition: the one that stands there where its status is the same.
fn timed(wanted: &Value, standing: &Value, time: &str) -> Value {
    match wanted {
        Value::Object(fields) => {
            let mut timed_fields = Map::new();
            for (name, value) in fields {
                let value = match (name.as_str(), value.as_array()) {
                    ("conditions", Some(conditions)) => {
                        conditions.iter().map(|one| with_time(one, &standing[name], time)).collect()
                    }
                    _ => timed(value, &standing[name], time),
                };
                timed_fields.insert(name.clone(), value);
            }
            timed_fields.into()
        }
        Value::Array(items) => {
            let each = items.iter().map(|item| timed(item, counterpart(item, standing), time));
            each.collect()
        }
        other => other.clone(),
    }
}

fn with_time(condition: &Value, standing: &Value, time: &str) -> Value {
    let before = counterpart(condition, standing);
    let same = before["status"] == condition["status"];
    let kept = before["lastTransitionTime"].as_str().filter(|_| same);
    let mut condition = condition.clone();
    condition["lastTransitionTime"] = json!(kept.unwrap_or(time));
    condition
}

/// The field by which elements of a list are told apart, where it has one.
fn key_of(element: &Value) -> Option<&'static str> {
    // A condition, a listener or feature; of conditions first, because nothing keeps others from having names.
    let fields = element.as_object()?;
    match () {
        () if fields.contains_key("type") && fields.contains_key("reason") => Some("type"),
        () if fields.contains_key("name") => Some("name"),
        () => None,
    }
}

/// What stands in a list in the place of an element.
fn counterpart<'v>(element: &Value, standing: &'v Value) -> &'v Value {
    const NOTHING: &Value = &Value::Null;
    let (Some(key), Some(all)) = (key_of(element), standing.as_array()) else { return NOTHING };
    all.iter().find(|other| other[key] == element[key]).unwrap_or(NOTHING)
}

/// Whether what stands says all that is wanted.
fn covers(standing: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(fields) => fields.iter().all(|(name, value)| covers(&standing[name], value)),
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| key_of(item).is_some()) => {
            items.iter().all(|item| covers(counterpart(item, standing), item))
        }
        _ => equal(standing, wanted),
    }
}

/// What we own of an object, by its `managedFields`: of a subresource, or of the rest.
pub(super) fn owned<'v>(object: &'v Value, subresource: Option<&str>) -> Option<&'v Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let ours = entries.iter().find(|entry| {
        entry["manager"] == MANAGER
            && entry["operation"] == "Apply"
            && entry["subresource"].as_str().filter(|name| !name.is_empty()) == subresource
    })?;
    Some(&ours["fieldsV1"])
}

/// Whether we own something that is not wanted any more. `owned` is in the form of `fieldsV1`.
pub(super) fn is_stale(owned: &Value, wanted: &Value) -> bool {
    let Some(owned) = owned.as_object() else { return false };
    owned.iter().any(|(path, below)| {
        if let Some(name) = path.strip_prefix("f:") {
            return match wanted.get(name) {
                Some(value) => is_stale(below, value),
                None => true,
            };
        }
        let Some(Ok(keys)) = path.strip_prefix("k:").map(serde_json::from_str::<Map<String, Value>>) else {
            // The place itself, or a value of a set, which no status of ours has.
            return false;
        };
        let is_it = |element: &&Value| keys.iter().all(|(key, value)| element.get(key) == Some(value));
        match wanted.as_array().and_then(|all| all.iter().find(is_it)) {
            Some(element) => is_stale(below, element),
            None => true,
        }
    })
}

/// Whether what stands of an object, status aside, says all that is wanted of it.
pub(super) fn stands(object: &Value, wanted: &Value) -> bool {
    let stale = owned(object, None).is_some_and(|owned| is_stale(owned, wanted));
    !stale && covers(object, wanted) && !is_empty(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = tidegate_objects::gateway::CONTROLLER_NAME;

    fn condition(name: &str, status: &str, generation: u64, time: &str) -> Value {
        let mut condition = json!({"type": name, "status": status, "reason": name, "message": "",
                                   "observedGeneration": generation});
        if !time.is_empty() {
            condition["lastTransitionTime"] = json!(time);
        }
        condition
    }

    fn entry(controller: &str, parent: &str, conditions: Value) -> Value {
        json!({"parentRef": {"name": parent}, "controllerName": controller, "conditions": conditions})
    }

    /// Nothing is written where what is wanted stands, whatever others have added.
    #[test]
    fn nothing_to_write() {
        let wanted = json!({"addresses": [], "conditions": [condition("Accepted", "True", 2, "")],
                            "listeners": [{"name": "a", "attachedRoutes": 1, "conditions": []}]});
        let standing = json!({"conditions": [condition("Audited", "True", 1, "then"), condition("Accepted", "True", 2, "then")],
                              "listeners": [{"name": "a", "attachedRoutes": 1, "supportedKinds": []}]});
        assert_eq!(decide(&json!({"status": standing}), &wanted, "now"), None);
        let wanted = json!({"parents": [entry(OURS, "a", json!([condition("Accepted", "True", 2, "")]))]});
        let mut ours = entry(OURS, "a", json!([condition("Accepted", "True", 2, "then")]));
        ours["parentRef"]["kind"] = json!("Gateway");
        let standing = json!({"parents": [entry("other", "b", json!([])), ours]});
        assert_eq!(decide(&json!({"status": standing}), &wanted, "now"), None);
        // Nothing of ours is wanted, and nothing of ours stands.
        let standing = json!({"parents": [entry("other", "b", json!([]))]});
        assert_eq!(decide(&json!({"status": standing}), &json!({"parents": []}), "now"), None);
    }

    /// A condition keeps its time while its status stays, also where its generation, reason or message changes.
    #[test]
    fn times() {
        let standing = json!({"conditions": [condition("Accepted", "True", 1, "then"), condition("Programmed", "False", 1, "then")]});
        let wanted = json!({"conditions": [condition("Accepted", "True", 2, ""), condition("Programmed", "True", 2, "")]});
        let Some(Write::Apply(status)) = decide(&json!({"status": standing}), &wanted, "now") else {
            panic!("it is applied")
        };
        let expected = json!({"conditions": [condition("Accepted", "True", 2, "then"), condition("Programmed", "True", 2, "now")]});
        assert_eq!(status, expected);
    }

    /// Of a shared list the entries of others stay as and where they stand; ours are replaced, added and dropped, and times
    /// are those of the same parent.
    #[test]
    fn others_are_kept() {
        let foreign = entry("other", "a", json!([{"type": "Accepted", "status": "True", "odd": [1]}]));
        let gone = entry(OURS, "gone", json!([]));
        let old = entry(OURS, "b", json!([condition("Accepted", "False", 1, "then")]));
        let standing = json!({"parents": [foreign, gone, old], "other": 1});
        let wanted = json!({"parents": [
            entry(OURS, "a", json!([condition("Accepted", "True", 2, "")])),
            entry(OURS, "b", json!([condition("Accepted", "False", 2, "")])),
        ]});
        let Some(Write::Replace(status)) = decide(&json!({"status": standing}), &wanted, "now") else {
            panic!("it is replaced")
        };
        let expected = json!({"parents": [
            foreign,
            entry(OURS, "b", json!([condition("Accepted", "False", 2, "then")])),
            entry(OURS, "a", json!([condition("Accepted", "True", 2, "now")])),
        ], "other": 1});
        assert_eq!(status, expected);
        assert_eq!(decide(&json!({"status": status}), &wanted, "later"), None);
    }

    /// Where others fill a shared list, ours take what is left of its bound.
    #[test]
    fn a_full_list() {
        let others: Vec<Value> =
            (0..15).map(|n| json!({"ancestorRef": {"name": n.to_string()}, "controllerName": "x"})).collect();
        let ours =
            |name: &str| json!({"ancestorRef": {"name": name}, "controllerName": OURS, "conditions": []});
        let wanted = json!({"ancestors": [ours("a"), ours("b")]});
        let Some(Write::Replace(status)) = decide(&json!({"status": {"ancestors": others}}), &wanted, "now")
        else {
            panic!("it is replaced")
        };
        assert_eq!(status["ancestors"].as_array().map(Vec::len), Some(16));
        assert_eq!(decide(&json!({"status": status}), &wanted, "now"), None);
    }

    /// What we applied once and do not say any more is taken back; what others own is not looked at.
    #[test]
    fn taken_back() {
        let fields = |conditions: &[&str], listener: &str| {
            let mut owned = Map::new();
            for name in conditions {
                owned.insert(format!("k:{{\"type\":\"{name}\"}}"), json!({".": {}, "f:status": {}}));
            }
            let listeners = json!({format!("k:{{\"name\":\"{listener}\"}}"): {".": {}, "f:name": {}}});
            json!({"f:status": {"f:conditions": owned, "f:listeners": listeners}})
        };
        let standing = json!({"conditions": [condition("Accepted", "True", 1, "then"), condition("Insecure", "True", 1, "then")],
                              "listeners": [{"name": "a"}, {"name": "b"}]});
        let wanted =
            json!({"conditions": [condition("Accepted", "True", 1, "")], "listeners": [{"name": "a"}]});
        let object = |manager: &str, fields: Value| {
            json!({"status": standing, "metadata": {"managedFields": [
                {"manager": manager, "operation": "Apply", "subresource": "status", "fieldsV1": fields}]}})
        };
        for (manager, conditions, listener, writes) in [
            ("tidegate", &["Accepted", "Insecure"][..], "a", true),
            ("tidegate", &["Accepted"][..], "b", true),
            ("tidegate", &["Accepted"][..], "a", false),
            ("other", &["Accepted", "Insecure"][..], "b", false),
        ] {
            let object = object(manager, fields(conditions, listener));
            assert_eq!(
                decide(&object, &wanted, "now").is_some(),
                writes,
                "{manager} {conditions:?} {listener}"
            );
        }
    }

    /// A list without names is one value: an address more or less is another one, and none is not the same as one.
    #[test]
    fn atomic_lists() {
        let addresses = |all: &[&str]| json!({"addresses": all.iter().map(|one| json!({"type": "IPAddress", "value": one})).collect::<Vec<_>>()});
        for (standing, wanted, writes) in [
            (&["a"][..], &["a"][..], false),
            (&["a"], &["a", "b"], true),
            (&["a", "b"], &["a"], true),
            (&["a"], &[], true),
            (&[], &[], false),
        ] {
            let object = json!({"status": addresses(standing)});
            assert_eq!(
                decide(&object, &addresses(wanted), "now").is_some(),
                writes,
                "{standing:?} {wanted:?}"
            );
        }
    }
}
