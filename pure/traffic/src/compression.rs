//! Whether a response is compressed, and how: what the client takes (RFC 9110 section 12.5.3), what the policy allows, what
//! the response is.
//!
//! Who can have a browser ask for a text of his choice, and sees how long the answer is, learns what stands in it beside
//! that text (BREACH). So nothing is compressed that may hold a secret of one client, unless the policy says so: answers
//! to requests with a cookie, with credentials or over TLS with a client certificate, and answers that set a cookie.

use tidegate_model::traffic::{Coding, Compression};

use crate::HeaderLines;

/// Codings by name, `x-gzip` being an old one (RFC 9110 section 8.4.1.3).
fn coding(name: &[u8]) -> Option<Coding> {
    let same = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if same("x-gzip") {
        return Some(Coding::Gzip);
    }
    Coding::ALL.into_iter().find(|coding| same(coding.name()))
}

/// The request, as far as it counts.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// Its client speaks HTTP/1.0, which knows no chunks.
    pub http_1_0: bool,
    /// Its client has shown a certificate.
    pub certified: bool,
    /// Its header lines.
    pub headers: &'a dyn HeaderLines,
}

/// The response, as far as it counts.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    /// The status; a final one.
    pub status: u16,
    /// The length of its body, where it is known.
    pub bytes: Option<u64>,
    /// Its header lines.
    pub headers: &'a dyn HeaderLines,
}

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressed {
    /// It stays as it is, and so it would for any client.
    Never,
    /// It stays as it is, but another request might have it compressed, which caches have to know.
    NotNow,
    /// It gets this coding.
    With(Coding),
}

/// What becomes of a response under a policy, of which the first way counts where several are equally good.
pub fn decide(policy: &[Compression], asked: &Asked<'_>, answered: &Answered<'_>) -> Compressed {
    if policy.is_empty() {
        return Compressed::Never;
    }
    let Some(facts) = Facts::of(answered) else { return Compressed::Never };
    let fits = |way: &&Compression| {
        answered.bytes.is_none_or(|bytes| bytes >= way.bytes_min)
            && way.content_types.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(facts.media_type))
    };
    if !policy.iter().any(|way| fits(&way)) {
        return Compressed::Never;
    }
    let wishes = Wishes::of(asked.headers);
    if asked.method == "HEAD" || asked.http_1_0 || wishes.forbids {
        return Compressed::NotNow;
    }
    let secret = asked.certified || wishes.credentialed || facts.sets_cookie;
    let ways = policy.iter().filter(fits).filter(|way| way.credentialed || !secret);
    let mut best: Option<(u16, Coding)> = None;
    for way in ways {
        let weight = wishes.weight(way.coding);
        if weight > best.map_or(0, |(weight, _)| weight) && weight >= wishes.identity.unwrap_or(0) {
            best = Some((weight, way.coding));
        }
    }
    best.map_or(Compressed::NotNow, |(_, coding)| Compressed::With(coding))
}

fn lines(headers: &dyn HeaderLines) -> impl Iterator<Item = (&str, &[u8])> {
    (0..).map_while(|index| headers.line(index))
}

/// The items of a list.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// Whether a list of directives has this one, with or without an argument.
fn has_directive(value: &[u8], name: &str) -> bool {
    items(value).any(|item| {
        let end = item.iter().position(|&byte| byte == b'=').unwrap_or(item.len());
        item[..end].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    })
}

/// What a response says of itself that is for no client to decide.
struct Facts<'a> {
    /// Without parameters.
    media_type: &'a [u8],
    sets_cookie: bool,
}

impl<'a> Facts<'a> {
    /// None: it may not be changed, or is coded already.
    fn of(answered: &'a Answered<'_>) -> Option<Facts<'a>> {
        if matches!(answered.status, ..200 | 204 | 205 | 206 | 226 | 304) || answered.bytes == Some(0) {
            return None;
        }
        let mut facts = Facts { media_type: b"", sets_cookie: false };
        for (name, value) in lines(answered.headers) {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                10 if is("set-cookie") => facts.sets_cookie = true,
                12 if is("content-type") => {
                    let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
                    facts.media_type = value[..end].trim_ascii();
                }
                13 if is("cache-control") && has_directive(value, "no-transform") => return None,
                13 if is("content-range") => return None,
                16 if is("content-encoding")
                    && items(value).any(|item| !item.eq_ignore_ascii_case(b"identity")) =>
                {
                    return None;
                }
                _ => {}
            }
        }
        Some(facts)
    }
}

/// What a request says about how it is answered.
struct Wishes {
    /// For each coding, in thousandths; none: not named.
    weights: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    others: Option<u16>,
    /// It has a cookie or credentials.
    credentialed: bool,
    /// Nothing may be changed on the way, or only a part is asked for.
    forbids: bool,
}

impl Wishes {
    fn of(headers: &dyn HeaderLines) -> Wishes {
        let mut wishes = Wishes {
            weights: [None; Coding::ALL.len()],
            identity: None,
            others: None,
            credentialed: false,
            forbids: false,
        };
        for (name, value) in lines(headers) {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                5 if is("range") => wishes.forbids = true,
                6 if is("cookie") => wishes.credentialed = true,
                13 if is("authorization") => wishes.credentialed = true,
                13 if is("cache-control") => wishes.forbids |= has_directive(value, "no-transform"),
                15 if is("accept-encoding") => items(value).for_each(|item| wishes.take(item)),
                _ => {}
            }
        }
        wishes
    }

    /// An item of `Accept-Encoding`; one whose weight is none is not taken for consent.
    fn take(&mut self, item: &[u8]) {
        let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = match (parts.next(), parts.next()) {
            (None, _) => 1000,
            (Some(weight), None) => weight_of(weight).unwrap_or(0),
            (Some(_), Some(_)) => 0,
        };
        let slot = match coding(name) {
            Some(coding) => &mut self.weights[coding as usize],
            None if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
            None if name == b"*" => &mut self.others,
            None => return,
        };
        // Of several the best counts.
        *slot = Some(slot.map_or(weight, |other| other.max(weight)));
    }

    fn weight(&self, coding: Coding) -> u16 {
        self.weights[coding as usize].or(self.others).unwrap_or(0)
    }
}

/// `q=0.5`, in thousandths (RFC 9110 section 12.4.2).
fn weight_of(text: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = text else { return None };
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let value = |index: usize| digits.get(index).map_or(0, |digit| u16::from(digit - b'0'));
    let weight = u16::from(whole - b'0') * 1000 + value(0) * 100 + value(1) * 10 + value(2);
    (weight <= 1000).then_some(weight)
}

/// Whether a line of the response is left out where it becomes [`Compressed::NotNow`]; [`write_lines`] writes it anew.
pub fn replaces_where_varied(name: &str) -> bool {
    name.eq_ignore_ascii_case("vary")
}

/// The same where it is compressed: lines that are about the bytes as they were.
pub fn replaces_where_coded(name: &str) -> bool {
    const REPLACED: [&str; 8] = [
        "accept-ranges",
        "content-digest",
        "content-encoding",
        "content-md5",
        "digest",
        "etag",
        "repr-digest",
        "vary",
    ];
    REPLACED.iter().any(|replaced| name.eq_ignore_ascii_case(replaced))
}

/// Writes what stands in their place, in HTTP/1's spelling: `Vary` with everything in it that was there, and of a
/// compressed response its coding, and its entity tag made weak, for it no longer names these bytes (RFC 9110 section
/// 8.8.1). `gone` says which lines of the response someone else takes away.
pub fn write_lines(
    coding: Option<Coding>,
    headers: &dyn HeaderLines,
    gone: impl Fn(&str) -> bool,
    out: &mut Vec<u8>,
) {
    if let Some(coding) = coding {
        out.extend_from_slice(b"content-encoding: ");
        out.extend_from_slice(coding.name().as_bytes());
        out.extend_from_slice(b"\r\n");
        let tag = lines(headers).find(|(name, _)| name.eq_ignore_ascii_case("etag"));
        if let Some((_, tag)) = tag.filter(|(name, _)| !gone(name)) {
            out.extend_from_slice(if tag.starts_with(b"W/") { b"etag: " } else { b"etag: W/" });
            out.extend_from_slice(tag);
            out.extend_from_slice(b"\r\n");
        }
    }
    let (mut varies, start) = (false, out.len());
    out.extend_from_slice(b"vary: ");
    for (name, value) in lines(headers) {
        if name.eq_ignore_ascii_case("vary") && !gone(name) {
            for item in items(value) {
                varies |= item == b"*" || item.eq_ignore_ascii_case(b"accept-encoding");
                out.extend_from_slice(item);
                out.extend_from_slice(b", ");
            }
        }
    }
    if varies {
        out.truncate(out.len() - 2);
    } else {
        out.extend_from_slice(b"accept-encoding");
    }
    debug_assert!(out.len() > start);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
