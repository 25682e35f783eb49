//! The rules of an HTTPRoute: how it writes them. What becomes of them is in [`rule`](crate::rule).

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_model::traffic::{HttpRule, PathMatch, RequestMatch};
use tidegate_objects::route::{HttpPathMatch, HttpRoute, HttpRouteMatch, HttpRouteRule, PathMatchType};
use tidegate_objects::{Kind, Resource};
use tidegate_traffic::path::normalise;

use crate::backend::{Backends, Context};
use crate::rule::{BadMatch, Builder, Share, Written, is_token, regex, values};
use crate::verdicts::Verdicts;

/// Builds the rules for one Gateway, and says of each what cannot be served as written.
pub(crate) fn build(
    route: &Resource<HttpRoute>,
    context: &Context<'_>,
    backends: &mut Backends<'_>,
    verdicts: &mut Verdicts,
) -> Vec<Arc<HttpRule>> {
    let everything = RequestMatch {
        path: PathMatch::Prefix(String::new()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    };
    let builder =
        Builder { kind: Kind::HTTPRoute, key: route.key(), context, everything, backends, verdicts };
    builder.build(route.spec.rules.iter().map(written))
}

fn written(rule: &HttpRouteRule) -> Written<'_> {
    let backends = rule.backend_refs.iter();
    Written {
        name: rule.name.as_deref(),
        matches: rule.matches.iter().map(request_match).collect(),
        filters: Cow::Borrowed(&rule.filters),
        backends: backends
            .map(|to| Share { weight: to.weight, to: to.object(), filters: Cow::Borrowed(&to.filters) })
            .collect(),
        timeouts: rule.timeouts.as_ref(),
        retry: rule.retry.as_ref(),
        session: rule.session_persistence.as_ref(),
    }
}

fn request_match(spec: &HttpRouteMatch) -> Result<RequestMatch, BadMatch> {
    let path = match &spec.path {
        Some(path) => path_match(path).map_err(|why| ("path.value".to_owned(), why))?,
        None => PathMatch::Prefix(String::new()),
    };
    if let Some(method) = &spec.method
        && (!is_token(method) || method.bytes().any(|byte| byte.is_ascii_lowercase()))
    {
        return Err(("method".into(), format!("{method:?} is no method; methods are upper case, as GET")));
    }
    let headers = values(&spec.headers, "headers", |name| is_token(name).then(|| name.to_ascii_lowercase()))?;
    let query =
        values(&spec.query_params, "queryParams", |name| (!name.is_empty()).then(|| name.to_owned()))?;
    Ok(RequestMatch { path, method: spec.method.clone(), headers, query })
}

fn path_match(spec: &HttpPathMatch) -> Result<PathMatch, String> {
    if spec.match_type == PathMatchType::RegularExpression {
        return regex(&spec.value).map(|()| PathMatch::Regex(spec.value.clone()));
    }
    if spec.value.contains('?') {
        return Err(format!("{:?} has a query; match that with queryParams", spec.value));
    }
    // Requests are compared in their normal form, so what they are compared with takes it too.
    let normal = normalise(&spec.value).map_err(|error| format!("{:?} cannot match: {error}", spec.value))?;
    Ok(match spec.match_type {
        PathMatchType::Exact => PathMatch::Exact(normal.into_owned()),
        _ => PathMatch::Prefix(normal.trim_end_matches('/').to_owned()),
    })
}
