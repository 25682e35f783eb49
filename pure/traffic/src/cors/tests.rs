use super::*;
use proptest::prelude::*;

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn under(scheme: &str, parent: &str, port: Option<u16>) -> OriginPattern {
    OriginPattern::Under { scheme: scheme.to_owned(), parent: parent.to_owned(), port }
}

fn listed() -> Cors {
    Cors {
        origins: vec![
            OriginPattern::Exact("https://www.foo.com".to_owned()),
            under("https", "bar.com", None),
        ],
        credentials: true,
        methods: strings(&["GET", "OPTIONS"]),
        headers: strings(&["x-header-1", "x-header-2"]),
        expose: strings(&["x-header-3", "x-header-4"]),
        max_age_secs: 3600,
    }
}

fn wild(credentials: bool) -> Cors {
    Cors {
        origins: vec![OriginPattern::Any],
        credentials,
        methods: strings(&["*"]),
        headers: strings(&["*"]),
        expose: strings(&["*"]),
        max_age_secs: 5,
    }
}

fn answer(cors: &Cors, lines: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    Preflight::of("OPTIONS", &lines.to_vec()).unwrap().write_answer(cors, &mut out);
    String::from_utf8(out).unwrap()
}

fn response(cors: &Cors, origin: Option<&str>) -> String {
    let mut out = Vec::new();
    write_response_lines(cors, origin, &mut out);
    String::from_utf8(out).unwrap()
}

const METHOD: &str = "Access-Control-Request-Method";
const HEADERS: &str = "access-control-request-headers";

/// Only OPTIONS with an origin and a method asked for is a preflight; other OPTIONS go to the backend.
#[test]
fn what_a_preflight_is() {
    let full = vec![("origin", "https://www.foo.com"), (METHOD, "PUT")];
    assert!(Preflight::of("OPTIONS", &full).is_some());
    assert!(Preflight::of("GET", &full).is_none());
    assert!(Preflight::of("options", &full).is_none());
    assert!(Preflight::of("OPTIONS", &full[..1].to_vec()).is_none());
    assert!(Preflight::of("OPTIONS", &full[1..].to_vec()).is_none());
    assert!(Preflight::of("OPTIONS", &vec![("origin", "https://a"), (METHOD, "P UT")]).is_none());
}

/// An origin that is listed gets the lists, itself and its credentials.
#[test]
fn listed_origins() {
    for origin in ["https://www.foo.com", "https://www.bar.com", "https://xpto.www.bar.com"] {
        let lines = [("Origin", origin), (METHOD, "GET"), (HEADERS, "x-header-1, x-header-2")];
        assert_eq!(
            answer(&listed(), &lines),
            format!(
                "vary: origin\r\naccess-control-allow-origin: {origin}\r\naccess-control-allow-credentials: true\r\n\
                 access-control-allow-methods: GET, OPTIONS\r\n\
                 access-control-allow-headers: x-header-1, x-header-2\r\n\
                 access-control-expose-headers: x-header-3, x-header-4\r\naccess-control-max-age: 3600\r\n"
            )
        );
        assert_eq!(
            response(&listed(), Some(origin)),
            format!(
                "vary: origin\r\naccess-control-allow-origin: {origin}\r\naccess-control-allow-credentials: true\r\n\
                 access-control-expose-headers: x-header-3, x-header-4\r\n"
            )
        );
    }
}

/// Another origin, or none, gets no line of the protocol; caches learn that it depends on the origin.
#[test]
fn other_origins() {
    for origin in
        ["https://foobar.com", "http://www.foo.com", "https://www.foo.com:8443", "null", "https://bar.com"]
    {
        assert_eq!(answer(&listed(), &[("Origin", origin), (METHOD, "GET")]), "vary: origin\r\n", "{origin}");
        assert_eq!(response(&listed(), Some(origin)), "vary: origin\r\n");
    }
    assert_eq!(response(&listed(), None), "vary: origin\r\n");
}

/// Every origin without credentials is `*`, for caches alike; methods and headers asked for are named.
#[test]
fn wildcards_without_credentials() {
    let lines = [
        ("Origin", "https://a.example:12345"),
        (METHOD, "PUT"),
        (HEADERS, "x-1,authorization"),
        (HEADERS, "x-2"),
    ];
    assert_eq!(
        answer(&wild(false), &lines),
        "access-control-allow-origin: *\r\naccess-control-allow-methods: PUT\r\n\
         access-control-allow-headers: x-1, authorization, x-2\r\naccess-control-expose-headers: *\r\n\
         access-control-max-age: 5\r\n"
    );
    for origin in [None, Some("https://a.example")] {
        assert_eq!(
            response(&wild(false), origin),
            "access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n"
        );
    }
}

/// With credentials no `*` is sent: origin, method and headers are named, and what was not asked for is left out.
#[test]
fn wildcards_with_credentials() {
    let lines = [("Origin", "https://other.foo.com"), (METHOD, "PUT"), (HEADERS, "x-header-1, x-header-2")];
    assert_eq!(
        answer(&wild(true), &lines),
        "vary: origin\r\naccess-control-allow-origin: https://other.foo.com\r\n\
         access-control-allow-credentials: true\r\naccess-control-allow-methods: PUT\r\n\
         access-control-allow-headers: x-header-1, x-header-2\r\naccess-control-max-age: 5\r\n"
    );
    assert!(!answer(&wild(true), &lines[..2]).contains("allow-headers"));
    assert_eq!(
        response(&wild(true), Some("https://other.foo.com")),
        "vary: origin\r\naccess-control-allow-origin: https://other.foo.com\r\naccess-control-allow-credentials: true\r\n"
    );
}

/// Scheme, host and port all count; absent ports are the scheme's own; a wildcard covers labels, not parts of them.
#[test]
fn patterns() {
    let exact = |text: &str| OriginPattern::Exact(text.to_owned());
    for (pattern, origin, allowed) in [
        (exact("https://a.example"), "https://a.example:443", true),
        (exact("https://a.example"), "HTTPS://A.example", true),
        (exact("http://a.example"), "http://a.example:80", true),
        (exact("http://a.example:8080"), "http://a.example:8080", true),
        (exact("http://a.example:8080"), "http://a.example", false),
        (exact("https://a.example"), "https://a.example.evil.example", false),
        (exact("https://a.example"), "https://a.example/", false),
        (exact("https://a.example"), "https://user@a.example", false),
        (exact("https://[2001:db8::1]"), "https://[2001:db8::1]", true),
        (under("https", "example", None), "https://a.example", true),
        (under("https", "example", None), "https://b.a.example", true),
        (under("https", "example", None), "https://example", false),
        (under("https", "example", None), "https://.example", false),
        (under("https", "example", None), "https://aexample", false),
        (under("https", "example", None), "https://a.example:8443", false),
        (under("https", "example", Some(8443)), "https://a.example:8443", true),
        (under("http", "example", None), "https://a.example", false),
        (under("https", "", None), "https://anything.at.all", true),
        (under("https", "", None), "https://anything.at.all:444", false),
        (OriginPattern::Any, "null", true),
        (exact("https://a.example"), "null", false),
    ] {
        let cors = Cors { origins: vec![pattern.clone()], ..Cors::default() };
        assert_eq!(allows(&cors, origin), allowed, "{pattern:?} {origin}");
    }
}

/// An origin that cannot be one, or two of them, is none: nothing is echoed that could end a line or start a list.
#[test]
fn origins_that_are_none() {
    for lines in [
        vec![("origin", "https://a.example"), ("origin", "https://b.example")],
        vec![("origin", "https://a.example, https://b.example")],
        vec![("origin", "https://a.example b")],
        vec![("origin", "")],
        vec![("origin", "https://a\u{e9}.example")],
    ] {
        assert_eq!(origin(&lines), None, "{lines:?}");
    }
    assert_eq!(origin(&vec![("ORIGIN", "https://a.example")]), Some("https://a.example"));
    assert_eq!(origin(&vec![("origin", "x".repeat(ORIGIN_BYTES_MAX + 1))]), None);
}

/// The backend's own lines of the protocol are left out, its others are not.
#[test]
fn lines_of_the_backend() {
    for name in ["Access-Control-Allow-Origin", "access-control-max-age", "Access-Control-Expose-Headers"] {
        assert!(is_cors_line(name), "{name}");
    }
    for name in ["vary", "access-control-request-method", "access-control-allow-private-network", "origin"] {
        assert!(!is_cors_line(name), "{name}");
    }
}

proptest! {
    /// Whatever is asked for, the answer is whole header lines of known names.
    #[test]
    fn answers_are_whole_lines(credentials: bool, origin: String, method: String, asked: Vec<u8>) {
        let lines: Vec<(&str, &[u8])> =
            vec![("origin", origin.as_bytes()), (METHOD, method.as_bytes()), (HEADERS, &asked)];
        let Some(preflight) = Preflight::of("OPTIONS", &lines) else { return Ok(()) };
        let mut out = Vec::new();
        preflight.write_answer(&wild(credentials), &mut out);
        let text = String::from_utf8(out).unwrap();
        for line in text.strip_suffix("\r\n").unwrap().split("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            prop_assert!(is_cors_line(name) || name == "vary");
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        }
    }
}
