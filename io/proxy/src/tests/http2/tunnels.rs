//! WebSocket to origins that speak HTTP/2 (RFC 8441), from clients of either version.

use super::*;
use tidegate_http2::Limits;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn handshake(more: &str) -> String {
    format!(
        "GET /chat?room=1 HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// Opens every tunnel, says back what it hears, and ends with its client.
fn echo() -> Http2Origin {
    Http2Origin::start(|peer, id, is_new| {
        if is_new {
            peer.respond(id, 200, &[("sec-websocket-protocol", "chat")], false);
        }
        let Some(message) = peer.messages.get_mut(&id) else { return };
        let (said, ended) = (std::mem::take(&mut message.body), message.ended);
        if !said.is_empty() || ended {
            peer.send(id, said, ended);
        }
    })
}

fn asked(origin: &Http2Origin) -> peer::Message {
    until("the origin has seen the end", || !origin.requests.lock().unwrap().is_empty());
    origin.requests.lock().unwrap()[0].clone()
}

/// An upgrade of HTTP/1 becomes an extended CONNECT: no key goes there, its answer comes from here, bytes pass both ways, and
/// each side's end is the other's.
#[test]
fn from_http1() {
    let origin = echo();
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut wire = gateway.client();
    wire.send(handshake(&format!("Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: chat\r\n")) + "first ");
    let head = wire.head().unwrap();
    assert_eq!((status(&head), field(&head, "upgrade")), (101, Some("websocket")), "{head}");
    assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(
        (field(&head, "connection"), field(&head, "sec-websocket-protocol")),
        (Some("upgrade"), Some("chat"))
    );
    assert_eq!(wire.exactly(6), "first ");
    wire.send("second");
    assert_eq!(wire.exactly(6), "second");
    wire.close_write();
    assert_eq!(wire.rest(), "");
    let message = asked(&origin);
    let pseudo = [&message.method, &message.protocol, &message.path, &message.authority];
    assert_eq!(pseudo, ["CONNECT", "websocket", "/chat?room=1", "shop.example"]);
    assert_eq!(
        (message.line("sec-websocket-version"), message.line("sec-websocket-protocol")),
        (Some("13"), Some("chat"))
    );
    for ends_here in ["sec-websocket-key", "upgrade", "connection", "te", "content-length"] {
        assert_eq!(message.line(ends_here), None, "{ends_here}");
    }
    assert_eq!(gateway.log(1)[0]["status"], 101);
}

/// An extended CONNECT stays one.
#[test]
fn from_http2() {
    let origin = echo();
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut client = Peer::connect(gateway.address);
    client.until("settings", |peer| peer.machine.peer_settings().extended_connect);
    let id = client.open(
        "CONNECT",
        "/chat",
        &[(":protocol", "websocket"), ("sec-websocket-version", "13")],
        false,
    );
    client.send(id, "hello", false);
    client.until("the echo", |peer| peer.messages[&id].body == b"hello");
    let lines = client.messages[&id].clone();
    assert_eq!((lines.status(), lines.line("sec-websocket-protocol")), (200, Some("chat")));
    assert_eq!((lines.line("upgrade"), lines.line("sec-websocket-accept")), (None, None));
    client.send(id, "", true);
    assert!(client.response(id).ended);
    assert_eq!((asked(&origin).method.as_str(), asked(&origin).protocol.as_str()), ("CONNECT", "websocket"));
}

/// An HTTP/1 origin that answers a client of HTTP/2 with a page instead of switching has not opened a tunnel: a 200 would say
/// so, so it is 502. What refuses goes on as it is.
#[test]
fn pages_are_no_tunnels() {
    let origin = Origin::start(|head, wire| {
        let status = if head.starts_with("GET /forbidden") { "403 Forbidden" } else { "200 OK" };
        wire.try_send(format!("HTTP/1.1 {status}\r\nContent-Length: 6\r\n\r\n<html>"))
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    client.until("settings", |peer| peer.machine.peer_settings().extended_connect);
    for (path, expected) in [("/chat", 502), ("/forbidden", 403)] {
        let asks = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
        let id = client.open("CONNECT", path, &asks, false);
        assert_eq!(client.response(id).status(), expected, "{path}");
    }
}

/// What HTTP/1 would turn away is turned away here, too: expectations nobody knows, and schemes that are not HTTP's. TLS may
/// have ended before the gateway.
#[test]
fn expectations_and_schemes() {
    let origin = Origin::text("a");
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    for (line, expected) in [
        (("expect", "x"), 417),
        (("expect", "100-continue"), 200),
        ((":scheme", "ftp"), 400),
        ((":scheme", "https"), 200),
    ] {
        let id = client.ask("GET", "/", &[line], None);
        assert_eq!(client.response(id).status(), expected, "{line:?}");
    }
}

/// What the origin says instead of opening the tunnel reaches the client.
#[test]
fn tunnels_refused() {
    let origin = Http2Origin::start(|peer, id, is_new| {
        if is_new {
            peer.respond(id, 403, &[], false);
            peer.send(id, "no", true);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut wire = gateway.client();
    wire.send(handshake(&format!("Sec-WebSocket-Key: {KEY}\r\n")));
    let head = wire.head().unwrap();
    assert_eq!((status(&head), field(&head, "upgrade")), (403, None), "{head}");
}

/// An origin that did not announce extended CONNECT is not asked: 502, and the log says why. A handshake without a proper key
/// is the client's mistake. Other protocols are not asked for over HTTP/2: the request is answered as any other.
#[test]
fn tunnels_that_cannot_be() {
    let limits = Limits { extended_connect: false, ..Limits::default() };
    let origin = Http2Origin::with_limits(limits, |peer, id, _| {
        if peer.messages.get(&id).is_some_and(|message| message.ended) {
            peer.respond(id, 200, &[], false);
            peer.send(id, "plain", true);
        }
    });
    let gateway = Gateway::start(&[(1, &http2_backend(&origin))]);
    let mut wire = gateway.client();
    let (head, _) = wire.ask(&handshake(&format!("Sec-WebSocket-Key: {KEY}\r\n")));
    assert_eq!(status(&head), 502, "{head}");
    let (head, _) = gateway.client().ask(&handshake("Sec-WebSocket-Key: short\r\n"));
    assert_eq!(status(&head), 400, "{head}");
    let upgrade = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
    let (head, body) = gateway.client().ask(upgrade);
    assert_eq!((status(&head), body.as_str()), (200, "5\r\nplain\r\n0\r\n"), "{head}");
    let mut reasons: Vec<_> =
        gateway.log(3).iter().map(|line| line["reason"].as_str().unwrap_or("").to_owned()).collect();
    reasons.sort();
    assert_eq!(reasons, ["", "BadWebSocketKey", "UpstreamNoExtendedConnect"]);
}
