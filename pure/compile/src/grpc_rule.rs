//! The rules of a GRPCRoute: how it writes them. What becomes of them is in [`rule`](crate::rule).
//!
//! A call is a POST to `/service/method` (gRPC over HTTP/2, "Request-Headers").

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_model::traffic::{HttpRule, PathMatch, RequestMatch};
use tidegate_objects::route::{
    GrpcMethodMatch, GrpcRoute, GrpcRouteFilter, GrpcRouteMatch, GrpcRouteRule, HttpRouteFilter,
    ValueMatchType,
};
use tidegate_objects::{Kind, Resource};

use crate::backend::{Backends, Context};
use crate::rule::{BadMatch, Builder, Share, Written, is_token, regex, values};
use crate::verdicts::Verdicts;

/// The method of every call.
const METHOD: &str = "POST";

/// Any service, or any method: one segment of a path.
const ANY: &str = "[^/]+";

/// Builds the rules for one Gateway, and says of each what cannot be served as written.
pub(crate) fn build(
    route: &Resource<GrpcRoute>,
    context: &Context<'_>,
    backends: &mut Backends<'_>,
    verdicts: &mut Verdicts,
) -> Vec<Arc<HttpRule>> {
    let everything = call(PathMatch::Prefix(String::new()));
    let builder =
        Builder { kind: Kind::GRPCRoute, key: route.key(), context, everything, backends, verdicts };
    builder.build(route.spec.rules.iter().map(written))
}

fn call(path: PathMatch) -> RequestMatch {
    RequestMatch { path, method: Some(METHOD.to_owned()), headers: Vec::new(), query: Vec::new() }
}

fn written(rule: &GrpcRouteRule) -> Written<'_> {
    let backends = rule.backend_refs.iter();
    Written {
        name: rule.name.as_deref(),
        matches: rule.matches.iter().map(request_match).collect(),
        filters: filters(&rule.filters),
        backends: backends
            .map(|to| Share { weight: to.weight, to: to.object(), filters: filters(&to.filters) })
            .collect(),
        session: rule.session_persistence.as_ref(),
        ..Written::default()
    }
}

fn filters(written: &[GrpcRouteFilter]) -> Cow<'static, [HttpRouteFilter]> {
    written.iter().cloned().map(HttpRouteFilter::from).collect()
}

fn request_match(spec: &GrpcRouteMatch) -> Result<RequestMatch, BadMatch> {
    let path = spec.method.as_ref().map(path).transpose()?;
    let headers = values(&spec.headers, "headers", |name| is_token(name).then(|| name.to_ascii_lowercase()))?;
    Ok(RequestMatch { headers, ..call(path.unwrap_or_else(|| PathMatch::Prefix(String::new()))) })
}

fn path(spec: &GrpcMethodMatch) -> Result<PathMatch, BadMatch> {
    let service = spec.service.as_deref().filter(|service| !service.is_empty());
    let method = spec.method.as_deref().filter(|method| !method.is_empty());
    if service.is_none() && method.is_none() {
        return Err(("method".into(), "service or method must be given".into()));
    }
    match spec.match_type {
        ValueMatchType::Exact => exact(service, method),
        ValueMatchType::RegularExpression => {
            for (field, pattern) in [("service", service), ("method", method)] {
                regex(pattern.unwrap_or_default()).map_err(|why| (format!("method.{field}"), why))?;
            }
            let pattern = format!("/(?:{})/(?:{})", service.unwrap_or(ANY), method.unwrap_or(ANY));
            regex(&pattern).map_err(|why| ("method".to_owned(), why))?;
            Ok(PathMatch::Regex(pattern))
        }
    }
}

fn exact(service: Option<&str>, method: Option<&str>) -> Result<PathMatch, BadMatch> {
    let sound = |name: &str, dots: bool| {
        let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (dots && byte == b'.');
        name.bytes().all(part) && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    for (field, name, dots) in [("service", service, true), ("method", method, false)] {
        // Dots alone would be another path, and name no service.
        if name.is_some_and(|name| !sound(name, dots) || name.bytes().all(|byte| byte == b'.')) {
            let name = name.unwrap_or_default();
            return Err((format!("method.{field}"), format!("{name:?} is no name of a {field} in gRPC")));
        }
    }
    Ok(match (service, method) {
        (Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}")),
        (Some(service), None) => PathMatch::Prefix(format!("/{service}")),
        (None, method) => PathMatch::Second(method.unwrap_or_default().to_owned()),
    })
}
