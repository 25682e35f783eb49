//! What clients get when something is wrong: with them, with the route, with the origin.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::harness::*;
use crate::Limits;

/// A limit that a test can wait for.
const SHORT: Duration = Duration::from_millis(300);

/// A malformed request is answered with its reason and the connection closed; what follows it is not read as a request.
#[test]
fn malformed_requests_end_the_connection() {
    let origin = Origin::text("a");
    let gateway = Gateway::before(&origin);
    let bad = [
        (
            "GET / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "LengthAndCoding",
        ),
        (
            "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
            400,
            "BadChunk",
        ),
        ("GET / HTTP/1.1\r\n\r\n", 400, "BadHost"),
        ("GET /a%2fb HTTP/1.1\r\nHost: shop.example\r\n\r\n", 400, "BadPath"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501, "NotImplemented"),
        ("\u{16}\u{3}\u{1}\n", 400, "BareLineFeed"),
    ];
    for (request, expected, _) in bad {
        let mut client = gateway.client();
        client.send(format!("{request}{GET}"));
        let answer = client.rest();
        assert_eq!(status(&answer), expected, "{request:?}");
        assert!(answer.contains("content-type: text/plain\r\n") && answer.ends_with(".\n"), "{answer}");
        assert_eq!(
            answer.matches("HTTP/1.1").count() - answer.matches("HTTP/1.1 are").count(),
            1,
            "{answer}"
        );
    }
    assert_eq!(origin.requests(), 0);
    let mut reasons: Vec<_> =
        gateway.log(bad.len()).iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect();
    let mut expected = bad.map(|(_, _, reason)| reason.to_owned()).to_vec();
    reasons.sort();
    expected.sort();
    assert_eq!(reasons, expected);
}

/// A head that is too large is refused before it is whole.
#[test]
fn large_heads_are_refused() {
    let gateway = Gateway::before(&Origin::text("a"));
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(20_000)));
    assert_eq!(status(&client.rest()), 431);
}

/// Where no route or endpoint serves a request it is answered in one sentence, and the connection goes on.
#[test]
fn local_answers() {
    let none = backend("web", &[]);
    let gateway = Gateway::start(&[(1, &none)]);
    let mut client = gateway.client();
    for (host, expected, sentence) in [
        ("other.example", 404, "No route serves this host.\n"),
        ("shop.example", 503, "The service has no ready endpoint.\n"),
    ] {
        let (head, body) = client.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((status(&head), body.as_str()), (expected, sentence));
    }
    gateway.apply(traffic(&[gateway.address], &[(0, &none)]));
    assert_eq!(status(&client.ask(GET).0), 500);
    let reasons: Vec<_> =
        gateway.log(3).iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons, ["NoRoute", "NoEndpoint", "NoBackendWeight"]);
}

/// An endpoint that refuses connections is passed over, for any method; if all refuse it is 502.
#[test]
fn endpoints_that_refuse() {
    let dead = free_address();
    let origin = Origin::text("a");
    let web = backend("web", &[dead, origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    for _ in 0..20 {
        let post = "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(status(&gateway.client().ask(post).0), 200);
    }
    web.endpoints.store(usable(&[dead]));
    let (head, body) = gateway.client().ask(GET);
    assert_eq!((status(&head), body.as_str()), (502, "No endpoint of the service could be reached.\n"));
}

/// An endpoint that answers nothing to SYN is given up after the connect timeout.
#[test]
fn endpoints_that_are_silent() {
    // TEST-NET-1 (RFC 5737) is routed nowhere that answers; a network that refuses it is 502.
    let silent: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let limits = Limits { upstream_connect: SHORT, ..Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[silent]))], limits);
    assert!(matches!(status(&gateway.client().ask(GET).0), 502 | 504));
}

/// An origin that closes kept connections without a word costs no idempotent request.
#[test]
fn stale_connections_are_replaced() {
    // Every second request finds its connection closed after it was sent.
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        wire.send(ok("a"));
        wire.head();
        false
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(status(&client.ask(GET).0), 200);
    }
    let put = "PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(status(&client.ask(put).0), 200);
}

/// A request that is not idempotent is never sent twice.
#[test]
fn a_post_is_sent_once() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = posts.clone();
    let origin = Origin::start(move |head, wire| {
        if head.starts_with("POST") {
            counted.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        wire.try_send(ok("a"))
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    assert_eq!(status(&client.ask(GET).0), 200);
    let (head, body) = client.ask("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(
        (status(&head), body.as_str()),
        (502, "The service closed the connection before it answered.\n")
    );
    assert_eq!(posts.load(Ordering::SeqCst), 1);
}

/// Answers that are no HTTP, or ambiguous, are 502, and their connection is not used again.
#[test]
fn malformed_responses() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let origin = Origin::start(move |_, wire| wire.try_send(answer));
        let gateway = Gateway::before(&origin);
        let mut client = gateway.client();
        for _ in 0..2 {
            let (head, body) = client.ask(GET);
            assert_eq!(
                (status(&head), body.as_str()),
                (502, "The service gave a malformed answer.\n"),
                "{answer:?}"
            );
        }
        assert_eq!(origin.connections.load(Ordering::SeqCst), 2);
    }
}

/// Bytes after a response are not taken for the next one.
#[test]
fn surplus_bytes_end_the_upstream_connection() {
    let origin = Origin::start(|_, wire| wire.try_send(format!("{}{}", ok("a"), ok("stolen"))));
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.ask(GET).1, "a");
    }
}

/// A body that ends too early is not passed off as whole.
#[test]
fn truncated_responses_are_visible() {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab");
        false
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(GET);
    let answer = client.rest();
    assert!(answer.ends_with("5\r\nab"), "{answer}");
    assert_eq!(gateway.log(1)[0]["reason"], "UpstreamClosed");
}

/// Every wait has an end: for the head, for the body, for the response, for the next request.
#[test]
fn timeouts() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        thread::sleep(SHORT * 10);
        wire.try_send(ok("late"))
    });
    let limits = Limits {
        request_head: SHORT,
        keep_alive: SHORT,
        response_head: SHORT,
        body_stall: SHORT,
        ..Limits::default()
    };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits);
    for (request, expected) in [
        ("", None),
        ("GET / HT", Some(408)),
        ("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 9\r\n\r\nabc", Some(408)),
        (GET, Some(504)),
    ] {
        let mut client = gateway.client();
        client.send(request);
        assert_eq!(client.head().as_deref().map(status), expected, "{request:?}");
    }
}

/// A client that leaves while it waits ends the work upstream.
#[test]
fn a_client_that_leaves_is_noticed() {
    let noticed = Arc::new(AtomicBool::new(false));
    let told = noticed.clone();
    let origin = Origin::start(move |_, wire| {
        told.store(wire.is_closed(), Ordering::SeqCst);
        false
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(GET);
    until("the request is at the origin", || origin.requests() == 1);
    drop(client);
    until("the origin is told", || noticed.load(Ordering::SeqCst));
    let line = &gateway.log(1)[0];
    assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"ClientGone".into()));
}

/// The limit of connections holds for the process: none whose request is under way makes room, and a place is free again when
/// a connection ends.
#[test]
fn connection_limit() {
    let (answer, answered) = std::sync::mpsc::channel::<()>();
    let answered = std::sync::Mutex::new(answered);
    let origin = Origin::start(move |_, wire| {
        let _ = answered.lock().unwrap().recv();
        wire.try_send(ok("a"))
    });
    let limits = Limits { connections: 4, ..Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits);
    let mut clients: Vec<_> = (0..4).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    until("all are under way", || origin.requests() == 4);
    assert!(gateway.client().is_closed());
    gateway.counts("tidegate_http_refused_connections_total", 1);
    drop(answer);
    for client in &mut clients {
        assert_eq!(status(&client.response().0), 200);
    }
    drop(clients);
    until("places are free", || gateway.proxy.connections() == 0);
    assert_eq!(status(&gateway.client().ask(GET).0), 200);
}
