//! A parser of HTTP/1.1 (RFC 9112) that forgives nothing; for tests, so it is slow and short.
//!
//! Shares no code with the proxy: what both get wrong in the same way would be found by nobody.

/// A message, whole.
#[derive(Clone, Debug)]
pub struct Message {
    /// The three words of the first line.
    pub first: [Vec<u8>; 3],
    /// Header lines, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The content, without its framing.
    pub body: Vec<u8>,
    /// Trailer lines, names in lower case.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Bytes on the wire.
    pub length: usize,
}

/// What a parse came to: a message, not yet (more bytes are needed), or why it is none.
pub type Parsed = Result<Option<Message>, String>;

/// Names that a server might take for others.
const FRAMING: [&str; 11] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "x-forwarded-for",
    "x-request-id",
];

impl Message {
    /// The values of every line of that name.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        values(&self.headers, name)
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        std::str::from_utf8(&self.first[1]).ok().and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The request line.
    pub fn line(&self) -> Vec<u8> {
        self.first.join(&b' ')
    }
}

fn values<'m>(headers: &'m [(String, Vec<u8>)], name: &str) -> Vec<&'m [u8]> {
    headers.iter().filter(|(line, _)| line == name).map(|(_, value)| value.as_slice()).collect()
}

/// The first request in `bytes`, as an origin must get it from a gateway.
pub fn request(bytes: &[u8]) -> Parsed {
    let Some(mut message) = head(bytes)? else { return Ok(None) };
    let [method, target, version] = &message.first;
    let visible = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return Err(format!("method {:?}", show(method)));
    }
    let form = target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS");
    if !form || !visible(target) || target.iter().any(|byte| b"#\\\"<>".contains(byte)) {
        return Err(format!("target {:?}", show(target)));
    }
    if version != b"HTTP/1.1" {
        return Err(format!("version {:?}", show(version)));
    }
    if message.all("host").len() != 1 {
        return Err(format!("{} hosts", message.all("host").len()));
    }
    let host = message.all("host")[0];
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    if host.is_empty() || !host.iter().all(plain) {
        return Err(format!("host {:?}", show(host)));
    }
    let upgrade = !message.all("upgrade").is_empty();
    for name in ["keep-alive", "proxy-connection", "te", "http2-settings", "proxy-authorization"] {
        if !message.all(name).is_empty() {
            return Err(format!("{name} belongs to one hop"));
        }
    }
    match message.all("connection").as_slice() {
        [] if !upgrade => {}
        [value] if upgrade && value.eq_ignore_ascii_case(b"upgrade") => {}
        other => return Err(format!("connection {other:?}")),
    }
    body(&mut message, bytes)
}

/// The first response in `bytes`, as a client must get it. `to_head`: to a HEAD request. `ended`: no more will come.
pub fn response(bytes: &[u8], to_head: bool, ended: bool) -> Parsed {
    let Some(mut message) = head(bytes)? else { return Ok(None) };
    let [version, code, phrase] = &message.first;
    if version != b"HTTP/1.1" || code.len() != 3 || !(100..1000).contains(&message.status()) {
        return Err(format!("status line {:?}", show(&message.line())));
    }
    if !phrase.iter().all(|&byte| is_text(byte)) {
        return Err(format!("reason phrase {:?}", show(phrase)));
    }
    let status = message.status();
    let interim = status < 200;
    if (interim || status == 204) && !(message.all("content-length").is_empty()) {
        return Err(format!("{status} with a length"));
    }
    if to_head || interim || matches!(status, 204 | 304) {
        if !message.all("transfer-encoding").is_empty() {
            return Err(format!("{status} with a transfer coding and no body"));
        }
        return framed_once(&message).map(|()| Some(message));
    }
    let framed = !message.all("content-length").is_empty() || !message.all("transfer-encoding").is_empty();
    if !framed {
        if message.all("connection") != [b"close"] {
            return Err("until the end, without saying that it closes".to_owned());
        }
        message.body = bytes[message.length..].to_vec();
        message.length = bytes.len();
        return Ok(ended.then_some(message));
    }
    body(&mut message, bytes)
}

/// A head: first line, header lines, blank line.
fn head(bytes: &[u8]) -> Parsed {
    let Some((first, mut at)) = line(bytes, 0)? else { return Ok(None) };
    let words: Vec<&[u8]> = first.splitn(3, |&byte| byte == b' ').collect();
    let &[a, b, c] = words.as_slice() else { return Err(format!("first line {:?}", show(first))) };
    let first = [a.to_vec(), b.to_vec(), c.to_vec()];
    let mut headers = Vec::new();
    loop {
        let Some((text, next)) = line(bytes, at)? else { return Ok(None) };
        at = next;
        if text.is_empty() {
            return Ok(Some(Message { first, headers, body: Vec::new(), trailers: Vec::new(), length: at }));
        }
        headers.push(field(text)?);
    }
}

/// A field line; no name that could be taken for another.
fn field(text: &[u8]) -> Result<(String, Vec<u8>), String> {
    let fault = || format!("header line {:?}", show(text));
    let colon = text.iter().position(|&byte| byte == b':').ok_or_else(fault)?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) || !value.iter().all(|&byte| is_text(byte))
    {
        return Err(fault());
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let folded = name.replace('_', "-");
    if name != folded && FRAMING.contains(&folded.as_str()) {
        return Err(format!("the alias {name:?}"));
    }
    let trimmed = value.strip_prefix(b" ").unwrap_or(value);
    if trimmed.trim_ascii().len() != trimmed.len() {
        return Err(fault());
    }
    Ok((name, trimmed.to_vec()))
}

/// At most one word on the length of the body.
fn framed_once(message: &Message) -> Result<(), String> {
    let (lengths, codings) = (message.all("content-length"), message.all("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(()),
        ([length], [])
            if !length.is_empty() && length.len() < 20 && length.iter().all(u8::is_ascii_digit) =>
        {
            Ok(())
        }
        ([], [coding]) if coding == b"chunked" => Ok(()),
        _ => Err(format!("framed by {lengths:?} and {codings:?}")),
    }
}

fn body(message: &mut Message, bytes: &[u8]) -> Parsed {
    framed_once(message)?;
    if let [length] = message.all("content-length").as_slice() {
        let text = String::from_utf8_lossy(length).into_owned();
        let length: usize = text.parse().map_err(|_| format!("length {text}"))?;
        let Some(body) = bytes[message.length..].get(..length) else { return Ok(None) };
        message.body = body.to_vec();
        message.length += length;
    } else if !message.all("transfer-encoding").is_empty() {
        return chunks(message, bytes);
    }
    Ok(Some(message.clone()))
}

fn chunks(message: &mut Message, bytes: &[u8]) -> Parsed {
    let mut at = message.length;
    loop {
        let Some((text, next)) = line(bytes, at)? else { return Ok(None) };
        if text.is_empty() || text.len() > 15 || !text.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("chunk size {:?}", show(text)));
        }
        let size =
            usize::from_str_radix(&String::from_utf8_lossy(text), 16).map_err(|error| error.to_string())?;
        at = next;
        if size == 0 {
            break;
        }
        let Some(data) = bytes[at..].get(..size) else { return Ok(None) };
        message.body.extend_from_slice(data);
        at += size;
        match bytes[at..].get(..2) {
            None => return Ok(None),
            Some(b"\r\n") => at += 2,
            Some(other) => return Err(format!("{:?} after a chunk", show(other))),
        }
    }
    loop {
        let Some((text, next)) = line(bytes, at)? else { return Ok(None) };
        at = next;
        if text.is_empty() {
            message.length = at;
            return Ok(Some(message.clone()));
        }
        let (name, value) = field(text)?;
        if FRAMING.contains(&name.as_str()) {
            return Err(format!("the trailer {name}"));
        }
        message.trailers.push((name, value));
    }
}

/// The line that starts at `at`, without its CRLF, and where the next one starts.
fn line(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, String> {
    let rest = &bytes[at..];
    let Some(end) = rest.iter().position(|&byte| byte == b'\r' || byte == b'\n') else { return Ok(None) };
    match (rest[end], rest.get(end + 1)) {
        (b'\r', None) => Ok(None),
        (b'\r', Some(b'\n')) => Ok(Some((&rest[..end], at + end + 2))),
        _ => Err(format!("a line that ends badly: {:?}", show(&rest[..rest.len().min(end + 2)]))),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80
}

/// Bytes for people.
pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The judge is strict: what an origin could read in two ways is no request, and a part of one is not yet one.
#[test]
fn the_judge_is_strict() {
    let head = "POST /a HTTP/1.1\r\nhost: a\r\n";
    for lines in [
        "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "content-length: 1\r\ncontent-length: 1\r\n\r\n",
        "content-length: +1\r\n\r\n",
        "transfer-encoding: chunked, chunked\r\n\r\n",
        "transfer_encoding: chunked\r\n\r\n",
        "x : a\r\n\r\n",
        "x: a\r\n b\r\n\r\n",
        "x: a\rb\r\n\r\n",
        "x: a\n\r\n",
        "x: \x0b\r\n\r\n",
        "host: b\r\n\r\n",
        "te: trailers\r\n\r\n",
        "connection: close\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n1;a\r\n",
        "transfer-encoding: chunked\r\n\r\n0x1\r\n",
        "transfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        "transfer-encoding: chunked\r\n\r\n0\r\nHost: a\r\n\r\n",
    ] {
        assert!(request(format!("{head}{lines}").as_bytes()).is_err(), "{lines:?}");
    }
    for first in
        ["GET a HTTP/1.1", "GET /a HTTP/1.0", "GET /a b HTTP/1.1", "G(T /a HTTP/1.1", "GET /\u{e9} HTTP/1.1"]
    {
        assert!(request(format!("{first}\r\nhost: a\r\n\r\n").as_bytes()).is_err(), "{first:?}");
    }
    let whole = format!("{head}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    for end in 0..whole.len() {
        assert!(matches!(request(&whole.as_bytes()[..end]), Ok(None)), "{end}");
    }
    let message = request(format!("{whole}GET").as_bytes()).unwrap().unwrap();
    assert_eq!((message.body.as_slice(), message.length), (b"ab".as_slice(), whole.len()));
}

/// A response ends where its status, its request and its framing say, and only a closed one may have no framing.
#[test]
fn responses_end_where_they_say() {
    let length = |text: &str, to_head, ended| {
        response(text.as_bytes(), to_head, ended).map(|got| got.map(|m| m.length))
    };
    let plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(length(&format!("{plain}abHTTP"), false, false), Ok(Some(plain.len() + 2)));
    assert_eq!(length(&format!("{plain}ab"), true, false), Ok(Some(plain.len())));
    assert_eq!(length(&format!("{plain}a"), false, true), Ok(None));
    let close = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab";
    assert_eq!(length(close, false, false), Ok(None));
    assert_eq!(length(close, false, true), Ok(Some(close.len())));
    assert!(length("HTTP/1.1 200 OK\r\n\r\nab", false, true).is_err());
    assert!(length("HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\n", false, true).is_err());
    assert!(
        length("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab", false, true).is_err()
    );
}
