//! Cross-origin resource sharing (HTTPCORSFilter of gateway.networking.k8s.io/v1; the Fetch standard's CORS protocol).
//!
//! A preflight is answered here and never reaches the backend. On other responses the filter's word replaces the
//! backend's. Nothing is refused: without the right lines the browser refuses by itself.

use tidegate_model::traffic::{Cors, OriginPattern};

use crate::host::Authority;
use crate::request::HeaderLines;
use crate::text::{is_token, list_items, push_number};

/// The status that a preflight is answered with, whether its origin may or not.
pub const PREFLIGHT_STATUS: u16 = 204;

/// The longest `Origin` that is compared or echoed: a scheme, a host name, a port.
const ORIGIN_BYTES_MAX: usize = 300;

/// The header names that a preflight may ask for: as many as a filter may list.
const ASKED_HEADERS_MAX: usize = 64;

/// The `Origin` of a request; nothing if it has none, several, or one that is no serialised origin.
pub fn origin(lines: &dyn HeaderLines) -> Option<&str> {
    let mut values = values(lines, "origin");
    let (first, second) = (values.next()?, values.next());
    let is_part = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b'<' | b'>');
    let well_formed = first.len() <= ORIGIN_BYTES_MAX && !first.is_empty() && first.iter().all(is_part);
    if second.is_some() || !well_formed { None } else { std::str::from_utf8(first).ok() }
}

fn values<'a>(lines: &'a dyn HeaderLines, name: &str) -> impl Iterator<Item = &'a [u8]> {
    (0..)
        .map_while(|index| lines.line(index))
        .filter(move |(line, _)| line.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The question of a browser whether it may send a request.
#[derive(Clone, Copy)]
pub struct Preflight<'a> {
    origin: Option<&'a str>,
    method: &'a str,
    lines: &'a dyn HeaderLines,
}

impl<'a> Preflight<'a> {
    /// The preflight that a request is: `OPTIONS` with `Origin` and `Access-Control-Request-Method`.
    pub fn of(method: &str, lines: &'a dyn HeaderLines) -> Option<Preflight<'a>> {
        if method != "OPTIONS" {
            return None;
        }
        let asked = values(lines, "access-control-request-method").next().filter(|asked| is_token(asked))?;
        values(lines, "origin").next()?;
        Some(Preflight { origin: origin(lines), method: std::str::from_utf8(asked).ok()?, lines })
    }

    /// Writes the header lines of the answer; its status is [`PREFLIGHT_STATUS`] and it has no body.
    pub fn write_answer(&self, cors: &Cors, out: &mut Vec<u8>) {
        if !write_origin(cors, self.origin, out) {
            return;
        }
        self.write_methods(cors, out);
        self.write_headers(cors, out);
        write_exposed(cors, out);
        out.extend_from_slice(b"access-control-max-age: ");
        push_number(out, cors.max_age_secs.into());
        out.extend_from_slice(b"\r\n");
    }

    fn write_methods(&self, cors: &Cors, out: &mut Vec<u8>) {
        const NAME: &[u8] = b"access-control-allow-methods: ";
        if has_star(&cors.methods) {
            write_list(NAME, std::iter::once(self.method.as_bytes()), out);
        } else {
            write_list(NAME, cors.methods.iter().map(String::as_bytes), out);
        }
    }

    /// Where all headers are allowed, those asked for are named: `*` would not cover `Authorization`, and nothing at all
    /// with credentials (Fetch standard, "CORS-preflight fetch").
    fn write_headers(&self, cors: &Cors, out: &mut Vec<u8>) {
        const NAME: &[u8] = b"access-control-allow-headers: ";
        if !has_star(&cors.headers) {
            return write_list(NAME, cors.headers.iter().map(String::as_bytes), out);
        }
        let asked = values(self.lines, "access-control-request-headers").flat_map(list_items);
        write_list(NAME, asked.filter(|name| is_token(name)).take(ASKED_HEADERS_MAX), out);
    }
}

/// Whether a header line of the backend's response is left out, because the filter speaks for it. Its `Vary` stays.
pub fn is_cors_line(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-expose-headers",
        "access-control-max-age",
    ];
    matches!(name.len(), 22..=32) && NAMES.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Writes the lines that go on a response which is no answer to a preflight; `origin` is the request's.
///
/// Requests without `Origin` get lines too: a cache may serve the response to others later (Fetch standard, "CORS
/// protocol and HTTP caches").
pub fn write_response_lines(cors: &Cors, origin: Option<&str>, out: &mut Vec<u8>) {
    if write_origin(cors, origin, out) {
        write_exposed(cors, out);
    }
}

/// Writes who may read the response, and whether that differs between origins. Returns whether this origin may.
fn write_origin(cors: &Cors, origin: Option<&str>, out: &mut Vec<u8>) -> bool {
    if allows_all(cors) && !cors.credentials {
        out.extend_from_slice(b"access-control-allow-origin: *\r\n");
        return true;
    }
    out.extend_from_slice(b"vary: origin\r\n");
    let Some(origin) = origin.filter(|origin| allows(cors, origin)) else { return false };
    for part in ["access-control-allow-origin: ", origin, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if cors.credentials {
        out.extend_from_slice(b"access-control-allow-credentials: true\r\n");
    }
    true
}

/// With credentials `*` would be read as a header's name, so it is left out (HTTPCORSFilter.exposeHeaders).
fn write_exposed(cors: &Cors, out: &mut Vec<u8>) {
    let names = cors.expose.iter().filter(|name| !(cors.credentials && *name == "*"));
    write_list(b"access-control-expose-headers: ", names.map(String::as_bytes), out);
}

fn write_list<'a>(name: &[u8], items: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let mut separator = name;
    let mut any = false;
    for item in items {
        out.extend_from_slice(separator);
        out.extend_from_slice(item);
        (separator, any) = (b", ", true);
    }
    if any {
        out.extend_from_slice(b"\r\n");
    }
}

fn has_star(list: &[String]) -> bool {
    list.iter().any(|item| item == "*")
}

fn allows_all(cors: &Cors) -> bool {
    cors.origins.contains(&OriginPattern::Any)
}

/// Whether the filter names an origin.
pub fn allows(cors: &Cors, origin: &str) -> bool {
    let tuple = Tuple::parse(origin);
    cors.origins.iter().any(|pattern| match (pattern, tuple) {
        (OriginPattern::Any, _) => true,
        (_, None) => false,
        (OriginPattern::Exact(text), Some(tuple)) => Tuple::parse(text).is_some_and(|pattern| {
            tuple.is_at(pattern.scheme, pattern.port) && tuple.host.eq_ignore_ascii_case(pattern.host)
        }),
        (OriginPattern::Under { scheme, parent, port }, Some(tuple)) => {
            let port = port.or_else(|| well_known(scheme)).unwrap_or(0);
            tuple.is_at(scheme, port) && is_under(tuple.host, parent)
        }
    })
}

/// Whether a name has labels before `parent`; every name is under the empty one.
fn is_under(host: &str, parent: &str) -> bool {
    let Some(at) = host.len().checked_sub(parent.len()) else { return false };
    let (labels, rest) = host.as_bytes().split_at(at);
    parent.is_empty()
        || (labels.len() > 1 && labels.ends_with(b".") && rest.eq_ignore_ascii_case(parent.as_bytes()))
}

/// A tuple origin (HTML standard, "origin") in its parts; `null` is none.
#[derive(Clone, Copy)]
struct Tuple<'a> {
    scheme: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> Tuple<'a> {
    fn parse(text: &'a str) -> Option<Tuple<'a>> {
        let (scheme, authority) = text.split_once("://")?;
        let authority = Authority::parse(authority)?;
        let port = authority.port.or_else(|| well_known(scheme)).unwrap_or(0);
        Some(Tuple { scheme, host: authority.host, port })
    }

    fn is_at(&self, scheme: &str, port: u16) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme) && self.port == port
    }
}

fn well_known(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else {
        scheme.eq_ignore_ascii_case("http").then_some(80)
    }
}

#[cfg(test)]
mod tests;
