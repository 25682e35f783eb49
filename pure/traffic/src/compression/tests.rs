//! What is compressed and what is not, as tables; and negotiation against its meaning, told again.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn way(coding: Coding) -> Compression {
    let content_types: Arc<[String]> = Arc::new(["text/html".into(), "application/json".into()]);
    Compression { coding, bytes_min: 100, content_types, credentialed: false }
}

fn policy() -> Vec<Compression> {
    vec![way(Coding::Brotli), way(Coding::Gzip)]
}

type Lines<'a> = Vec<(&'a str, &'a str)>;

fn decided(policy: &[Compression], request: &Lines<'_>, response: &Lines<'_>) -> Compressed {
    let asked = Asked { method: "GET", http_1_0: false, certified: false, headers: request };
    decide(policy, &asked, &Answered { status: 200, bytes: Some(1000), headers: response })
}

fn html() -> Lines<'static> {
    vec![("Content-Type", "text/html; charset=utf-8")]
}

/// What the client takes decides, its favourite first, the policy's order where it has none.
#[test]
fn negotiation() {
    use Coding::{Brotli, Gzip};
    use Compressed::{NotNow, With};
    for (accept, expected) in [
        (&["gzip, deflate, br, zstd"][..], With(Brotli)),
        (&["gzip"], With(Gzip)),
        (&["x-gzip"], With(Gzip)),
        (&["GZIP;q=0.5"], With(Gzip)),
        (&["gzip;q=1.0, br;q=0.9"], With(Gzip)),
        (&["gzip;q=0.8,br;q=0.800"], With(Brotli)),
        (&["gzip", "br"], With(Brotli)),
        (&["*"], With(Brotli)),
        (&["*, br;q=0"], With(Gzip)),
        (&["br;q=0, *;q=0.1"], With(Gzip)),
        (&["identity;q=0, gzip;q=0.001"], With(Gzip)),
        (&["*;q=0, gzip"], With(Gzip)),
        (&["identity, gzip;q=0.5"], NotNow),
        (&["identity;q=0.5, gzip;q=0.5"], With(Gzip)),
        (&["identity;q=0"], NotNow),
        (&["gzip;q=0"], NotNow),
        (&["gzip;q=0.000, br;q=0"], NotNow),
        (&["*;q=0"], NotNow),
        (&["deflate, zstd"], NotNow),
        (&[""], NotNow),
        (&[], NotNow),
        (&["gzip;q=2"], NotNow),
        (&["gzip;q=0.1234"], NotNow),
        (&["gzip;q=x"], NotNow),
        (&["gzip;a=b"], NotNow),
        (&["gzip;q=1;q=1"], NotNow),
        (&["gzip ; q=0.3"], With(Gzip)),
        (&["gzipp"], NotNow),
    ] {
        let request: Lines<'_> = accept.iter().map(|value| ("Accept-Encoding", *value)).collect();
        assert_eq!(decided(&policy(), &request, &html()), expected, "{accept:?}");
    }
}

/// Responses that may not be changed, are coded already or are not worth it stay as they are for everyone.
#[test]
fn responses() {
    use Compressed::{Never, With};
    let with = |name, value| vec![("content-type", "text/html"), (name, value)];
    for (response, expected) in [
        (html(), With(Coding::Gzip)),
        (vec![("Content-Type", "Text/HTML")], With(Coding::Gzip)),
        (vec![("content-type", "image/png")], Never),
        (vec![], Never),
        (with("Content-Encoding", "gzip"), Never),
        (with("content-encoding", "aws-chunked"), Never),
        (with("content-encoding", "identity"), With(Coding::Gzip)),
        (with("Cache-Control", "public, No-Transform"), Never),
        (with("cache-control", "public"), With(Coding::Gzip)),
        (with("content-range", "bytes 0-9/100"), Never),
        (vec![("content-type", "application/grpc")], Never),
    ] {
        let request = vec![("accept-encoding", "gzip")];
        assert_eq!(decided(&policy(), &request, &response), expected, "{response:?}");
    }
    let request: Lines<'_> = vec![("accept-encoding", "gzip")];
    let asked = Asked { method: "GET", http_1_0: false, certified: false, headers: &request };
    for (status, bytes, expected) in [
        (200, None, With(Coding::Gzip)),
        (404, Some(100), With(Coding::Gzip)),
        (200, Some(99), Never),
        (200, Some(0), Never),
        (204, None, Never),
        (205, None, Never),
        (206, Some(1000), Never),
        (226, Some(1000), Never),
        (304, None, Never),
        (101, None, Never),
    ] {
        let answered = Answered { status, bytes, headers: &html() };
        assert_eq!(decide(&policy(), &asked, &answered), expected, "{status} {bytes:?}");
    }
}

/// Requests that want no change, or have secrets, get none; caches are told that others might.
#[test]
fn requests() {
    use Compressed::{NotNow, With};
    let with = |name, value| vec![("accept-encoding", "gzip"), (name, value)];
    for request in [
        with("Range", "bytes=0-9"),
        with("Cache-Control", "no-transform"),
        with("Cookie", "session=1"),
        with("Authorization", "Basic x"),
    ] {
        assert_eq!(decided(&policy(), &request, &html()), NotNow, "{request:?}");
    }
    let request: Lines<'_> = vec![("accept-encoding", "gzip")];
    let asked = Asked { method: "GET", http_1_0: false, certified: false, headers: &request };
    let answered = Answered { status: 200, bytes: Some(1000), headers: &html() };
    for (asked, expected) in [
        (asked, With(Coding::Gzip)),
        (Asked { method: "HEAD", ..asked }, NotNow),
        (Asked { http_1_0: true, ..asked }, NotNow),
        (Asked { certified: true, ..asked }, NotNow),
    ] {
        assert_eq!(decide(&policy(), &asked, &answered), expected);
    }
    let sets = vec![("content-type", "text/html"), ("set-cookie", "a=b")];
    assert_eq!(decided(&policy(), &request, &sets), NotNow);
    assert_eq!(decided(&[], &request, &html()), Compressed::Never);
}

/// Secrets are compressed only by the ways that say so.
#[test]
fn secrets() {
    let mut policy = policy();
    policy[1].credentialed = true;
    let request = vec![("accept-encoding", "br, gzip"), ("cookie", "a=b"), ("authorization", "x")];
    let sets = vec![("content-type", "text/html"), ("set-cookie", "a=b")];
    assert_eq!(decided(&policy, &request, &sets), Compressed::With(Coding::Gzip));
}

fn written(coding: Option<Coding>, response: &Lines<'_>) -> String {
    let mut out = Vec::new();
    write_lines(coding, response, |_| false, &mut out);
    String::from_utf8(out).unwrap()
}

/// Vary is one line with everything in it, and a strong entity tag becomes a weak one.
#[test]
fn lines_in_their_place() {
    for (response, expected) in [
        (vec![], "vary: accept-encoding\r\n"),
        (vec![("Vary", "Origin"), ("vary", "A,b")], "vary: Origin, A, b, accept-encoding\r\n"),
        (vec![("vary", "Accept-Encoding, Origin")], "vary: Accept-Encoding, Origin\r\n"),
        (vec![("vary", "*")], "vary: *\r\n"),
    ] {
        assert_eq!(written(None, &response), expected);
    }
    for (tag, weak) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\"")] {
        let expected = format!("content-encoding: br\r\netag: {weak}\r\nvary: accept-encoding\r\n");
        assert_eq!(written(Some(Coding::Brotli), &vec![("ETag", tag)]), expected);
    }
    let mut out = Vec::new();
    let response: Lines<'_> = vec![("etag", "\"a\""), ("vary", "b")];
    write_lines(Some(Coding::Gzip), &response, |name| name == "etag", &mut out);
    assert_eq!(out, b"content-encoding: gzip\r\nvary: b, accept-encoding\r\n");
}

proptest! {
    /// Whatever is chosen was taken by the client with a weight above zero, and none that the policy has was taken with
    /// more; where nothing is chosen, none was better than no coding.
    #[test]
    fn the_best_is_chosen(
        weights in proptest::collection::vec((0..5_usize, 0..=1000_u16), 0..6),
        order in Just(Coding::ALL.to_vec()).prop_shuffle(),
    ) {
        const NAMES: [&str; 5] = ["gzip", "br", "zstd", "identity", "*"];
        let items: Vec<String> = weights
            .iter()
            .map(|(name, weight)| format!("{};q={}.{:03}", NAMES[*name], weight / 1000, weight % 1000))
            .collect();
        let value = items.join(", ");
        let request: Lines<'_> = vec![("accept-encoding", &value)];
        let best = |name: usize| weights.iter().filter(|(other, _)| *other == name).map(|(_, weight)| *weight).max();
        let weight = |coding: Coding| best(coding as usize).or(best(4)).unwrap_or(0);
        let policy: Vec<Compression> = order.iter().map(|&coding| way(coding)).collect();
        let top = order.iter().map(|&coding| weight(coding)).max().unwrap_or(0);
        let expected = order.iter().find(|&&coding| weight(coding) == top).copied();
        let expected = expected.filter(|_| top > 0 && top >= best(3).unwrap_or(0));
        let found = match decided(&policy, &request, &html()) {
            Compressed::With(coding) => Some(coding),
            _ => None,
        };
        prop_assert_eq!(found, expected, "{}", value);
    }

    /// Any bytes can stand in the lines.
    #[test]
    fn any_bytes(value in proptest::collection::vec(any::<u8>(), 0..60)) {
        let headers: Vec<(&str, Vec<u8>)> = vec![
            ("accept-encoding", value.clone()),
            ("content-type", value.clone()),
            ("vary", value.clone()),
            ("cache-control", value.clone()),
            ("content-encoding", value.clone()),
            ("etag", value),
        ];
        let asked = Asked { method: "GET", http_1_0: false, certified: false, headers: &headers };
        decide(&policy(), &asked, &Answered { status: 200, bytes: None, headers: &headers });
        let mut out = Vec::new();
        write_lines(Some(Coding::Gzip), &headers, |_| false, &mut out);
    }
}
