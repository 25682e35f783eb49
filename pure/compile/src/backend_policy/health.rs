//! `healthCheck` of a BackendTrafficPolicy.

use std::time::Duration;

use tidegate_model::traffic::{BackendPolicy, Ejection, HealthCheck, Probe};
use tidegate_objects::policy::{
    ActiveCheck, ActiveCheckType, HealthCheck as Spec, HttpCheck, PassiveCheck, TcpCheck,
};
use tidegate_traffic::path::normalise;

use crate::duration;
use crate::listener::parse_hostname;
use crate::report::Report;
use crate::rule::is_token;

pub(super) fn read(asked: &Spec, policy: &mut BackendPolicy, report: &mut Report<'_>) {
    if let Some(active) = &asked.active {
        policy.health_check = active_check(active, &mut report.at("active"));
    }
    if let Some(passive) = &asked.passive {
        policy.ejection = Some(ejection(passive, &mut report.at("passive")));
    }
    policy.panic_percent =
        asked.panic_threshold.and_then(|percent| report.sound("panicThreshold", of_hundred(percent)));
}

fn of_hundred(percent: u8) -> Result<u32, String> {
    match percent {
        0..=100 => Ok(percent.into()),
        _ => Err(format!("{percent} of a hundred is too many")),
    }
}

/// A field below, and why it cannot be used.
type Bad = (String, String);

/// None, and a sentence, if it cannot be asked as written: endpoints then count as healthy.
fn active_check(asked: &ActiveCheck, report: &mut Report<'_>) -> Option<HealthCheck> {
    if asked.initial_jitter.is_some() {
        let message = "the first questions are always spread over the interval".to_owned();
        report.warn("NoEffect", "initialJitter", message);
    }
    let time = |field: &str, text: &str| duration::above_zero(text).map_err(|why| (field.to_owned(), why));
    let count = |field: &str, count: u32| match count {
        0 => Err((field.to_owned(), "0 answers decide nothing; it must be at least 1".to_owned())),
        count => Ok(count),
    };
    let read = || {
        Ok(HealthCheck {
            probe: probe(asked)?,
            interval: time("interval", &asked.interval)?,
            timeout: time("timeout", &asked.timeout)?,
            unhealthy_after: count("unhealthyThreshold", asked.unhealthy_threshold)?,
            healthy_after: count("healthyThreshold", asked.healthy_threshold)?,
        })
    };
    read()
        .map_err(|(field, why): Bad| {
            report.part("Invalid", &field, format!("{why}; endpoints are not asked whether they work"));
        })
        .ok()
}

fn probe(asked: &ActiveCheck) -> Result<Probe, Bad> {
    match asked.check_type {
        ActiveCheckType::Http => {
            let http = asked.http.as_ref();
            http_probe(http.ok_or_else(|| ("http".to_owned(), "type HTTP needs http".to_owned()))?)
        }
        ActiveCheckType::Tcp => {
            let TcpCheck { send, receive } = asked.tcp.clone().unwrap_or_default();
            let bytes = |payload: Option<tidegate_objects::policy::CheckPayload>| {
                payload.map(|payload| payload.text.into_bytes()).unwrap_or_default()
            };
            Ok(Probe::Tcp { send: bytes(send), expect: bytes(receive) })
        }
        ActiveCheckType::Grpc => {
            let service = asked.grpc.as_ref().and_then(|grpc| grpc.service.clone()).unwrap_or_default();
            match service.bytes().all(|byte| byte.is_ascii_graphic()) {
                true => Ok(Probe::Grpc { service }),
                false => Err(("grpc.service".into(), format!("{service:?} is no name of a service"))),
            }
        }
    }
}

fn http_probe(asked: &HttpCheck) -> Result<Probe, Bad> {
    let bad = |field: &str, why| Err((format!("http.{field}"), why));
    let (path, query) = tidegate_traffic::path::split_query(&asked.path);
    if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
        return bad("path", format!("{:?} has a query with a character that must be escaped", asked.path));
    }
    let path = match normalise(path) {
        Ok(path) => query.map_or_else(|| path.to_string(), |query| format!("{path}?{query}")),
        Err(error) => return bad("path", format!("{:?} cannot be asked for: {error}", asked.path)),
    };
    let method = asked.method.clone().unwrap_or_else(|| "GET".to_owned());
    if !is_token(&method) || matches!(method.as_str(), "CONNECT" | "TRACE") {
        return bad("method", format!("{method:?} is no method to ask with"));
    }
    if let Some(Err(why)) = asked.hostname.as_deref().map(parse_hostname) {
        return bad("hostname", why);
    }
    if let Some(status) = asked.expected_statuses.iter().find(|status| !(100..=599).contains(*status)) {
        return bad("expectedStatuses", format!("{status} is no status; they go from 100 to 599"));
    }
    let statuses = match asked.expected_statuses.as_slice() {
        [] => vec![(200, 200)],
        statuses => statuses.iter().map(|status| (*status, *status)).collect(),
    };
    Ok(Probe::Http { method, host: asked.hostname.clone(), path, statuses })
}

fn ejection(asked: &PassiveCheck, report: &mut Report<'_>) -> Ejection {
    let time = |report: &mut Report<'_>, field: &str, text: &str, usual: u64| {
        let read = report.sound(field, duration::above_zero(text));
        read.unwrap_or(Duration::from_secs(usual))
    };
    let local = match asked.split_external_local_origin_errors {
        true => asked.consecutive_local_origin_failures,
        false => 0,
    };
    Ejection {
        consecutive_5xx: asked.consecutive_5xx_errors,
        consecutive_gateway_errors: asked.consecutive_gateway_errors.unwrap_or_default(),
        consecutive_local_failures: local,
        base_time: time(report, "baseEjectionTime", &asked.base_ejection_time, 30),
        interval: time(report, "interval", &asked.interval, 3),
        max_percent: report.sound("maxEjectionPercent", of_hundred(asked.max_ejection_percent)).unwrap_or(10),
    }
}
