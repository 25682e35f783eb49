//! A request's head, checked and taken apart, whichever version of HTTP brought it. It owns its bytes, so that the
//! connection's buffer is free again.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use httparse::{Error, ParserConfig, Request, Status};
use tidegate_coding::grpc_web::{self, Spoken};
use tidegate_traffic::HeaderLines;
use tidegate_traffic::host::Authority;
use tidegate_traffic::path::{PathError, normalise, normalise_query, split_query};

#[cfg(any(test, fuzzing))]
use super::HEADER_LINES_MAX;
use super::fields::{Fields, Span, TextSpan};
use super::lines::{FramingLines, Kind};
use super::{BodyLength, HEAD_CEILING, Malformed};
use crate::http2::WEBSOCKET;

/// A request's head.
#[derive(Clone, Debug)]
pub struct RequestHead {
    fields: Fields,
    method: TextSpan,
    authority: TextSpan,
    path: TextSpan,
    query: Option<TextSpan>,
    upgrade: Option<Span>,
    /// Bytes of the head as received.
    bytes: usize,
    /// How long its body is.
    pub body: BodyLength,
    /// Spoken by an HTTP/1.0 client.
    pub http_1_0: bool,
    /// Spoken by an HTTP/2 client.
    pub http_2: bool,
    /// Whether the client wants to go on using the connection.
    pub persistent: bool,
    /// `Connection` names other headers.
    pub names_headers: bool,
}

/// What the pseudo-headers of an HTTP/2 request say (RFC 9113 section 8.3.1), and how its body is.
#[derive(Clone, Copy, Debug)]
pub struct Pseudo<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:authority`, or `host` in its place.
    pub authority: &'a [u8],
    /// `:path`, with its query; `*` for OPTIONS.
    pub path: &'a [u8],
    /// `:protocol` of an extended CONNECT (RFC 8441): the request counts as an upgrade to it.
    pub protocol: Option<&'a [u8]>,
    /// `Length` with `content-length`, `None` where the stream ended with the head, else `Chunked`.
    pub body: BodyLength,
    /// Bytes received for it.
    pub bytes: usize,
}

impl RequestHead {
    /// Takes apart `bytes`, one whole HTTP/1 head with its blank line.
    #[cfg(any(test, fuzzing))]
    pub fn parse(bytes: &[u8]) -> Result<RequestHead, Malformed> {
        RequestHead::parse_into(bytes, Fields::default(), HEADER_LINES_MAX)
    }

    /// Takes apart `bytes` into an empty field list. More than `lines_max` lines (at most 256) are refused.
    pub fn parse_into(bytes: &[u8], mut fields: Fields, lines_max: usize) -> Result<RequestHead, Malformed> {
        let mut headers = [const { MaybeUninit::uninit() }; HEAD_CEILING.1];
        let headers = &mut headers[..lines_max.min(HEAD_CEILING.1)];
        let mut request = Request::new(&mut []);
        match ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, headers) {
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
        let span = |part: &[u8]| Span::new(part.as_ptr().addr() - bytes.as_ptr().addr(), part.len());
        let text = |part: &str| TextSpan::within(bytes, part);
        let mut framing = FramingLines::default();
        let mut special = Special::default();
        let mut starts =
            request.headers.iter().skip(1).map(|next| next.name.as_ptr().addr() - bytes.as_ptr().addr());
        for header in request.headers.iter() {
            let kind = Kind::of(header.name.as_bytes());
            if kind != Kind::Plain {
                framing.line(kind, header.value)?;
                special.line(kind, header.value, http_1_0)?;
            }
            let end = starts.next().unwrap_or(bytes.len() - 2);
            fields.place(bytes, text(header.name), span(header.value), end, kind);
        }
        let body = framing.body(http_1_0)?;
        let host = special.host(http_1_0)?;
        fields.push_bytes(bytes);
        let target = Target::parse(method, target)?;
        let (path, query) = target.place(&mut fields, text);
        let no_body = matches!(body, BodyLength::None | BodyLength::Length(0));
        let upgrade = special.upgrade().filter(|_| framing.upgrade && no_body && !http_1_0);
        Ok(RequestHead {
            fields,
            method: text(method),
            authority: target.authority.or(host).map(text).unwrap_or_default(),
            path,
            query,
            upgrade: upgrade.map(span),
            bytes: bytes.len(),
            body,
            http_1_0,
            http_2: false,
            persistent: !framing.close && (!http_1_0 || framing.keep_alive),
            names_headers: framing.names_headers,
        })
    }

    /// A head that came as HTTP/2 fields, into an empty field list. The lines have passed the checks of RFC 9113 section
    /// 8.2: lower-case tokens, no control characters but tabs, none that belong to a connection. Checked here: what a
    /// host and a path are, and what the request is about.
    pub fn from_http2<'l>(
        pseudo: &Pseudo<'_>,
        lines: impl Iterator<Item = (&'l [u8], &'l [u8])>,
        mut fields: Fields,
    ) -> Result<RequestHead, Malformed> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Malformed::SYNTAX);
        let upgrades = pseudo.protocol.is_some();
        // An extended CONNECT is what HTTP/1 spells GET with Upgrade.
        let method = if upgrades { "GET" } else { text(pseudo.method)? };
        let target = Target::parse(method, text(pseudo.path)?)?;
        if target.authority.is_some() {
            return Err(Malformed::TARGET);
        }
        let authority =
            std::str::from_utf8(pseudo.authority).ok().filter(|host| Authority::parse(host).is_some());
        let authority = fields.push_text(authority.ok_or(Malformed::HOST)?);
        let method = fields.push_text(method);
        let path = fields.push_text(&target.path);
        let query = target.query.as_ref().map(|query| fields.push_text(query));
        let upgrade = pseudo.protocol.map(|protocol| fields.push_bytes(protocol));
        for (name, value) in lines {
            let kind = Kind::of(name);
            if kind == Kind::FramingAlias {
                return Err(Malformed::HEADER);
            }
            fields.push(name, value);
        }
        Ok(RequestHead {
            fields,
            method,
            authority,
            path,
            query,
            upgrade,
            bytes: pseudo.bytes,
            body: if upgrades { BodyLength::None } else { pseudo.body },
            http_1_0: false,
            http_2: true,
            persistent: true,
            names_headers: false,
        })
    }

    /// The lines, for the next head.
    pub fn into_fields(self) -> Fields {
        self.fields
    }

    /// Its lines.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.fields.text(self.method)
    }

    /// `host[:port]`, from the target if it is in absolute form; empty if an HTTP/1.0 request names none.
    pub fn authority(&self) -> &str {
        self.fields.text(self.authority)
    }

    /// The path that every stage sees; `*` for `OPTIONS *`.
    pub fn path(&self) -> &str {
        self.fields.text(self.path)
    }

    /// The query, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.fields.text(span))
    }

    /// The protocol the client would like to speak instead.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|span| self.fields.at(span))
    }

    /// The same, if it is what can be asked for over HTTP/2, too (RFC 8441).
    pub fn websocket(&self) -> Option<&'static [u8]> {
        self.upgrade().filter(|protocol| protocol.eq_ignore_ascii_case(WEBSOCKET)).map(|_| WEBSOCKET)
    }

    /// The value of the first line of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// All header lines.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.lines()
    }

    /// Bytes of the head as received.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether no body follows.
    pub fn is_bodiless(&self) -> bool {
        matches!(self.body, BodyLength::None | BodyLength::Length(0))
    }

    /// Whether doing it twice is doing it once (RFC 9110 section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    /// Whether it is a gRPC call, which is answered in gRPC's own way.
    pub fn is_grpc(&self) -> bool {
        self.header("content-type").is_some_and(grpc_web::is_grpc)
    }

    /// How gRPC-Web is spoken, if it is (a POST with such a content type).
    pub fn grpc_web(&self) -> Option<Spoken<'_>> {
        if self.method() != "POST" {
            return None;
        }
        self.header("content-type").and_then(Spoken::of)
    }

    /// How the protocol is called in logs.
    pub fn protocol(&self) -> &'static str {
        match (self.http_2, self.http_1_0) {
            (true, _) => "HTTP/2",
            (false, true) => "HTTP/1.0",
            (false, false) => "HTTP/1.1",
        }
    }
}

impl HeaderLines for RequestHead {
    fn line(&self, index: usize) -> Option<(&str, &[u8])> {
        self.fields.line(index)
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
struct Special<'b> {
    host: Option<&'b str>,
    upgrade: Option<&'b [u8]>,
    upgrades: usize,
}

impl<'b> Special<'b> {
    fn line(&mut self, kind: Kind, value: &'b [u8], http_1_0: bool) -> Result<(), Malformed> {
        match kind {
            Kind::Host => {
                let host = std::str::from_utf8(value).map_err(|_| Malformed::HOST)?;
                if self.host.replace(host).is_some() || Authority::parse(host).is_none() {
                    return Err(Malformed::HOST);
                }
            }
            Kind::Expect => {
                let known = http_1_0 || value.eq_ignore_ascii_case(b"100-continue");
                known.then_some(()).ok_or(Malformed::EXPECTATION)?;
            }
            Kind::Upgrade => {
                self.upgrades += 1;
                self.upgrade = Some(value);
            }
            Kind::FramingAlias => return Err(Malformed::HEADER),
            _ => {}
        }
        Ok(())
    }

    fn host(&self, http_1_0: bool) -> Result<Option<&'b str>, Malformed> {
        if self.host.is_none() && !http_1_0 { Err(Malformed::HOST) } else { Ok(self.host) }
    }

    /// What may be upgraded to. Over a tunnel that an upstream opens for h2c, requests would pass unseen.
    fn upgrade(&self) -> Option<&'b [u8]> {
        let h2c = |value: &[u8]| value.to_ascii_lowercase().windows(3).any(|part| part == b"h2c");
        self.upgrade.filter(|value| self.upgrades == 1 && !value.is_empty() && !h2c(value))
    }
}

/// A request target, in origin, absolute or asterisk form (RFC 9112 section 3.2).
struct Target<'b> {
    authority: Option<&'b str>,
    path: Cow<'b, str>,
    query: Option<Cow<'b, str>>,
    /// Whether a borrowed path stands in the target itself.
    is_literal: bool,
}

impl<'b> Target<'b> {
    fn parse(method: &str, target: &'b str) -> Result<Target<'b>, Malformed> {
        match method {
            "CONNECT" => return Err(Malformed::METHOD),
            // The beginning of HTTP/2's preface: no client may ever send it as a method (RFC 9113 section 11.6).
            "PRI" => return Err(Malformed::PRI),
            _ => {}
        }
        if target == "*" && method == "OPTIONS" {
            return Ok(Target { authority: None, path: target.into(), query: None, is_literal: true });
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
        if path.is_empty() && method == "OPTIONS" {
            // That is how a client asks a proxy about the server itself (RFC 9112 section 3.2.4).
            let path = Cow::Borrowed("*");
            return Ok(Target { authority: Some(authority), path, query: None, is_literal: false });
        }
        Target::of(Some(authority), path)
    }

    fn of(authority: Option<&'b str>, origin: &'b str) -> Result<Target<'b>, Malformed> {
        let (path, query) = split_query(origin);
        let is_literal = !path.is_empty();
        let path = if is_literal { path } else { "/" };
        let path = normalise(path).map_err(bad_path)?;
        let query = query.map(normalise_query).transpose().map_err(bad_path)?;
        Ok(Target { authority, path, query, is_literal })
    }

    /// Where path and query stand; what had to be changed, or is not there, is added to the bytes.
    fn place(&self, fields: &mut Fields, literal: impl Fn(&str) -> TextSpan) -> (TextSpan, Option<TextSpan>) {
        let path = match &self.path {
            Cow::Borrowed(path) if self.is_literal => literal(path),
            path => fields.push_text(path),
        };
        let query = self.query.as_ref().map(|query| match query {
            Cow::Borrowed(query) => literal(query),
            Cow::Owned(query) => fields.push_text(query),
        });
        (path, query)
    }
}

fn bad_path(error: PathError) -> Malformed {
    let message = match error {
        PathError::NotAbsolute => "The path does not start with a slash.",
        PathError::BadEscape => "The path has a percent sign without two hexadecimal digits.",
        PathError::EscapedSlash => "The path has an escaped slash or backslash.",
        PathError::Backslash => "The path has a backslash.",
        PathError::Control => "The target has a space or a control character.",
        PathError::Fragment => "The target has a number sign.",
        PathError::AboveRoot => "The path climbs above the root.",
        PathError::DotParameters => "The path has a dot segment with parameters.",
    };
    Malformed::bad("BadPath", message)
}
