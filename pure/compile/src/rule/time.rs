//! Time limits of a rule, and what it repeats.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_model::traffic::{Retry, Timeouts};
use tidegate_objects::route::{HttpRouteRetry, HttpRouteTimeouts};

use crate::backend_policy::retry::{ATTEMPTS, BACKOFF, BACKOFF_GROWTH, BUDGET_MIN_PER_SEC};
use crate::duration;
use crate::report::Report;

/// Reads `timeouts`. One that is wrong is left out; one try may not take longer than the whole.
pub(super) fn limits(asked: Option<&HttpRouteTimeouts>, report: &mut Report<'_>) -> Timeouts {
    let Some(asked) = asked else { return Timeouts::default() };
    let mut report = report.at("timeouts");
    let mut time = |field: &str, text: &Option<String>| {
        let read = text.as_deref().map(duration::gep2257)?;
        let wrong = |why| format!("{why}; requests are served without this limit");
        read.map_err(|why| report.part("UnsupportedValue", field, wrong(why))).ok()
    };
    let request = time("request", &asked.request);
    let mut backend_request = time("backendRequest", &asked.backend_request);
    let whole = request.filter(|whole| !whole.is_zero());
    if let (Some(whole), Some(one)) = (whole, backend_request)
        && one > whole
    {
        let message =
            format!("{one:?} for one try is more than the {whole:?} for all, which count; shorten it");
        report.part("UnsupportedValue", "backendRequest", message);
        backend_request = None;
    }
    Timeouts { request, backend_request, ..Timeouts::default() }
}

/// Reads `retry`: connection errors and exceeded tries are repeated too (GEP-1731).
pub(super) fn retry(asked: &HttpRouteRetry, report: &mut Report<'_>) -> Retry {
    let mut codes = BTreeSet::new();
    for (index, code) in asked.codes.iter().enumerate() {
        match code {
            400..=599 => {
                codes.insert(*code);
            }
            _ => {
                let message = format!("{code} is not repeated; a code is 400 to 599");
                report.part("UnsupportedValue", &format!("codes[{index}]"), message);
            }
        }
    }
    let backoff = asked.backoff.as_deref().map(duration::gep2257).transpose();
    let backoff = backoff.unwrap_or_else(|why| {
        report.part("UnsupportedValue", "backoff", format!("{why}; {BACKOFF:?} counts"));
        None
    });
    let backoff: Duration = backoff.unwrap_or(BACKOFF);
    Retry {
        codes,
        grpc_codes: BTreeSet::new(),
        attempts: asked.attempts.unwrap_or(ATTEMPTS),
        connection_errors: true,
        timeouts: true,
        backoff,
        backoff_max: backoff * BACKOFF_GROWTH,
        attempt_timeout: None,
        budget_percent: None,
        budget_min_per_sec: BUDGET_MIN_PER_SEC,
    }
}
