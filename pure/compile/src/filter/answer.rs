//! Answers that an object spells out: body, content type, headers.

use tidegate_model::traffic::{HeaderChanges, Redirect};
use tidegate_objects::policy::{ResponseBody, ResponseBodyType};
use tidegate_objects::route::{HeaderModifier, RequestRedirect};
use tidegate_objects::{Key, Kind, Snapshot};

use super::headers;

/// The key under which a ConfigMap holds a body.
const BODY_KEY: &str = "response.body";

/// The longest body: what an object of Kubernetes can hold.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A field below, and why it cannot be used.
pub(crate) type Bad = (String, String);

/// A content type that can stand in a head.
pub(crate) fn content_type(asked: Option<&str>) -> Result<Option<String>, Bad> {
    match asked.is_some_and(|value| value.is_empty() || !headers::is_value(value)) {
        true => Err(("contentType".to_owned(), "it is no value of a header".to_owned())),
        false => Ok(asked.map(str::to_owned)),
    }
}

/// Changes to the headers.
pub(crate) fn header_changes(asked: Option<&HeaderModifier>) -> Result<HeaderChanges, Bad> {
    let read = asked.map(headers::changes).transpose();
    Ok(read.map_err(|why| ("header".to_owned(), why))?.unwrap_or_default())
}

/// A redirect that leaves nothing to the match of a rule.
pub(crate) fn whole_redirect(asked: &RequestRedirect) -> Result<Redirect, Bad> {
    super::path::redirect(asked, &[]).map_err(|refusal| (refusal.field, refusal.why))
}

/// A body, from here or from a ConfigMap.
pub(crate) fn body(key: &Key, asked: &ResponseBody, snapshot: &Snapshot) -> Result<Vec<u8>, Bad> {
    let bad = |field: &str, why: String| Err((format!("body.{field}"), why));
    let body = match (asked.body_type, &asked.inline, &asked.value_ref) {
        (ResponseBodyType::Inline, Some(text), None) => text.as_bytes(),
        (ResponseBodyType::Inline, ..) => {
            return bad("type", "type Inline needs inline, and nothing else".into());
        }
        (ResponseBodyType::ValueRef, None, Some(to))
            if Kind::find(&to.group, &to.kind) == Some(Kind::ConfigMap) =>
        {
            let map = key.sibling(&key.namespace, &to.name);
            let Some(found) = snapshot.config_maps.get(&map) else {
                return bad(
                    "valueRef.name",
                    format!("ConfigMap {map} does not exist; create it or correct the name"),
                );
            };
            let found = &found.spec;
            let only = || match found.data.len() + found.binary_data.len() {
                1 => found.data.keys().chain(found.binary_data.keys()).next(),
                _ => None,
            };
            match found.get(BODY_KEY).or_else(|| found.get(only()?)) {
                Some(body) => body,
                None => {
                    return bad(
                        "valueRef.name",
                        format!("ConfigMap {map} has no key {BODY_KEY}, nor just one"),
                    );
                }
            }
        }
        (ResponseBodyType::ValueRef, None, Some(to)) => {
            return bad("valueRef.kind", format!("{} of group {:?} is no ConfigMap", to.kind, to.group));
        }
        (ResponseBodyType::ValueRef, ..) => {
            return bad("type", "type ValueRef needs valueRef, and nothing else".into());
        }
    };
    match body.len() <= BODY_BYTES_MAX {
        true => Ok(body.to_vec()),
        false => bad("type", format!("{} bytes are more than {BODY_BYTES_MAX}", body.len())),
    }
}
