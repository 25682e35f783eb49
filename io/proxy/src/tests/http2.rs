//! HTTP/2 over loopback: clients and origins built on the machine of `tidegate-http2`, and HTTP/1 on the other side.

mod downgrade;
mod floods;
mod life;
mod peer;
mod sessions;
mod tunnels;
mod upstream;

use std::sync::Arc;

use tidegate_model::traffic::{Backend, BackendProtocol};

use super::harness::*;
pub use peer::{Http2Origin, Peer};

/// A backend that is spoken to in HTTP/2.
pub fn http2_backend(origin: &Http2Origin) -> Arc<Backend> {
    let backend = backend("web", &[origin.address]);
    Arc::new(Backend { protocol: BackendProtocol::Http2, ..(*backend).clone() })
}

/// Requests and bodies pass both ways, many at once on one connection, and the log says HTTP/2.
#[test]
fn many_requests_on_one_connection() {
    let origin = Origin::start(|head, wire| {
        let body = wire.body(head);
        let path = head.split(' ').nth(1).unwrap().to_owned();
        wire.try_send(ok(&format!("{path} {}", body.len())))
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let ids: Vec<_> = (0..90).map(|at| (at, client.ask("GET", &format!("/{at}"), &[], None))).collect();
    for (at, id) in ids {
        let response = client.response(id);
        assert_eq!((response.status(), response.text()), (200, format!("/{at} 0")));
        assert_eq!(response.line("x-added"), Some("1"));
    }
    let id = client.ask("POST", "/p?q=1", &[("content-length", "5")], Some(b"hello".to_vec()));
    assert_eq!(client.response(id).text(), "/p?q=1 5");
    let head = origin.last_head();
    assert_eq!(
        (field(&head, "host"), field(&head, "content-length")),
        (Some("shop.example"), Some("5")),
        "{head}"
    );
    assert_eq!(field(&head, "x-forwarded-proto"), Some("http"));
    let log = gateway.log(91);
    assert!(log.iter().all(|line| line["protocol"] == "HTTP/2" && line["status"] == 200));
    assert!(log.iter().any(|line| line["path"] == "/p" && line["bytes_in"].as_u64() > Some(5)));
    assert_eq!(gateway.proxy.connections(), 1);
}

/// A body without a length becomes chunks, and its trailers follow them; trailers of the answer come back, and none that
/// would change how a message is read.
#[test]
fn chunks_and_trailers() {
    let origin = Origin::start(|head, wire| {
        let body = wire.body(head);
        assert!(body.ends_with("0\r\nx-sum: 7\r\n"), "{body}");
        wire.try_send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n5\r\nhello\r\n0\r\nx-end: yes\r\ncontent-length: 3\r\n\r\n",
        )
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let id = client.open("POST", "/", &[], false);
    client.send(id, "data", false);
    client.send_trailers(id, &[("x-sum", "7"), ("authorization", "no")]);
    let response = client.response(id);
    assert_eq!(response.text(), "hello");
    assert_eq!(response.trailers, [("x-end".to_string(), "yes".to_string())]);
    assert_eq!(response.line("transfer-encoding"), None);
    assert_eq!(field(&origin.last_head(), "transfer-encoding"), Some("chunked"));
}

/// Large bodies come through whole in both directions at once, within the windows.
#[test]
fn large_bodies() {
    let body: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 % 251) as u8 & 0x7f).collect();
    let origin = Origin::start(|head, wire| {
        let body = wire.body(head);
        wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let length = body.len().to_string();
    let ids = [(); 3].map(|()| client.ask("POST", "/", &[("content-length", &length)], Some(body.clone())));
    for id in ids {
        assert!(client.response(id).body == body);
    }
}

/// HEAD, 204 and an interim response: no body where there must be none, and 1xx before the answer.
#[test]
fn answers_without_a_body() {
    let origin = Origin::start(|head, wire| {
        wire.body(head);
        wire.try_send(match head.split(' ').nth(1).unwrap() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            _ => "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        })
    });
    let gateway = Gateway::before(&origin);
    let mut client = Peer::connect(gateway.address);
    let id = client.ask("HEAD", "/head", &[], None);
    let head = client.response(id);
    assert_eq!((head.line("content-length"), head.body.len()), (Some("1000"), 0));
    let id = client.ask("GET", "/204", &[], None);
    assert_eq!(client.response(id).status(), 204);
    let id = client.ask("GET", "/", &[], None);
    assert_eq!(client.response(id).statuses, [103, 200]);
}
