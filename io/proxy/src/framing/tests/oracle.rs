//! The head parsers beside `httparse`: both accept the same heads, and read the same names and values in them; what is
//! refused is refused for the same reason. Random heads, and real ones with a few bytes changed.
//!
//! Ours is stricter where the test says so and nowhere else: a line feed without its return ends no line (RFC 9112 section
//! 2.2 leaves that open), and no empty line stands before a head (those before a request are skipped by the connection).

use httparse::{Error, Request, Response, Status};
use proptest::prelude::*;

use super::super::fields::Fields;
use super::super::lines::{FramingLines, Kind};
use super::super::request::{RequestHead, RequestReader};
use super::super::response::{ResponseHead, ResponseReader};
use super::super::{HEAD_BYTES_MAX, HEADER_LINES_MAX, Malformed};

/// Where a head ends, found line by line; stricter than `httparse`: a line feed alone is refused.
fn end_of(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let mut start = 0;
    for feed in (0..window.len()).filter(|&at| window[at] == b'\n') {
        match &window[start..feed] {
            [b'\r'] => return Ok(Some(feed + 1)),
            [.., b'\r'] => start = feed + 1,
            _ => return Err(Malformed::BARE_LF),
        }
    }
    if bytes.len() >= HEAD_BYTES_MAX { Err(Malformed::HEAD_TOO_LARGE) } else { Ok(None) }
}

type Lines = Vec<(String, Vec<u8>)>;

fn owned(headers: &[httparse::Header<'_>]) -> Lines {
    headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect()
}

fn lines_of(fields: &Fields) -> Lines {
    fields.lines().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

fn reason_of(error: Error) -> Malformed {
    match error {
        Error::TooManyHeaders => Malformed::HEAD_TOO_LARGE,
        Error::HeaderName | Error::HeaderValue => Malformed::HEADER,
        _ => Malformed::SYNTAX,
    }
}

/// A request as `httparse` reads it: method, target, version and lines.
fn reference_request(head: &[u8]) -> Result<(String, String, u8, Lines), Malformed> {
    if head == b"\r\n" {
        return Err(Malformed::SYNTAX);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(length)) => assert_eq!(length, head.len()),
        Ok(Status::Partial) => panic!("a head without an end"),
        Err(Error::Version) => {
            let line = head.split(|&byte| byte == b'\r').next().unwrap();
            let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
            let is_other = words.len() == 3 && words[2].starts_with(b"HTTP/");
            return Err(if is_other { Malformed::VERSION } else { Malformed::SYNTAX });
        }
        Err(error) => return Err(reason_of(error)),
    }
    let lines = owned(request.headers);
    Ok((request.method.unwrap().into(), request.path.unwrap().into(), request.version.unwrap(), lines))
}

/// What the lines of a request come to beyond their syntax, in their order.
fn flaw_of(lines: &Lines, version: u8) -> Option<Malformed> {
    let (mut framing, mut hosts) = (FramingLines::default(), 0);
    for (name, value) in lines {
        let kind = naive_kind(name);
        let flaw = match kind {
            Kind::Host => {
                hosts += 1;
                let host = std::str::from_utf8(value).ok();
                let is_host =
                    host.is_some_and(|host| tidegate_traffic::host::Authority::parse(host).is_some());
                (hosts > 1 || !is_host).then_some(Malformed::HOST)
            }
            Kind::Expect if version == 1 && !value.eq_ignore_ascii_case(b"100-continue") => {
                Some(Malformed::EXPECTATION)
            }
            Kind::FramingAlias => Some(Malformed::HEADER),
            kind => framing.line(kind, value).err(),
        };
        if flaw.is_some() {
            return flaw;
        }
    }
    let no_host = (hosts == 0 && version == 1).then_some(Malformed::HOST);
    framing.body(version == 0).err().or(no_host)
}

/// The kind of a name, by nothing but comparisons of whole names.
fn naive_kind(name: &str) -> Kind {
    const KNOWN: [(&str, Kind); 16] = [
        ("te", Kind::Te),
        ("host", Kind::Host),
        ("proxy", Kind::Hop),
        ("expect", Kind::Expect),
        ("upgrade", Kind::Upgrade),
        ("connection", Kind::Connection),
        ("keep-alive", Kind::Hop),
        ("tracestate", Kind::Trace),
        ("traceparent", Kind::Trace),
        ("content-length", Kind::Length),
        ("http2-settings", Kind::Hop),
        ("proxy-connection", Kind::Hop),
        ("transfer-encoding", Kind::Coding),
        ("proxy-authenticate", Kind::Hop),
        ("proxy-authorization", Kind::Hop),
        ("x-request-id", Kind::RequestId),
    ];
    let known = KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    match name.to_ascii_lowercase().replace('_', "-").as_str() {
        _ if known.is_some() => known.unwrap().1,
        "content-length" | "transfer-encoding" => Kind::FramingAlias,
        "x-request-id" => Kind::RequestId,
        dashed if CLAIMS.contains(&dashed) => Kind::Claim,
        _ => Kind::Plain,
    }
}

const CLAIMS: [&str; 22] = [
    "x-forwarded-client-cert",
    "client-cert",
    "client-cert-chain",
    "front-end-https",
    "x-original-host",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-real-ip",
    "client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "forwarded-for",
    "x-original-forwarded-for",
    "x-original-url",
    "x-rewrite-url",
];

fn read_request(bytes: &[u8]) -> Result<Option<RequestHead>, Malformed> {
    RequestReader::new(Fields::default(), HEAD_BYTES_MAX, HEADER_LINES_MAX).advance(bytes)
}

/// Reads both ways and compares.
fn compare_requests(bytes: &[u8]) {
    let ours = read_request(bytes);
    let length = match end_of(bytes) {
        Ok(Some(length)) => length,
        Ok(None) => return assert!(matches!(ours, Ok(None)), "{ours:?}"),
        Err(malformed) => return assert_eq!(ours.unwrap_err(), malformed),
    };
    let (method, target, version, lines) = match reference_request(&bytes[..length]) {
        Ok(parts) => parts,
        Err(malformed) => return assert_eq!(ours.unwrap_err(), malformed),
    };
    if let Some(flaw) = flaw_of(&lines, version) {
        return assert_eq!(ours.unwrap_err(), flaw);
    }
    match ours {
        Ok(head) => {
            let head = head.expect("the head is whole");
            assert_eq!((head.method(), head.http_1_0, head.len()), (&*method, version == 0, length));
            assert_eq!(lines_of(head.fields()), lines);
            let kinds: Vec<Kind> = (0..lines.len()).map(|at| head.fields().kind(at).unwrap()).collect();
            assert_eq!(kinds, lines.iter().map(|(name, _)| naive_kind(name)).collect::<Vec<Kind>>());
            compare_target(&head, &target);
        }
        // What a target is, is not for `httparse` to say.
        Err(malformed) => assert!(
            matches!(method.as_str(), "CONNECT" | "PRI")
                || matches!(malformed.reason, "BadTarget" | "BadPath" | "BadHost"),
            "{malformed:?} for {target}"
        ),
    }
}

fn compare_target(head: &RequestHead, target: &str) {
    use tidegate_traffic::path::{normalise, normalise_query, split_query};
    if target.starts_with('/') {
        let (path, query) = split_query(target);
        assert_eq!(head.path(), normalise(path).unwrap());
        assert_eq!(head.query(), query.map(|query| normalise_query(query).unwrap()).as_deref());
    } else {
        assert!(target == "*" || target[..7].eq_ignore_ascii_case("http://"), "{target}");
    }
}

fn compare_responses(bytes: &[u8]) {
    let ours = ResponseReader::new(Fields::default()).advance(bytes);
    let length = match end_of(bytes) {
        Ok(Some(length)) => length,
        Ok(None) => return assert!(matches!(ours, Ok(None)), "{ours:?}"),
        Err(malformed) => return assert_eq!(ours.unwrap_err(), malformed),
    };
    let mut headers = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let mut response = Response::new(&mut headers);
    let parsed = if length == 2 { Err(Error::Version) } else { response.parse(&bytes[..length]) };
    match parsed {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => panic!("a head without an end"),
        Err(error) => {
            let malformed = ours.unwrap_err();
            // A status below 100 is none; `httparse` looks on.
            return assert!(malformed == reason_of(error) || response.code.is_some_and(|code| code < 100));
        }
    }
    let (status, phrase) = (response.code.unwrap(), response.reason.unwrap());
    if status < 100 {
        return assert_eq!(ours.unwrap_err(), Malformed::SYNTAX);
    }
    let lines = owned(response.headers);
    let mut framing = FramingLines::default();
    let noted = lines.iter().map(|(name, value)| match naive_kind(name) {
        kind @ (Kind::Connection | Kind::Length | Kind::Coding) => framing.line(kind, value),
        _ => Ok(()),
    });
    let flaw = noted.collect::<Result<(), Malformed>>().err();
    match (flaw.or_else(|| framing.body(response.version == Some(0)).err()), ours) {
        (Some(flaw), ours) => assert_eq!(ours.unwrap_err(), flaw),
        (None, ours) => {
            let head = ours.unwrap().expect("the head is whole");
            assert_eq!((head.status, head.phrase(), head.len()), (status, phrase, length));
            assert_eq!(lines_of(head.fields()), lines);
        }
    }
}

/// Heads as clients and servers send them.
pub const REAL: [&str; 9] = [
    "GET /api-3/v1/items/42?page=2 HTTP/1.1\r\nHost: svc-042.shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
     Accept: text/html;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, br\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\n",
    "POST /upload HTTP/1.1\r\nHost: a.example:8080\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    "PUT http://b.example/x?y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nX_Forwarded_For: 1.2.3.4\r\n\r\n",
    "GET /chat HTTP/1.1\r\nHost: [::1]:80\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhl\r\n\r\n",
    "GET / HTTP/1.0\r\nX-Request-Id: 7\r\ntraceparent: 00-01\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost:a\r\nx:\t b \t\r\ny:\r\nz: \r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 19:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nConnection: close\r\n\r\n",
    "HTTP/1.0 404\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=\u{e9}\r\n\r\n",
];

/// What may stand between two other bytes of a head and makes a difference.
fn odd_byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => prop::sample::select(&b"\r\n\t :;,?/%#_.-\0\x7f\x80\xe9"[..]), 1 => any::<u8>()]
}

/// A real head with a few bytes changed, left out or put in.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (0usize..400, 0u8..4, odd_byte());
    (prop::sample::select(&REAL[..]), prop::collection::vec(change, 0..4)).prop_map(|(head, changes)| {
        let mut bytes = head.as_bytes().to_vec();
        for (at, what, byte) in changes {
            let Some(at) = at.checked_rem(bytes.len()) else { break };
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at + 1),
            }
        }
        bytes
    })
}

/// Pieces of heads, in any order.
fn composed() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(&[
        "GET / HTTP/1.1\r\n",
        "GET /a/b?c HTTP/1.0\r\n",
        "G(T / HTTP/1.1\r\n",
        "GET /\u{e9}?\u{e9} HTTP/1.1\r\n",
        "GET / HTTP/2.0\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 099 \r\n",
        "HTTP/1.1 200\r\n",
        "HTTP/1.1 2000\r\n",
        "\r\n",
        "",
    ]);
    let name = prop_oneof![
        prop::sample::select(&[
            "Host",
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
            "Content_Length",
            "Expect",
            "Upgrade",
            "X",
            "",
            "x-forwarded-for",
            "a-name-of-more-than-sixteen-bytes",
            "a_b",
            "a b",
            "\u{e9}",
        ])
        .prop_map(str::to_owned),
        "[!-~]{1,20}",
    ];
    let value = prop_oneof![
        prop::sample::select(&[
            "a",
            "chunked",
            "close",
            "5",
            "",
            "100-continue",
            "a\tb",
            "caf\u{e9}",
            "a\u{7f}b",
            "a\u{0}"
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,40}",
    ];
    let line = (
        name,
        prop::sample::select(&[":", ": ", ":\t ", " : ", ""]),
        value,
        prop::sample::select(&["", " ", "\t "]),
    );
    let breaks = prop_oneof![30 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    let lines = prop::collection::vec((line, breaks), 0..6);
    let end = prop::sample::select(&["\r\n", "\r\nrest", "\n", ""]);
    (first, lines, end).prop_map(|(first, lines, end)| {
        let mut text = first.to_owned();
        for ((name, colon, value, behind), end) in lines {
            text.extend([&*name, colon, &*value, behind, end]);
        }
        text.push_str(end);
        text.into_bytes()
    })
}

/// What a head in pieces comes to: the verdict of the first piece that has one.
fn in_pieces(bytes: &[u8], ends: impl Iterator<Item = usize>) -> [String; 2] {
    let mut request = RequestReader::new(Fields::default(), HEAD_BYTES_MAX, HEADER_LINES_MAX);
    let mut response = ResponseReader::new(Fields::default());
    let (mut requested, mut responded) = (Ok(None), Ok(None));
    for end in ends.chain([bytes.len()]) {
        if matches!(requested, Ok(None)) {
            requested = request.advance(&bytes[..end]);
        }
        if matches!(responded, Ok(None)) {
            responded = response.advance(&bytes[..end]);
        }
    }
    [format!("{requested:?}"), format!("{responded:?}")]
}

/// Real heads are read as `httparse` reads them, and cut at every place, or fed byte by byte, as in one piece.
#[test]
fn real_heads() {
    for head in REAL {
        let bytes = head.as_bytes();
        compare_requests(bytes);
        compare_responses(bytes);
        let whole = in_pieces(bytes, std::iter::empty());
        assert_eq!(in_pieces(bytes, 0..bytes.len()), whole, "{head:?} by bytes");
        for cut in 0..bytes.len() {
            assert_eq!(in_pieces(bytes, std::iter::once(cut)), whole, "{head:?} cut at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Heads that are nearly real are read as `httparse` reads them, or refused for the same reason; in pieces, too.
    #[test]
    fn mutated_heads(bytes in mutated(), mut cuts in prop::collection::vec(0usize..400, 0..4)) {
        compare_requests(&bytes);
        compare_responses(&bytes);
        cuts.sort_unstable();
        let whole = in_pieces(&bytes, std::iter::empty());
        prop_assert_eq!(in_pieces(&bytes, cuts.iter().map(|&cut| cut.min(bytes.len()))), whole.clone());
        prop_assert_eq!(in_pieces(&bytes, 0..bytes.len()), whole);
    }

    /// So are heads put together at random.
    #[test]
    fn composed_heads(bytes in composed(), cut in 0usize..120) {
        compare_requests(&bytes);
        compare_responses(&bytes);
        let whole = in_pieces(&bytes, std::iter::empty());
        prop_assert_eq!(in_pieces(&bytes, std::iter::once(cut.min(bytes.len()))), whole.clone());
        prop_assert_eq!(in_pieces(&bytes, 0..bytes.len()), whole);
        let _ = (RequestHead::parse(&bytes), ResponseHead::parse(&bytes, true));
    }

    /// A name's kind is found by words as by comparing letters: in any case, with underscores, and nearly.
    #[test]
    fn kinds(
        name in prop::sample::select(&[
            "te", "host", "proxy", "expect", "upgrade", "connection", "keep-alive", "tracestate", "traceparent", "content-length",
            "http2-settings", "proxy-connection", "transfer-encoding", "proxy-authenticate", "proxy-authorization", "x-request-id",
            "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-scheme",
            "x-forwarded-ssl", "x-real-ip", "client-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip",
            "forwarded-for", "x-original-forwarded-for", "x-original-url", "x-rewrite-url", "cookie", "content-type", "x",
        ]),
        upper: u32,
        dashes: bool,
        other in prop::option::weighted(0.3, (0usize..24, prop::sample::select(&b"abctx-_09~^!"[..]))),
        cut in prop::option::weighted(0.1, 0usize..24),
    ) {
        let mut name = name.as_bytes().to_vec();
        for (index, byte) in name.iter_mut().enumerate() {
            match *byte {
                b'-' if dashes && upper >> index & 1 == 1 => *byte = b'_',
                letter if upper >> index & 1 == 1 => *byte = letter.to_ascii_uppercase(),
                _ => {}
            }
        }
        if let Some((at, byte)) = other {
            let at = at % name.len();
            name[at] = byte;
        }
        name.truncate(cut.unwrap_or(name.len()).max(1));
        let text = std::str::from_utf8(&name).unwrap();
        prop_assert_eq!(Kind::of(&name), naive_kind(text), "{}", text);
    }
}
