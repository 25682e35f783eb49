//! HTTP as clients and origins see it through the gateway.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tidegate_model::Traffic;
use tidegate_model::traffic::{ClientPolicy, Entrance, Trust};

use super::harness::*;

/// Requests on one client connection use one upstream connection, and both stay open.
#[test]
fn both_sides_are_kept_alive() {
    let origin = Origin::text("hello");
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..20 {
        let (head, body) = client.ask(GET);
        assert_eq!((status(&head), body.as_str(), field(&head, "connection")), (200, "hello", None));
    }
    assert_eq!((origin.requests(), origin.connections.load(Ordering::SeqCst)), (20, 1));
    until("metrics", || {
        gateway.metric("tidegate_http_requests_total{listener=\"shop/edge/http\",code=\"2xx\"}") == 20
    });
    gateway.counts("tidegate_upstream_reuses_total", 19);
}

/// The origin sees the client's address, host and port, whatever the client claims, and the route's header changes;
/// what belongs to the client's connection ends at the gateway.
#[test]
fn what_the_origin_sees() {
    let origin = Origin::text("");
    let gateway = Gateway::before(&origin);
    gateway.client().ask(
        "GET /a/../b?x=1 HTTP/1.1\r\nHost: Shop.Example:81\r\nX-Forwarded-For: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy: x\r\nX-Remove: 1\r\nX-Set: client\r\n\
         X-Keep: 1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nUser-Agent: a\"b\r\n\r\n",
    );
    let head = origin.last_head();
    assert!(head.starts_with("GET /b?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("6.6.6.6") && !head.contains("evil"), "{head}");
    for name in [
        "connection",
        "x-hop",
        "te",
        "keep-alive",
        "proxy",
        "x-remove",
        "transfer-encoding",
        "content-length",
    ] {
        assert_eq!(field(&head, name), None, "{head}");
    }
    let port = gateway.address.port().to_string();
    for (name, value) in [
        ("host", "Shop.Example:81"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "Shop.Example:81"),
        ("x-forwarded-port", &port),
        ("x-set", "by-route"),
        ("x-keep", "1"),
    ] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
    let id = field(&head, "x-request-id").unwrap();
    assert_eq!(id.len(), 32);
    let line = &gateway.log(1)[0];
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("listener", "shop/edge/http"),
        ("host", "Shop.Example:81"),
        ("method", "GET"),
        ("path", "/b"),
        ("protocol", "HTTP/1.1"),
        ("reason", ""),
        ("route", "shop/web"),
        ("backend", "shop/web:80"),
        ("endpoint", &origin.address.to_string()),
        ("request_id", id),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("tls", ""),
        ("user_agent", "a\"b"),
    ] {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!(line["status"], 200);
}

/// A target in full is for the scheme of its connection; behind a trusted hop, which may have ended TLS, for either.
#[test]
fn schemes_of_targets() {
    let origin = Origin::text("a");
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    let ask = |scheme: &str| {
        let request = format!("GET {scheme}://shop.example/a HTTP/1.1\r\nHost: other.example\r\n\r\n");
        status(&gateway.client().ask(&request).0)
    };
    assert_eq!((ask("http"), ask("https")), (200, 400));
    let trust = Trust { hops: 1, cidrs: vec![] };
    let model = traffic(&[gateway.address], &[(1, &web)]);
    let client = Arc::new(ClientPolicy { trust, ..ClientPolicy::default() });
    let entrance = Entrance { client, ..(*model.entrances[0]).clone() };
    gateway.apply(Arc::new(Traffic { entrances: vec![Arc::new(entrance)], ..(*model).clone() }));
    assert_eq!((ask("http"), ask("https"), ask("ftp")), (200, 200, 400));
    assert!(
        origin.last_head().starts_with("GET /a HTTP/1.1\r\nhost: shop.example\r\n"),
        "{}",
        origin.last_head()
    );
}

/// OPTIONS and TRACE reach the origin with one step less to go, and not at all where none is left; other methods may say what
/// they like (RFC 9110 section 7.6.2).
#[test]
fn max_forwards() {
    let origin = Origin::text("a");
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let mut ask = |method: &str, steps: &str| {
        client.ask(&format!("{method} /a HTTP/1.1\r\nHost: shop.example\r\nMax-Forwards: {steps}\r\n\r\n"))
    };
    for (method, steps, left) in [
        ("OPTIONS", "1", "0"),
        ("TRACE", "10", "9"),
        ("OPTIONS", "99999999999999999999", "18446744073709551614"),
        ("OPTIONS", "x", "x"),
        ("GET", "0", "0"),
    ] {
        assert_eq!(ask(method, steps).1, "a");
        let head = origin.last_head();
        assert_eq!(field(&head, "max-forwards"), Some(left), "{head}");
        assert_eq!(head.to_ascii_lowercase().matches("max-forwards").count(), 1, "{head}");
    }
    assert_eq!((status(&ask("OPTIONS", "0").0), status(&ask("TRACE", "0").0)), (200, 405));
    assert_eq!(origin.requests(), 5);
    let reasons: Vec<_> = gateway.log(7).iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons[5..], ["MaxForwards", "MaxForwards"]);
}

/// Answers that no backend gives say when they were given (RFC 9110 section 6.6.1), refusals of what is no request too.
#[test]
fn answers_of_its_own_have_a_date() {
    let gateway = Gateway::before(&Origin::text("a"));
    for request in ["GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n", "GET\r\n\r\n"] {
        let (head, _) = gateway.client().ask(request);
        assert!(field(&head, "date").is_some_and(|date| date.ends_with(" GMT")), "{head}");
    }
}

/// Shares follow weights, and a weight of 0 gets nothing.
#[test]
fn weights() {
    let (a, b, c) = (Origin::text("a"), Origin::text("b"), Origin::text("c"));
    let backends = [&a, &b, &c].map(|origin| backend("web", &[origin.address]));
    let gateway = Gateway::start(&[(3, &backends[0]), (1, &backends[1]), (0, &backends[2])]);
    let mut client = gateway.client();
    for _ in 0..400 {
        client.ask(GET);
    }
    assert_eq!((a.requests() + b.requests(), c.requests()), (400, 0));
    // Six standard deviations of a fair choice.
    assert!(a.requests().abs_diff(300) < 52, "{}", a.requests());
}

/// Chunks pass both ways with their trailers, and the connections are used again.
#[test]
fn chunks_and_trailers() {
    let origin = Origin::start(|head, wire| {
        let body = wire.body(head).replace("\r\n", "|");
        wire.try_send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x};e=1\r\n{body}\r\n0\r\nX-Sum: 7\r\nContent-Length: 1\r\n\r\n",
            body.len()
        ))
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let request = "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
    for _ in 0..3 {
        let (head, body) = client.ask(request);
        assert_eq!(status(&head), 200);
        assert_eq!(body, "f\r\n3|abc|0|X-T: 1|\r\n0\r\nX-Sum: 7\r\n");
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

/// A large body passes in both directions at once, unharmed.
#[test]
fn large_bodies_stream() {
    let origin = Origin::start(|head, wire| {
        let length: usize = field(head, "content-length").unwrap().parse().unwrap();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
        for _ in 0..length / 1000 {
            let piece = wire.exactly(1000);
            wire.send(piece);
        }
        true
    });
    let gateway = Gateway::before(&origin);
    let sent: String = (0..1_000_000u32).map(|index| char::from(b'a' + (index / 7 % 26) as u8)).collect();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\n");
    let mut writer = client.writer();
    let (head, received) = thread::scope(|scope| {
        scope.spawn(|| writer.write_all(sent.as_bytes()).unwrap());
        client.response()
    });
    assert_eq!(status(&head), 200);
    assert!(received == sent);
}

/// Requests sent in one go are answered in order.
#[test]
fn pipelining() {
    let origin = Origin::start(|head, wire| {
        let body = wire.body(head);
        wire.try_send(ok(&format!("{}{body}", head.split(' ').nth(1).unwrap())))
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: shop.example\r\n\r\n\r\nPOST /2 HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc\
         POST /3 HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
         GET /4 HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n",
    );
    for expected in ["/1", "/2abc", "/31\r\nx\r\n0\r\n", "/4"] {
        assert_eq!(client.response().1, expected);
    }
    assert!(client.is_closed());
}

/// HTTP/1.0 clients get no chunks and no interim responses, and keep their connection only if they ask to.
#[test]
fn http_1_0() {
    let origin = Origin::start(|head, wire| {
        wire.send("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
        wire.try_send(if head.starts_with("GET /chunked") { chunked.into() } else { ok("abc") })
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let (head, body) = client.ask("GET / HTTP/1.0\r\nHost: shop.example\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((status(&head), field(&head, "connection"), body.as_str()), (200, Some("keep-alive"), "abc"));
    client.send("GET /chunked HTTP/1.0\r\nHost: shop.example\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.rest();
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("\r\n\r\nabc"), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
    let mut client = gateway.client();
    let (head, _) = client.ask("GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n");
    assert_eq!(field(&head, "connection"), Some("close"));
    assert!(client.is_closed());
}

/// Responses without a body have none, whatever length they state, and the connection goes on.
#[test]
fn bodiless_responses() {
    let origin = Origin::start(|head, wire| {
        let status = if head.starts_with("GET /204") {
            "204 No Content\r\nContent-Length: 0"
        } else if head.starts_with("GET /304") {
            "304 Not Modified\r\nContent-Length: 5"
        } else {
            "200 OK\r\nContent-Length: 5"
        };
        wire.try_send(format!("HTTP/1.1 {status}\r\n\r\n"))
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for (request, expected, length) in [
        ("HEAD /", 200, Some("5")),
        ("GET /204", 204, None),
        ("GET /304", 304, Some("5")),
        ("HEAD /", 200, Some("5")),
    ] {
        client.send(format!("{request} HTTP/1.1\r\nHost: shop.example\r\n\r\n"));
        let head = client.head().unwrap();
        assert_eq!((status(&head), field(&head, "content-length")), (expected, length), "{request}");
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

/// A client that waits for leave to send its body gets the origin's leave, and its body arrives.
#[test]
fn expect_continue() {
    let origin = Origin::start(|head, wire| {
        assert_eq!(field(head, "expect"), Some("100-continue"));
        wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = wire.body(head);
        wire.try_send(ok(&body))
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send("PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap(), "HTTP/1.1 100 Continue\r\n");
    client.send("abc");
    let (head, body) = client.response();
    assert_eq!((status(&head), body.as_str()), (200, "abc"));
    assert_eq!(
        client
            .ask("PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx")
            .0,
        "HTTP/1.1 100 Continue\r\n"
    );
    assert_eq!(client.response().1, "x");
}

/// A response that comes before the body was sent reaches a client that is still sending.
#[test]
fn early_response() {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge");
        thread::sleep(Duration::from_millis(300));
        false
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 100000000\r\n\r\n");
    client.send("a".repeat(100_000));
    let (head, body) = client.response();
    assert_eq!((status(&head), body.as_str(), field(&head, "connection")), (413, "large", Some("close")));
    assert!(client.is_closed());
}

/// A WebSocket is a tunnel after 101: bytes both ways, also those that came with the heads, until one side ends it.
#[test]
fn websocket() {
    let origin = Origin::start(|head, wire| {
        assert_eq!((field(head, "connection"), field(head, "upgrade")), (Some("upgrade"), Some("websocket")));
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi");
        let text = wire.exactly(5);
        wire.send(text.to_uppercase());
        let rest = wire.rest();
        wire.send(rest.repeat(2));
        false
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    );
    let head = client.head().unwrap();
    assert_eq!((status(&head), field(&head, "upgrade")), (101, Some("websocket")));
    assert_eq!(client.exactly(7), "hiHELLO");
    client.send("bye");
    client.close_write();
    assert_eq!(client.rest(), "byebye");
    let line = &gateway.log(1)[0];
    assert_eq!((&line["status"], &line["bytes_out"]), (&101.into(), &(head.len() + 2 + 13).into()));
}

/// A body without length ends with the connection, on both sides.
#[test]
fn close_delimited() {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\n\r\nabc");
        false
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(GET);
    let answer = client.rest();
    assert!(
        answer.contains("connection: close") && answer.contains("x-added: 1") && answer.ends_with("abc"),
        "{answer}"
    );
}
