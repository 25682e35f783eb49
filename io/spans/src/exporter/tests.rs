//! A collector that decodes what really arrives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::TrySendError;
use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tidegate_model::spans::TracedAttempt;

use super::*;

/// A collector that answers each message with the next of these statuses and refusals, then with the last of them.
fn collector(answers: Vec<(u16, i64)>) -> (SocketAddr, Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (telling, told) = channel();
    std::thread::spawn(move || {
        let mut turn = 0;
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            while let Some(body) = request(&mut stream) {
                let (status, refused) = answers[turn.min(answers.len() - 1)];
                turn += 1;
                let partial_success = (refused > 0).then(|| ExportTracePartialSuccess {
                    rejected_spans: refused,
                    error_message: "full".into(),
                });
                let answer = ExportTraceServiceResponse { partial_success }.encode_to_vec();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
                let stream = stream.get_mut();
                if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer)).is_err() {
                    break;
                }
                if telling.send(ExportTraceServiceRequest::decode(&body[..]).unwrap()).is_err() {
                    return;
                }
            }
        }
    });
    (address, told)
}

/// The body of the next request, which must be what OTLP asks for.
fn request(stream: &mut BufReader<std::net::TcpStream>) -> Option<Vec<u8>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/x-protobuf\r\n"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

fn start(address: SocketAddr) -> (SyncSender<TracedExchange>, Exporter, Registry) {
    let mut registry = Registry::default();
    let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
    let origin = Origin { node: "gw1".into(), version: "1.2.3".into() };
    let (queue, exporter) = Exporter::start(&endpoint, &origin, &mut registry).unwrap();
    (queue, exporter, registry)
}

fn metric(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ended at second 100, 2 s long; the first endpoint refused the connection, the second answered.
fn sample() -> TracedExchange {
    let attempt = |span: u8, port: u16, status: u16, reason| TracedAttempt {
        span_id: [span; 8],
        after: Duration::from_millis(u64::from(span) * 100),
        duration: Duration::from_millis(50),
        endpoint: ([10, 0, 0, 1], port).into(),
        url: "http://shop.example/b".into(),
        protocol: if status > 0 { "HTTP/1.1" } else { "" },
        status,
        reason,
    };
    TracedExchange {
        trace_id: [7; 16],
        span_id: [8; 8],
        parent_id: Some([9; 8]),
        trace_state: "v=1".into(),
        ended: UNIX_EPOCH + Duration::from_secs(100),
        duration: Duration::from_secs(2),
        method: "GET".into(),
        scheme: "https",
        host: "shop.example:8443".into(),
        path: "/a/1".into(),
        pattern: "/a".into(),
        protocol: "HTTP/2",
        status: 200,
        reason: "",
        client: [192, 0, 2, 1].into(),
        peer: ([10, 9, 9, 9], 4711).into(),
        user_agent: "curl".into(),
        request_id: "r1".into(),
        listener: "shop/edge/https".into(),
        route: "shop/web".into(),
        backend: "shop/web:80".into(),
        attempts: vec![attempt(1, 81, 0, "UpstreamConnect"), attempt(2, 82, 200, "")],
    }
}

/// The attributes of a span as text.
fn attributes(span: &Span) -> Vec<String> {
    let told = span.attributes.iter().map(|attribute| {
        let value = match attribute.value.clone().and_then(|value| value.value) {
            Some(Value::StringValue(text)) => format!("{text:?}"),
            Some(Value::IntValue(number)) => number.to_string(),
            other => panic!("{other:?}"),
        };
        format!("{}={value}", attribute.key)
    });
    told.collect()
}

/// What a collector gets: the resource, a span for the request, and one below it for each attempt, with the words of the
/// semantic conventions.
#[test]
fn spans_as_they_arrive() {
    let (address, told) = collector(vec![(200, 0)]);
    let (queue, _exporter, registry) = start(address);
    queue.send(sample()).unwrap();
    let message = told.recv_timeout(Duration::from_secs(15)).unwrap();
    let resource = &message.resource_spans[0];
    let names: Vec<_> =
        resource.resource.iter().flat_map(|resource| &resource.attributes).map(|a| &*a.key).collect();
    assert_eq!(names, ["service.name", "service.version", "service.instance.id", "host.name"]);
    let scope = &resource.scope_spans[0];
    assert_eq!(scope.scope.as_ref().unwrap().version, "1.2.3");
    let [server, first, second] = &scope.spans[..] else { panic!("{:?}", scope.spans) };
    assert_eq!(
        (server.kind(), first.kind(), second.kind()),
        (SpanKind::Server, SpanKind::Client, SpanKind::Client)
    );
    assert!(scope.spans.iter().all(|span| span.trace_id == [7; 16] && span.trace_state == "v=1"));
    let parents = [server, first, second].map(|span| (span.span_id[0], span.parent_span_id[0], span.flags));
    assert_eq!(parents, [(8, 9, 0x301), (1, 8, 0x101), (2, 8, 0x101)]);
    let seconds =
        |span: &Span| [span.start_time_unix_nano, span.end_time_unix_nano].map(|nanos| nanos as f64 / 1e9);
    assert_eq!([server, first, second].map(seconds), [[98.0, 100.0], [98.1, 98.15], [98.2, 98.25]]);
    assert_eq!((&*server.name, &*first.name), ("GET /a", "GET"));
    assert_eq!(
        attributes(server),
        [
            "http.request.method=\"GET\"",
            "url.scheme=\"https\"",
            "url.path=\"/a/1\"",
            "http.route=\"/a\"",
            "server.address=\"shop.example\"",
            "server.port=8443",
            "http.response.status_code=200",
            "client.address=\"192.0.2.1\"",
            "network.peer.address=\"10.9.9.9\"",
            "network.peer.port=4711",
            "network.protocol.version=\"2\"",
            "user_agent.original=\"curl\"",
            "tidegate.listener=\"shop/edge/https\"",
            "tidegate.route=\"shop/web\"",
            "tidegate.backend=\"shop/web:80\"",
            "tidegate.request_id=\"r1\"",
        ]
    );
    let common = ["network.peer.address=\"10.0.0.1\""];
    let has = |span: &Span, wanted: &[&str]| {
        let found = attributes(span);
        wanted.iter().chain(&common).all(|wanted| found.iter().any(|found| found == wanted))
    };
    assert!(has(
        first,
        &["error.type=\"UpstreamConnect\"", "server.port=81", "tidegate.endpoint=\"10.0.0.1:81\""]
    ));
    assert!(has(
        second,
        &["http.response.status_code=200", "http.request.resend_count=1", "network.protocol.version=\"1.1\""]
    ));
    assert!(!attributes(first).iter().any(|found| found.contains("status_code") || found.contains("resend")));
    let codes = [server, first, second].map(|span| span.status.as_ref().unwrap().code);
    assert_eq!(codes, [0, 2, 0]);
    until("they are counted", || metric(&registry, "tidegate_trace_spans_total") == 3);
}

/// An error is one where the gateway or an endpoint failed, or a response broke; not where a client asked for nothing.
#[test]
fn errors() {
    for (status, reason, expected) in [
        (200, "", None),
        (404, "NoRoute", None),
        (499, "ClientGone", None),
        (502, "", Some("502")),
        (503, "NoEndpoint", Some("NoEndpoint")),
        (200, "UpstreamClosed", Some("UpstreamClosed")),
    ] {
        let mut spans = Vec::new();
        add(&TracedExchange { status, reason, attempts: vec![], ..sample() }, &mut spans);
        let found = attributes(&spans[0]);
        let error = found.iter().find_map(|found| found.strip_prefix("error.type="));
        assert_eq!(error, expected.map(|expected| format!("{expected:?}")).as_deref(), "{status} {reason}");
        assert_eq!(spans[0].status.as_ref().unwrap().code, if expected.is_some() { 2 } else { 0 });
    }
}

/// A collector that refuses spans, some or all, costs these, which are counted; the next are sent all the same.
#[test]
fn refusals_are_counted() {
    let (address, told) = collector(vec![(503, 0), (200, 2), (200, 0)]);
    let (queue, exporter, registry) = start(address);
    for (sent, lost) in [(0, 3), (1, 5), (4, 5)] {
        queue.send(sample()).unwrap();
        told.recv_timeout(Duration::from_secs(15)).unwrap();
        until("they are counted", || {
            metric(&registry, "tidegate_trace_spans_total") == sent
                && metric(&registry, "tidegate_trace_lost_spans_total") == lost
        });
    }
    drop(queue);
    drop(exporter);
}

/// Nobody there: the spans are lost and counted, and the last ones hold up the end for no more than a moment.
#[test]
fn a_collector_that_is_away() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (queue, exporter, registry) = start(address);
    queue.send(sample()).unwrap();
    drop(queue);
    drop(exporter);
    assert_eq!(metric(&registry, "tidegate_trace_lost_spans_total"), 3);
}

/// A collector that accepts and then says nothing fills the queue, and who fills it is told so at once.
#[test]
fn a_collector_that_hangs() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (queue, _exporter, _registry) = start(silent.local_addr().unwrap());
    let more = QUEUE_EXCHANGES + BATCH_EXCHANGES + 1;
    let refused =
        (0..more).filter(|_| matches!(queue.try_send(sample()), Err(TrySendError::Full(_)))).count();
    assert!((1..more).contains(&refused), "{refused} refused");
}
