//! What becomes of bodies on their way to the client: compression, and answers in place of others.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tidegate_model::traffic::*;

use super::harness::*;
use super::http2::{Peer, http2_backend};
use super::rules::serving;

fn way(coding: Coding) -> Compression {
    let content_types: Arc<[String]> = Arc::new(["text/html".into(), "text/event-stream".into()]);
    Compression { coding, bytes_min: 30, content_types, credentialed: false }
}

fn compression() -> ResponsePolicy {
    let compression = vec![way(Coding::Brotli), way(Coding::Zstd), way(Coding::Gzip)];
    ResponsePolicy { compression, overrides: Vec::new() }
}

fn replacing(statuses: Vec<(u16, u16)>, with: Replacement) -> ResponsePolicy {
    let overrides = vec![ResponseOverride { statuses, with: Arc::new(with) }];
    ResponsePolicy { compression: Vec::new(), overrides }
}

fn page(status: Option<u16>, body: &str) -> Page {
    let (content_type, body) = (Some("text/html".into()), Some(Arc::from(body.as_bytes())));
    Page { status, content_type, body, headers: HeaderChanges::default() }
}

/// A gateway whose one rule has one backend, and this policy wherever one can stand.
pub fn gateway(web: &Arc<Backend>, responses: ResponsePolicy) -> Gateway {
    let gateway = Gateway::start(&[(1, web)]);
    let responses = Arc::new(responses);
    let share = WeightedBackend {
        responses: responses.clone(),
        ..WeightedBackend::plain(1, Target::Backend(web.clone()))
    };
    let matched =
        RequestMatch { path: PathMatch::Prefix("/a".into()), method: None, headers: vec![], query: vec![] };
    let mut rule = HttpRule::plain(0, vec![matched], Action::Forward(vec![share]));
    rule.responses = responses.clone();
    let mut traffic = (*serving(&gateway, vec![rule], ClientPolicy::default())).clone();
    let entrance = &traffic.entrances[0];
    let listener = Listener { responses, ..(*entrance.listeners[0]).clone() };
    traffic.entrances =
        vec![Arc::new(Entrance { listeners: vec![Arc::new(listener)], ..(**entrance).clone() })];
    gateway.apply(Arc::new(traffic));
    gateway
}

fn before(origin: &Origin, responses: ResponsePolicy) -> Gateway {
    gateway(&backend("web", &[origin.address]), responses)
}

fn html(lines: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{lines}Content-Length: {length}\r\n\r\n{body}")
}

fn request(lines: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n")
}

fn decoded(coding: &str, coded: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut content = Vec::new();
    match coding {
        "gzip" => drop(flate2::read::GzDecoder::new(coded).read_to_end(&mut content)),
        "br" => drop(brotli::Decompressor::new(coded, 4096).read_to_end(&mut content)),
        "zstd" => drop(zstd::stream::read::Decoder::new(coded).unwrap().read_to_end(&mut content)),
        _ => content.extend_from_slice(coded),
    }
    content
}

/// Each coding that a client asks for is what it gets, whole, in chunks; the head says what has become of the body, and
/// the connection goes on.
#[test]
fn compressed_over_http1() {
    let body: &'static str = String::leak("a line of a page\n".repeat(20_000));
    let lines = "ETag: \"1\"\r\nVary: Origin\r\nAccept-Ranges: bytes\r\nRepr-Digest: x\r\nX-1: y\r\n";
    let origin = Origin::start(move |_, wire| wire.try_send(html(lines, body)));
    let gateway = before(&origin, compression());
    for coding in ["gzip", "br", "zstd"] {
        let mut client = gateway.client();
        for _ in 0..2 {
            client.send(request(&format!("Accept-Encoding: {coding}\r\n")));
            let head = client.head().unwrap();
            for (name, value) in [
                ("content-encoding", Some(coding)),
                ("transfer-encoding", Some("chunked")),
                ("vary", Some("Origin, accept-encoding")),
                ("etag", Some("W/\"1\"")),
                ("x-1", Some("y")),
                ("content-length", None),
                ("accept-ranges", None),
                ("repr-digest", None),
            ] {
                assert_eq!(field(&head, name), value, "{head}");
            }
            let coded: Vec<u8> = std::iter::from_fn(|| client.raw_chunk()).flatten().collect();
            assert!(coded.len() < body.len() / 20, "{}", coded.len());
            assert!(decoded(coding, &coded) == body.as_bytes(), "{coding}");
        }
        let label = format!("tidegate_http_compressed_responses_total{{coding=\"{coding}\"}}");
        gateway.counts(&label, 2);
        let label = format!("tidegate_http_compression_input_bytes_total{{coding=\"{coding}\"}}");
        gateway.counts(&label, 2 * body.len() as u64);
    }
    let log = gateway.log(6);
    assert!(log.iter().all(|line| line["bytes_out"].as_u64().unwrap() < body.len() as u64 / 10), "{log:?}");
}

/// The same over HTTP/2, from a backend of either version.
#[test]
fn compressed_over_http2() {
    let body: &'static str = String::leak("a line of a page\n".repeat(20_000));
    let origin = Origin::start(move |_, wire| wire.try_send(html("", body)));
    let over_http2 = super::http2::Http2Origin::start(move |peer, id, _| {
        if peer.messages.get(&id).is_some_and(|message| message.ended) {
            peer.respond(id, 200, &[("content-type", "text/html")], false);
            peer.send(id, body, false);
            peer.send_trailers(id, &[("x-trailer", "1"), ("content-digest", "x")]);
        }
    });
    for (web, trailers) in [(backend("web", &[origin.address]), 0), (http2_backend(&over_http2), 1)] {
        let gateway = gateway(&web, compression());
        let mut client = Peer::connect(gateway.address);
        let id = client.ask("GET", "/a", &[("accept-encoding", "gzip")], None);
        let response = client.response(id);
        assert_eq!(response.line("content-encoding"), Some("gzip"));
        assert_eq!(response.line("content-length"), None);
        assert!(decoded("gzip", &response.body) == body.as_bytes());
        assert_eq!(response.trailers.len(), trailers, "{:?}", response.trailers);
    }
}

/// Who may not be given a compressed answer gets the plain one, with its length, and caches are told.
#[test]
fn left_as_they_are() {
    let body = "a line of a page\n".repeat(10);
    let text: &'static str = String::leak(body.clone());
    let origin = Origin::start(move |head, wire| {
        let cookie = if head.starts_with("GET /a/cookie") { "Set-Cookie: a=b\r\n" } else { "" };
        wire.try_send(html(cookie, if head.starts_with("HEAD") { "" } else { text }))
    });
    let gateway = before(&origin, compression());
    let mut client = gateway.client();
    for request in [
        request(""),
        request("Accept-Encoding: gzip\r\nCookie: a=b\r\n"),
        request("Accept-Encoding: gzip\r\nAuthorization: x\r\n"),
        request("Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n"),
        "GET /a/cookie HTTP/1.1\r\nHost: shop.example\r\nAccept-Encoding: gzip\r\n\r\n".into(),
    ] {
        let (head, found) = client.ask(&request);
        assert_eq!((found, field(&head, "vary")), (body.clone(), Some("accept-encoding")), "{request}");
        assert_eq!((field(&head, "content-encoding"), field(&head, "etag")), (None, None));
    }
    client.send("HEAD /a HTTP/1.1\r\nHost: shop.example\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!((field(&head, "vary"), field(&head, "content-encoding")), (Some("accept-encoding"), None));
    let mut old = gateway.client();
    old.send("GET /a HTTP/1.0\r\nHost: shop.example\r\nAccept-Encoding: gzip\r\n\r\n");
    assert!(old.rest().ends_with(&body));
}

/// What an origin has said reaches the client before the origin says more.
#[test]
fn events_are_not_held_back() {
    let (say, said) = channel::<()>();
    let said = std::sync::Mutex::new(said);
    let origin = Origin::start(move |_, wire| {
        let said: &Receiver<()> = &said.lock().unwrap();
        wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..3 {
            if said.recv_timeout(Duration::from_secs(10)).is_err() {
                return false;
            }
            wire.send("9\r\ndata: x\n\n\r\n");
        }
        wire.try_send("0\r\n\r\n")
    });
    let gateway = before(&origin, compression());
    for coding in ["gzip", "br", "zstd"] {
        let mut client = gateway.client();
        client.send(request(&format!("Accept-Encoding: {coding}\r\n")));
        assert_eq!(field(&client.head().unwrap(), "content-encoding"), Some(coding));
        let mut coded = Vec::new();
        for event in 1..=3 {
            say.send(()).unwrap();
            while decoded(coding, &coded).len() < 9 * event {
                coded.extend(client.raw_chunk().expect("the stream goes on"));
            }
        }
        while let Some(chunk) = client.raw_chunk() {
            coded.extend(chunk);
        }
        assert_eq!(decoded(coding, &coded), b"data: x\n\n".repeat(3));
    }
}

/// Answers of backends and of the gateway are replaced alike, over both versions; HEAD gets the length and no body.
#[test]
fn replaced() {
    let origin = Origin::start(|head, wire| {
        let status = if head.contains(" /a/lost ") { 404 } else { 401 };
        wire.try_send(format!(
            "HTTP/1.1 {status} Odd\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nETag: \"1\"\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n\r\n{}",
            if head.starts_with("HEAD") { "" } else { "lost" }
        ))
    });
    let gateway =
        before(&origin, replacing(vec![(404, 404), (500, 599)], Replacement::Page(page(None, "<p>"))));
    let mut client = gateway.client();
    for path in ["/a/lost", "/nowhere", "/a/lost"] {
        let (head, body) = client.ask(&format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n"));
        assert_eq!((status(&head), body.as_str()), (404, "<p>"), "{head}");
        assert_eq!(field(&head, "content-type"), Some("text/html"));
        assert_eq!((field(&head, "etag"), field(&head, "content-encoding")), (None, None), "{head}");
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n"));
        let head = client.head().unwrap();
        assert_eq!((status(&head), field(&head, "content-length")), (404, Some("3")), "{head}");
    }
    let (head, body) = client.ask(&request(""));
    assert_eq!((status(&head), body.as_str()), (401, "lost"));
    assert_eq!(
        origin.connections.load(std::sync::atomic::Ordering::SeqCst),
        1,
        "the connection is used again"
    );
    let mut client = Peer::connect(gateway.address);
    for path in ["/a/lost", "/nowhere"] {
        let id = client.ask("GET", path, &[], None);
        let response = client.response(id);
        assert_eq!((response.status(), response.text().as_str()), (404, "<p>"));
        assert_eq!(response.line("content-length"), Some("3"));
    }
    let log = gateway.log(9);
    let reasons: Vec<_> = log.iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons.iter().filter(|reason| *reason == "NoRule").count(), 3, "{reasons:?}");
}

/// A page may change only the status, or only headers; and a client may be sent elsewhere.
#[test]
fn partly_replaced() {
    let origin = Origin::start(|_, wire| {
        wire.try_send(
            "HTTP/1.1 404 Odd\r\nX-1: a\r\nX-2: b\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nlost",
        )
    });
    let headers =
        HeaderChanges { set: vec![("x-1".into(), "c".into())], add: vec![], remove: vec!["x-2".into()] };
    let changed = Page { status: Some(503), headers, ..Page::default() };
    let gateway = before(&origin, replacing(vec![(404, 404)], Replacement::Page(changed)));
    let (head, body) = gateway.client().ask(&request(""));
    assert_eq!((status(&head), body.as_str()), (503, "lost"), "{head}");
    assert_eq!((field(&head, "x-1"), field(&head, "x-2")), (Some("c"), None), "{head}");
    assert_eq!((field(&head, "retry-after"), head.matches("x-1").count()), (Some("7"), 1));

    let redirect = Redirect {
        scheme: Some("https"),
        host: Some("login.example".into()),
        port: None,
        path: Some(PathRewrite::Full("/login".into())),
        status: 302,
    };
    let gateway = before(&origin, replacing(vec![(400, 404)], Replacement::Redirect(redirect)));
    for path in ["/a?b=c", "/nowhere?b=c"] {
        let mut client = gateway.client();
        let (head, body) = client.ask(&format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n"));
        assert_eq!((status(&head), body.as_str()), (302, ""), "{head}");
        assert_eq!(field(&head, "location"), Some("https://login.example/login?b=c"), "{head}");
        assert_eq!(field(&head, "content-length"), Some("0"), "{head}");
    }
}

/// A refusal without an endpoint keeps its Retry-After and its reason, and its page is the policy's.
#[test]
fn own_answers_are_replaced() {
    let gateway = gateway(
        &backend("web", &[]),
        replacing(vec![(503, 503)], Replacement::Page(page(Some(500), "down"))),
    );
    let (head, body) = gateway.client().ask(&request(""));
    assert_eq!((status(&head), body.as_str()), (500, "down"), "{head}");
    assert_eq!(gateway.log(1)[0]["reason"], "NoEndpoint");
}

/// An answer that HTTP/2 ends with its head is told its length to a client of HTTP/1, which would wait for the end of the
/// connection otherwise.
#[test]
fn answers_without_a_body_have_a_length() {
    let origin = super::http2::Http2Origin::start(|peer, id, is_new| {
        if is_new {
            peer.respond(id, 200, &[("x-1", "y")], true);
        }
    });
    let gateway = gateway(&http2_backend(&origin), ResponsePolicy::default());
    let mut client = gateway.client();
    for _ in 0..2 {
        let (head, body) = client.ask(&request(""));
        assert_eq!(
            (status(&head), field(&head, "content-length"), body.as_str()),
            (200, Some("0"), ""),
            "{head}"
        );
    }
}
