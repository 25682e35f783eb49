//! The rules of an HTTPRoute: matches, filters, backends.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::RegexBuilder;
use tidegate_model::traffic::{
    Action, HeaderChanges, HttpRule, PathMatch, RequestMatch, Target, ValueMatch, WeightedBackend,
};
use tidegate_objects::route::{
    HeaderModifier, HttpBackendRef, HttpNameMatch, HttpPathMatch, HttpRoute, HttpRouteFilter, HttpRouteMatch,
    HttpRouteRule, PathMatchType, ValueMatchType,
};
use tidegate_objects::{Key, Kind, Resource};
use tidegate_traffic::path::normalise;

use crate::backend::Backends;
use crate::verdicts::Verdicts;
use crate::words::asks;

/// How large a regular expression may become, in bytes of its compiled form.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Gateway API's bound on a weight.
const WEIGHT_MAX: u32 = 1_000_000;

/// Headers that belong to one connection or frame the message: changing them would let requests be smuggled.
const FRAMING_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Builds the rules, and says of each what cannot be served as written.
pub(crate) fn build(
    route: &Resource<HttpRoute>,
    backends: &mut Backends<'_>,
    verdicts: &mut Verdicts,
) -> Vec<Arc<HttpRule>> {
    let key = route.key();
    if route.spec.rules.is_empty() {
        let message =
            "the route has no rules, so every request is answered with 500; add a rule with a backend"
                .to_owned();
        verdicts.part(Kind::HTTPRoute, key, "PartiallyInvalid", "spec.rules", message);
        let action = Action::Refuse { status: 500, reason: "no backend" };
        return vec![Arc::new(HttpRule::plain(0, vec![everything()], action))];
    }
    let mut rules = Vec::new();
    for (index, spec) in route.spec.rules.iter().enumerate() {
        let mut builder = Rule { key, at: format!("spec.rules[{index}]"), verdicts };
        rules.extend(builder.build(index, spec, backends).map(Arc::new));
    }
    if rules.is_empty() {
        let message = "no rule can be served".to_owned();
        verdicts.whole(Kind::HTTPRoute, key, "UnsupportedValue", "spec.rules", message);
    }
    rules
}

fn everything() -> RequestMatch {
    RequestMatch {
        path: PathMatch::Prefix(String::new()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    }
}

struct Rule<'a> {
    key: &'a Key,
    at: String,
    verdicts: &'a mut Verdicts,
}

impl Rule<'_> {
    fn part(&mut self, reason: &'static str, below: &str, message: String) {
        self.verdicts.part(Kind::HTTPRoute, self.key, reason, format!("{}.{below}", self.at), message);
    }

    /// The rule; none when no match of it can be served.
    fn build(&mut self, index: usize, spec: &HttpRouteRule, backends: &mut Backends<'_>) -> Option<HttpRule> {
        let matches = self.matches(&spec.matches);
        if matches.is_empty() {
            self.part(
                "PartiallyInvalid",
                "matches",
                "no match of this rule can be served, so the rule is left out".into(),
            );
            return None;
        }
        self.note_unserved(spec);
        let mut built = HttpRule::plain(index, matches, Action::Forward(Vec::new()));
        built.name.clone_from(&spec.name);
        let refused = self.filters(&spec.filters, &mut built);
        // Told about even where a filter refuses the rule, so that one look shows all there is to mend.
        let forward = match spec.backend_refs.is_empty() && refused.is_some() {
            true => Action::Forward(Vec::new()),
            false => self.backends(&spec.backend_refs, backends),
        };
        built.action = match refused {
            Some(reason) => Action::Refuse { status: 500, reason },
            None => forward,
        };
        Some(built)
    }

    fn note_unserved(&mut self, spec: &HttpRouteRule) {
        let fields = [
            ("timeouts", &spec.timeouts, "requests are served without these limits"),
            ("retry", &spec.retry, "requests are not tried again"),
            (
                "sessionPersistence",
                &spec.session_persistence,
                "requests of one client may go to different endpoints",
            ),
        ];
        for (field, value, consequence) in fields {
            if asks(value) {
                self.verdicts.not_served(
                    Kind::HTTPRoute,
                    self.key,
                    format!("{}.{field}", self.at),
                    consequence,
                );
            }
        }
    }

    fn matches(&mut self, specs: &[HttpRouteMatch]) -> Vec<RequestMatch> {
        if specs.is_empty() {
            return vec![everything()];
        }
        let mut matches = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            match request_match(spec) {
                Ok(one) => matches.push(one),
                Err((field, why)) => {
                    let message = format!("{why}; this match is left out");
                    self.part("UnsupportedValue", &format!("matches[{index}].{field}"), message);
                }
            }
        }
        matches
    }

    /// Applies the filters to the rule. A reason, if one of them cannot be served: Gateway API forbids to skip it, so
    /// the rule answers 500.
    fn filters(&mut self, filters: &[HttpRouteFilter], rule: &mut HttpRule) -> Option<&'static str> {
        let (mut refused, mut seen) = (None, BTreeSet::new());
        for (index, filter) in filters.iter().enumerate() {
            let changes = match filter.filter_type.as_str() {
                "RequestHeaderModifier" => Some((&filter.request_header_modifier, &mut rule.filters.request_headers)),
                "ResponseHeaderModifier" => {
                    Some((&filter.response_header_modifier, &mut rule.filters.response_headers))
                }
                _ => None,
            };
            let refusal = match changes {
                _ if !seen.insert(filter.filter_type.as_str()) => {
                    Some(("type", format!("{} stands twice in this rule; merge the two", filter.filter_type)))
                }
                Some((Some(modifier), target)) => match header_changes(modifier) {
                    Ok(changes) => {
                        *target = changes;
                        None
                    }
                    Err(message) => Some(("type", message)),
                },
                Some((None, _)) => Some(("type", format!("{} is without its settings", filter.filter_type))),
                None => {
                    Some(("type", format!("filter {} is not served by this version", filter.filter_type)))
                }
            };
            if let Some((field, why)) = refusal {
                let message = format!("{why}; a filter must not be skipped, so this rule answers 500");
                self.part("UnsupportedValue", &format!("filters[{index}].{field}"), message);
                refused = Some("a filter of this rule cannot be served");
            }
        }
        refused
    }

    fn backends(&mut self, refs: &[HttpBackendRef], backends: &mut Backends<'_>) -> Action {
        if refs.is_empty() {
            self.part(
                "PartiallyInvalid",
                "backendRefs",
                "the rule has no backend, so it answers 500; add one".into(),
            );
            return Action::Refuse { status: 500, reason: "no backend" };
        }
        let mut forward = Vec::new();
        for (index, to) in refs.iter().enumerate() {
            let at = format!("backendRefs[{index}]");
            let weight = to.weight.min(WEIGHT_MAX);
            if weight != to.weight {
                self.part(
                    "UnsupportedValue",
                    &format!("{at}.weight"),
                    format!("{} is above {WEIGHT_MAX}, which counts", to.weight),
                );
            }
            let target = self.target(&at, to, backends);
            forward.push(WeightedBackend::plain(weight, target));
        }
        Action::Forward(forward)
    }

    fn target(&mut self, at: &str, to: &HttpBackendRef, backends: &mut Backends<'_>) -> Target {
        if !to.filters.is_empty() {
            let message =
                "filters of a backend are not served by this version; its share is answered with 500"
                    .to_owned();
            self.part("UnsupportedValue", &format!("{at}.filters"), message);
            return Target::Broken("a filter of this backend cannot be served");
        }
        backends.resolve(self.key, to).unwrap_or_else(|broken| {
            self.part(broken.reason, &format!("{at}.{}", broken.field), broken.message);
            Target::Broken(broken.short)
        })
    }
}

/// A field below a match, and why it cannot be served.
type BadMatch = (String, String);

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

/// Matches by name; where a name is given twice the first counts.
fn values(
    specs: &[HttpNameMatch],
    field: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, ValueMatch)>, BadMatch> {
    let (mut seen, mut values) = (BTreeSet::new(), Vec::new());
    for (index, spec) in specs.iter().enumerate() {
        let Some(name) = read(&spec.name) else {
            return Err((format!("{field}[{index}].name"), format!("{:?} is no valid name", spec.name)));
        };
        let value = match spec.match_type {
            ValueMatchType::Exact => ValueMatch::Exact(spec.value.clone()),
            ValueMatchType::RegularExpression => {
                regex(&spec.value).map_err(|why| (format!("{field}[{index}].value"), why))?;
                ValueMatch::Regex(spec.value.clone())
            }
        };
        if seen.insert(name.clone()) {
            values.push((name, value));
        }
    }
    Ok(values)
}

fn regex(pattern: &str) -> Result<(), String> {
    let built = RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(REGEX_BYTES_MAX).build();
    built.map(drop).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("the regular expression {pattern:?} is too large"),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("{pattern:?} is no regular expression: {last}")
        }
    })
}

fn header_changes(modifier: &HeaderModifier) -> Result<HeaderChanges, String> {
    let name = |name: &str| {
        let lower = name.to_ascii_lowercase();
        match () {
            () if !is_token(name) => Err(format!("{name:?} is no header name")),
            () if FRAMING_HEADERS.contains(&lower.as_str()) => {
                Err(format!("header {name} cannot be changed"))
            }
            () => Ok(lower),
        }
    };
    let pairs = |pairs: &[tidegate_objects::route::HeaderValue]| {
        let mut result = Vec::new();
        for pair in pairs {
            let valid = !pair.value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f);
            if !valid {
                return Err(format!("the value of header {} has a control character", pair.name));
            }
            let name = name(&pair.name)?;
            if !result.iter().any(|(other, _)| *other == name) {
                result.push((name, pair.value.clone()));
            }
        }
        Ok(result)
    };
    let remove = modifier.remove.iter().map(|text| name(text)).collect::<Result<_, _>>()?;
    Ok(HeaderChanges { set: pairs(&modifier.set)?, add: pairs(&modifier.add)?, remove })
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte))
}
