//! What is recorded of a sampled request, for its trace. Of others nothing is, and nothing is spent on them.

use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};

use tidegate_model::spans::{TracedAttempt, TracedExchange};
use tidegate_model::traffic::PathMatch;
use tidegate_traffic::rewrite::write_path;
use tidegate_traffic::trace::{Sampling, Trace};

use crate::framing::request::RequestHead;
use crate::outgoing::RequestPlan;

use super::Exchange;
use super::story::Story;

/// Bytes of a path, or of a host, that are recorded.
const PATH_BYTES_MAX: usize = 2048;

/// Bytes of a user agent that are recorded.
const AGENT_BYTES_MAX: usize = 512;

/// Attempts that are recorded.
const ATTEMPTS_MAX: usize = 32;

/// Whose traces are recorded, and who takes them.
#[derive(Clone)]
pub struct Tracing {
    pub(crate) sampling: Sampling,
    pub(crate) queue: SyncSender<TracedExchange>,
}

impl Tracing {
    /// Records those whose caller does, and this share, from 0 to 1, of the traces that begin here. What the queue has no
    /// room for is dropped and counted.
    pub fn new(share: f64, queue: SyncSender<TracedExchange>) -> Tracing {
        Tracing { sampling: Sampling::of(share), queue }
    }
}

/// The attempts of a sampled request so far.
#[derive(Default)]
pub struct Recording {
    attempts: Vec<TracedAttempt>,
    /// The last one is under way.
    is_open: bool,
}

impl Recording {
    /// An attempt begins; the endpoint is told its span. `told` ends with the line of the trace.
    pub fn begin(
        &mut self,
        trace: &Trace,
        now: Duration,
        attempt: (SocketAddr, [u8; 8], String),
        told: &mut Vec<u8>,
    ) {
        let (endpoint, span_id, url) = attempt;
        told.truncate(told.len().saturating_sub(Trace::LINE_BYTES));
        self.is_open = self.attempts.len() < ATTEMPTS_MAX;
        // One that is not recorded has the request's span for its parent.
        let parent = if self.is_open { span_id } else { trace.span_id };
        trace.write_for(parent, told);
        if self.is_open {
            let duration = Duration::ZERO;
            let (protocol, status, reason) = ("", 0, "");
            self.attempts.push(TracedAttempt {
                span_id,
                after: now,
                duration,
                endpoint,
                url,
                protocol,
                status,
                reason,
            });
        }
    }

    /// There is a connection for the attempt.
    pub fn connected(&mut self, is_http1: bool) {
        if let Some(attempt) = self.open() {
            attempt.protocol = if is_http1 { "HTTP/1.1" } else { "HTTP/2" };
        }
    }

    /// The attempt under way is over, if there is one.
    pub fn end(&mut self, now: Duration, status: u16, reason: &'static str) {
        if let Some(attempt) = self.open() {
            (attempt.status, attempt.reason) = (status, reason);
            attempt.duration = now.saturating_sub(attempt.after);
        }
        self.is_open = false;
    }

    fn open(&mut self) -> Option<&mut TracedAttempt> {
        if self.is_open { self.attempts.last_mut() } else { None }
    }
}

/// What an attempt asks for, without the query.
pub fn url(head: &RequestHead, plan: &RequestPlan<'_>) -> String {
    let host = plan.rewritten.host.unwrap_or_else(|| match head.authority() {
        "" => plan.host_fallback,
        own => own,
    });
    let mut path = Vec::new();
    write_path(plan.rewritten.path, plan.matched, head.path(), &mut path);
    cut(format!("{}://{host}{}", plan.scheme, String::from_utf8_lossy(&path)), PATH_BYTES_MAX)
}

/// Hands a sampled request over; never waits.
pub fn tell(story: &mut Story<'_>, exchange: &Exchange<'_>, duration: Duration) {
    let Exchange { caller, head, .. } = exchange;
    let (Some(recording), Some(tracing)) = (story.recording.take(), &caller.worker.shared.tracing) else {
        return;
    };
    let text = |name: &str, max| {
        cut(String::from_utf8_lossy(head.header(name).unwrap_or_default()).into_owned(), max)
    };
    let states = head.lines().filter(|(name, _)| name.eq_ignore_ascii_case("tracestate"));
    let states = states.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    let trace = &story.trace;
    let told = TracedExchange {
        trace_id: trace.trace_id,
        span_id: trace.span_id,
        parent_id: trace.parent_id,
        trace_state: if trace.keeps_state { states.collect::<Vec<_>>().join(",") } else { String::new() },
        ended: SystemTime::now(),
        duration,
        method: cut(head.method().to_owned(), AGENT_BYTES_MAX),
        scheme: caller.scheme(),
        host: cut(head.authority().to_owned(), PATH_BYTES_MAX),
        path: cut(head.path().to_owned(), PATH_BYTES_MAX),
        pattern: story.matched.map(|matched| pattern(&matched.matched.path)).unwrap_or_default(),
        protocol: head.protocol(),
        status: story.status,
        reason: story.reason,
        client: story.client.to_canonical(),
        peer: caller.peer,
        user_agent: text("user-agent", AGENT_BYTES_MAX),
        request_id: story.request_id.text(head).to_owned(),
        listener: story.listener.name.clone(),
        route: story.matched.map(|matched| matched.route.to_string()).unwrap_or_default(),
        backend: story.backend.map(|backend| backend.id.to_string()).unwrap_or_default(),
        attempts: recording.attempts,
    };
    if tracing.queue.try_send(told).is_err() {
        caller.worker.metrics.trace_drops.inc();
    }
}

fn pattern(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => path.to_string(),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "/".to_owned(),
        PathMatch::Prefix(prefix) => prefix.to_string(),
        PathMatch::Regex(pattern) => pattern.to_string(),
        PathMatch::Second(name) => format!("/*/{name}"),
    }
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
    text
}
