//! Where a redirect sends the client: `Location` of an HTTPRequestRedirectFilter (gateway.networking.k8s.io/v1).
//!
//! The port that the client wrote in `Host` is never used: behind a proxy it may be anything.

use tidegate_model::traffic::{PathMatch, Redirect};

use crate::host::Authority;
use crate::rewrite::write_path;
use crate::text::push_number;

/// What the client asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `http` or `https`: the listener's, or what a trusted hop told.
    pub scheme: &'a str,
    /// `Host` as written, with or without port. If it names no host, `Location` is a relative reference, which scheme
    /// and port cannot change: the caller gives the address that the client connected to instead.
    pub host: &'a str,
    /// The listener's port, or what a trusted hop told.
    pub port: u16,
    /// The normalised path.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
}

/// Writes the value of `Location` (RFC 9110 section 10.2.2). The query is kept.
pub fn write_location(redirect: &Redirect, matched: &PathMatch, asked: &Asked<'_>, out: &mut Vec<u8>) {
    let asked_host = || Authority::parse(asked.host).map(|authority| authority.host);
    if let Some(host) = redirect.host.as_deref().or_else(asked_host) {
        let scheme = redirect.scheme.unwrap_or(asked.scheme);
        let port = redirect.port.or(redirect.scheme.and_then(well_known)).unwrap_or(asked.port);
        write_authority(scheme, host, port, out);
    }
    let start = out.len();
    write_path(redirect.path.as_ref(), matched, asked.path, out);
    if let Some(query) = asked.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    escape(out, start);
}

fn write_authority(scheme: &str, host: &str, port: u16, out: &mut Vec<u8>) {
    let bare_ipv6 = host.contains(':') && !host.starts_with('[');
    let (open, close) = if bare_ipv6 { ("[", "]") } else { ("", "") };
    for part in [scheme, "://", open, host, close] {
        out.extend_from_slice(part.as_bytes());
    }
    if well_known(scheme) != Some(port) {
        out.push(b':');
        push_number(out, port.into());
    }
}

/// The port that a scheme stands for.
pub fn well_known(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Escapes from `start` on what has no place in a URI: a line break in a query must not become one in a head.
fn escape(out: &mut Vec<u8>, start: usize) {
    let has_no_place = |byte: u8| matches!(byte, 0..=b' ' | b'"' | b'#' | b'<' | b'>' | b'\\' | 0x7f..);
    if !out[start..].iter().any(|&byte| has_no_place(byte)) {
        return;
    }
    for byte in out.split_off(start) {
        if has_no_place(byte) {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_model::traffic::PathRewrite;

    fn plain() -> Redirect {
        Redirect { scheme: None, host: None, port: None, path: None, status: 302 }
    }

    fn location(redirect: &Redirect, asked: &Asked<'_>) -> String {
        let mut out = Vec::new();
        write_location(redirect, &PathMatch::Prefix("/a".to_owned()), asked, &mut out);
        String::from_utf8(out).unwrap()
    }

    const ASKED: Asked<'static> =
        Asked { scheme: "http", host: "shop.example:999", port: 80, path: "/a/b", query: None };

    /// Scheme and port follow from each other as the filter documents, and well-known ports are left out.
    #[test]
    fn scheme_and_port() {
        for (asked_scheme, listener, scheme, port, expected) in [
            ("http", 80, None, None, "http://shop.example/a/b"),
            ("http", 80, None, Some(80), "http://shop.example/a/b"),
            ("http", 80, None, Some(8080), "http://shop.example:8080/a/b"),
            ("http", 80, Some("https"), None, "https://shop.example/a/b"),
            ("http", 80, Some("https"), Some(443), "https://shop.example/a/b"),
            ("http", 80, Some("https"), Some(8443), "https://shop.example:8443/a/b"),
            ("http", 8080, None, None, "http://shop.example:8080/a/b"),
            ("http", 8080, None, Some(80), "http://shop.example/a/b"),
            ("http", 8080, Some("https"), None, "https://shop.example/a/b"),
            ("http", 8080, Some("http"), None, "http://shop.example/a/b"),
            ("https", 443, None, None, "https://shop.example/a/b"),
            ("https", 443, None, Some(443), "https://shop.example/a/b"),
            ("https", 443, None, Some(8443), "https://shop.example:8443/a/b"),
            ("https", 443, None, Some(80), "https://shop.example:80/a/b"),
            ("https", 443, Some("http"), None, "http://shop.example/a/b"),
            ("https", 443, Some("http"), Some(8080), "http://shop.example:8080/a/b"),
            ("https", 8443, None, None, "https://shop.example:8443/a/b"),
        ] {
            let asked = Asked { scheme: asked_scheme, port: listener, ..ASKED };
            let redirect = Redirect { scheme, port, ..plain() };
            assert_eq!(
                location(&redirect, &asked),
                expected,
                "{asked_scheme} {listener} {scheme:?} {port:?}"
            );
        }
    }

    /// The path changes as in a rewrite, and the query stays whatever changes.
    #[test]
    fn path_and_query() {
        let asked = Asked { query: Some("x=1&y"), ..ASKED };
        for (path, expected) in [
            (None, "http://shop.example/a/b?x=1&y"),
            (Some(PathRewrite::Prefix("/new".to_owned())), "http://shop.example/new/b?x=1&y"),
            (Some(PathRewrite::Prefix(String::new())), "http://shop.example/b?x=1&y"),
            (Some(PathRewrite::Full("/full".to_owned())), "http://shop.example/full?x=1&y"),
            (Some(PathRewrite::Full(String::new())), "http://shop.example/?x=1&y"),
        ] {
            assert_eq!(location(&Redirect { path, ..plain() }, &asked), expected);
        }
        assert_eq!(location(&plain(), &Asked { query: Some(""), ..ASKED }), "http://shop.example/a/b?");
    }

    /// The filter's host replaces the client's; IPv6 addresses stand in brackets.
    #[test]
    fn hosts() {
        for (host, asked_host, expected) in [
            (Some("other.example"), "shop.example", "http://other.example/a/b"),
            (None, "[2001:db8::1]:8080", "http://[2001:db8::1]/a/b"),
            (Some("2001:db8::2"), "shop.example", "http://[2001:db8::2]/a/b"),
            (Some("[2001:db8::2]"), "shop.example", "http://[2001:db8::2]/a/b"),
            (None, "", "/a/b"),
            (None, "user@evil", "/a/b"),
        ] {
            let redirect = Redirect { host: host.map(str::to_owned), ..plain() };
            assert_eq!(location(&redirect, &Asked { host: asked_host, ..ASKED }), expected);
        }
    }

    /// Nothing that a client writes ends the header line or begins a fragment.
    #[test]
    fn no_line_breaks() {
        let asked = Asked { query: Some("a\r\nset-cookie: b#é"), ..ASKED };
        assert_eq!(location(&plain(), &asked), "http://shop.example/a/b?a%0D%0Aset-cookie:%20b%23%C3%A9");
    }
}
