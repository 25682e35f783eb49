//! Concerns: what a human must act on, and the Event (events.k8s.io/v1) that tells it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};
use tidegate_model::Verdict;
use tidegate_model::verdict::Severity;
use tidegate_objects::gateway::CONTROLLER_NAME;
use tidegate_objects::{Key, Kind, ObjectRef};

/// How many concerns of one object are told.
const OF_ONE_MAX: usize = 4;
/// The longest note that an API server takes, in bytes.
const NOTE_MAX: usize = 1024;

/// Something about an object that a human must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The object; none: the source as a whole.
    pub object: Option<ObjectRef>,
    /// A CamelCase reason.
    pub reason: String,
    /// A sentence.
    pub note: String,
}

/// Every concern about the objects of a source, by the name of its Event. The same concern has the same name, whoever tells
/// it, so none is told twice.
pub(super) fn concerns(
    source: &str,
    verdicts: &BTreeMap<ObjectRef, Verdict>,
    held: &[String],
) -> BTreeMap<String, Concern> {
    let mut all = BTreeMap::new();
    let mut add = |concern: Concern| drop(all.insert(name_of(&concern), concern));
    for verdict in verdicts.values().filter(|verdict| &*verdict.object.key.source == source) {
        let costly = verdict.problems.iter().filter(|problem| problem.severity != Severity::Warning);
        for problem in costly.take(OF_ONE_MAX) {
            let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
            let note = shortened(format!("{field}{}", problem.message));
            add(Concern { object: Some(verdict.object.clone()), reason: problem.reason.to_owned(), note });
        }
    }
    for held in held {
        // Numbers in it change from look to look.
        let note = shortened(format!("held: {held}; `tidegate confirm {source}` believes it now"));
        add(Concern { object: None, reason: "Held".into(), note });
    }
    all
}

fn shortened(mut note: String) -> String {
    if note.len() > NOTE_MAX {
        let mut end = NOTE_MAX - 3;
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
        note.push('…');
    }
    note
}

fn name_of(concern: &Concern) -> String {
    let mut hasher = DefaultHasher::new();
    let object = concern.object.as_ref();
    object.map(|object| (object.kind, &object.key.namespace, &object.key.name)).hash(&mut hasher);
    (&concern.reason, &concern.note).hash(&mut hasher);
    let name = object.map_or("tidegate", |object| &*object.key.name);
    // An object's name is one of an Event already, but may be as long as that may be.
    let name: String = name.chars().take(200).collect();
    format!("{}.{:016x}", name.trim_end_matches(['.', '-']), hasher.finish())
}

impl Concern {
    /// The namespace of its Event, which must be that of what it is about: the object, or the Lease; `default` for an object
    /// that has none.
    fn namespace<'a>(&'a self, lease: &'a Key) -> &'a str {
        match self.object.as_ref().map(|object| &*object.key.namespace) {
            None => &lease.namespace,
            Some("") => "default",
            Some(namespace) => namespace,
        }
    }
}

/// The Event of a concern. `lease` is what an Event about the source as a whole is about, `instance` who tells it, `uid` that
/// of the object, empty where it is not known, `time` that of day with microseconds.
pub fn event(name: &str, concern: &Concern, lease: &Key, instance: &str, uid: &str, time: &str) -> Value {
    let regarding = match &concern.object {
        Some(ObjectRef { kind, key }) => regarding(*kind, key, uid),
        None => {
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "namespace": &*lease.namespace,
                       "name": &*lease.name})
        }
    };
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": concern.namespace(lease)},
        "eventTime": time,
        "type": "Warning",
        "reason": concern.reason,
        "note": concern.note,
        "action": "Serve",
        "reportingController": CONTROLLER_NAME,
        "reportingInstance": instance.chars().take(128).collect::<String>(),
        "regarding": regarding,
    })
}

fn regarding(kind: Kind, key: &Key, uid: &str) -> Value {
    let version = kind.versions().first().copied().unwrap_or_default();
    let api_version =
        if kind.group().is_empty() { version.to_owned() } else { format!("{}/{version}", kind.group()) };
    let mut regarding = json!({"apiVersion": api_version, "kind": kind.name(), "name": &*key.name});
    if !key.namespace.is_empty() {
        regarding["namespace"] = json!(&*key.namespace);
    }
    if !uid.is_empty() {
        regarding["uid"] = json!(uid);
    }
    regarding
}

/// What an Event that stands is changed by when its concern has come again: a series of one more.
pub fn repeated(standing: &Value, time: &str) -> Value {
    let count = standing["series"]["count"].as_u64().unwrap_or(1).saturating_add(1);
    json!({"series": {"count": count, "lastObservedTime": time}})
}

/// The path of an Event, or of all Events of its namespace where the name is empty.
pub fn event_path(concern: &Concern, lease: &Key, name: &str) -> String {
    let all = format!("/apis/events.k8s.io/v1/namespaces/{}/events", concern.namespace(lease));
    if name.is_empty() { all } else { format!("{all}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What costs an object something is a concern, a warning is none; the same has one name, something else another.
    #[test]
    fn costly_problems() {
        let object = |name: &str| ObjectRef { kind: Kind::HTTPRoute, key: Key::new("blue", "shop", name) };
        let verdicts = |note: &str| {
            let mut verdict = Verdict::accepted(object("web"));
            verdict.note(Severity::Warning, "NoEffect", "spec.x", "no effect");
            verdict.note(Severity::Part, "BackendNotFound", "spec.rules[0]", note);
            BTreeMap::from([(object("web"), verdict)])
        };
        let first = concerns("blue", &verdicts("there is no Service a"), &[]);
        let (name, concern) = first.first_key_value().expect("one");
        assert_eq!((first.len(), concern.reason.as_str()), (1, "BackendNotFound"));
        assert_eq!(concern.note, "spec.rules[0]: there is no Service a");
        assert!(name.starts_with("web.") && name.len() == 20, "{name}");
        assert_eq!(first, concerns("blue", &verdicts("there is no Service a"), &[]));
        let other = concerns("blue", &verdicts("there is no Service b"), &["all Pods".into()]);
        assert_eq!(other.len(), 2);
        assert!(!other.contains_key(name));
        assert!(concerns("green", &verdicts("x"), &[]).is_empty());
        let lease = Key::new("blue", "tidegate-system", "tidegate-status");
        let event = event(name, concern, &lease, "gw1", "u", "now");
        assert_eq!(event["regarding"]["apiVersion"], "gateway.networking.k8s.io/v1");
        assert_eq!(repeated(&event, "later")["series"]["count"], 2);
        assert_eq!(event_path(concern, &lease, "x"), "/apis/events.k8s.io/v1/namespaces/shop/events/x");
        let held = other.values().find(|concern| concern.object.is_none()).expect("it is held");
        assert_eq!(event_path(held, &lease, ""), "/apis/events.k8s.io/v1/namespaces/tidegate-system/events");
    }

    /// A note is as long as an API server takes, and ends at a character.
    #[test]
    fn long_notes() {
        let note = shortened("ä".repeat(2_000));
        assert!(note.len() <= NOTE_MAX && note.ends_with('…'), "{}", note.len());
        assert_eq!(shortened("short".into()), "short");
    }
}
