//! `retry` of a BackendTrafficPolicy.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_model::traffic::Retry;
use tidegate_objects::policy::{BackOff, Retry as Spec, RetryOn, RetryTrigger};

use crate::duration;
use crate::report::Report;

/// The pause before the first repeat, where nothing else is said.
pub(crate) const BACKOFF: Duration = Duration::from_millis(25);

/// The longest pause is so many times the first, where nothing else is said.
pub(crate) const BACKOFF_GROWTH: u32 = 10;

/// Repeats a second that are free, where nothing else is said.
pub(crate) const BUDGET_MIN_PER_SEC: u32 = 10;

/// Repeats of a request, where nothing else is said.
pub(crate) const ATTEMPTS: u32 = 2;

pub(super) fn read(asked: &Spec, report: &mut Report<'_>) -> Retry {
    let mut retry = Retry {
        codes: BTreeSet::from([503]),
        grpc_codes: BTreeSet::new(),
        attempts: asked.num_retries,
        connection_errors: true,
        timeouts: false,
        backoff: BACKOFF,
        backoff_max: BACKOFF * BACKOFF_GROWTH,
        attempt_timeout: None,
        budget_percent: None,
        budget_min_per_sec: BUDGET_MIN_PER_SEC,
    };
    if let Some(on) = &asked.retry_on {
        triggers(on, &mut retry, &mut report.at("retryOn"));
    }
    if let Some(each) = &asked.per_retry {
        let timeout = each.timeout.as_deref();
        retry.attempt_timeout =
            timeout.and_then(|text| report.sound("perRetry.timeout", duration::above_zero(text)));
        if let Some(back_off) = &each.back_off {
            pauses(back_off, &mut retry, &mut report.at("perRetry.backOff"));
        }
    }
    if let Some(budget) = &asked.budget {
        retry.budget_min_per_sec = budget.min_retry_rate;
        let percent = match budget.percent {
            percent @ 0..=100 => Ok(percent.into()),
            percent => Err(format!("{percent} of a hundred is too many")),
        };
        retry.budget_percent = report.sound("budget.percent", percent);
    }
    retry
}

fn triggers(on: &RetryOn, retry: &mut Retry, report: &mut Report<'_>) {
    (retry.codes, retry.connection_errors) = (BTreeSet::new(), false);
    for trigger in &on.triggers {
        match trigger {
            RetryTrigger::Status5xx => {
                retry.codes.extend(500..=599);
                (retry.connection_errors, retry.timeouts) = (true, true);
            }
            RetryTrigger::GatewayError => {
                retry.codes.extend([502, 503, 504]);
                retry.timeouts = true;
            }
            RetryTrigger::Reset | RetryTrigger::ResetBeforeRequest | RetryTrigger::ConnectFailure => {
                retry.connection_errors = true;
            }
            RetryTrigger::Retriable4xx => {
                retry.codes.insert(409);
            }
            // Nothing was done with such a request, so it is repeated without being asked for.
            RetryTrigger::RefusedStream => {}
            RetryTrigger::RetriableStatusCodes => status_codes(on, retry, report),
            // Their numbers: doc/statuscodes.md of grpc/grpc.
            RetryTrigger::Cancelled => _ = retry.grpc_codes.insert(1),
            RetryTrigger::DeadlineExceeded => _ = retry.grpc_codes.insert(4),
            RetryTrigger::ResourceExhausted => _ = retry.grpc_codes.insert(8),
            RetryTrigger::Internal => _ = retry.grpc_codes.insert(13),
            RetryTrigger::Unavailable => _ = retry.grpc_codes.insert(14),
        }
    }
    if !on.triggers.contains(&RetryTrigger::RetriableStatusCodes) && !on.http_status_codes.is_empty() {
        let message = "without the trigger retriable-status-codes they have no effect".to_owned();
        report.warn("NoEffect", "httpStatusCodes", message);
    }
}

fn status_codes(on: &RetryOn, retry: &mut Retry, report: &mut Report<'_>) {
    for (index, code) in on.http_status_codes.iter().enumerate() {
        let sound = match code {
            100..=599 => Ok(*code),
            _ => Err(format!("{code} is no status; they go from 100 to 599")),
        };
        retry.codes.extend(report.sound(&format!("httpStatusCodes[{index}]"), sound));
    }
}

fn pauses(asked: &BackOff, retry: &mut Retry, report: &mut Report<'_>) {
    let mut time = |field: &str, text: &Option<String>| {
        text.as_deref().and_then(|text| report.sound(field, duration::above_zero(text)))
    };
    retry.backoff = time("baseInterval", &asked.base_interval).unwrap_or(BACKOFF);
    let longest = time("maxInterval", &asked.max_interval);
    if longest.is_some_and(|longest| longest < retry.backoff) {
        let message = format!("it is below the base interval of {:?}, which counts", retry.backoff);
        report.part("Invalid", "maxInterval", message);
    }
    retry.backoff_max = longest.unwrap_or(retry.backoff * BACKOFF_GROWTH).max(retry.backoff);
}
