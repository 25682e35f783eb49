//! Redirects and rewrites: another host, another path.

use tidegate_model::traffic::{HostPattern, PathMatch, PathRewrite, Redirect, RequestMatch, Rewrite};
use tidegate_objects::route::{PathModifier, PathModifierType, RequestRedirect, UrlRewrite};
use tidegate_traffic::path::normalise;

use super::Refusal;
use crate::listener::parse_hostname;

pub(super) fn redirect(asked: &RequestRedirect, matches: &[RequestMatch]) -> Result<Redirect, Refusal> {
    let scheme = match asked.scheme.as_deref() {
        None => None,
        Some("http") => Some("http"),
        Some("https") => Some("https"),
        Some(other) => return Err(Refusal::value("scheme", format!("{other:?} is neither http nor https"))),
    };
    if asked.port == Some(0) {
        return Err(Refusal::value("port", "port 0 is none; a port is 1 to 65535"));
    }
    if !matches!(asked.status_code, 301 | 302 | 303 | 307 | 308) {
        let why = format!("{} does not redirect; 301, 302, 303, 307 and 308 do", asked.status_code);
        return Err(Refusal::value("statusCode", why));
    }
    let host = asked.hostname.as_deref().map(host).transpose()?;
    let path = asked.path.as_ref().map(|asked| path(asked, matches)).transpose()?;
    Ok(Redirect { scheme, host, port: asked.port, path, status: asked.status_code })
}

pub(super) fn rewrite(asked: &UrlRewrite, matches: &[RequestMatch]) -> Result<Rewrite, Refusal> {
    let host = asked.hostname.as_deref().map(host).transpose()?;
    let path = asked.path.as_ref().map(|asked| path(asked, matches)).transpose()?;
    Ok(Rewrite { host, path })
}

fn host(name: &str) -> Result<String, Refusal> {
    match parse_hostname(name) {
        Ok(HostPattern::Exact(name)) => Ok(name),
        Ok(HostPattern::Under(_)) => {
            Err(Refusal::value("hostname", format!("{name:?} is a pattern, not a name")))
        }
        Err(why) => Err(Refusal::value("hostname", why)),
    }
}

fn path(asked: &PathModifier, matches: &[RequestMatch]) -> Result<PathRewrite, Refusal> {
    let bad = |field: &str, why: String| Err(Refusal::value(format!("path.{field}"), why));
    match (asked.modifier_type, &asked.replace_full_path, &asked.replace_prefix_match) {
        (PathModifierType::ReplaceFullPath, Some(path), None) => match new_path(path) {
            Ok(path) => Ok(PathRewrite::Full(path)),
            Err(why) => bad("replaceFullPath", why),
        },
        (PathModifierType::ReplacePrefixMatch, None, Some(prefix)) => {
            if !matches.iter().all(|one| matches!(one.path, PathMatch::Prefix(_))) {
                let why = "a prefix is replaced, so every match of the rule must be of type PathPrefix";
                return bad("type", why.to_owned());
            }
            match new_path(prefix) {
                Ok(path) => Ok(PathRewrite::Prefix(path.trim_end_matches('/').to_owned())),
                Err(why) => bad("replacePrefixMatch", why),
            }
        }
        (PathModifierType::ReplaceFullPath, ..) => {
            bad("type", "type ReplaceFullPath needs replaceFullPath, and nothing else".into())
        }
        (PathModifierType::ReplacePrefixMatch, ..) => {
            bad("type", "type ReplacePrefixMatch needs replacePrefixMatch, and nothing else".into())
        }
    }
}

/// A path to put in another's place, in its normal form; empty stands for the root.
fn new_path(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if path.contains('?') {
        return Err(format!("{path:?} has a query; the request's own query stays"));
    }
    normalise(path)
        .map(|path| path.into_owned())
        .map_err(|error| format!("{path:?} cannot be a path: {error}"))
}
