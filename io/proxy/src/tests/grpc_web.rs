//! gRPC-Web from clients of either version, gRPC towards the origin.

use tidegate_coding::grpc_web::{TextDecoder, TextEncoder};
use tidegate_model::traffic::*;

use super::harness::*;
use super::http2::{Http2Origin, Peer, http2_backend};

/// Answers a call with its own messages; the path says which trailers follow.
fn origin() -> Http2Origin {
    Http2Origin::start(|peer, id, _| {
        let Some(message) = peer.messages.get(&id).filter(|message| message.ended).cloned() else { return };
        let seen = message.line("content-type").unwrap_or_default().to_owned();
        match message.path.as_str() {
            "/a/Only" => {
                let lines = [("content-type", "application/grpc"), ("grpc-status", "5")];
                peer.respond(id, 200, &lines, true);
            }
            "/a/Html" => {
                peer.respond(id, 502, &[("content-type", "text/html")], false);
                peer.send(id, "sorry", true);
            }
            _ => {
                peer.respond(id, 200, &[("content-type", "application/grpc"), ("x-seen", &seen)], false);
                peer.send(id, message.body, false);
                peer.send_trailers(id, &[("grpc-status", "0"), ("grpc-message", "fine")]);
            }
        }
    })
}

fn gateway(origin: &Http2Origin) -> Gateway {
    super::bodies::gateway(&http2_backend(origin), ResponsePolicy::default())
}

const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";
const TRAILERS: &[u8] = b"\x80\0\0\0\x24grpc-status: 0\r\ngrpc-message: fine\r\n";

fn encoded(bytes: &[u8]) -> Vec<u8> {
    let (mut encoder, mut out) = (TextEncoder::default(), Vec::new());
    encoder.push(bytes, &mut out);
    encoder.pause(&mut out);
    out
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    let kept = TextDecoder::default().decode(&mut bytes).unwrap();
    bytes.truncate(kept);
    bytes
}

/// A call comes back as its messages and a frame of trailers, in the content type that was asked for.
#[test]
fn binary_over_http2() {
    let origin = origin();
    let gateway = gateway(&origin);
    let mut client = Peer::connect(gateway.address);
    for (asked, seen) in [
        ("application/grpc-web", "application/grpc"),
        ("application/grpc-web+proto", "application/grpc+proto"),
    ] {
        let id = client.ask("POST", "/a/C", &[("content-type", asked)], Some(MESSAGE.to_vec()));
        let response = client.response(id);
        assert_eq!((response.status(), response.line("content-type")), (200, Some(asked)));
        assert_eq!(response.line("x-seen"), Some(seen));
        assert_eq!(response.body, [MESSAGE, TRAILERS].concat());
        assert!(response.trailers.is_empty());
    }
}

/// In text mode both directions are base64, padded where their senders paused.
#[test]
fn text_over_both_versions() {
    let origin = origin();
    let gateway = gateway(&origin);
    let lines = [("content-type", "application/grpc-web-text"), ("accept", "application/grpc-web-text")];
    let mut client = Peer::connect(gateway.address);
    // Two texts, each with its own padding.
    let body = [encoded(&MESSAGE[..4]), encoded(&MESSAGE[4..])].concat();
    let id = client.ask("POST", "/a/C", &lines, Some(body.clone()));
    let response = client.response(id);
    assert_eq!(response.line("content-type"), Some("application/grpc-web-text"));
    assert_eq!(decoded(&response.body), [MESSAGE, TRAILERS].concat());

    let mut wire = gateway.client();
    for _ in 0..2 {
        wire.send(format!(
            "POST /a/C HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/grpc-web-text\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        wire.send(&body);
        let head = wire.head().unwrap();
        assert_eq!(field(&head, "content-type"), Some("application/grpc-web-text"), "{head}");
        let mut text = Vec::new();
        while let Some(chunk) = wire.raw_chunk() {
            text.extend(chunk);
        }
        assert_eq!(decoded(&text), [MESSAGE, TRAILERS].concat());
    }
}

/// An answer that is only trailers stays in its head, with a length that HTTP/1 needs; what is no gRPC passes as it is.
#[test]
fn other_answers() {
    let origin = origin();
    let gateway = gateway(&origin);
    let mut wire = gateway.client();
    let call = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/grpc-web\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let (head, body) = wire.ask(&call("/a/Only"));
    assert_eq!(
        (field(&head, "grpc-status"), field(&head, "content-length"), body.as_str()),
        (Some("5"), Some("0"), "")
    );
    assert_eq!(field(&head, "content-type"), Some("application/grpc-web"), "{head}");
    let (head, body) = wire.ask(&call("/a/Html"));
    assert_eq!((status(&head), field(&head, "content-type")), (502, Some("text/html")), "{head}");
    assert!(body.contains("sorry"), "{body}");
    // The gateway's own answer is one that a client of gRPC-Web understands.
    let (head, _) = wire.ask(&call("/nowhere"));
    assert_eq!((status(&head), field(&head, "grpc-status")), (200, Some("12")), "{head}");
    assert_eq!(field(&head, "content-type"), Some("application/grpc-web"), "{head}");
}

/// A text that is no base64 is refused, also where it ends too early.
#[test]
fn bad_texts() {
    let origin = origin();
    let gateway = gateway(&origin);
    for body in ["AAAA!AAA", "AAAAA"] {
        let (head, _) = gateway.client().ask(&format!(
            "POST /a/C HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/grpc-web-text\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!((status(&head), field(&head, "grpc-status")), (200, Some("13")), "{head}");
    }
    let log = gateway.log(2);
    assert!(log.iter().all(|line| line["reason"] == "BadText"), "{log:?}");
}

/// Towards a backend of HTTP/1 nothing is translated.
#[test]
fn not_for_http1_backends() {
    let origin = Origin::text("a");
    let gateway = super::bodies::gateway(&backend("web", &[origin.address]), ResponsePolicy::default());
    let (head, _) = gateway.client().ask(
        "POST /a HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/grpc-web-text\r\nContent-Length: 4\r\n\r\nAAAA",
    );
    assert_eq!(status(&head), 200);
    assert_eq!(field(&origin.last_head(), "content-type"), Some("application/grpc-web-text"));
}
