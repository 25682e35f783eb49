//! What is recorded of a sampled request, and what endpoints are told of its trace.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use tidegate_model::spans::TracedExchange;
use tidegate_model::traffic::*;

use super::harness::*;
use crate::{Limits, Tracing};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-";

/// A gateway that records a share of the traces which begin there; the queue holds one request.
fn recording(share: f64, backend: &Arc<Backend>) -> (Gateway, Receiver<TracedExchange>) {
    let (queue, recorded) = sync_channel(1);
    let gateway = Gateway::recording(Limits::default(), Some(Tracing::new(share, queue)));
    gateway.apply(traffic(&[gateway.address], &[(1, backend)]));
    (gateway, recorded)
}

fn next(recorded: &Receiver<TracedExchange>) -> TracedExchange {
    recorded.recv_timeout(PATIENCE).expect("a recorded request")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A trace that begins here has the request's span at its root; the endpoint is told that of the attempt; log and trace
/// have the same id and the same client.
#[test]
fn a_trace_that_begins_here() {
    let origin = Origin::text("ok");
    let (gateway, recorded) = recording(1.0, &backend("web", &[origin.address]));
    let mut client = gateway.client();
    client.ask("GET /a?secret=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: x/1\r\n\r\n");
    let told = next(&recorded);
    let [attempt] = &told.attempts[..] else { panic!("{told:?}") };
    let line = format!("00-{}-{}-03", hex(&told.trace_id), hex(&attempt.span_id));
    assert_eq!(field(&origin.last_head(), "traceparent"), Some(&*line));
    assert!(told.parent_id.is_none() && attempt.span_id != told.span_id);
    let url = "http://shop.example/a".to_owned();
    assert_eq!((attempt.endpoint, attempt.status, &attempt.url), (origin.address, 200, &url));
    assert!(attempt.after + attempt.duration <= told.duration, "{told:?}");
    assert_eq!((&*told.method, &*told.path, &*told.pattern), ("GET", "/a", "/"));
    assert_eq!((&*told.host, told.protocol, told.scheme), ("shop.example", "HTTP/1.1", "http"));
    assert_eq!((&*told.route, &*told.backend, &*told.user_agent), ("shop/web", "shop/web:80", "x/1"));
    let log = &gateway.log(1)[0];
    assert_eq!(log["trace_id"], hex(&told.trace_id));
    assert_eq!(log["request_id"], told.request_id);
    assert_eq!(log["client"], told.client.to_string());
}

/// The caller decides where it has decided: a sampled trace is recorded below its span, whatever the share, and one that
/// is not goes on untouched.
#[test]
fn a_trace_that_is_carried_on() {
    let origin = Origin::text("ok");
    let web = backend("web", &[origin.address]);
    for (share, flags, is_recorded) in [(0.0, "01", true), (1.0, "00", false)] {
        let (gateway, recorded) = recording(share, &web);
        let (parent, mut client) = (format!("{PARENT}{flags}"), gateway.client());
        client.ask(&format!(
            "GET / HTTP/1.1\r\nHost: shop.example\r\ntraceparent: {parent}\r\ntracestate: v=1\r\nTraceState: w=2\r\n\r\n"
        ));
        let head = origin.last_head();
        let seen = field(&head, "traceparent").unwrap();
        assert_eq!(head.matches("tracestate: v=1").count(), 1, "{head}");
        assert_eq!(head.to_lowercase().matches("traceparent").count(), 1, "{head}");
        if is_recorded {
            let told = next(&recorded);
            assert_eq!(
                (hex(&told.trace_id), told.parent_id.map(|id| hex(&id))),
                ("0af7651916cd43dd8448eb211c80319c".into(), Some("b7ad6b7169203331".into()))
            );
            assert_eq!(told.trace_state, "v=1,w=2");
            assert_eq!(seen, format!("{}{}-01", &PARENT[..36], hex(&told.attempts[0].span_id)));
        } else {
            assert_eq!((seen, recorded.try_recv()), (&*parent, Err(TryRecvError::Empty)));
        }
    }
}

/// A request that is not sampled begins a trace all the same, which nobody records.
#[test]
fn a_trace_that_is_not_sampled() {
    let origin = Origin::text("ok");
    let (gateway, recorded) = recording(0.0, &backend("web", &[origin.address]));
    gateway.client().ask(GET);
    assert!(field(&origin.last_head(), "traceparent").unwrap().ends_with("-02"));
    gateway.log(1);
    assert_eq!(recorded.try_recv(), Err(TryRecvError::Empty));
}

/// Every attempt is there, in its order: one that could not connect, one whose answer was thrown away, one that served.
/// Each endpoint was told its own span.
#[test]
fn every_attempt() {
    let busy = Origin::start(|head, wire| {
        wire.body(head);
        wire.try_send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    });
    let (fine, nobody) = (Origin::text("ok"), free_address());
    let mut web = (*backend("web", &[nobody, busy.address, fine.address])).clone();
    let retry = Some(Retry {
        codes: BTreeSet::from([503]),
        grpc_codes: BTreeSet::new(),
        attempts: 2,
        connection_errors: true,
        timeouts: false,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        attempt_timeout: None,
        budget_percent: None,
        budget_min_per_sec: 100,
    });
    web.policy = Arc::new(BackendPolicy { retry, ..BackendPolicy::default() });
    let (gateway, recorded) = recording(1.0, &Arc::new(web));
    // Endpoints are taken in turn from a random one on: all three are tried in one of the first turns.
    let mut seen = BTreeSet::new();
    until("all of them", || {
        gateway.client().ask(GET);
        let told = next(&recorded);
        assert_eq!(told.status, 200);
        for attempt in &told.attempts {
            let expected = match attempt.endpoint {
                endpoint if endpoint == nobody => (0, "UpstreamConnect", ""),
                endpoint if endpoint == busy.address => (503, "", "HTTP/1.1"),
                _ => (200, "", "HTTP/1.1"),
            };
            assert_eq!((attempt.status, attempt.reason, attempt.protocol), expected);
            let origin = [&busy, &fine].into_iter().find(|origin| origin.address == attempt.endpoint);
            let head = origin.map(Origin::last_head).unwrap_or_default();
            let span = field(&head, "traceparent").map(|line| line[36..52].to_owned());
            assert_eq!(span, origin.map(|_| hex(&attempt.span_id)));
        }
        let ends: Vec<_> = told.attempts.iter().map(|attempt| attempt.after + attempt.duration).collect();
        assert!(ends.is_sorted() && ends.last() <= Some(&told.duration), "{told:?}");
        seen.insert(told.attempts.len());
        seen.contains(&3)
    });
}

/// What the gateway answers itself has a span, and no attempt below it.
#[test]
fn an_answer_of_our_own() {
    let (gateway, recorded) = recording(1.0, &backend("web", &[]));
    gateway.client().ask(GET);
    let told = next(&recorded);
    assert_eq!((told.status, told.reason, told.attempts.len()), (503, "NoEndpoint", 0));
    gateway.client().ask("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n");
    let told = next(&recorded);
    assert_eq!((told.status, told.reason, &*told.route), (404, "NoRoute", ""));
}

/// What the exporter has no room for is dropped and counted, and requests go on.
#[test]
fn a_full_queue() {
    let origin = Origin::text("ok");
    let (gateway, recorded) = recording(1.0, &backend("web", &[origin.address]));
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(status(&client.ask(GET).0), 200);
    }
    gateway.counts("tidegate_trace_drops_total", 2);
    next(&recorded);
    assert_eq!(status(&client.ask(GET).0), 200);
    next(&recorded);
}
