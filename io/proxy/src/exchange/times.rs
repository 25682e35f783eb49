//! How long the two sides of an exchange are waited for.

use std::time::Duration;

use tidegate_model::traffic::{BackendPolicy, HttpRule};

use crate::limits::Limits;

use super::Exchange;
use super::forward::Asked;

/// How long a response may take.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTimes {
    /// The whole request, repeats included; none: unlimited.
    pub total: Option<Duration>,
    /// From the end of the request to the end of the response's head.
    pub head: Duration,
}

impl ResponseTimes {
    /// As the rule has it, or else the backend's policy. Who says anything about time, even that there is no limit, is not
    /// held to the usual one for heads.
    pub fn of(rule: &HttpRule, policy: &BackendPolicy, limits: &Limits) -> ResponseTimes {
        let total = rule.timeouts.request.or(policy.request_timeout);
        let retry = rule.retry.as_deref().or(policy.retry.as_ref());
        let attempt = retry.and_then(|retry| retry.attempt_timeout).or(rule.timeouts.backend_request);
        let is_said = total.is_some() || attempt.is_some();
        let total = total.filter(|limit| !limit.is_zero());
        let usual = if is_said { Duration::MAX } else { limits.response_head };
        ResponseTimes { total, head: rule.timeouts.response_head.unwrap_or(usual) }
    }
}

/// How long the client is waited for.
#[derive(Clone, Copy)]
pub struct ClientTimes {
    /// Without a byte of a body for so long it is given up.
    pub stall: Duration,
    /// The same for a tunnel.
    pub tunnel_stall: Duration,
    /// The waiting over which the client's pace is taken.
    pub pace_window: Duration,
    /// What the head has left of the time in which all of the request must come. It runs while an attempt waits for the client,
    /// not while the request waits here for its turn or a connection.
    pub received_within: Duration,
}

impl ClientTimes {
    /// As the rule or the listener's policy has it, or else as is usual.
    pub fn of(exchange: &Exchange<'_>, asked: &Asked<'_, '_>) -> ClientTimes {
        let worker = &exchange.caller.worker;
        let (client, limits) = (&asked.policy.timeouts, &worker.limits);
        let unless_zero = |limit: Duration| if limit.is_zero() { Duration::MAX } else { limit };
        let idle = asked.matched.rule.timeouts.stall.or(client.stream_idle);
        let window = limits.body_pace_window;
        ClientTimes {
            stall: idle.map_or(limits.body_stall, unless_zero),
            tunnel_stall: idle.map_or(limits.tunnel_idle, unless_zero),
            pace_window: idle.map_or(window, |limit| unless_zero(limit).max(window)),
            received_within: client.request_received.map_or(Duration::MAX, |limit| {
                unless_zero(limit).saturating_sub(exchange.caller.head_took())
            }),
        }
    }
}
