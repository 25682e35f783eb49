//! How connections and streams begin, rest and end.

use std::time::Duration;

use super::*;
use crate::Limits;
use tidegate_http2::ErrorCode;
use tidegate_model::traffic::{ClientPolicy, ClientTimeouts};

/// Draining says GOAWAY and loses nothing: what is under way is answered, and then the connection closes.
#[test]
fn draining_loses_nothing() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        std::thread::sleep(Duration::from_millis(500));
        wire.try_send(ok("late"))
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let mut idle = Peer::connect(gateway.address);
    let first = idle.ask("GET", "/", &[], None);
    assert_eq!(idle.response(first).text(), "late");
    let ids = [(); 10].map(|()| client.ask("GET", "/", &[], None));
    client.turn();
    until("the requests have arrived", || origin.requests() >= 11);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| runtime.block_on(gateway.proxy.drain(Duration::from_secs(8))));
        for id in ids {
            assert_eq!(client.response(id).text(), "late");
        }
        client.until_closed();
        idle.until_closed();
        assert_eq!(drained.join().unwrap(), 0);
    });
    for peer in [client, idle] {
        assert_eq!(peer.goaway.map(|(_, code)| code), Some(ErrorCode::NO_ERROR));
    }
}

/// A connection that rests too long is closed with GOAWAY.
#[test]
fn idle_connections_close() {
    let origin = Origin::text("fine");
    let limits = Limits { keep_alive: Duration::from_millis(300), ..Limits::default() };
    let gateway = Gateway::with_limits(&[(1, &backend("web", &[origin.address]))], limits);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(id).text(), "fine");
    client.until_closed();
    assert_eq!(client.goaway.map(|(_, code)| code), Some(ErrorCode::NO_ERROR));
    until("its place is free", || gateway.proxy.connections() == 0);
    gateway.counts("tidegate_http_slow_ends_total{kind=\"idle\"}", 1);
}

/// A gateway before an origin that answers `/slow` after a while, whose listener has a policy.
fn with_timeouts(timeouts: ClientTimeouts, slow: Duration) -> Gateway {
    let origin = Origin::start(move |head, wire| {
        wire.body(head);
        if head.starts_with("GET /slow") {
            std::thread::sleep(slow);
        }
        wire.try_send(ok("fine"))
    });
    let web = backend("web", &[origin.address]);
    let gateway = Gateway::start(&[(1, &web)]);
    let mut traffic = (*traffic(&[gateway.address], &[(1, &web)])).clone();
    Arc::make_mut(&mut traffic.entrances[0]).client =
        Arc::new(ClientPolicy { timeouts, ..ClientPolicy::default() });
    gateway.apply(Arc::new(traffic));
    gateway
}

/// A connection that has lived as long as it may says GOAWAY, ends what is under way in good order, and closes.
#[test]
fn connections_age() {
    let connection_max = Some(Duration::from_millis(400));
    let timeouts = ClientTimeouts { connection_max, ..ClientTimeouts::default() };
    let gateway = with_timeouts(timeouts, Duration::from_millis(1500));
    let (mut busy, mut idle) = (Peer::connect(gateway.address), Peer::connect(gateway.address));
    let id = idle.ask("GET", "/", &[], None);
    assert_eq!(idle.response(id).text(), "fine");
    let id = busy.ask("GET", "/slow", &[], None);
    busy.until("it is told to go", |peer| peer.goaway.is_some());
    assert!(!busy.messages[&id].ended, "while its request is under way");
    assert_eq!(busy.response(id).text(), "fine");
    for mut peer in [busy, idle] {
        peer.until_closed();
        assert_eq!(peer.goaway.map(|(_, code)| code), Some(ErrorCode::NO_ERROR));
    }
    assert_eq!(gateway.metric("tidegate_http_slow_ends_total"), 0);
}

/// A header block that is never ended ends its connection in the time for heads, though another stream is under way, whether
/// its frame is not whole or its last frame never comes; what takes its time within that does not.
#[test]
fn endless_heads() {
    let timeouts = ClientTimeouts { head: Some(Duration::from_millis(500)), ..ClientTimeouts::default() };
    let gateway = with_timeouts(timeouts, Duration::from_secs(4));
    // The first byte of a literal field, in a frame that says it is whole, ends, and is longer; in one that is whole and open.
    for (round, begun) in
        [&[0, 0, 9, 1, 5, 0, 0, 0, 3, 0][..], &[0, 0, 1, 1, 1, 0, 0, 0, 3, 0]].iter().enumerate()
    {
        let mut client = Peer::connect(gateway.address);
        let slow = client.ask("GET", "/slow", &[], None);
        client.until("settings", |peer| peer.machine.has_peer_settings());
        assert_eq!(slow.number(), 1);
        client.raw(begun);
        client.until_closed();
        assert_eq!(client.goaway.map(|(_, code)| code), Some(ErrorCode::ENHANCE_YOUR_CALM), "{round}");
        gateway.counts("tidegate_http_slow_ends_total{kind=\"head\"}", round as u64 + 1);
    }
    let mut client = Peer::connect(gateway.address);
    let open = client.open("POST", "/", &[], false);
    client.until("settings", |peer| peer.machine.has_peer_settings());
    assert_eq!(open.number(), 1);
    // Trailers, `x: a`, in two frames.
    client.raw(&[0, 0, 2, 1, 1, 0, 0, 0, 1, 0, 1]);
    std::thread::sleep(Duration::from_millis(100));
    client.raw(&[0, 0, 3, 9, 4, 0, 0, 0, 1, b'x', 1, b'a']);
    assert_eq!(client.response(open).text(), "fine");
    assert!(client.goaway.is_none());
}

/// A request that the client resets is cancelled at the origin, and the connection goes on.
#[test]
fn cancellation_reaches_the_origin() {
    let origin = Origin::start(|head, wire| {
        if head.starts_with("GET /wait") {
            return !wire.is_closed();
        }
        wire.try_send(ok("fine"))
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("GET", "/wait", &[], None);
    client.turn();
    until("the origin has the request", || origin.requests() == 1);
    client.machine.reset(id, ErrorCode::CANCEL);
    client.turn();
    let next = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(next).text(), "fine");
    let log = gateway.log(2);
    assert!(log.iter().any(|line| line["status"] == 499 && line["reason"] == "ClientGone"), "{log:?}");
}

/// Answers leave although other streams of either connection are under way, which might have more for the same write and
/// never do.
#[test]
fn an_answer_waits_for_nobody() {
    let origin = Http2Origin::start(|peer, id, _| {
        if peer.messages.get(&id).is_some_and(|message| message.ended && message.path != "/never") {
            peer.respond(id, 200, &[], false);
            peer.send(id, "fine", true);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    let silent = [(); 3].map(|()| client.ask("GET", "/never", &[], None));
    for _ in 0..20 {
        let id = client.ask("GET", "/", &[], None);
        assert_eq!(client.response(id).text(), "fine");
    }
    assert!(silent.iter().all(|id| client.messages[id].statuses.is_empty() && !client.messages[id].ended));
}

/// An answer before the request's end ends the stream in both directions without an error.
#[test]
fn an_early_answer() {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        false
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let id = client.open("POST", "/", &[], false);
    client.send(id, "begin", false);
    client.until("the answer", |peer| peer.messages[&id].reset.is_some() || peer.messages[&id].ended);
    let answer = client.messages[&id].clone();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no"));
    let next = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(next).status(), 413);
}

/// WebSocket over HTTP/2: the origin sees HTTP/1's handshake with a key, the client 200, and bytes pass both ways.
#[test]
fn websocket() {
    let origin = Origin::start(|head, wire| {
        assert_eq!(field(head, "sec-websocket-key").map(str::len), Some(24), "{head}");
        assert_eq!((field(head, "upgrade"), field(head, "connection")), (Some("websocket"), Some("upgrade")));
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhi ");
        let heard = wire.exactly(5);
        wire.send(format!("you said {heard}"));
        false
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    client.until("settings", |peer| peer.machine.peer_settings().extended_connect);
    let id = client.open(
        "CONNECT",
        "/chat",
        &[(":protocol", "websocket"), ("sec-websocket-version", "13")],
        false,
    );
    client.until("the tunnel", |peer| peer.messages[&id].body == b"hi ");
    assert_eq!(client.messages[&id].statuses, [200]);
    assert_eq!(client.messages[&id].line("sec-websocket-accept"), None);
    client.send(id, "hello", false);
    client.until("the echo", |peer| peer.messages[&id].text() == "hi you said hello");
    client.send(id, "", true);
    client.response(id);
}

/// HTTP/1 is not disturbed: a preface on a connection that has asked before is no HTTP/2, and TLS-less HTTP/1 goes on.
#[test]
fn http1_beside_it() {
    let origin = Origin::text("fine");
    let gateway = Gateway::before(&origin);
    let mut wire = gateway.client();
    assert_eq!(wire.ask(GET).1, "fine");
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(status(&wire.head().unwrap()), 505);
}

/// A HEAD that is no request is told so without content (RFC 9110 section 9.3.2).
#[test]
fn malformed_heads_get_no_content() {
    let gateway = Gateway::before(&Origin::text("a"));
    let mut client = Peer::connect(gateway.address);
    for (method, has_content) in [("GET", true), ("HEAD", false)] {
        let id = client.ask(method, "/a%2fb", &[], None);
        let response = client.response(id);
        assert_eq!((response.status(), response.ended, response.reset), (400, true, None), "{method}");
        assert_eq!(!response.body.is_empty(), has_content, "{method}");
    }
}

/// A request whose stream is reset for what came on it is told once, by itself.
#[test]
fn broken_streams_are_told_once() {
    let origin =
        Origin::start(
            |head, wire| if head.starts_with("GET") { wire.try_send(ok("a")) } else { !wire.is_closed() },
        );
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let open = client.open("POST", "/", &[], false);
    client.turn();
    until("it is under way", || origin.requests() == 1);
    // Trailers with a name in upper case.
    client.raw(&[0, 0, 5, 1, 5, 0, 0, 0, open.number() as u8, 0, 1, b'X', 1, b'a']);
    client.until("it is reset", |peer| peer.messages[&open].reset.is_some());
    let id = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(id).text(), "a");
    let log = gateway.log(2);
    let reasons: Vec<_> = log.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["ClientGone", ""]);
}
