//! Filters of HTTPRoute and GRPCRoute rules, and of their backends.
//!
//! Gateway API forbids to skip a filter: where one cannot be served as written, what it stands at answers 500. The one
//! exception is a mirror that leads nowhere, for a copy is not the request.

mod answer;
mod cors;
mod extension;
mod headers;
mod path;

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_model::traffic::{Action, Filters, Mirror, RequestMatch, Target, Transport};
use tidegate_objects::Kind;
use tidegate_objects::route::{HttpRouteFilter, RequestMirror};

pub(crate) use answer::{body, content_type, header_changes, whole_redirect};
pub(crate) use extension::Extensions;
pub(crate) use headers::changeable;

use tidegate_model::traffic::Cors;
use tidegate_objects::route::Cors as CorsSpec;

use crate::backend::{Backends, Context, From};
use crate::report::Report;

/// Where filters stand.
#[derive(Clone, Copy)]
pub(crate) struct Site<'s> {
    pub from: From<'s>,
    pub context: &'s Context<'s>,
    pub matches: &'s [RequestMatch],
    /// A backend of the rule, not the rule itself.
    pub of_backend: bool,
    /// The rule names backends.
    pub has_backends: bool,
}

/// What filters come to.
#[derive(Default)]
pub(crate) struct Applied {
    pub filters: Filters,
    /// The answer given instead of a backend's.
    pub answer: Option<Action>,
    /// One of them cannot be served.
    pub refused: bool,
}

/// Why a filter cannot be served.
pub(crate) struct Refusal {
    /// Gateway API's reason, or ours where it has none.
    reason: &'static str,
    /// Below the filter.
    field: String,
    why: String,
}

impl Refusal {
    fn new(reason: &'static str, field: impl Into<String>, why: impl Into<String>) -> Refusal {
        Refusal { reason, field: field.into(), why: why.into() }
    }

    /// A value that is not sound, or that this version does not serve.
    fn value(field: impl Into<String>, why: impl Into<String>) -> Refusal {
        Refusal::new("UnsupportedValue", field, why)
    }

    /// The same, of a field further up.
    fn under(mut self, field: &str) -> Refusal {
        self.field = format!("{field}.{}", self.field);
        self
    }
}

/// Reads what may be asked of other origins; a sentence if it cannot be followed.
pub(crate) fn cors(asked: &CorsSpec) -> Result<Cors, String> {
    cors::read(asked).map_err(|refusal| refusal.why)
}

/// Reads filters; `report` is about what they stand at.
pub(crate) fn read(
    filters: &[HttpRouteFilter],
    site: Site<'_>,
    backends: &mut Backends<'_>,
    report: &mut Report<'_>,
) -> Applied {
    let mut reader = Reader { site, backends, seen: BTreeSet::new(), applied: Applied::default() };
    for (index, filter) in filters.iter().enumerate() {
        let mut report = report.at(&format!("filters[{index}]"));
        if let Err(refusal) = reader.filter(filter, &mut report) {
            let what =
                if site.of_backend { "its share is answered with 500" } else { "this rule answers 500" };
            let message = format!("{}; a filter must not be skipped, so {what}", refusal.why);
            report.part(refusal.reason, &refusal.field, message);
            reader.applied.refused = true;
        }
    }
    reader.applied
}

struct Reader<'r, 'a> {
    site: Site<'r>,
    backends: &'r mut Backends<'a>,
    seen: BTreeSet<String>,
    applied: Applied,
}

impl Reader<'_, '_> {
    fn filter(&mut self, filter: &HttpRouteFilter, report: &mut Report<'_>) -> Result<(), Refusal> {
        let name = filter.filter_type.as_str();
        self.check_place(name)?;
        if let Some(field) = stray(filter) {
            return Err(Refusal::value(field, format!("a filter of type {name} has no {field}")));
        }
        let bare = || Refusal::value("type", format!("{name} is without its settings"));
        let into = &mut self.applied.filters;
        match name {
            "RequestHeaderModifier" => {
                let asked = filter.request_header_modifier.as_ref().ok_or_else(bare)?;
                into.request_headers = headers::changes(asked).map_err(|why| Refusal::value("type", why))?;
            }
            "ResponseHeaderModifier" => {
                let asked = filter.response_header_modifier.as_ref().ok_or_else(bare)?;
                let changes = headers::changes(asked).map_err(|why| Refusal::value("type", why))?;
                headers::append(&mut into.response_headers, changes);
            }
            "RequestMirror" => self.mirror(filter.request_mirror.as_ref().ok_or_else(bare)?, report)?,
            "RequestRedirect" => {
                let asked = filter.request_redirect.as_ref().ok_or_else(bare)?;
                let redirect = path::redirect(asked, self.site.matches);
                let redirect = redirect.map_err(|refusal| refusal.under("requestRedirect"))?;
                self.answer(Action::Redirect(Arc::new(redirect)))?;
            }
            "URLRewrite" => {
                let asked = filter.url_rewrite.as_ref().ok_or_else(bare)?;
                let rewrite = path::rewrite(asked, self.site.matches);
                into.rewrite = Some(rewrite.map_err(|refusal| refusal.under("urlRewrite"))?);
            }
            "CORS" => {
                let cors = cors::read(filter.cors.as_ref().ok_or_else(bare)?);
                into.cors = Some(Arc::new(cors.map_err(|refusal| refusal.under("cors"))?));
            }
            "ExtensionRef" => {
                let asked = filter.extension_ref.as_ref().ok_or_else(bare)?;
                let found = self.backends.extensions().find(self.site.from.key, asked);
                let answer = found.map_err(|refusal| refusal.under("extensionRef"))?;
                headers::append(&mut self.applied.filters.response_headers, answer.headers);
                self.answer(Action::Respond(Arc::new(answer.respond)))?;
            }
            other => {
                return Err(Refusal::value("type", format!("filter {other} is not served by this version")));
            }
        }
        Ok(())
    }

    /// Whether a filter of that type may stand here, beside those before it.
    fn check_place(&mut self, name: &str) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal::value("type", why));
        let answers = matches!(name, "RequestRedirect" | "ExtensionRef" | "CORS");
        if self.site.of_backend && answers {
            return refuse(format!("filter {name} is not served at a backend; let it stand at the rule"));
        }
        if self.site.from.kind == Kind::GRPCRoute && (answers || name == "URLRewrite") {
            return refuse(format!("filter {name} is not served in a GRPCRoute"));
        }
        let several = matches!(name, "RequestMirror" | "ExtensionRef");
        if !self.seen.insert(name.to_owned()) && !several {
            let place = if self.site.of_backend { "at this backend" } else { "in this rule" };
            return refuse(format!("{name} stands twice {place}; merge the two"));
        }
        let incompatible = |why: &str| Err(Refusal::new("IncompatibleFilters", "type", why));
        if self.seen.contains("RequestRedirect") && self.seen.contains("URLRewrite") {
            return incompatible("a rule has RequestRedirect or URLRewrite, not both");
        }
        if name == "RequestRedirect" && self.site.has_backends {
            return incompatible("a rule that redirects has no backendRefs; remove the one or the other");
        }
        Ok(())
    }

    fn answer(&mut self, answer: Action) -> Result<(), Refusal> {
        if self.applied.answer.is_some() {
            let why = "an earlier filter of this rule answers already";
            return Err(Refusal::new("IncompatibleFilters", "type", why));
        }
        self.applied.answer = Some(answer);
        Ok(())
    }

    fn mirror(&mut self, asked: &RequestMirror, report: &mut Report<'_>) -> Result<(), Refusal> {
        let (numerator, denominator) = share(asked).map_err(|refusal| refusal.under("requestMirror"))?;
        let Site { from, context, .. } = self.site;
        match self.backends.resolve(&from, &asked.backend_ref, Transport::Tcp, context) {
            Ok(target) => {
                if let Target::Broken(short) = target {
                    let message = format!(
                        "{short}, so requests are served, but not copied there; see the policy's verdict"
                    );
                    report.warn("PolicyInvalid", "requestMirror.backendRef", message);
                }
                self.applied.filters.mirrors.push(Mirror { numerator, denominator, target });
            }
            Err(broken) => {
                let message = format!("{}; requests are served, but not copied there", broken.message);
                report.part(broken.reason, &format!("requestMirror.backendRef.{}", broken.field), message);
            }
        }
        Ok(())
    }
}

/// The share of requests that is copied.
fn share(asked: &RequestMirror) -> Result<(u32, u32), Refusal> {
    match (asked.percent, asked.fraction) {
        (Some(_), Some(_)) => {
            Err(Refusal::value("percent", "percent and fraction are given; one of them may be"))
        }
        (Some(percent @ 0..=100), None) => Ok((percent.into(), 100)),
        (Some(percent), None) => {
            Err(Refusal::value("percent", format!("{percent} of a hundred is too many")))
        }
        (None, Some(share)) if share.denominator == 0 || share.numerator > share.denominator => {
            let why = format!("{} of {} is no share", share.numerator, share.denominator);
            Err(Refusal::value("fraction", why))
        }
        (None, Some(share)) => Ok((share.numerator, share.denominator)),
        (None, None) => Ok((1, 1)),
    }
}

/// Settings that belong to a filter of another type.
fn stray(filter: &HttpRouteFilter) -> Option<&'static str> {
    let settings = [
        ("RequestHeaderModifier", "requestHeaderModifier", filter.request_header_modifier.is_some()),
        ("ResponseHeaderModifier", "responseHeaderModifier", filter.response_header_modifier.is_some()),
        ("RequestMirror", "requestMirror", filter.request_mirror.is_some()),
        ("RequestRedirect", "requestRedirect", filter.request_redirect.is_some()),
        ("URLRewrite", "urlRewrite", filter.url_rewrite.is_some()),
        ("CORS", "cors", filter.cors.is_some()),
        ("ExternalAuth", "externalAuth", filter.external_auth.is_some()),
        ("ExtensionRef", "extensionRef", filter.extension_ref.is_some()),
    ];
    let mut strays = settings.iter().filter(|(name, _, given)| *given && *name != filter.filter_type);
    strays.next().map(|(_, field, _)| *field)
}
