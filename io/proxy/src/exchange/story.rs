//! What is known of a request once it is over: for the metrics and the access log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_model::traffic::{Backend, ClientPolicy, RequestIds, ResponsePolicy};
use tidegate_traffic::trace::{Sampling, Trace};
use tidegate_traffic::{HeaderLines, Matched};

use crate::access_log::Record;
use crate::framing::lines::Kind;
use crate::framing::request::RequestHead;
use crate::outgoing::{REQUEST_ID, TraceLines};
use crate::table::{ListenerEntry, Table};
use crate::worker::Worker;

use super::Exchange;
use super::recording::{self, Recording};

/// The longest request id that is kept from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// A request and what became of it.
pub struct Story<'t> {
    /// When its head was complete.
    pub started: Instant,
    /// The listener that decided.
    pub listener: &'t ListenerEntry,
    /// The client that is believed to have sent it.
    pub client: IpAddr,
    /// The rule.
    pub matched: Option<Matched<'t>>,
    /// The backend.
    pub backend: Option<&'t Arc<Backend>>,
    /// What becomes of its answers, as far as is known by now; none: they go out as they are.
    pub responses: Option<&'t ResponsePolicy>,
    /// What every answer says of `Strict-Transport-Security`; none: nothing.
    pub transport_security: Option<&'t str>,
    /// The endpoint it was sent to last.
    pub endpoint: Option<SocketAddr>,
    /// The status the client got.
    pub status: u16,
    /// Why, if no backend gave it, or what went wrong after it.
    pub reason: &'static str,
    /// What names it.
    pub request_id: RequestId,
    /// Its place in a trace.
    pub trace: Trace,
    /// What is recorded for it; nothing of a request that is not sampled.
    pub recording: Option<Box<Recording>>,
    /// From the first attempt to the head of the response.
    pub upstream: Duration,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of the response.
    pub sent: u64,
}

impl<'t> Story<'t> {
    /// Nothing has happened yet.
    pub fn new(exchange: &Exchange<'_>, table: &'t Table, started: Instant) -> Story<'t> {
        let Exchange { caller, head, .. } = exchange;
        let random = || caller.worker.random();
        let tracing = caller.worker.shared.tracing.as_ref();
        let sampling = tracing.map(|tracing| tracing.sampling).unwrap_or_default();
        let trace = trace(head, sampling, [random(), random(), random()]);
        let recorded = tracing.is_some() && trace.sampled;
        Story {
            started,
            listener: table.entry(None),
            client: caller.client.ip(),
            matched: None,
            backend: None,
            responses: None,
            transport_security: None,
            endpoint: None,
            status: 0,
            reason: "",
            request_id: RequestId::of(head, &caller.worker),
            trace,
            recording: recorded.then(Box::default),
            upstream: Duration::ZERO,
            received: 0,
            sent: 0,
        }
    }

    /// What the listener's policy says of requests and answers holds from now on; `secure`: the client came by TLS, here or
    /// at a trusted hop.
    pub fn go_by(&mut self, policy: &'t ClientPolicy, exchange: &Exchange<'_>, secure: bool) {
        if policy.request_ids != RequestIds::default() {
            self.request_id = RequestId::by(policy.request_ids, exchange.head, &exchange.caller.worker);
        }
        self.transport_security = policy.transport_security.as_deref().filter(|_| secure);
    }

    /// What a listener, a rule or a backend says of answers holds from now on.
    pub fn answer_by(&mut self, responses: &'t ResponsePolicy) {
        self.responses = Some(responses).filter(|responses| !responses.is_empty());
    }

    /// Counts and logs the request, and hands over what was recorded.
    pub fn tell(&mut self, exchange: &Exchange<'_>) {
        let Exchange { caller, head, .. } = exchange;
        let duration = self.started.elapsed();
        let received = head.len() as u64 + self.received;
        self.listener.metrics.record(self.status, duration);
        caller.worker.metrics.received.inc_by(received);
        caller.worker.metrics.sent.inc_by(self.sent);
        if caller.worker.logs() {
            self.log(exchange, received, duration);
        }
        if self.recording.is_some() {
            recording::tell(self, exchange, duration);
        }
    }

    /// What becomes of the client's trace lines on the way to a backend. A trace that is not recorded here goes on as the
    /// client began it.
    pub fn trace_lines(&self) -> TraceLines {
        match (self.trace.parent_id, &self.recording) {
            (Some(_), None) => TraceLines::Kept,
            (Some(_), Some(_)) if self.trace.keeps_state => TraceLines::ParentReplaced,
            _ => TraceLines::Replaced,
        }
    }

    /// The attempt under way is over, if there is one.
    pub fn attempt_ended(&mut self, status: u16, reason: &'static str) {
        if let Some(recording) = &mut self.recording {
            recording.end(self.started.elapsed(), status, reason);
        }
    }

    fn log(&self, exchange: &Exchange<'_>, received: u64, duration: Duration) {
        let Exchange { caller, head, .. } = exchange;
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        caller.worker.log(&Record {
            client: Some(self.client),
            peer: Some(caller.peer),
            listener: &self.listener.name,
            host: head.authority(),
            method: head.method(),
            path: head.path(),
            query: head.query(),
            protocol: head.protocol(),
            status: self.status,
            reason: self.reason,
            route: self.matched.as_ref().map(|matched| &**matched.route as _),
            backend: self.backend.map(|backend| &backend.id as _),
            endpoint: self.endpoint,
            bytes_in: received,
            bytes_out: self.sent,
            duration_us: micros(duration),
            upstream_us: micros(self.upstream),
            request_id: self.request_id.text(head),
            trace_id: Some(self.trace.trace_id),
            tls: caller.tls.as_ref().map_or("", |tls| tls.version),
            user_agent: head.header("user-agent").unwrap_or_default(),
            referer: head.header("referer").unwrap_or_default(),
        });
    }
}

/// The trace of a request. Most name none, and their lines need no second look.
fn trace(head: &RequestHead, sampling: Sampling, random: [u64; 3]) -> Trace {
    let none = Vec::<(&str, &str)>::new();
    let fields = head.fields();
    let names_one = (0..fields.len()).any(|index| fields.kind(index) == Some(Kind::Trace));
    let lines: &dyn HeaderLines = if names_one { head } else { &none };
    Trace::of(lines, sampling, random)
}

/// What names a request: as a rule the client's word for it if it is well-formed, else a new one.
pub enum RequestId {
    /// It stands in the head.
    Given,
    /// In hexadecimal.
    New([u8; 32]),
    /// Nothing, and backends are told nothing.
    Nothing,
    /// What the client's own lines say, which go on as they are.
    Untouched,
}

impl RequestId {
    fn of(head: &RequestHead, worker: &Worker) -> RequestId {
        given(head).map_or_else(|| RequestId::made(worker), |_| RequestId::Given)
    }

    fn made(worker: &Worker) -> RequestId {
        let mut text = [0; 32];
        push_hex(&mut text[..16], worker.random());
        push_hex(&mut text[16..], worker.random());
        RequestId::New(text)
    }

    /// As the listener has it.
    pub fn by(policy: RequestIds, head: &RequestHead, worker: &Worker) -> RequestId {
        match policy {
            RequestIds::PreserveOrGenerate => RequestId::of(head, worker),
            RequestIds::Preserve => given(head).map_or(RequestId::Nothing, |_| RequestId::Given),
            RequestIds::Generate => RequestId::made(worker),
            RequestIds::Untouched => RequestId::Untouched,
        }
    }

    /// The id; ASCII, or empty.
    pub fn text<'i>(&'i self, head: &'i RequestHead) -> &'i str {
        let text = match self {
            RequestId::Given | RequestId::Untouched => given(head).unwrap_or_default(),
            RequestId::New(text) => text,
            RequestId::Nothing => b"",
        };
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Writes the lines that tell a backend.
    pub fn write(&self, head: &RequestHead, out: &mut Vec<u8>) {
        let mut line = |id: &[u8]| {
            for part in [REQUEST_ID.as_bytes(), b": ", id, b"\r\n"] {
                out.extend_from_slice(part);
            }
        };
        match self {
            RequestId::Given | RequestId::New(_) => line(self.text(head).as_bytes()),
            RequestId::Nothing => {}
            RequestId::Untouched => {
                let own = head.lines().filter(|(name, _)| name.eq_ignore_ascii_case(REQUEST_ID));
                own.for_each(|(_, id)| line(id));
            }
        }
    }
}

/// The client's id, if it is well-formed.
fn given(head: &RequestHead) -> Option<&[u8]> {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    let id = head.header(REQUEST_ID)?;
    ((1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(fine)).then_some(id)
}

fn push_hex(out: &mut [u8], number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (index, digit) in out.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (60 - 4 * index)) as usize & 15];
    }
}
