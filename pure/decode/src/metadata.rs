//! ObjectMeta: who an object is. Checks names as the API server would; keeps what Tidegate uses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tidegate_objects::{Key, Kind, Metadata, ObjectRef, Scope};

use crate::path::Path;
use crate::problem::Fault;
use crate::read::{self, shortened};

/// Reads `metadata`. Warnings are added to `warnings`.
pub(crate) fn read(
    source: &str,
    kind: Kind,
    value: Option<&Value>,
    warnings: &mut Vec<Fault>,
) -> Result<Metadata, Fault> {
    let Some(value) = value else {
        return Err(Fault::at("metadata", "`metadata` is missing; an object has at least `metadata.name`"));
    };
    let meta: ObjectMeta = read::read(value, &Path::parse("metadata"), warnings)?;
    let Some(name) = meta.name.filter(|name| !name.is_empty()) else {
        return Err(Fault::at("metadata.name", "the name is missing; it is required"));
    };
    check_name(kind, &name)?;
    let namespace = namespace(kind, meta.namespace, warnings)?;
    Ok(Metadata {
        key: Key::new(source, &namespace, &name),
        labels: meta.labels.unwrap_or_default(),
        annotations: meta.annotations.unwrap_or_default(),
        created_secs: meta.creation_timestamp.map_or(i64::MAX, |time| time.0.as_second()),
        generation: meta.generation.unwrap_or(0),
    })
}

/// Who an object with a mistake is, as far as its `metadata` tells without being valid.
pub(crate) fn guess(source: &str, kind: Kind, value: Option<&Value>) -> Option<ObjectRef> {
    let text = |name: &str| value?.get(name)?.as_str().filter(|text| !text.is_empty());
    let namespace = match kind.scope() {
        Scope::Namespaced => text("namespace").unwrap_or("default"),
        Scope::Cluster => "",
    };
    Some(ObjectRef { kind, key: Key::new(source, namespace, text("name")?) })
}

/// The namespace, `default` when absent, as `kubectl` does it; empty for cluster-scoped kinds.
fn namespace(kind: Kind, found: Option<String>, warnings: &mut Vec<Fault>) -> Result<String, Fault> {
    let found = found.filter(|namespace| !namespace.is_empty());
    match (kind.scope(), found) {
        (Scope::Namespaced, None) => Ok("default".into()),
        (Scope::Namespaced, Some(namespace)) if is_label(&namespace) => Ok(namespace),
        (Scope::Namespaced, Some(namespace)) => {
            Err(Fault::at("metadata.namespace", label_sentence("a namespace", &namespace)))
        }
        (Scope::Cluster, None) => Ok(String::new()),
        (Scope::Cluster, Some(_)) => {
            let message = format!("{kind} is cluster-scoped: the namespace has no effect; leave it out");
            warnings.push(Fault::at("metadata.namespace", message));
            Ok(String::new())
        }
    }
}

fn check_name(kind: Kind, name: &str) -> Result<(), Fault> {
    let label_kind = matches!(kind, Kind::Namespace | Kind::Service);
    let fault = |message| Err(Fault::at("metadata.name", message));
    if label_kind && !is_label(name) {
        fault(label_sentence(&format!("the name of a {kind}"), name))
    } else if !label_kind && !is_subdomain(name) {
        fault(format!(
            "a name has at most 253 lower-case letters, digits, `-` and `.`, and each part between dots begins and \
             ends with a letter or a digit; found `{}`",
            shortened(name)
        ))
    } else {
        Ok(())
    }
}

fn label_sentence(what: &str, found: &str) -> String {
    format!(
        "{what} has at most 63 lower-case letters, digits and `-`, and begins and ends with a letter or a digit; \
         found `{}`",
        shortened(found)
    )
}

/// An RFC 1123 label, as Kubernetes' "Object Names and IDs" page defines it.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 63
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(inner)
}

/// An RFC 1123 subdomain, as Kubernetes' "Object Names and IDs" page defines it.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(part)
}
