//! What an `ExtensionRef` names: HTTPRouteFilters, which answer themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_model::traffic::{HeaderChanges, Respond};
use tidegate_objects::policy::DirectResponse;
use tidegate_objects::reference::LocalRef;
use tidegate_objects::{Key, Kind, Snapshot};

use super::Refusal;
use super::answer::{self, Bad};
use crate::report::Report;
use crate::verdicts::Verdicts;
use crate::words::meant;

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
        let mut all = BTreeMap::new();
        for (key, filter) in &snapshot.http_route_filters {
            let mut report = Report::new(Kind::HTTPRouteFilter, key, "spec", verdicts);
            let answer = match &filter.spec.direct_response {
                Some(asked) => read(key, asked, snapshot)
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
            all.insert(key.clone(), answer.ok());
        }
        Extensions { read: all, used: BTreeSet::new() }
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

fn read(key: &Key, asked: &DirectResponse, snapshot: &Snapshot) -> Result<Answer, Bad> {
    let bad = |field: &str, why: String| Err((field.to_owned(), why));
    let status = asked.status_code;
    if !(200..=599).contains(&status) {
        return bad("statusCode", format!("{status} is no final status; they go from 200 to 599"));
    }
    let content_type = answer::content_type(asked.content_type.as_deref())?;
    let body = asked.body.as_ref().map(|asked| answer::body(key, asked, snapshot)).transpose()?;
    let body = body.unwrap_or_default();
    if !body.is_empty() && matches!(status, 204 | 205 | 304) {
        return bad("body", format!("an answer with status {status} has no body"));
    }
    let headers = answer::header_changes(asked.header.as_ref())?;
    let respond = Respond { status, content_type, body: Arc::from(body) };
    Ok(Answer { respond, headers })
}
