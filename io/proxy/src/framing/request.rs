//! A request's head, checked and taken apart, whichever version of HTTP brought it. It owns its bytes, so that the
//! connection's buffer is free again.

use std::borrow::Cow;

use tidegate_coding::grpc_web::{self, Spoken};
use tidegate_traffic::HeaderLines;
use tidegate_traffic::block::{self, Block};
use tidegate_traffic::host::is_authority;
use tidegate_traffic::path::{PathError, normalise, normalise_query, plain_target, split_query};

use super::fields::{Fields, Span, TextSpan};
use super::lines::{FramingLines, Kind};
use super::scan::{HeadScan, LinePlace, Message, is_token};
use super::{BodyLength, HEAD_CEILING, Malformed};
use crate::http2::WEBSOCKET;

/// The field that limits how often a request is forwarded.
pub const MAX_FORWARDS: &str = "max-forwards";

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
    /// `http` or `https`, where an HTTP/1 target names one.
    pub scheme: Option<&'static str>,
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
        let mut reader = RequestReader::new(Fields::default(), HEAD_CEILING.0, super::HEADER_LINES_MAX);
        let head = reader.advance(bytes)?.filter(|head| head.len() == bytes.len());
        head.ok_or(Malformed::SYNTAX)
    }

    /// A head that came as HTTP/2 fields, into an empty field list. The lines have passed the checks of RFC 9113 section
    /// 8.2: lower-case tokens, no control characters but tabs, none that belong to a connection. Checked here: what a
    /// host and a path are, and what the request is about. `run`: the lines in one piece, if they stand so.
    pub fn from_http2<'l>(
        pseudo: &Pseudo<'_>,
        run: Option<&[u8]>,
        lines: impl Iterator<Item = (&'l [u8], &'l [u8])>,
        mut fields: Fields,
    ) -> Result<RequestHead, Malformed> {
        fields.clear();
        let upgrades = pseudo.protocol.is_some();
        // An extended CONNECT is what HTTP/1 spells GET with Upgrade.
        let method = if upgrades {
            "GET"
        } else {
            std::str::from_utf8(pseudo.method).map_err(|_| Malformed::SYNTAX)?
        };
        is_served(method.as_bytes())?;
        let target = Target::parse(method.as_bytes(), pseudo.path)?;
        if target.authority.is_some() {
            return Err(Malformed::TARGET);
        }
        let authority = Some(pseudo.authority).filter(|host| is_authority(host)).ok_or(Malformed::HOST)?;
        let authority = fields.push_ascii(authority);
        let method = fields.push_text(method);
        let path = fields.push_text(&target.path);
        let query = target.query.as_ref().map(|query| fields.push_text(query));
        let upgrade = pseudo.protocol.map(|protocol| fields.push_bytes(protocol));
        let all_fit = match run {
            Some(run) => fields.push_run(run, lines),
            None => {
                lines.for_each(|(name, value)| fields.push(name, value));
                true
            }
        };
        if !all_fit || (0..fields.len()).any(|index| fields.kind(index) == Some(Kind::FramingAlias)) {
            return Err(Malformed::HEADER);
        }
        let expects = |index: usize| match fields.entry(index) {
            Some((Kind::Expect, _, value)) => !value.eq_ignore_ascii_case(b"100-continue"),
            _ => false,
        };
        if (0..fields.len()).any(expects) {
            return Err(Malformed::EXPECTATION);
        }
        Ok(RequestHead {
            fields,
            method,
            scheme: None,
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

    /// Takes the request as one for `host`, where it names none (HTTP/1.0).
    pub fn suppose_authority(&mut self, host: &str) {
        self.authority = self.fields.push_text(host);
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

    /// How many more times it may be forwarded, where it says so. Only TRACE and OPTIONS have a say in that (RFC 9110 section
    /// 7.6.2); what is no number says nothing.
    pub fn max_forwards(&self) -> Option<u64> {
        if !matches!(self.method(), "OPTIONS" | "TRACE") {
            return None;
        }
        let digits = self.header(MAX_FORWARDS).filter(|value| !value.is_empty())?;
        digits.iter().try_fold(0_u64, |number, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            Some(number.saturating_mul(10).saturating_add(digit))
        })
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

/// Reads a request's head as it comes in.
#[derive(Debug)]
pub struct RequestReader {
    scan: HeadScan,
    parts: Parts,
}

impl RequestReader {
    /// A reader into an empty field list, of a head of so many bytes and lines at most; both within [`HEAD_CEILING`].
    pub fn new(mut fields: Fields, bytes_max: usize, lines_max: usize) -> RequestReader {
        fields.clear();
        let scan = HeadScan::new(bytes_max.min(HEAD_CEILING.0), lines_max.min(HEAD_CEILING.1));
        RequestReader { scan, parts: Parts { fields, ..Parts::default() } }
    }

    /// The head, once all of it is in `bytes`: then the reader is done. Every call must get the bytes of the call before and
    /// what came after them.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<RequestHead>, Malformed> {
        match self.scan.advance(bytes, &mut self.parts)? {
            Some(length) => self.parts.finish(&bytes[..length]).map(Some),
            None => Ok(None),
        }
    }
}

/// What was read of a head so far.
#[derive(Debug, Default)]
struct Parts {
    fields: Fields,
    framing: FramingLines,
    method_len: usize,
    target_len: usize,
    /// How long the path is, in a target that needs no second look.
    plain_path: Option<usize>,
    http_1_0: bool,
    host: Option<Span>,
    upgrade: Option<Span>,
    upgrades: usize,
    /// What is wrong with the lines taken together; told if every line is one.
    flaw: Option<Malformed>,
}

impl Message for Parts {
    fn first_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let (asked, http_1_0) = match (line.strip_suffix(b" HTTP/1.1"), line.strip_suffix(b" HTTP/1.0")) {
            (Some(asked), _) => (asked, false),
            (_, Some(asked)) => (asked, true),
            _ => return Err(Parts::no_first_line(line)),
        };
        let method_len = block::span(asked, 0, |block| block.letters().bits(), is_token);
        let target = match asked.get(method_len..) {
            Some([b' ', target @ ..]) if method_len > 0 && !target.is_empty() => target,
            _ => return Err(Malformed::SYNTAX),
        };
        self.plain_path = plain_target(target);
        if self.plain_path.is_none() && !is_target(target) {
            return Err(Malformed::SYNTAX);
        }
        (self.method_len, self.target_len, self.http_1_0) = (method_len, target.len(), http_1_0);
        Ok(())
    }

    /// A proper line but for the number of its version is refused as such.
    #[cold]
    fn no_first_line(line: &[u8]) -> Malformed {
        let line = line.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let mut words = line.split(|&byte| byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_method = !method.is_empty() && method.iter().all(|&byte| is_token(byte));
        let is_other = words.next().is_some_and(|version| {
            let is_ours = version.starts_with(b"HTTP/1.1") || version.starts_with(b"HTTP/1.0");
            version.starts_with(b"HTTP/") && !is_ours
        });
        let is_all = words.next().is_none();
        if is_method && is_target(target) && is_other && is_all {
            Malformed::VERSION
        } else {
            Malformed::SYNTAX
        }
    }

    #[inline]
    fn header(&mut self, head: &[u8], line: LinePlace) {
        let kind = Kind::of(&head[line.name..line.colon]);
        if kind != Kind::Plain {
            self.note(kind, &head[line.value..line.value_end], line.value);
        }
        self.fields.place(line, kind);
    }
}

/// Whether it can be a target: visible characters, and text if there are others than ASCII's.
fn is_target(target: &[u8]) -> bool {
    let visible = |block: Block| block.within(b'!', b'~').bits();
    !target.is_empty()
        && block::span(target, 0, visible, |byte| byte >= 0x80) == target.len()
        && std::str::from_utf8(target).is_ok()
}

impl Parts {
    /// Takes in a line that says what the request is about.
    fn note(&mut self, kind: Kind, value: &[u8], at: usize) {
        let flaw = match kind {
            Kind::Connection | Kind::Length | Kind::Coding => self.framing.line(kind, value).err(),
            Kind::Host => {
                let is_second = self.host.replace(Span::new(at, value.len())).is_some();
                (is_second || !is_authority(value)).then_some(Malformed::HOST)
            }
            Kind::Expect => {
                let known = self.http_1_0 || value.eq_ignore_ascii_case(b"100-continue");
                (!known).then_some(Malformed::EXPECTATION)
            }
            Kind::Upgrade => {
                self.upgrades += 1;
                self.upgrade = Some(Span::new(at, value.len()));
                None
            }
            Kind::FramingAlias => Some(Malformed::HEADER),
            _ => None,
        };
        if self.flaw.is_none() {
            self.flaw = flaw;
        }
    }

    /// Puts the head together, of which every line has been taken in.
    fn finish(&mut self, bytes: &[u8]) -> Result<RequestHead, Malformed> {
        let Parts { ref framing, method_len, target_len, http_1_0, .. } = *self;
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        let body = framing.body(http_1_0)?;
        if self.host.is_none() && !http_1_0 {
            return Err(Malformed::HOST);
        }
        let mut fields = std::mem::take(&mut self.fields);
        fields.push_bytes(bytes);
        let target_at = method_len + 1;
        let (method, target) = (&bytes[..method_len], &bytes[target_at..target_at + target_len]);
        is_served(method)?;
        let host = self.host.map(TextSpan::of_ascii).unwrap_or_default();
        let (scheme, authority, path, query) = match self.plain_path {
            Some(path_len) => {
                let part = |at, end| TextSpan::of_ascii(Span::new(target_at + at, end - at));
                let query = (path_len < target_len).then(|| part(path_len + 1, target_len));
                (None, host, part(0, path_len), query)
            }
            None => {
                let text = |part: &str| TextSpan::within(bytes, part);
                let target = Target::parse(method, target)?;
                let (path, query) = target.place(&mut fields, text);
                (target.scheme, target.authority.map_or(host, text), path, query)
            }
        };
        let no_body = matches!(body, BodyLength::None | BodyLength::Length(0));
        let upgrades = self.upgrades == 1 && framing.upgrade && no_body && !http_1_0;
        let upgrade = self.upgrade.filter(|&upgrade| upgrades && may_switch_to(fields.at(upgrade)));
        Ok(RequestHead {
            fields,
            method: TextSpan::of_ascii(Span::new(0, method_len)),
            scheme,
            authority,
            path,
            query,
            upgrade,
            bytes: bytes.len(),
            body,
            http_1_0,
            http_2: false,
            persistent: !framing.close && (!http_1_0 || framing.keep_alive),
            names_headers: framing.names_headers,
        })
    }
}

/// What may be upgraded to. Over a tunnel that an upstream opens for h2c, requests would pass unseen.
fn may_switch_to(protocols: &[u8]) -> bool {
    let is_h2c = |part: &[u8]| part.eq_ignore_ascii_case(b"h2c");
    !protocols.is_empty() && !protocols.windows(3).any(is_h2c)
}

/// Whether requests with this method can be served at all.
fn is_served(method: &[u8]) -> Result<(), Malformed> {
    match method {
        b"CONNECT" => Err(Malformed::METHOD),
        // The beginning of HTTP/2's preface: no client may ever send it as a method (RFC 9113 section 11.6).
        b"PRI" => Err(Malformed::PRI),
        _ => Ok(()),
    }
}

/// A request target, in origin, absolute or asterisk form (RFC 9112 section 3.2).
struct Target<'b> {
    scheme: Option<&'static str>,
    authority: Option<&'b str>,
    path: Cow<'b, str>,
    query: Option<Cow<'b, str>>,
    /// Whether a borrowed path stands in the target itself.
    is_literal: bool,
}

impl<'b> Target<'b> {
    fn parse(method: &[u8], target: &'b [u8]) -> Result<Target<'b>, Malformed> {
        let target = std::str::from_utf8(target).map_err(|_| Malformed::TARGET)?;
        if target == "*" && method == b"OPTIONS" {
            let path = target.into();
            return Ok(Target { scheme: None, authority: None, path, query: None, is_literal: true });
        }
        if target.starts_with('/') {
            return Target::of(None, target);
        }
        let (scheme, rest) = after_scheme(target).ok_or(Malformed::TARGET)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !is_authority(authority.as_bytes()) {
            return Err(Malformed::HOST);
        }
        if path.is_empty() && method == b"OPTIONS" {
            // That is how a client asks a proxy about the server itself (RFC 9112 section 3.2.4).
            let path = Cow::Borrowed("*");
            let (scheme, authority) = (Some(scheme), Some(authority));
            return Ok(Target { scheme, authority, path, query: None, is_literal: false });
        }
        let target = Target::of(Some(authority), path)?;
        Ok(Target { scheme: Some(scheme), ..target })
    }

    fn of(authority: Option<&'b str>, origin: &'b str) -> Result<Target<'b>, Malformed> {
        let (path, query) = split_query(origin);
        let is_literal = !path.is_empty();
        let path = if is_literal { path } else { "/" };
        let path = normalise(path).map_err(bad_path)?;
        let query = query.map(normalise_query).transpose().map_err(bad_path)?;
        Ok(Target { scheme: None, authority, path, query, is_literal })
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

/// The scheme, and what follows it. Whether it is the connection's is not known here.
fn after_scheme(target: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let known = ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
    Some((known, rest))
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
