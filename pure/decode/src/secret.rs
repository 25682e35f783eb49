//! Secret and ConfigMap: maps of names to bytes, base64 decoded. No message here shows a value of a Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_objects::core::{ConfigMap, Secret, SecretBytes};
use tidegate_objects::{Kind, Metadata, Object, Resource};

use crate::path::{Path, Step};
use crate::problem::Fault;
use crate::read;

/// What `kubectl apply` writes down of an object, the values of a Secret included.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The fields that a kind has at the top, beside those of every object.
pub(crate) fn top_level(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Secret => &["type", "data", "stringData", "immutable"],
        Kind::ConfigMap => &["data", "binaryData", "immutable"],
        _ => &["spec"],
    }
}

/// What is wrong in a document that is no object yet, without the text found there if that may be a value of a Secret:
/// nothing has told its kind so far.
pub(crate) fn without_value(fault: Fault) -> Fault {
    match fault.path.0.first() {
        Some(Step::Key(key)) if ["data", "stringData"].contains(&key.as_str()) => {
            Fault::new(fault.path, "the value is no text; write it in quotes")
        }
        _ => fault,
    }
}

pub(crate) fn secret(mut metadata: Metadata, value: &Value) -> Result<Object, Fault> {
    metadata.annotations.remove(LAST_APPLIED);
    let secret_type = match value.get("type") {
        None => "Opaque".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "Opaque".to_owned(),
        Some(found) => read::read(found, &Path::parse("type"), &mut Vec::new())?,
    };
    let mut data = BTreeMap::new();
    for (name, path, text) in texts(value, "data")? {
        data.insert(name.to_owned(), SecretBytes::from(base64(path, text)?));
    }
    for (name, _, text) in texts(value, "stringData")? {
        data.insert(name.to_owned(), SecretBytes::from(text.as_bytes().to_vec()));
    }
    Ok(Resource { metadata, spec: Secret { secret_type, data } }.into())
}

pub(crate) fn config_map(metadata: Metadata, value: &Value) -> Result<Object, Fault> {
    let texts_of = |field| texts(value, field);
    let data = texts_of("data")?.map(|(name, _, text)| (name.to_owned(), text.to_owned())).collect();
    let decoded = |(name, path, text): (&str, Path, &str)| Ok((name.to_owned(), base64(path, text)?.into()));
    let binary_data = texts_of("binaryData")?.map(decoded).collect::<Result<_, Fault>>()?;
    Ok(Resource { metadata, spec: ConfigMap { data, binary_data } }.into())
}

/// The texts of a map, each with its name and path.
fn texts<'v>(
    value: &'v Value,
    field: &'static str,
) -> Result<impl Iterator<Item = (&'v str, Path, &'v str)>, Fault> {
    let list = Path::parse(field);
    let fields = match value.get(field) {
        None => None,
        Some(Value::Object(fields)) => Some(fields),
        Some(_) => return Err(Fault::new(list, "expected a mapping of names to texts")),
    };
    if let Some((name, found)) = fields.into_iter().flatten().find(|(_, found)| !found.is_string()) {
        let what = match found {
            Value::Array(_) => "a list",
            Value::Object(_) => "a mapping",
            Value::Bool(_) => "`true` or `false`; write it in quotes",
            _ => "a number; write it in quotes",
        };
        return Err(Fault::new(list.key(name), format!("expected text, found {what}")));
    }
    let all = fields.into_iter().flat_map(Map::iter);
    Ok(all.map(move |(name, text)| (name.as_str(), list.key(name), text.as_str().unwrap_or_default())))
}

/// Line breaks are skipped, as the API server does it.
fn base64(path: Path, text: &str) -> Result<Vec<u8>, Fault> {
    let joined = Value::String(text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect());
    match ByteString::deserialize(joined) {
        Ok(bytes) => Ok(bytes.0),
        Err(_) => {
            let other = "write what `base64 -w0` prints";
            let plain = match path.to_string().starts_with("data") {
                true => ", or move it to `stringData`, which takes plain text",
                false => "",
            };
            Err(Fault::new(path, format!("the value is not base64; {other}{plain}")))
        }
    }
}
