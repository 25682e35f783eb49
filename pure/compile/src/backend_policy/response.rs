//! What a BackendTrafficPolicy says of responses: compression, and answers in place of others.

use std::sync::Arc;

use tidegate_model::traffic::{
    Coding, Compression, Page, PathRewrite, Redirect, Replacement, ResponseOverride, ResponsePolicy,
};
use tidegate_objects::policy::{
    self, BackendTrafficPolicy, Compressor, CustomRedirect, CustomResponse, StatusCodeMatch,
    StatusCodeMatchType, StatusCodeRange,
};
use tidegate_objects::route::RequestRedirect;
use tidegate_objects::{Key, Snapshot};

use crate::filter;
use crate::report::Report;

/// The least and the usual length of a body that is compressed, as Envoy Gateway has it.
const COMPRESSED_BYTES_MIN: u64 = 30;

/// What is compressed where nothing is said. Streams of events are not among them: one that stays open for a day would
/// hold its share of memory for a day.
const CONTENT_TYPES: [&str; 20] = [
    "application/atom+xml",
    "application/geo+json",
    "application/graphql-response+json",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/rss+xml",
    "application/wasm",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "text/markdown",
    "text/plain",
    "text/xml",
];

/// Content types, and overrides, of one policy.
const ENTRIES_MAX: usize = 64;

/// Final statuses.
const STATUSES: std::ops::RangeInclusive<u16> = 200..=599;

/// A field below, and why it cannot be used.
type Bad = (String, String);

/// Reads both. What cannot be used is left out and named.
pub(super) fn read(
    key: &Key,
    policy: &BackendTrafficPolicy,
    snapshot: &Snapshot,
    report: &mut Report<'_>,
) -> ResponsePolicy {
    let (field, asked) = match policy.compressor.is_empty() {
        true => ("compression", &policy.compression),
        false => ("compressor", &policy.compressor),
    };
    if !policy.compression.is_empty() && !policy.compressor.is_empty() {
        let message = "compressor is given too, and counts; remove compression, its older name".to_owned();
        report.warn("NoEffect", "compression", message);
    }
    let mut read = ResponsePolicy::default();
    for (index, asked) in asked.iter().enumerate() {
        let mut report = report.at(&format!("{field}[{index}]"));
        if let Some(compression) = compression(asked, &read.compression, &mut report) {
            read.compression.push(compression);
        }
    }
    for (index, asked) in policy.response_override.iter().enumerate() {
        let mut report = report.at(&format!("responseOverride[{index}]"));
        if index >= ENTRIES_MAX {
            report.part("Invalid", "", format!("there are more than {ENTRIES_MAX}; the first count"));
            break;
        }
        let entry = override_of(key, asked, snapshot).map_err(|(field, why)| {
            report.part("Invalid", &field, format!("{why}; these answers stay as they are"));
        });
        read.overrides.extend(entry);
    }
    read
}

fn compression(
    asked: &policy::Compression,
    before: &[Compression],
    report: &mut Report<'_>,
) -> Option<Compression> {
    let coding = match asked.compressor {
        Compressor::Gzip => Coding::Gzip,
        Compressor::Brotli => Coding::Brotli,
        Compressor::Zstd => Coding::Zstd,
    };
    if before.iter().any(|other| other.coding == coding) {
        let message = format!("{:?} stands here twice; the first counts", asked.compressor);
        report.part("Invalid", "type", message);
        return None;
    }
    let strays = [
        ("gzip", Coding::Gzip, asked.gzip.is_some()),
        ("brotli", Coding::Brotli, asked.brotli.is_some()),
        ("zstd", Coding::Zstd, asked.zstd.is_some()),
    ];
    for (field, _, _) in strays.iter().filter(|(_, other, given)| *given && *other != coding) {
        let message = format!("type is {:?}, so that {field} has no effect", asked.compressor);
        report.warn("NoEffect", field, message);
    }
    let mut bytes_min = asked.min_content_length.map_or(COMPRESSED_BYTES_MIN, |length| length.0);
    if bytes_min < COMPRESSED_BYTES_MIN {
        let message = format!("{bytes_min} is less than {COMPRESSED_BYTES_MIN}, which counts");
        report.part("Invalid", "minContentLength", message);
        bytes_min = COMPRESSED_BYTES_MIN;
    }
    let content_types = match asked.content_types.is_empty() {
        true => CONTENT_TYPES.iter().map(|&name| name.to_owned()).collect(),
        false => content_types(&asked.content_types, report),
    };
    let credentialed = asked.include_credentialed;
    if credentialed {
        let message = "answers with secrets of one client are compressed, too: who can have a client send chosen texts and see lengths may learn them (BREACH)";
        report.warn("Insecure", "includeCredentialed", message.to_owned());
    }
    Some(Compression { coding, bytes_min, content_types, credentialed })
}

fn content_types(asked: &[String], report: &mut Report<'_>) -> Arc<[String]> {
    let mut read = Vec::new();
    for (index, name) in asked.iter().enumerate() {
        let field = format!("contentTypes[{index}]");
        let lower = name.to_ascii_lowercase();
        let is_type = lower.split_once('/').is_some_and(|(kind, sub)| {
            crate::rule::is_token(kind) && crate::rule::is_token(sub) && !lower.contains('*')
        });
        let sound = match is_type {
            true if index < ENTRIES_MAX => Ok(lower),
            true => Err(format!("there are more than {ENTRIES_MAX} content types")),
            false => Err(format!("{name:?} is no media type, as text/html is")),
        };
        read.extend(report.sound(&field, sound));
    }
    read.into()
}

fn override_of(
    key: &Key,
    asked: &policy::ResponseOverride,
    snapshot: &Snapshot,
) -> Result<ResponseOverride, Bad> {
    let codes = &asked.matches.status_codes;
    if codes.is_empty() {
        return Err(("match.statusCodes".to_owned(), "at least one status must be given".to_owned()));
    }
    let runs = codes.iter().enumerate().map(|(index, code)| {
        run(code).map_err(|(field, why)| (format!("match.statusCodes[{index}].{field}"), why))
    });
    let statuses = runs.collect::<Result<_, _>>()?;
    let with = match (&asked.response, &asked.redirect) {
        (Some(response), None) => {
            let page = page(key, response, snapshot);
            Replacement::Page(page.map_err(|(field, why)| (format!("response.{field}"), why))?)
        }
        (None, Some(asked)) => {
            let redirect = redirect(asked);
            Replacement::Redirect(redirect.map_err(|(field, why)| (format!("redirect.{field}"), why))?)
        }
        _ => {
            let why = "there must be response or redirect, and not both".to_owned();
            return Err(("response".to_owned(), why));
        }
    };
    Ok(ResponseOverride { statuses, with: Arc::new(with) })
}

fn run(code: &StatusCodeMatch) -> Result<(u16, u16), Bad> {
    let bad = |field: &str, why: String| Err((field.to_owned(), why));
    let (field, first, last) = match (code.match_type, code.value, code.range) {
        (StatusCodeMatchType::Value, Some(value), None) => ("value", value, value),
        (StatusCodeMatchType::Range, None, Some(StatusCodeRange { start, end })) => ("range", start, end),
        (StatusCodeMatchType::Value, ..) => {
            return bad("type", "type Value needs value, and nothing else".to_owned());
        }
        (StatusCodeMatchType::Range, ..) => {
            return bad("type", "type Range needs range, and nothing else".to_owned());
        }
    };
    match first <= last && STATUSES.contains(&first) && STATUSES.contains(&last) {
        true => Ok((first, last)),
        false => bad(field, format!("{first} to {last} are no final statuses; they go from 200 to 599")),
    }
}

fn page(key: &Key, asked: &CustomResponse, snapshot: &Snapshot) -> Result<Page, Bad> {
    let status = asked.status_code;
    if let Some(status) = status.filter(|status| !STATUSES.contains(status)) {
        let why = format!("{status} is no final status; they go from 200 to 599");
        return Err(("statusCode".to_owned(), why));
    }
    let content_type = filter::content_type(asked.content_type.as_deref())?;
    let body = asked.body.as_ref().map(|body| filter::body(key, body, snapshot)).transpose()?;
    let bodiless = matches!(status, Some(204 | 205 | 304));
    if bodiless && body.as_ref().is_some_and(|body| !body.is_empty()) {
        let why = format!("an answer with status {} has no body", status.unwrap_or_default());
        return Err(("body".to_owned(), why));
    }
    let body = if bodiless { Some(Vec::new()) } else { body };
    let headers = filter::header_changes(asked.header.as_ref())?;
    Ok(Page { status, content_type, body: body.map(Arc::from), headers })
}

fn redirect(asked: &CustomRedirect) -> Result<Redirect, Bad> {
    let CustomRedirect { scheme, hostname, path, port, status_code } = asked;
    let asked = RequestRedirect {
        scheme: scheme.clone(),
        hostname: hostname.clone(),
        path: path.clone(),
        port: *port,
        status_code: status_code.unwrap_or(302),
    };
    let redirect = filter::whole_redirect(&asked)?;
    match redirect.path {
        Some(PathRewrite::Prefix(_)) => {
            Err(("path.type".to_owned(), "only ReplaceFullPath can be used here".to_owned()))
        }
        _ => Ok(redirect),
    }
}
