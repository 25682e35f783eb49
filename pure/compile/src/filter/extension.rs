//! What an `ExtensionRef` names: HTTPRouteFilters, which answer themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_model::traffic::{HeaderChanges, Respond};
use tidegate_objects::policy::{DirectResponse, ResponseBody, ResponseBodyType};
use tidegate_objects::reference::LocalRef;
use tidegate_objects::{Key, Kind, Snapshot};

use super::{Refusal, headers};
use crate::report::Report;
use crate::verdicts::Verdicts;
use crate::words::meant;

/// The key under which a ConfigMap holds a body.
const BODY_KEY: &str = "response.body";

/// The longest body: what an object of Kubernetes can hold.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The HTTPRouteFilters.
pub(crate) struct Extensions {
    /// None: it cannot be followed.
    read: BTreeMap<Key, Option<Answer>>,
    used: BTreeSet<Key>,
}

/// An answer of our own, and its further headers.
#[derive(Clone)]
pub(super) struct Answer {
    pub respond: Respond,
    pub headers: HeaderChanges,
}

impl Extensions {
    pub fn new(snapshot: &Snapshot, verdicts: &mut Verdicts) -> Self {
        let mut read = BTreeMap::new();
        for (key, filter) in &snapshot.http_route_filters {
            let mut report = Report::new(Kind::HTTPRouteFilter, key, "spec", verdicts);
            let answer = match &filter.spec.direct_response {
                Some(asked) => answer(key, asked, snapshot)
                    .map_err(|(field, why)| (format!("directResponse.{field}"), why)),
                None => Err((
                    "directResponse".to_owned(),
                    "it is missing, and a filter does nothing else".to_owned(),
                )),
            };
            let answer = answer.map_err(|(field, why)| {
                let message = format!("{why}; rules that name this filter answer 500");
                report.whole("Invalid", &field, message);
            });
            read.insert(key.clone(), answer.ok());
        }
        Extensions { read, used: BTreeSet::new() }
    }

    /// What a route's reference leads to.
    pub(super) fn find(&mut self, route: &Key, asked: &LocalRef) -> Result<Answer, Refusal> {
        if Kind::find(&asked.group, &asked.kind) != Some(Kind::HTTPRouteFilter) {
            let why = format!(
                "{} of group {:?} is no filter of ours; there is {} of group {}",
                asked.kind,
                asked.group,
                Kind::HTTPRouteFilter,
                Kind::HTTPRouteFilter.group()
            );
            return Err(Refusal::new("InvalidKind", "kind", why));
        }
        let key = route.sibling(&route.namespace, &asked.name);
        match self.read.get(&key) {
            Some(Some(answer)) => {
                self.used.insert(key);
                Ok(answer.clone())
            }
            Some(None) => {
                self.used.insert(key.clone());
                Err(Refusal::value("name", format!("HTTPRouteFilter {key} is invalid; see its own verdict")))
            }
            None => {
                let names = self.read.keys();
                let names =
                    names.filter(|other| (&other.source, &other.namespace) == (&key.source, &key.namespace));
                let why = format!(
                    "HTTPRouteFilter {key} does not exist; create it or correct the name{}",
                    meant(&key.name, names.map(|other| &*other.name))
                );
                Err(Refusal::new("FilterNotFound", "name", why))
            }
        }
    }

    /// Says of the filters that no rule names that they do nothing yet.
    pub fn note_unused(&self, verdicts: &mut Verdicts) {
        for key in self.read.keys().filter(|key| !self.used.contains(key)) {
            if !verdicts.is_rejected(Kind::HTTPRouteFilter, key) {
                let message = "no rule of a route of ours names it, so it does nothing yet".to_owned();
                verdicts.warn(Kind::HTTPRouteFilter, key, "NoEffect", "spec", message);
            }
        }
    }
}

/// A field below, and why it cannot be used.
type Bad = (String, String);

fn answer(key: &Key, asked: &DirectResponse, snapshot: &Snapshot) -> Result<Answer, Bad> {
    let bad = |field: &str, why: String| Err((field.to_owned(), why));
    let status = asked.status_code;
    if !(200..=599).contains(&status) {
        return bad("statusCode", format!("{status} is no final status; they go from 200 to 599"));
    }
    if asked.content_type.as_deref().is_some_and(|value| value.is_empty() || !headers::is_value(value)) {
        return bad("contentType", "it is no value of a header".to_owned());
    }
    let body = asked.body.as_ref().map(|asked| body(key, asked, snapshot)).transpose()?.unwrap_or_default();
    if !body.is_empty() && matches!(status, 204 | 205 | 304) {
        return bad("body", format!("an answer with status {status} has no body"));
    }
    let headers = asked.header.as_ref().map(headers::changes).transpose();
    let headers = headers.map_err(|why| ("header".to_owned(), why))?.unwrap_or_default();
    let respond = Respond { status, content_type: asked.content_type.clone(), body: Arc::from(body) };
    Ok(Answer { respond, headers })
}

fn body(key: &Key, asked: &ResponseBody, snapshot: &Snapshot) -> Result<Vec<u8>, Bad> {
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
