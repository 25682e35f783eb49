//! Spans arrive at a collector as the gateway's requests happened: real bytes, decoded.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;

use crate::http;
use crate::place::{Place, free_port};

/// A collector; its port, and what it is sent.
fn collector() -> (u16, Receiver<Span>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (telling, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            while let Some((head, length)) = head(&mut stream) {
                assert!(head.starts_with("POST /v1/traces "), "{head}");
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let message = ExportTraceServiceRequest::decode(&body[..]).unwrap();
                let scopes = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                for span in scopes.flat_map(|scope| scope.spans) {
                    let _ = telling.send(span);
                }
                let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    (port, told)
}

/// The head of the next request, and the length of its body.
fn head(stream: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    Some((head, length))
}

/// An origin that answers with 503 until `failures` are used up, and then with the request it got.
fn origin(failures: usize) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut left = failures;
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            if let Some((head, _)) = head(&mut stream) {
                let status = if left > 0 { "503 Busy" } else { "200 OK" };
                left = left.saturating_sub(1);
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{head}",
                    head.len()
                );
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        }
    });
    port
}

fn place(collector: u16, origin: u16) -> Place {
    let place = Place::new();
    place.settings(&format!("tracing: {{otlp: 'http://127.0.0.1:{collector}', sample: 0}}\n"));
    place.put(
        "all.yaml",
        &format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: main, namespace: shop}}\nspec:\n  \
             gatewayClassName: tidegate\n  listeners: [{{name: http, port: {}, protocol: HTTP}}]\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: all, namespace: shop}}\nspec:\n  \
             parentRefs: [{{name: main}}]\n  rules:\n  - matches: [{{path: {{value: /shop}}}}]\n    \
             backendRefs: [{{name: web, port: 80}}]\n    retry: {{codes: [503], attempts: 3, backoff: 1ms}}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec:\n  ports: [{{port: 80}}]\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: web, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: IPv4\nports: [{{port: {origin}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n",
            place.port
        ),
    );
    place
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let shown = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let told = span.attributes.iter();
    told.map(|a| (&*a.key, shown(a.value.as_ref().unwrap().value.as_ref().unwrap()))).collect()
}

/// A request whose caller samples it arrives as one span below the caller's, and below that one for each attempt, the last
/// of which the origin was told. The access log has the same trace and the same client.
#[test]
fn a_sampled_request_with_repeats() {
    let ((collector, told), origin) = (collector(), origin(2));
    let daemon = place(collector, origin).start();
    let address = (Ipv4Addr::LOCALHOST, daemon.place.port).into();
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let sent = http::send(address, "a.example", "/shop/cart?secret=1", parent).unwrap();
    let answer = http::read(sent).unwrap();
    assert_eq!(answer.status, 200);
    let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
    let server = next();
    assert_eq!((server.kind(), &*server.name), (SpanKind::Server, "GET /shop"));
    assert_eq!(hex(&server.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&server.parent_span_id), "b7ad6b7169203331");
    let of_server = attributes(&server);
    assert_eq!(of_server["url.path"], "/shop/cart");
    assert_eq!(of_server["http.response.status_code"], "200");
    assert_eq!((&*of_server["tidegate.route"], &*of_server["tidegate.backend"]), ("shop/all", "shop/web:80"));
    let row: serde_json::Value = daemon.eventually("its line", || {
        let log = daemon.log();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find(|row: &serde_json::Value| row["path"] == "/shop/cart")
    });
    assert_eq!(
        (&row["trace_id"], &row["client"]),
        (&hex(&server.trace_id).into(), &of_server["client.address"].clone().into())
    );
    let attempts = [next(), next(), next()];
    for (resends, attempt) in attempts.iter().enumerate() {
        assert_eq!((attempt.kind(), &attempt.parent_span_id), (SpanKind::Client, &server.span_id));
        let told = attributes(attempt);
        let expected = if resends < 2 { "503" } else { "200" };
        assert_eq!(told["http.response.status_code"], expected);
        assert_eq!(told.get("error.type").map(String::as_str), (resends < 2).then_some("503"));
        let repeated = told.get("http.request.resend_count").map_or("0", String::as_str);
        assert_eq!(repeated, resends.to_string());
    }
    let attempt = &attempts[2];
    let seen = answer.body.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
    assert_eq!(seen, format!("00-{}-{}-01", hex(&attempt.trace_id), hex(&attempt.span_id)));
    // Sampled is what its caller samples, and nothing else: the share is none.
    http::read(http::send(address, "a.example", "/shop/unsampled", "").unwrap()).unwrap();
    let other = parent.replace("0af7", "1af7");
    http::read(http::send(address, "a.example", "/shop/next", &other).unwrap()).unwrap();
    assert_eq!(attributes(&next())["url.path"], "/shop/next");
    assert!(daemon.admin("/metrics").body.contains("tidegate_trace_drops_total 0"));
}

/// Without a collector, requests are served as ever, and spans are counted as lost.
#[test]
fn a_collector_that_is_away() {
    let daemon = place(free_port(), origin(0)).start();
    let address = (Ipv4Addr::LOCALHOST, daemon.place.port).into();
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let answer = http::read(http::send(address, "a.example", "/shop", parent).unwrap()).unwrap();
    assert_eq!(answer.status, 200);
    daemon.eventually("two spans are lost", || {
        daemon.admin("/metrics").body.contains("tidegate_trace_lost_spans_total 2").then_some(())
    });
    daemon.eventually("the log says so", || {
        daemon.log().contains("spans are lost: the collector does not take them").then_some(())
    });
}
