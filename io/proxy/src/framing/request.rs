//! A request's head, checked and taken apart. It owns its bytes, so that the connection's buffer is free again.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Error, Request, Status};
use tidegate_traffic::HeaderLines;
use tidegate_traffic::client::alias;
use tidegate_traffic::host::Authority;
use tidegate_traffic::path::{PathError, normalise, split_query};

use super::lines::FramingLines;
use super::{BodyLength, HEADER_LINES_MAX, Malformed};

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    bytes: Vec<u8>,
    lines: Vec<(Range<usize>, Range<usize>)>,
    method: Range<usize>,
    authority: Range<usize>,
    path: String,
    query: Option<Range<usize>>,
    upgrade: Option<Range<usize>>,
    /// How long its body is.
    pub body: BodyLength,
    /// Spoken by an HTTP/1.0 client.
    pub http_1_0: bool,
    /// Whether the client wants to go on using the connection.
    pub persistent: bool,
    /// `Connection` names other headers.
    pub names_headers: bool,
}

impl RequestHead {
    /// Takes apart `bytes`, one whole head with its blank line.
    pub fn parse(bytes: &[u8]) -> Result<RequestHead, Malformed> {
        let mut headers = [EMPTY_HEADER; HEADER_LINES_MAX];
        let mut request = Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(Malformed::SYNTAX),
            Err(Error::TooManyHeaders) => return Err(Malformed::HEAD_TOO_LARGE),
            Err(Error::Version) if asks_other_version(bytes) => return Err(Malformed::VERSION),
            Err(Error::HeaderName | Error::HeaderValue) => return Err(Malformed::HEADER),
            Err(_) => return Err(Malformed::SYNTAX),
        }
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version)
        else {
            return Err(Malformed::SYNTAX);
        };
        let http_1_0 = version == 0;
        let framing = FramingLines::read(request.headers)?;
        let body = framing.body(http_1_0)?;
        let fields = Fields::read(request.headers, http_1_0)?;
        let target = Target::parse(method, target)?;
        let span = |part: &[u8]| {
            let start = part.as_ptr().addr() - bytes.as_ptr().addr();
            start..start + part.len()
        };
        let no_body = matches!(body, BodyLength::None | BodyLength::Length(0));
        let upgrade = fields.upgrade.filter(|_| framing.upgrade && no_body && !http_1_0);
        Ok(RequestHead {
            lines: request
                .headers
                .iter()
                .map(|line| (span(line.name.as_bytes()), span(line.value)))
                .collect(),
            method: span(method.as_bytes()),
            authority: target.authority.or(fields.host).map_or(0..0, |host| span(host.as_bytes())),
            path: target.path,
            query: target.query.map(|query| span(query.as_bytes())),
            upgrade: upgrade.map(span),
            body,
            http_1_0,
            persistent: !framing.close && (!http_1_0 || framing.keep_alive),
            names_headers: framing.names_headers,
            bytes: bytes.to_vec(),
        })
    }

    fn text(&self, span: &Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[span.clone()]).unwrap_or_default()
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// `host[:port]`, from the target if it is in absolute form; empty if an HTTP/1.0 request names none.
    pub fn authority(&self) -> &str {
        self.text(&self.authority)
    }

    /// The path that every stage sees; `*` for `OPTIONS *`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_ref().map(|span| self.text(span))
    }

    /// The protocol the client would like to speak instead.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.as_ref().map(|span| &self.bytes[span.clone()])
    }

    /// The value of the first line of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.lines().find(|(line, _)| line.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All header lines.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        (0..self.lines.len()).filter_map(|index| self.line(index))
    }

    /// Bytes of the head as received.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether doing it twice is doing it once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }
}

impl HeaderLines for RequestHead {
    fn line(&self, index: usize) -> Option<(&str, &[u8])> {
        let (name, value) = self.lines.get(index)?;
        Some((self.text(name), &self.bytes[value.clone()]))
    }
}

/// Whether the first line is a proper one but for the number of its version.
fn asks_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    matches!((words.nth(2), words.next()), (Some(version), None) if version.starts_with(b"HTTP/"))
}

/// The lines that say what the request is about.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b str>,
    upgrade: Option<&'b [u8]>,
}

impl<'b> Fields<'b> {
    fn read(headers: &[httparse::Header<'b>], http_1_0: bool) -> Result<Fields<'b>, Malformed> {
        let mut fields = Fields::default();
        let mut upgrades = 0;
        for header in headers {
            match header.name.len() {
                4 if header.name.eq_ignore_ascii_case("host") => {
                    let host = std::str::from_utf8(header.value).map_err(|_| Malformed::HOST)?;
                    if fields.host.replace(host).is_some() || Authority::parse(host).is_none() {
                        return Err(Malformed::HOST);
                    }
                }
                6 if header.name.eq_ignore_ascii_case("expect") => {
                    let known = http_1_0 || header.value.eq_ignore_ascii_case(b"100-continue");
                    known.then_some(()).ok_or(Malformed::EXPECTATION)?;
                }
                7 if header.name.eq_ignore_ascii_case("upgrade") => {
                    upgrades += 1;
                    fields.upgrade = Some(header.value);
                }
                _ if is_framing_alias(header.name) => return Err(Malformed::HEADER),
                _ => {}
            }
        }
        // Over a tunnel that an upstream opens for h2c, requests would pass unseen.
        let h2c = fields
            .upgrade
            .is_some_and(|value| value.to_ascii_lowercase().windows(3).any(|part| part == b"h2c"));
        if upgrades > 1 || h2c || fields.upgrade.is_some_and(<[u8]>::is_empty) {
            fields.upgrade = None;
        }
        if fields.host.is_none() && !http_1_0 { Err(Malformed::HOST) } else { Ok(fields) }
    }
}

/// A name with `_` that a CGI-like server takes for a framing header.
fn is_framing_alias(name: &str) -> bool {
    name.contains('_') && ["content-length", "transfer-encoding"].iter().any(|framing| alias(framing, name))
}

/// A request target, in origin, absolute or asterisk form (RFC 9112 section 3.2).
struct Target<'b> {
    authority: Option<&'b str>,
    path: String,
    query: Option<&'b str>,
}

impl<'b> Target<'b> {
    fn parse(method: &str, target: &'b str) -> Result<Target<'b>, Malformed> {
        if method == "CONNECT" {
            return Err(Malformed::METHOD);
        }
        if target == "*" && method == "OPTIONS" {
            return Ok(Target { authority: None, path: "*".into(), query: None });
        }
        if target.contains('#') {
            return Err(Malformed::TARGET);
        }
        if target.starts_with('/') {
            return Target::of(None, target);
        }
        let rest = match target.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => rest,
            _ => return Err(Malformed::TARGET),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if Authority::parse(authority).is_none() {
            return Err(Malformed::HOST);
        }
        Target::of(Some(authority), path)
    }

    fn of(authority: Option<&'b str>, origin: &'b str) -> Result<Target<'b>, Malformed> {
        let (path, query) = split_query(origin);
        let path = if path.is_empty() { "/" } else { path };
        let path = normalise(path).map_err(bad_path)?.into_owned();
        Ok(Target { authority, path, query })
    }
}

fn bad_path(error: PathError) -> Malformed {
    let message = match error {
        PathError::NotAbsolute => "The path does not start with a slash.",
        PathError::BadEscape => "The path has a percent sign without two hexadecimal digits.",
        PathError::EscapedSlash => "The path has an escaped slash or backslash.",
        PathError::Backslash => "The path has a backslash.",
        PathError::Control => "The path has a space or a control character.",
        PathError::Fragment => "The path has a number sign.",
        PathError::AboveRoot => "The path climbs above the root.",
        PathError::DotParameters => "The path has a dot segment with parameters.",
    };
    Malformed::bad("BadPath", message)
}
