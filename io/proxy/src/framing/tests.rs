//! Tables of what is accepted and what is refused, smuggling vectors first; and parsers that never panic.

mod cost;
mod heads;
mod oracle;

use proptest::prelude::*;

use super::chunked::{ChunkScanner, Emit, may_pass};
use super::fields::Fields;
use super::request::{Pseudo, RequestHead, RequestReader};
use super::response::{ResponseHead, ResponseReader};
use super::{BodyLength, HEAD_BYTES_MAX, HEADER_LINES_MAX, Malformed};

/// As a connection does it, which has all bytes at once.
fn request(bytes: &[u8]) -> Result<Option<RequestHead>, Malformed> {
    RequestReader::new(Fields::default(), HEAD_BYTES_MAX, HEADER_LINES_MAX).advance(bytes)
}

fn get(lines: &str) -> Result<RequestHead, Malformed> {
    request(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
        .map(|head| head.expect("a whole head"))
}

fn first_line(line: &str) -> Result<RequestHead, Malformed> {
    request(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).map(|head| head.expect("a whole head"))
}

/// A list that comes with something in it is emptied: what is found in a head stands in no other.
#[test]
fn lists_begin_empty() {
    let full = || {
        let mut fields = Fields::default();
        fields.push(b"x-old", "\u{e9}".as_bytes());
        fields
    };
    let head = RequestReader::new(full(), HEAD_BYTES_MAX, HEADER_LINES_MAX)
        .advance(b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap()
        .unwrap();
    assert_eq!((head.method(), head.path(), head.query(), head.authority()), ("GET", "/a", Some("b"), "a"));
    assert_eq!(head.lines().collect::<Vec<_>>(), [("Host", &b"a"[..])]);
    let head = ResponseReader::new(full()).advance(b"HTTP/1.1 200 Fine\r\nA: b\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.status, head.phrase()), (200, "Fine"));
    assert_eq!(head.lines().collect::<Vec<_>>(), [("A", &b"b"[..])]);
    let pseudo = Pseudo {
        method: b"GET",
        authority: b"a",
        path: b"/",
        protocol: None,
        body: BodyLength::None,
        bytes: 0,
    };
    let head = RequestHead::from_http2(&pseudo, None, std::iter::empty(), full()).unwrap();
    assert_eq!((head.method(), head.path(), head.authority()), ("GET", "/", "a"));
    assert!(head.lines().all(|(name, _)| name != "x-old"));
    let pseudo = Pseudo { path: b"/\xff", ..pseudo };
    let fault = RequestHead::from_http2(&pseudo, None, std::iter::empty(), full()).unwrap_err();
    assert_eq!(fault.reason, "BadTarget", "over HTTP/2, nothing is said of HTTP/1");
}

/// Lines that two parsers could read differently are refused, each for its reason.
#[test]
fn header_lines_that_smuggle() {
    for (lines, reason) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "LengthAndCoding"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "LengthAndCoding"),
        ("Transfer-Encoding: x\r\nContent-Length: 0\r\n", "LengthAndCoding"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "BadContentLength"),
        ("Content-Length: 5\r\ncontent-length: 05 \r\nContent-Length: 6\r\n", "BadContentLength"),
        ("Content-Length: 5, 5\r\n", "BadContentLength"),
        ("Content-Length: +5\r\n", "BadContentLength"),
        ("Content-Length: -1\r\n", "BadContentLength"),
        ("Content-Length: 0x5\r\n", "BadContentLength"),
        ("Content-Length: 5 5\r\n", "BadContentLength"),
        ("Content-Length: 5;a\r\n", "BadContentLength"),
        ("Content-Length: 1e2\r\n", "BadContentLength"),
        ("Content-Length:\r\n", "BadContentLength"),
        ("Content-Length: 99999999999999999999\r\n", "BadContentLength"),
        ("Content-Length: \u{0661}\r\n", "BadContentLength"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: chunked, chunked\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: chunked, identity\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: gzip, chunked\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: identity\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: xchunked\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: chunked;q=1\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: \"chunked\"\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: ,chunked\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding:\r\n", "BadTransferEncoding"),
        ("Transfer-Encoding: chunked\u{b}\r\n", "BadHeader"),
        ("Transfer-Encoding : chunked\r\n", "BadHeader"),
        ("Transfer-Encoding\t: chunked\r\n", "BadHeader"),
        ("Transfer-Encoding\r\n", "BadHeader"),
        (" Transfer-Encoding: chunked\r\n", "BadHeader"),
        ("X: a\r\n Transfer-Encoding: chunked\r\n", "BadHeader"),
        ("X: a\r\n\tb\r\n", "BadHeader"),
        ("X: a\rTransfer-Encoding: chunked\r\n", "BadHeader"),
        ("X: a\nTransfer-Encoding: chunked\r\n", "BareLineFeed"),
        ("X: a\r\n\n", "BareLineFeed"),
        ("X: a\0b\r\n", "BadHeader"),
        ("X: a\u{c}b\r\n", "BadHeader"),
        ("X: a\u{7f}b\r\n", "BadHeader"),
        ("X\0: a\r\n", "BadHeader"),
        ("X(: a\r\n", "BadHeader"),
        ("X\u{e9}: a\r\n", "BadHeader"),
        (": a\r\n", "BadHeader"),
        ("transfer_encoding: chunked\r\n", "BadHeader"),
        ("Transfer_Encoding: x\r\n", "BadHeader"),
        ("content_length: 5\r\n", "BadHeader"),
        ("Host: a\r\n", "BadHost"),
        ("host: b\r\n", "BadHost"),
        ("Expect: 200-ok\r\n", "BadExpectation"),
        ("Expect: x 100-continue\r\n", "BadExpectation"),
        (&format!("Connection: {}\r\n", "a,".repeat(33)), "BadConnection"),
        (&"X: a\r\n".repeat(HEADER_LINES_MAX), "HeadTooLarge"),
        (&format!("X: {}\r\n", "a".repeat(HEAD_BYTES_MAX)), "HeadTooLarge"),
    ] {
        assert_eq!(get(lines).map(|_| ()).map_err(|error| error.reason), Err(reason), "{lines:?}");
    }
}

/// Hosts that are missing, doubled, or no hosts are refused; HTTP/1.0 alone may name none.
#[test]
fn hosts() {
    for (head, reason) in [
        ("GET / HTTP/1.1\r\n\r\n", "BadHost"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "BadHost"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "BadHost"),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "BadHost"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "BadHost"),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "BadHost"),
        ("GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "BadHost"),
        ("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", "BadHost"),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "BadHost"),
    ] {
        assert_eq!(
            request(head.as_bytes()).map(|_| ()).map_err(|error| error.reason),
            Err(reason),
            "{head:?}"
        );
    }
    let old = request(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert_eq!((old.authority(), old.http_1_0, old.persistent), ("", true, false));
    let absolute = request(b"GET http://b:8080?q HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
    assert_eq!((absolute.authority(), absolute.path(), absolute.query()), ("b:8080", "/", Some("q")));
}

/// Request lines that are none, or not for us, are refused with the status that says so.
#[test]
fn request_lines() {
    for (line, status) in [
        ("GET / HTTP/1.1", 200),
        ("OPTIONS * HTTP/1.1", 200),
        ("get / HTTP/1.1", 200),
        ("GET * HTTP/1.1", 400),
        ("CONNECT a:443 HTTP/1.1", 501),
        ("CONNECT / HTTP/1.1", 501),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/1.2", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.1 x", 400),
        ("G(T / HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /?a#b HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET https:/a/ HTTP/1.1", 400),
        ("GET httpss://a/ HTTP/1.1", 400),
        ("GET ://a/ HTTP/1.1", 400),
        ("GET https://a/ HTTP/1.1", 200),
        ("GET HTTP://a/ HTTP/1.1", 200),
        ("GET /a%2fb HTTP/1.1", 400),
        ("GET /../a HTTP/1.1", 400),
        ("GET /a\\b HTTP/1.1", 400),
        ("GET /a%00 HTTP/1.1", 400),
        ("GET /\0 HTTP/1.1", 400),
    ] {
        assert_eq!(first_line(line).map_or_else(|error| error.status, |_| 200), status, "{line:?}");
    }
}

/// What no URI may hold is escaped, in path and query; OPTIONS about a whole server asks for `*`.
#[test]
fn targets_that_are_rewritten() {
    for (line, authority, path, query) in [
        ("GET /a\"<b>?c\"<d>\\ HTTP/1.1", "a", "/a%22%3Cb%3E", Some("c%22%3Cd%3E%5C")),
        ("GET /é?é HTTP/1.1", "a", "/%C3%A9", Some("%C3%A9")),
        ("GET http://b?\" HTTP/1.1", "b", "/", Some("%22")),
        ("GET https://b:443/c HTTP/1.1", "b:443", "/c", None),
        ("OPTIONS http://b HTTP/1.1", "b", "*", None),
        ("OPTIONS http://b/ HTTP/1.1", "b", "/", None),
        ("OPTIONS http://b?c HTTP/1.1", "b", "/", Some("c")),
    ] {
        let head = first_line(line).unwrap();
        assert_eq!((head.authority(), head.path(), head.query()), (authority, path, query), "{line:?}");
    }
}

/// Trailers that would change how a message is read, where it goes, or who it is from do not pass, in any spelling.
#[test]
fn trailers_that_pass() {
    for name in
        ["x-sum", "Content-MD5", "etag", "grpc-status", "server-timing", "authentication-info", "iffy"]
    {
        assert!(may_pass(name.as_bytes()), "{name}");
    }
    for name in [
        "Content-Length",
        "transfer_encoding",
        "host",
        "te",
        "Trailer",
        "Set_Cookie",
        "x-forwarded-for",
        "x-request-id",
        "X_Request_Id",
        "traceparent",
        "tracestate",
        "Max-Forwards",
        "If-Match",
        "if_none_match",
        "if-range",
        "WWW-Authenticate",
        "content-location",
        "Connection",
        "http2-settings",
    ] {
        assert!(!may_pass(name.as_bytes()), "{name}");
    }
}

/// A chunk-size line that can become none is refused at once, not waited for.
#[test]
fn chunk_sizes_begun() {
    for (part, fine) in [
        ("3", true),
        ("3;a", true),
        ("3\r", true),
        ("123456789abcdef", true),
        ("123456789abcdef0", false),
        ("h", false),
        ("3 ", false),
        ("\r", false),
        (";", false),
    ] {
        assert_eq!(dechunk(part.as_bytes(), Emit::Chunks, 100).is_ok(), fine, "{part:?}");
    }
}

/// What a head says about body and connection is read as RFC 9112 has it.
#[test]
fn lengths_and_persistence() {
    let body = |lines: &str| get(lines).unwrap().body;
    assert_eq!(body(""), BodyLength::None);
    assert_eq!(body("Content-Length: 007\r\n"), BodyLength::Length(7));
    assert_eq!(body("Content-Length: 5\r\nContent-Length: 5\r\n"), BodyLength::Length(5));
    assert_eq!(body("Transfer-Encoding: CHUNKED\r\n"), BodyLength::Chunked);
    let old = request(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old.unwrap_err(), Malformed::CODING);
    assert!(get("").unwrap().persistent);
    assert!(!get("Connection: x, Close\r\n").unwrap().persistent);
    let old = |lines: &str| request(format!("GET / HTTP/1.0\r\n{lines}\r\n").as_bytes()).unwrap().unwrap();
    assert!(old("Connection: keep-alive\r\n").persistent && !old("").persistent);
}

/// A protocol is offered upstream only if it is asked for properly, and never h2c.
#[test]
fn upgrades() {
    let upgrade = |lines: &str| get(lines).unwrap().upgrade().map(<[u8]>::to_vec);
    assert_eq!(
        upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n").as_deref(),
        Some(&b"websocket"[..])
    );
    for lines in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket, H2C\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: a\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
    ] {
        assert_eq!(upgrade(lines), None, "{lines:?}");
    }
}

fn response(text: &str, to_head: bool) -> Result<(u16, BodyLength, bool), Malformed> {
    let head = ResponseHead::parse(text.as_bytes(), to_head)?;
    Ok((head.status, head.body, head.is_persistent()))
}

/// How long a response is follows from status, request and framing; ambiguous ones are refused.
#[test]
fn responses() {
    use BodyLength::{Chunked, Length, None, UntilClose};
    for (text, to_head, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, Some((200, Length(3), true))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, Some((200, None, true))),
        ("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", false, Some((200, Chunked, true))),
        ("HTTP/1.1 200 OK\r\n\r\n", false, Some((200, UntilClose, false))),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            false,
            Some((200, Length(0), false)),
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", false, Some((200, Length(3), false))),
        ("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n", false, Some((204, None, false))),
        ("HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", false, Some((304, None, true))),
        ("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", false, Some((204, None, true))),
        ("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", false, Some((204, None, false))),
        ("HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", false, Some((304, None, true))),
        ("HTTP/1.1 100 Continue\r\n\r\n", false, Some((100, None, true))),
        ("HTTP/1.1 103 Hints\r\nContent-Length: 3\r\n\r\n", false, Some((103, None, false))),
        ("HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n", false, Some((103, None, false))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", false, Option::None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true, Option::None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", false, Option::None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, Option::None),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, Option::None),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", false, Option::None),
        ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", false, Option::None),
        ("HTTP/1.1 099 OK\r\n\r\n", false, Option::None),
        ("HTTP/2 200 OK\r\n\r\n", false, Option::None),
        ("220 smtp ready\r\n\r\n", false, Option::None),
    ] {
        assert_eq!(response(text, to_head).ok(), expected, "{text:?}");
    }
}

/// What is passed on of a body, and what is left behind it; nothing if the body is not over.
type Dechunked = Option<(Vec<u8>, Vec<u8>)>;

/// What a chunked body comes to, fed in pieces of `piece` bytes.
fn dechunk(bytes: &[u8], emit: Emit, piece: usize) -> Result<Dechunked, Malformed> {
    let mut scanner = ChunkScanner::new(emit);
    let (mut pending, mut out) = (Vec::new(), Vec::new());
    for part in bytes.chunks(piece) {
        pending.extend_from_slice(part);
        let step = scanner.scan(&mut pending)?;
        assert!(step.kept <= step.consumed && step.consumed <= pending.len());
        out.extend_from_slice(&pending[..step.kept]);
        pending.drain(..step.consumed);
    }
    out.extend_from_slice(scanner.tail());
    Ok(scanner.is_done().then_some((out, pending)))
}

/// Chunks pass unchanged, extensions and unsafe trailers do not, and what follows the body is left alone.
#[test]
fn chunked_bodies() {
    for (bytes, chunks, content) in [
        ("0\r\n\r\n", "0\r\n\r\n", ""),
        ("3\r\nabc\r\n0\r\n\r\nGET", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        (
            "003\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\n",
            "003\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "abc0123456789",
        ),
        ("3;x=\"y\"\r\nabc\r\n0;z\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        (
            "1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\ncontent_length: 9\r\nHost: b\r\nX-Forwarded-For: c\r\n\r\n",
            "1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n",
            "a",
        ),
    ] {
        for piece in [1, 2, 3, 7, 1000] {
            let whole = |emit| dechunk(bytes.as_bytes(), emit, piece).unwrap().unwrap();
            assert_eq!(String::from_utf8(whole(Emit::Chunks).0).unwrap(), chunks, "{bytes:?} by {piece}");
            assert_eq!(String::from_utf8(whole(Emit::Content).0).unwrap(), content, "{bytes:?} by {piece}");
            let left = if bytes.ends_with("GET") { "GET" } else { "" };
            assert_eq!(whole(Emit::Chunks).1, left.as_bytes());
        }
    }
}

/// Chunk framing that two parsers could read differently is refused, however it arrives.
#[test]
fn chunks_that_smuggle() {
    for bytes in [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc0\r\n\r\n",
        "0\r\nX: a\n\r\n",
        "0\r\n\n",
        "0\r\nX: a\rb\r\n\r\n",
        "3;a\nb\r\nabc\r\n",
        "3;a\rb\r\nabc\r\n",
        "3;a\0\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3 ;a\r\nabc\r\n",
        "+3\r\nabc\r\n",
        "-3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        "3,\r\nabc\r\n",
        "\r\n",
        ";a\r\n",
        "g\r\n",
        "1000000000000000\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\n: a\r\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        &format!("3;{}\r\nabc\r\n", "a".repeat(300)),
        &format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "a".repeat(250)).repeat(80)),
        &format!("0\r\n{}\r\n", "X: aaaaaaaaaa\r\n".repeat(1000)),
        &format!("0\r\nX: {}", "a".repeat(9000)),
    ] {
        for piece in [1, 5, 100_000] {
            assert_eq!(
                dechunk(bytes.as_bytes(), Emit::Chunks, piece),
                Err(Malformed::CHUNK),
                "{bytes:.40?} by {piece}"
            );
        }
    }
}

proptest! {
    /// No bytes make the chunk scanner panic, and how they are cut changes nothing.
    #[test]
    fn chunks_never_panic(
        parts in proptest::collection::vec(prop_oneof!["[0-9a-f]{1,2}\r\n", "\r\n", "[a;]{1,20}", "0\r\n", "X: a\r\n"], 0..12),
        piece in 1usize..9,
    ) {
        let bytes = parts.concat().into_bytes();
        let whole = dechunk(&bytes, Emit::Chunks, usize::MAX);
        let pieces = dechunk(&bytes, Emit::Chunks, piece);
        // An error may show earlier or later, but the verdict is one.
        prop_assert_eq!(pieces.is_err(), whole.is_err());
        if let (Ok(Some(pieces)), Ok(Some(whole))) = (pieces, whole) {
            prop_assert_eq!(pieces, whole);
        }
    }
}
