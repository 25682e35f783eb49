//! How a record becomes a line: the formats.

use std::time::{SystemTime, UNIX_EPOCH};

use super::escape::{Escape, push_hex, push_ip, push_number, push_socket};
use super::record::{ACCESS_LOG_FIELDS, FIELDS, Field, Record};

/// The form of a line. All end with one line feed and hold no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A JSON object.
    Json(Vec<Field>),
    /// `key=value`, quoted where needed.
    Logfmt(Vec<Field>),
    /// NCSA's common log format, as Apache and nginx write it.
    Common,
    /// The same with referer and user agent: nginx's default.
    Combined,
    /// Text with values in it.
    Text(Vec<Piece>),
}

/// A part of [`Layout::Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Literal(String),
    /// `%{field}`; `-` if it is empty.
    Value(Field),
}

impl Layout {
    /// From the settings `format` and `fields`; no fields stands for all. The error is a sentence.
    pub fn of(format: &str, fields: &[String]) -> Result<Layout, String> {
        let chosen = fields.iter().map(|name| {
            Field::named(name).ok_or_else(|| format!("there is no field `{name}`; there are {}", known()))
        });
        let chosen = chosen.collect::<Result<Vec<_>, _>>()?;
        let or_all = |chosen: Vec<Field>| if chosen.is_empty() { FIELDS.to_vec() } else { chosen };
        let layout = match format {
            "json" | "" => return Ok(Layout::Json(or_all(chosen))),
            "logfmt" => return Ok(Layout::Logfmt(or_all(chosen))),
            "common" => Layout::Common,
            "combined" => Layout::Combined,
            text if text.contains("%{") => Layout::Text(pieces(text)?),
            other => {
                return Err(format!(
                    "`{other}` is no format; use json, logfmt, common, combined, or a text with values in it such as \
                     `%{{client}} %{{method}} %{{path}} %{{status}}`"
                ));
            }
        };
        if fields.is_empty() {
            return Ok(layout);
        }
        Err("fields choose those of json and logfmt; this format has its own".into())
    }

    /// Adds the line of a record.
    pub fn write(&self, record: &Record<'_>, stamp: &mut Stamp, out: &mut Vec<u8>) {
        match self {
            Layout::Json(fields) => {
                let mut before: &[u8] = b"{\"";
                for &field in fields {
                    out.extend_from_slice(before);
                    out.extend_from_slice(field.name().as_bytes());
                    out.extend_from_slice(b"\":");
                    let quote: &[u8] = if field.is_number() { b"" } else { b"\"" };
                    out.extend_from_slice(quote);
                    value(field, record, Escape::Json, stamp, out);
                    out.extend_from_slice(quote);
                    before = b",\"";
                }
                out.push(b'}');
            }
            Layout::Logfmt(fields) => {
                for (index, &field) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(b' ');
                    }
                    out.extend_from_slice(field.name().as_bytes());
                    out.push(b'=');
                    quoted_if_needed(out, |out| value(field, record, Escape::Json, stamp, out));
                }
            }
            Layout::Common => common(record, stamp, out),
            Layout::Combined => {
                common(record, stamp, out);
                for text in [record.referer, record.user_agent] {
                    out.extend_from_slice(b" \"");
                    or_dash(out, |out| Escape::Hex.text(out, text));
                    out.push(b'"');
                }
            }
            Layout::Text(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                        Piece::Value(field) => {
                            or_dash(out, |out| value(*field, record, Escape::Hex, stamp, out));
                        }
                    }
                }
            }
        }
        out.push(b'\n');
    }
}

fn known() -> String {
    ACCESS_LOG_FIELDS.join(", ")
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    if text.chars().any(char::is_control) {
        return Err("a line is one line: the text holds a control character".into());
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once("%{") {
        let (name, after) = after.split_once('}').ok_or("a `%{` has no `}`")?;
        let field = Field::named(name)
            .ok_or_else(|| format!("`%{{{name}}}`: there is no field `{name}`; there are {}", known()))?;
        pieces.extend([Piece::Literal(literal.to_owned()), Piece::Value(field)]);
        rest = after;
    }
    pieces.push(Piece::Literal(rest.to_owned()));
    pieces.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
    Ok(pieces)
}

/// `client - - [time] "request line" status bytes`. Nobody is authenticated here, so there is no user.
fn common(record: &Record<'_>, stamp: &mut Stamp, out: &mut Vec<u8>) {
    or_dash(out, |out| value(Field::Client, record, Escape::Hex, stamp, out));
    out.extend_from_slice(b" - - [");
    stamp.write_common(out);
    out.extend_from_slice(b"] \"");
    or_dash(out, |out| {
        if !record.method.is_empty() {
            Escape::Hex.text(out, record.method.as_bytes());
            out.push(b' ');
            Escape::Hex.text(out, record.path.as_bytes());
            if let Some(query) = record.query {
                out.push(b'?');
                Escape::Hex.text(out, query.as_bytes());
            }
            out.push(b' ');
        }
        out.extend_from_slice(record.protocol.as_bytes());
    });
    out.extend_from_slice(b"\" ");
    push_number(out, record.status.into());
    out.push(b' ');
    push_number(out, record.bytes_out);
}

fn value(field: Field, record: &Record<'_>, escape: Escape, stamp: &mut Stamp, out: &mut Vec<u8>) {
    match field {
        Field::Time => stamp.write_rfc3339(out),
        Field::Client => record.client.into_iter().for_each(|client| push_ip(out, client)),
        Field::Peer => record.peer.into_iter().for_each(|peer| push_socket(out, peer)),
        Field::Listener => escape.text(out, record.listener.as_bytes()),
        Field::Host => escape.text(out, record.host.as_bytes()),
        Field::Method => escape.text(out, record.method.as_bytes()),
        Field::Path => escape.text(out, record.path.as_bytes()),
        Field::Protocol => escape.text(out, record.protocol.as_bytes()),
        Field::Status => push_number(out, record.status.into()),
        Field::Reason => escape.text(out, record.reason.as_bytes()),
        Field::Route => escape.name(out, record.route),
        Field::Backend => escape.name(out, record.backend),
        Field::Endpoint => record.endpoint.into_iter().for_each(|endpoint| push_socket(out, endpoint)),
        Field::BytesIn => push_number(out, record.bytes_in),
        Field::BytesOut => push_number(out, record.bytes_out),
        Field::DurationUs => push_number(out, record.duration_us),
        Field::UpstreamUs => push_number(out, record.upstream_us),
        Field::RequestId => escape.text(out, record.request_id.as_bytes()),
        Field::TraceId => record.trace_id.into_iter().for_each(|id| push_hex(out, &id)),
        Field::Tls => escape.text(out, record.tls.as_bytes()),
        Field::UserAgent => escape.text(out, record.user_agent),
    }
}

fn or_dash(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    if out.len() == start {
        out.push(b'-');
    }
}

fn quoted_if_needed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let bare = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    if out.len() == start || !out[start..].iter().all(bare) {
        out.insert(start, b'"');
        out.push(b'"');
    }
}

/// The time of a line. What does not change within a second is written once.
#[derive(Debug, Default)]
pub struct Stamp {
    second: Option<u64>,
    micros: u32,
    rfc3339: String,
    common: String,
}

impl Stamp {
    /// It is now so late.
    pub fn set(&mut self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.micros = since.subsec_micros();
        if self.second.replace(since.as_secs()) != Some(since.as_secs()) {
            let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
            self.rfc3339 = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.common = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
        }
    }

    fn write_rfc3339(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.rfc3339.as_bytes());
        let digit = |power: u32| b'0' + (self.micros / power % 10) as u8;
        let digits = [100_000, 10_000, 1_000, 100, 10, 1].map(digit);
        out.push(b'.');
        out.extend_from_slice(&digits);
        out.push(b'Z');
    }

    fn write_common(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.common.as_bytes());
    }
}
