//! The grammar of heads, by section of RFC 9112 and RFC 9110: every byte in every place, line breaks, white space, limits.

use super::super::fields::Fields;
use super::super::request::{RequestHead, RequestReader};
use super::super::response::{ResponseHead, ResponseReader};
use super::super::{HEAD_BYTES_MAX, HEAD_CEILING, HEADER_LINES_MAX, Malformed};

fn request(bytes: &[u8], bytes_max: usize, lines_max: usize) -> Result<Option<RequestHead>, Malformed> {
    RequestReader::new(Fields::default(), bytes_max, lines_max).advance(bytes)
}

/// A head with `line` among others, before and behind it.
fn with_line(line: &[u8]) -> Result<RequestHead, Malformed> {
    RequestHead::parse(&[b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\nX-Last: z\r\n\r\n"].concat())
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 section 5.1 and 5.6.2: a name is a token, wherever in it a byte stands, and however long it is.
#[test]
fn bytes_of_a_name() {
    for byte in 0..=255u8 {
        for before in [0, 1, 7, 15, 16, 17, 40] {
            let name = [&b"n".repeat(before)[..], &[byte], b"n"].concat();
            let head = with_line(&[&name[..], b": v"].concat());
            match byte {
                b'\n' => assert_eq!(head.unwrap_err(), Malformed::BARE_LF),
                b'\r' if before == 0 => assert_eq!(head.unwrap_err(), Malformed::SYNTAX),
                // What follows a colon is the value; before it there is no name.
                b':' if before > 0 => assert_eq!(head.unwrap().lines().nth(1).unwrap().1, b"n: v"),
                _ if is_tchar(byte) => {
                    let head = head.unwrap();
                    assert_eq!(
                        head.lines().nth(1).unwrap(),
                        (std::str::from_utf8(&name).unwrap(), &b"v"[..])
                    );
                }
                _ => assert_eq!(head.unwrap_err(), Malformed::HEADER, "{byte} behind {before}"),
            }
        }
    }
}

/// RFC 9110 section 5.5: a value has visible characters, spaces, tabs and what is beyond ASCII, wherever in it a byte stands.
#[test]
fn bytes_of_a_value() {
    for byte in 0..=255u8 {
        for before in [0, 1, 13, 14, 15, 16, 31, 100] {
            let value = [&b"v".repeat(before)[..], &[byte], b"v"].concat();
            let head = with_line(&[b"n: ", &value[..]].concat());
            match byte {
                b'\n' => assert_eq!(head.unwrap_err(), Malformed::BARE_LF),
                b'\t' | b' '..=b'~' | 0x80.. => {
                    let expected: &[u8] = if before == 0 { value.trim_ascii() } else { &value };
                    assert_eq!(head.unwrap().lines().nth(1).unwrap(), ("n", expected));
                }
                _ => assert_eq!(head.unwrap_err(), Malformed::HEADER, "{byte} behind {before}"),
            }
        }
    }
}

/// RFC 9112 section 5.1: white space around a value is no part of it, and none stands before the colon. Only a line with one
/// space before the value, and none behind it, may be copied as it is.
#[test]
fn white_space() {
    for (line, value, tidy) in [
        ("n: v", "v", true),
        ("n:v", "v", false),
        ("n:  v", "v", false),
        ("n:\tv", "v", false),
        ("n: v ", "v", false),
        ("n: v\t \t", "v", false),
        ("n: \t v w \t", "v w", false),
        ("n:", "", false),
        ("n: ", "", true),
        ("n:  ", "", false),
        ("n:\t", "", false),
        ("n: a: b", "a: b", true),
        ("n: :", ":", true),
    ] {
        let head = with_line(line.as_bytes()).unwrap();
        assert_eq!(head.lines().nth(1).unwrap(), ("n", value.as_bytes()), "{line:?}");
        assert_eq!(head.fields().is_tidy(1), tidy, "{line:?}");
        assert_eq!(head.lines().nth(2).unwrap(), ("X-Last", &b"z"[..]), "{line:?}");
    }
    for line in ["n : v", "n\t: v", " n: v", "\tn: v", "n", "n v", ":", ": v", " : v"] {
        assert_eq!(with_line(line.as_bytes()).unwrap_err(), Malformed::HEADER, "{line:?}");
    }
}

/// RFC 9112 section 5.2: folded lines are refused, whichever line is folded.
#[test]
fn folds() {
    for line in ["n: v\r\n w", "n: v\r\n\tw", "n: v\r\n ", "n:\r\n v", " x\r\nn: v"] {
        assert_eq!(with_line(line.as_bytes()).unwrap_err(), Malformed::HEADER, "{line:?}");
    }
    assert_eq!(RequestHead::parse(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n").unwrap_err(), Malformed::HEADER);
}

/// RFC 9112 section 2.2: a return or a line feed alone ends no line. A lone feed is told as soon as it comes, and before
/// whatever else is wrong.
#[test]
fn line_breaks() {
    for (head, malformed) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Malformed::BARE_LF),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed::BARE_LF),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Malformed::BARE_LF),
        ("\n", Malformed::BARE_LF),
        ("G(T\r\nHost : a\r\n\n", Malformed::BARE_LF),
        ("GET / HTTP/1.1\r\nHost : a\r\nx\n", Malformed::BARE_LF),
        ("GET / HTTP/1.1\r\nHost : a\r\nx\r\r\n\r\n", Malformed::HEADER),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", Malformed::SYNTAX),
        ("GET /\rHTTP/1.1\r\nHost: a\r\n\r\n", Malformed::SYNTAX),
        ("GET / HTTP/3\rx y\r\n\r\n", Malformed::VERSION),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", Malformed::HEADER),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n", Malformed::SYNTAX),
        ("\r\n", Malformed::SYNTAX),
    ] {
        assert_eq!(
            request(head.as_bytes(), HEAD_BYTES_MAX, HEADER_LINES_MAX).unwrap_err(),
            malformed,
            "{head:?}"
        );
    }
}

/// What is wrong is told once the head is whole, and not before: what follows may be worse.
#[test]
fn faults_wait_for_the_end() {
    for head in
        ["G(T / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nA : b\r\n", "GET / HTTP/2.0\r\n", "GET / HTTP/1.1\r\n\rx"]
    {
        assert!(matches!(request(head.as_bytes(), HEAD_BYTES_MAX, HEADER_LINES_MAX), Ok(None)), "{head:?}");
    }
}

/// RFC 9112 section 3: a request line is a method, a target and a version with one space between; each byte of each counts.
#[test]
fn bytes_of_a_request_line() {
    let first = |line: &[u8]| RequestHead::parse(&[line, b"\r\nHost: a\r\n\r\n"].concat());
    for byte in 0..=255u8 {
        let method = first(&[&b"GET"[..], &[byte], b"T / HTTP/1.1"].concat());
        match byte {
            b'\n' => assert_eq!(method.unwrap_err(), Malformed::BARE_LF),
            _ if is_tchar(byte) => {
                assert_eq!(method.unwrap().method().as_bytes(), [&b"GET"[..], &[byte], b"T"].concat())
            }
            _ => assert_eq!(method.unwrap_err(), Malformed::SYNTAX, "{byte} in a method"),
        }
        for before in [0, 13, 14, 15, 30] {
            let target = [&b"/"[..], &b"a".repeat(before), &[byte], b"b"].concat();
            let head = first(&[&b"GET "[..], &target, b" HTTP/1.1"].concat());
            match byte {
                b'\n' => assert_eq!(head.unwrap_err(), Malformed::BARE_LF),
                0..=b' ' | 0x7f.. => assert_eq!(head.unwrap_err(), Malformed::SYNTAX, "{byte} in a target"),
                b'%' | b'#' | b'\\' => assert_eq!(head.unwrap_err().reason, "BadPath", "{byte} in a target"),
                b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                    assert!(head.unwrap().path().contains(&format!("%{byte:02X}")));
                }
                b'?' => assert_eq!(head.unwrap().query(), Some("b")),
                b'/' if before == 0 => assert_eq!(head.unwrap().path(), "/b"),
                _ => assert_eq!(head.unwrap().path().as_bytes(), target),
            }
        }
    }
}

/// A target that needs no second look is read as one that does: whatever stands where in path and query.
#[test]
fn plain_targets() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("/a/.b", "/a/.b", None),
        ("/aaaaaaaaaaaaaa/.", "/aaaaaaaaaaaaaa/", None),
        ("/aaaaaaaaaaaaaaa/b", "/aaaaaaaaaaaaaaa/b", None),
        ("/aaaaaaaaaaaaaa//b", "/aaaaaaaaaaaaaa/b", None),
        ("/aaaaaaaaaaaaaaa//b", "/aaaaaaaaaaaaaaa/b", None),
        ("/aaaaaaaaaaaaaa/../b", "/b", None),
        ("/a?x//y/../z", "/a", Some("x//y/../z")),
        ("/a%41", "/aA", None),
        ("/a?%41", "/a", Some("%41")),
        ("/a_b~c!$&'()*+,;=:@[]", "/a_b~c!$&'()*+,;=:@[]", None),
    ] {
        let head =
            RequestHead::parse(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!((head.path(), head.query()), (path, query), "{target}");
    }
}

/// RFC 9112 section 4: a status line is a version, a status of three digits, and a phrase that may be missing.
#[test]
fn status_lines() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK", Some((200, "OK"))),
        ("HTTP/1.1 200 ", Some((200, ""))),
        ("HTTP/1.1 200", Some((200, ""))),
        ("HTTP/1.0 999 a\tb  c", Some((999, "a\tb  c"))),
        ("HTTP/1.1 200  OK", Some((200, " OK"))),
        ("HTTP/1.1 200 caf\u{e9}", Some((200, ""))),
        ("HTTP/1.1 099 x", None),
        ("HTTP/1.1 20 x", None),
        ("HTTP/1.1 2000", None),
        ("HTTP/1.1 2x0 x", None),
        ("HTTP/1.1 200\tOK", None),
        ("HTTP/1.1  200 OK", None),
        ("HTTP/1.1", None),
        ("HTTP/1.2 200 OK", None),
        ("HTTP/2 200 OK", None),
        ("http/1.1 200 OK", None),
        (" HTTP/1.1 200 OK", None),
        ("HTTP/1.1 200 a\u{7f}", None),
        ("HTTP/1.1 200 a\rb", None),
    ] {
        let head = ResponseHead::parse(format!("{line}\r\nA: b\r\n\r\n").as_bytes(), false);
        let read = head.as_ref().ok().map(|head| (head.status, head.phrase()));
        assert_eq!(read, expected, "{line:?}");
    }
}

/// A head of as many bytes and lines as are allowed passes; one more does not, however it comes in.
#[test]
fn limits() {
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    for bytes_max in [100, HEAD_BYTES_MAX, HEAD_CEILING.0] {
        let fill = bytes_max - start.len() - 4;
        let fits = format!("{start}{}\r\n\r\n", "v".repeat(fill)).into_bytes();
        assert_eq!(request(&fits, bytes_max, 100).unwrap().unwrap().len(), bytes_max);
        let larger = format!("{start}{}\r\n\r\n", "v".repeat(fill + 1)).into_bytes();
        assert_eq!(request(&larger, bytes_max, 100).unwrap_err(), Malformed::HEAD_TOO_LARGE);
        let mut reader = RequestReader::new(Fields::default(), bytes_max, 100);
        let verdicts: Vec<_> = (0..bytes_max).step_by(50).map(|end| reader.advance(&larger[..end])).collect();
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Ok(None))));
        assert_eq!(reader.advance(&larger).unwrap_err(), Malformed::HEAD_TOO_LARGE);
    }
    for lines_max in [1, 100, HEAD_CEILING.1] {
        let head = |lines: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A:\r\n".repeat(lines - 1)).into_bytes()
        };
        assert_eq!(
            request(&head(lines_max), HEAD_BYTES_MAX, lines_max).unwrap().unwrap().fields().len(),
            lines_max
        );
        assert_eq!(
            request(&head(lines_max + 1), HEAD_BYTES_MAX, lines_max).unwrap_err(),
            Malformed::HEAD_TOO_LARGE
        );
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A:\r\n".repeat(HEADER_LINES_MAX + 1));
    let verdict = ResponseReader::new(Fields::default()).advance(many.as_bytes());
    assert_eq!(verdict.unwrap_err(), Malformed::HEAD_TOO_LARGE);
}

/// A line that comes byte by byte is not read again with every byte: the work for a head is bounded by its length.
#[test]
fn long_lines_in_pieces() {
    let head =
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "v".repeat(HEAD_CEILING.0 - 100)).into_bytes();
    let mut reader = RequestReader::new(Fields::default(), HEAD_CEILING.0, 100);
    let found = (1..=head.len()).find_map(|end| reader.advance(&head[..end]).unwrap());
    assert_eq!(found.unwrap().lines().nth(1).unwrap().1.len(), HEAD_CEILING.0 - 100);
}
