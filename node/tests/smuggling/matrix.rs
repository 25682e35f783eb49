//! Cases made by rule: every disguise of a framing header in every place, every odd byte in every place.

use crate::cases::{Case, Outcome, Seen, unescape};

/// Every generated case.
pub fn cases() -> Vec<Case> {
    [codings(), lengths(), odd_bytes(), splits()].concat()
}

fn refuse(status: u16) -> Outcome {
    Outcome::Refuse(vec![status])
}

fn pass(line: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Outcome {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_vec())).collect();
    Outcome::Pass(vec![Seen { line: line.into(), headers, body: body.to_vec() }], Vec::new())
}

/// Header lines that some parser takes for `Transfer-Encoding: chunked`, or that name a coding nobody asked for. An
/// engine that ignored one and read the length, or the other way round, would be smuggled past.
const CODINGS: [(&str, &str); 46] = [
    ("space before colon", "Transfer-Encoding : chunked\\r\\n"),
    ("tab before colon", "Transfer-Encoding\\t: chunked\\r\\n"),
    ("two spaces before colon", "Transfer-Encoding  : chunked\\r\\n"),
    ("leading space", "\\sTransfer-Encoding: chunked\\r\\n"),
    ("leading tab", "\\tTransfer-Encoding: chunked\\r\\n"),
    ("no colon", "Transfer-Encoding chunked\\r\\n"),
    ("equals sign", "Transfer-Encoding= chunked\\r\\n"),
    ("semicolon", "Transfer-Encoding; chunked\\r\\n"),
    ("underscore", "Transfer_Encoding: chunked\\r\\n"),
    ("underscore in capitals", "TRANSFER_ENCODING: chunked\\r\\n"),
    ("NUL after name", "Transfer-Encoding\\0: chunked\\r\\n"),
    ("NUL before name", "\\0Transfer-Encoding: chunked\\r\\n"),
    ("NUL in name", "Transfer\\0-Encoding: chunked\\r\\n"),
    ("VT before value", "Transfer-Encoding:\\x0bchunked\\r\\n"),
    ("FF before value", "Transfer-Encoding:\\x0cchunked\\r\\n"),
    ("VT after value", "Transfer-Encoding: chunked\\x0b\\r\\n"),
    ("NUL after value", "Transfer-Encoding: chunked\\0\\r\\n"),
    ("CR after value", "Transfer-Encoding: chunked\\r\\r\\n"),
    ("CR before value", "Transfer-Encoding:\\rchunked\\r\\n"),
    ("DEL after value", "Transfer-Encoding: chunked\\x7f\\r\\n"),
    ("no-break space", "Transfer-Encoding:\\xa0chunked\\r\\n"),
    ("no-break space in UTF-8", "Transfer-Encoding:\\xc2\\xa0chunked\\r\\n"),
    ("fold before value", "Transfer-Encoding:\\r\\n chunked\\r\\n"),
    ("fold by tab", "Transfer-Encoding:\\r\\n\\tchunked\\r\\n"),
    ("fold in value", "Transfer-Encoding: chun\\r\\n ked\\r\\n"),
    ("fold in header before", "X: a\\r\\n Transfer-Encoding: chunked\\r\\n"),
    ("bare CR before", "X: a\\rTransfer-Encoding: chunked\\r\\n"),
    ("bare LF before", "X: a\\nTransfer-Encoding: chunked\\r\\n"),
    ("bare LF after", "Transfer-Encoding: chunked\\nX: a\\r\\n"),
    ("quoted", "Transfer-Encoding: \"chunked\"\\r\\n"),
    ("single quotes", "Transfer-Encoding: 'chunked'\\r\\n"),
    ("comma after", "Transfer-Encoding: chunked,\\r\\n"),
    ("comma before", "Transfer-Encoding: ,chunked\\r\\n"),
    ("twice in a line", "Transfer-Encoding: chunked, chunked\\r\\n"),
    ("twice in lines", "Transfer-Encoding: chunked\\r\\nTransfer-Encoding: chunked\\r\\n"),
    ("then identity", "Transfer-Encoding: chunked, identity\\r\\n"),
    ("identity first", "Transfer-Encoding: identity, chunked\\r\\n"),
    ("identity alone", "Transfer-Encoding: identity\\r\\n"),
    ("identity in a second line", "Transfer-Encoding: chunked\\r\\nTransfer-Encoding: identity\\r\\n"),
    ("gzip first", "Transfer-Encoding: gzip, chunked\\r\\n"),
    ("gzip last", "Transfer-Encoding: chunked, gzip\\r\\n"),
    ("prefixed", "Transfer-Encoding: xchunked\\r\\n"),
    ("suffixed", "Transfer-Encoding: chunkedx\\r\\n"),
    ("parameter", "Transfer-Encoding: chunked;q=1\\r\\n"),
    ("comment", "Transfer-Encoding: chunked (really)\\r\\n"),
    ("empty", "Transfer-Encoding:\\r\\n"),
];

/// What stands around such a line.
const SURROUNDINGS: [(&str, &str, &str, &str); 6] = [
    ("first", "", "", ""),
    ("last", "Accept: a\\r\\n", "", ""),
    ("before length", "", "Content-Length: 5\\r\\n", ""),
    ("after length", "Content-Length: 5\\r\\n", "", ""),
    ("before true coding", "", "Transfer-Encoding: chunked\\r\\n", ""),
    ("before request", "", "", "GET /smuggled HTTP/1.1\\r\\nHost: a.example\\r\\n\\r\\n"),
];

fn codings() -> Vec<Case> {
    let mut cases = Vec::new();
    for (disguise, line) in CODINGS {
        for (place, before, after, behind) in SURROUNDINGS {
            let text = format!(
                "POST /t HTTP/1.1\\r\\nHost: a.example\\r\\n{before}{line}{after}\\r\\n0\\r\\n\\r\\n{behind}"
            );
            let name = format!("{disguise}, {place}");
            cases.push(Case::new("matrix-coding", name, "9112 6.1", unescape(&text), refuse(400)));
        }
    }
    cases
}

/// Lines that some parser takes for a Content-Length of 5.
const LENGTHS: [(&str, &str); 26] = [
    ("plus", "Content-Length: +5\\r\\n"),
    ("minus", "Content-Length: -5\\r\\n"),
    ("hexadecimal", "Content-Length: 0x5\\r\\n"),
    ("exponent", "Content-Length: 5e0\\r\\n"),
    ("fraction", "Content-Length: 5.0\\r\\n"),
    ("digit and word", "Content-Length: 5 bytes\\r\\n"),
    ("two numbers", "Content-Length: 5 5\\r\\n"),
    ("list of one", "Content-Length: 5,\\r\\n"),
    ("list", "Content-Length: 5, 5\\r\\n"),
    ("other list", "Content-Length: 5, 6\\r\\n"),
    ("quoted", "Content-Length: \"5\"\\r\\n"),
    ("underscore in number", "Content-Length: 0_5\\r\\n"),
    ("underscore in name", "Content_Length: 5\\r\\n"),
    ("space before colon", "Content-Length : 5\\r\\n"),
    ("leading space", "\\sContent-Length: 5\\r\\n"),
    ("fold", "Content-Length:\\r\\n 5\\r\\n"),
    ("VT", "Content-Length:\\x0b5\\r\\n"),
    ("FF after", "Content-Length: 5\\x0c\\r\\n"),
    ("NUL", "Content-Length: 5\\0\\r\\n"),
    ("CR", "Content-Length: 5\\r\\r\\n"),
    ("LF", "X: a\\nContent-Length: 5\\r\\n"),
    ("empty", "Content-Length:\\r\\n"),
    ("full-width digit", "Content-Length: \\xef\\xbc\\x95\\r\\n"),
    ("semicolon", "Content-Length: 5;\\r\\n"),
    ("beyond 64 bits", "Content-Length: 18446744073709551621\\r\\n"),
    ("different lines", "Content-Length: 5\\r\\nContent-Length: 6\\r\\n"),
];

fn lengths() -> Vec<Case> {
    let places = [
        ("alone", "", ""),
        ("before good", "", "Content-Length: 5\\r\\n"),
        ("after good", "Content-Length: 5\\r\\n", ""),
        ("before coding", "", "Transfer-Encoding: chunked\\r\\n"),
    ];
    let mut cases = Vec::new();
    for (disguise, line) in LENGTHS {
        for (place, before, after) in places {
            let text = format!(
                "POST /t HTTP/1.1\\r\\nHost: a.example\\r\\n{before}{line}{after}\\r\\nhello\
                 GET /smuggled HTTP/1.1\\r\\nHost: a.example\\r\\n\\r\\n"
            );
            let name = format!("{disguise}, {place}");
            cases.push(Case::new("matrix-length", name, "9110 8.6", unescape(&text), refuse(400)));
        }
    }
    cases
}

/// Every kind of byte that has no business in a head, in every place of one.
fn odd_bytes() -> Vec<Case> {
    let places: [(&str, &str, &str); 16] = [
        ("before method", "", "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("in method", "G", "ET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("after method", "GET", " /a HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("before target", "GET ", "/a HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("in path", "GET /a", "b HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("in query", "GET /a?b", "c HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("before version", "GET /a ", "HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("in version", "GET /a HTTP/1", ".1\r\nHost: a.example\r\n\r\n"),
        ("after version", "GET /a HTTP/1.1", "\r\nHost: a.example\r\n\r\n"),
        ("before name", "GET /a HTTP/1.1\r\nHost: a.example\r\n", "X: a\r\n\r\n"),
        ("in name", "GET /a HTTP/1.1\r\nHost: a.example\r\nX", "Y: a\r\n\r\n"),
        ("after name", "GET /a HTTP/1.1\r\nHost: a.example\r\nX", ": a\r\n\r\n"),
        ("before host", "GET /a HTTP/1.1\r\nHost:", "a.example\r\n\r\n"),
        ("in host", "GET /a HTTP/1.1\r\nHost: a", "b.example\r\n\r\n"),
        ("in value", "GET /a HTTP/1.1\r\nHost: a.example\r\nX: a", "b\r\n\r\n"),
        ("after the last line", "GET /a HTTP/1.1\r\nHost: a.example\r\nX: a\r\n", "\r\n\r\n"),
    ];
    let bytes: [(&str, u8); 12] = [
        ("NUL", 0),
        ("SOH", 1),
        ("BS", 8),
        ("LF", b'\n'),
        ("VT", 0x0b),
        ("FF", 0x0c),
        ("CR", b'\r'),
        ("ESC", 0x1b),
        ("DEL", 0x7f),
        ("0x80", 0x80),
        ("0xA0", 0xa0),
        ("0xFF", 0xff),
    ];
    let mut cases = Vec::new();
    for (place, before, after) in places {
        for (what, byte) in bytes {
            let sent = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            // obs-text may stand in a value (RFC 9110 section 5.5): the proxy neither reads nor changes it.
            let outcome = match (place, byte) {
                ("in value", 0x80..) => pass("GET /a HTTP/1.1", &[("x", &[b'a', byte, b'b'])], b""),
                // Is it a bad version, or no request line?
                ("in version" | "after version", _) => Outcome::Refuse(vec![400, 505]),
                _ => refuse(400),
            };
            cases.push(Case::new("matrix-byte", format!("{what} {place}"), "9112 2.2", sent, outcome));
        }
    }
    cases
}

/// A request behind a body of every framing is one request, wherever the body ends.
fn splits() -> Vec<Case> {
    let next = "GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut cases = Vec::new();
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
        for (framing, line, wire, body) in [
            ("length 0", "Content-Length: 0", "", ""),
            ("length 5", "Content-Length: 5", "hello", "hello"),
            (
                "length of a request",
                "Content-Length: 27",
                "GET /smuggled HTTP/1.1\r\n\r\nX",
                "GET /smuggled HTTP/1.1\r\n\r\nX",
            ),
            ("no chunk", "Transfer-Encoding: chunked", "0\r\n\r\n", ""),
            ("a chunk", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("chunks", "Transfer-Encoding: chunked", "1\r\n0\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        ] {
            let bytes = format!("{method} /a HTTP/1.1\r\nHost: a.example\r\n{line}\r\n\r\n{wire}{next}");
            let (name, value) = line.split_once(": ").expect("a header line");
            let first = Seen {
                line: format!("{method} /a HTTP/1.1").into_bytes(),
                headers: vec![(name.to_ascii_lowercase(), value.into())],
                body: body.into(),
            };
            let second = Seen { line: b"GET /next HTTP/1.1".to_vec(), ..Seen::default() };
            let outcome = Outcome::Pass(vec![first, second], Vec::new());
            let name = format!("{method} with {framing}");
            cases.push(Case::new("matrix-method", name, "9112 6.3", bytes.into_bytes(), outcome));
        }
    }
    cases
}
