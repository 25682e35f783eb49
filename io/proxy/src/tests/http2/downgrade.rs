//! What HTTP/2 can say and HTTP/1 must not hear.

use super::*;
use tidegate_http2::ErrorCode;

/// A header block of literals, as any peer may write it.
fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    block
}

fn headers(stream: u32, end: bool, lines: &[(&str, &str)]) -> Vec<u8> {
    let block = block(lines);
    let mut frame = vec![0, (block.len() >> 8) as u8, block.len() as u8, 1, 4 | u8::from(end)];
    frame.extend(stream.to_be_bytes());
    frame.extend(block);
    frame
}

/// Whatever would become a line, a request or a length of its own in HTTP/1 never reaches the origin.
#[test]
fn nothing_is_smuggled() {
    let origin = Origin::text("fine");
    let gateway = Gateway::before(&origin);
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "shop.example"), (":path", "/")];
    let with = |name: &'static str, value: &'static str| {
        let mut lines = base.to_vec();
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some(line) => line.1 = value,
            None => lines.push((name, value)),
        }
        lines
    };
    let bad = [
        with("x", "a\r\nhost: evil"),
        with("x", "a\nb"),
        with("x", "a\0b"),
        with("x\r\ny", "1"),
        with("x y", "1"),
        with("X-Upper", "1"),
        with("transfer-encoding", "chunked"),
        with("connection", "close"),
        with("upgrade", "h2c"),
        with("te", "gzip"),
        with("host", "other.example"),
        with("content-length", "5"),
        with("content-length", "0, 0"),
        with("content_length", "0"),
        with(":path", "/ HTTP/1.1\r\nx: y"),
        with(":path", "/a b"),
        with(":path", "http://shop.example/"),
        with(":path", "/a/%2e%2e/%2e%2e/x"),
        with(":authority", "a@shop.example"),
        with(":authority", "shop.example/x"),
        with(":method", "GET / HTTP/1.1\r\n"),
        with(":method", "CONNECT"),
    ];
    for lines in bad {
        let mut client = Peer::connect(gateway.address);
        client.turn();
        assert!(client.raw(&headers(1, true, &lines)));
        client.ask("GET", "/never", &[], None);
        let stream = client.messages.keys().copied().next().unwrap();
        client.until("an answer", |peer| {
            peer.closed || peer.messages[&stream].reset.is_some() || peer.messages[&stream].ended
        });
        let answer = &client.messages[&stream];
        assert!(answer.reset.is_some() || answer.status() >= 400, "{lines:?}: {answer:?}");
    }
    assert_eq!(origin.requests(), 0, "{:?}", origin.heads.lock().unwrap());
}

/// A body that is longer or shorter than its length is reset, and never looks whole to the origin.
#[test]
fn lengths_that_lie() {
    let (whole, told) = std::sync::mpsc::channel();
    let whole = std::sync::Mutex::new(whole);
    let origin = Origin::start(move |_, wire| {
        let mut byte = String::new();
        while byte.len() < 5 && !wire.is_closed() {
            byte.push('x');
        }
        let _ = whole.lock().unwrap().send(byte.len());
        false
    });
    let gateway = Gateway::before(&origin);
    for (length, body) in [("5", "four"), ("5", "sixsix")] {
        let mut client = Peer::connect(gateway.address);
        let id = client.ask("POST", "/", &[("content-length", length)], Some(body.into()));
        let response = client.response(id);
        assert!(
            matches!(response.reset.map(tidegate_http2::ResetBy::code), Some(ErrorCode::PROTOCOL_ERROR)),
            "{response:?}"
        );
    }
    while let Ok(bytes) = told.recv_timeout(std::time::Duration::from_millis(300)) {
        assert!(bytes < 5);
    }
}

/// Crumbs of a cookie are one line, and the authority stands for the host.
#[test]
fn what_is_put_together() {
    let origin = Origin::text("fine");
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let id =
        client.ask("GET", "/a/./b/../c?x=%2F", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")], None);
    assert_eq!(client.response(id).status(), 200);
    let head = origin.last_head();
    assert!(head.starts_with("GET /a/c?x=%2F HTTP/1.1\r\n"), "{head}");
    assert_eq!((field(&head, "cookie"), field(&head, "host")), (Some("a=1; b=2"), Some("shop.example")));
}

/// PRI begins the preface of HTTP/2 and is no method: an origin never hears it, from clients of either version.
#[test]
fn pri_is_no_method() {
    let origin = Origin::text("fine");
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("PRI", "/", &[], None);
    let answer = client.response(id);
    assert_eq!(
        answer.reset.map(tidegate_http2::ResetBy::code),
        Some(ErrorCode::PROTOCOL_ERROR),
        "{answer:?}"
    );
    let (head, _) = gateway.client().ask("PRI / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert_eq!(status(&head), 400);
    assert_eq!(origin.requests(), 0);
}
