//! One path for all stages: router, policies, access log and upstream see what [`normalise`] returns.
//!
//! Done (RFC 3986 section 6.2.2): escapes of unreserved characters are decoded (`%2e` is `.`), the others written in
//! upper case, runs of `/` merged, `.` and `..` segments resolved. What no URI may hold as it is gets escaped, in the path
//! and in the query: bytes above 0x7e and ``"<>^`{|}``, in the query `\` too. `[` and `]` stay: they are reserved, so that
//! an escape would change what they mean (section 2.2), and many clients send them.
//!
//! Refused, because the next parser may read them differently: an escaped `/` or `\`, a raw `\`, NUL and other control
//! characters, an escaped NUL, a broken escape, `#`, `..` above the root, and `..;x` (some servers strip `;x` first).

use std::borrow::Cow;
use std::fmt;

use crate::block::{self, Block};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not start with `/`.
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `%2f` or `%5c`.
    EscapedSlash,
    /// A backslash.
    Backslash,
    /// A space, a control character, or an escaped NUL.
    Control,
    /// `#`.
    Fragment,
    /// `..` above the root.
    AboveRoot,
    /// `.;x` or `..;x`.
    DotParameters,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::NotAbsolute => "the path does not start with a slash",
            PathError::BadEscape => "the path has a percent sign without two hexadecimal digits",
            PathError::EscapedSlash => "the path has an escaped slash or backslash",
            PathError::Backslash => "the path has a backslash",
            PathError::Control => "the path has a space or a control character",
            PathError::Fragment => "the path has a number sign",
            PathError::AboveRoot => "the path climbs above the root",
            PathError::DotParameters => "the path has a dot segment with parameters",
        })
    }
}

impl std::error::Error for PathError {}

/// Path and query of a request target in origin form; the query without its `?`.
pub fn split_query(target: &str) -> (&str, Option<&str>) {
    match block::position(target.as_bytes(), b'?') {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// The query as it goes on: what no URI may hold is escaped, escapes stay as they are. Borrowed when there was nothing to
/// do.
pub fn normalise_query(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if is_plain_query(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut query = String::with_capacity(raw.len() + 16);
    for byte in raw.bytes() {
        match byte {
            b'#' => return Err(PathError::Fragment),
            0..=b' ' | 0x7f => return Err(PathError::Control),
            _ if AS_IS[usize::from(byte)] => query.push(byte.into()),
            _ => push_escaped(&mut query, byte),
        }
    }
    Ok(Cow::Owned(query))
}

/// Which bytes may stand in a path or a query as they are (RFC 3986 sections 3.3 and 3.4), and `[` and `]`.
const AS_IS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        let odd = matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
        table[byte as usize] = !odd;
        byte += 1;
    }
    table
};

/// The path that every stage sees. Borrowed when there was nothing to do.
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if plain_path_bytes(raw.as_bytes()) == Some(raw.len()) {
        return Ok(Cow::Borrowed(raw));
    }
    resolve_segments(&decode(raw.as_bytes())?).map(Cow::Owned)
}

/// How long the path of a target in origin form is, of which neither path nor query has a byte that needs a second look: both
/// may go on as they are, and are ASCII.
pub fn plain_target(target: &[u8]) -> Option<usize> {
    let path_len = plain_path_bytes(target)?;
    match target.get(path_len) {
        None => Some(path_len),
        Some(b'?') => {
            let end = block::span(target, path_len + 1, Block::segments, |byte| AS_IS[usize::from(byte)]);
            (end == target.len()).then_some(path_len)
        }
        Some(_) => None,
    }
}

/// How many bytes at the front are a path that [`normalise`] would leave as it is; nothing if it would see to some before the
/// first that is none of a path.
fn plain_path_bytes(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'/') {
        return None;
    }
    let (mut start, mut last) = (0, 0);
    while start < bytes.len() {
        let (block, before) = block::at(bytes, start);
        let mut odd = (block.segments() ^ block::ALL) >> before;
        let slashes = block.is(b'/').bits() >> before;
        // Empty segments, and those that begin with a dot.
        let suspects = (slashes << 1 | last) & (block.within(b'.', b'/').bits() >> before);
        while odd != 0 {
            let index = odd.trailing_zeros();
            match bytes.get(start + index as usize) {
                Some(&byte) if byte != b'%' && byte != b'?' && AS_IS[usize::from(byte)] => odd &= odd - 1,
                _ if suspects & ((1 << index) - 1) != 0 => return None,
                _ => return Some((start + index as usize).min(bytes.len())),
            }
        }
        if suspects != 0 {
            return None;
        }
        last = slashes >> (block::BLOCK_BYTES - 1);
        start += block::BLOCK_BYTES;
    }
    Some(bytes.len())
}

/// Whether [`normalise_query`] would leave the query as it is.
fn is_plain_query(query: &[u8]) -> bool {
    block::span(query, 0, Block::segments, |byte| AS_IS[usize::from(byte)]) == query.len()
}

/// Escapes settled: unreserved characters bare, everything else that was escaped in upper case.
fn decode(raw: &[u8]) -> Result<String, PathError> {
    let mut path = String::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'%' => match unescape(rest.next(), rest.next())? {
                0 => return Err(PathError::Control),
                b'/' | b'\\' => return Err(PathError::EscapedSlash),
                plain if is_unreserved(plain) => path.push(plain.into()),
                other => push_escaped(&mut path, other),
            },
            b'\\' => return Err(PathError::Backslash),
            b'#' => return Err(PathError::Fragment),
            0..=b' ' | 0x7f => return Err(PathError::Control),
            _ if AS_IS[usize::from(byte)] => path.push(byte.into()),
            _ => push_escaped(&mut path, byte),
        }
    }
    Ok(path)
}

fn unescape(high: Option<&u8>, low: Option<&u8>) -> Result<u8, PathError> {
    let digit =
        |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16)).ok_or(PathError::BadEscape);
    Ok((digit(high)? * 16 + digit(low)?) as u8)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn push_escaped(path: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    path.push('%');
    path.push(DIGITS[usize::from(byte >> 4)].into());
    path.push(DIGITS[usize::from(byte & 15)].into());
}

/// Whether a segment is a dot segment to a server that takes off parameters, before it decodes or after.
fn has_dot_parameters(segment: &str) -> bool {
    let after = segment.strip_prefix("..").or_else(|| segment.strip_prefix('.'));
    after.is_some_and(|after| after.starts_with(';') || after.starts_with("%3B"))
}

/// Empty and dot segments taken out (RFC 3986 section 5.2.4); a path that ended in one ends in `/`.
fn resolve_segments(path: &str) -> Result<String, PathError> {
    let mut resolved = String::with_capacity(path.len());
    let mut open = true;
    for segment in path.split('/').skip(1) {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => resolved.truncate(resolved.rfind('/').ok_or(PathError::AboveRoot)?),
            _ if has_dot_parameters(segment) => return Err(PathError::DotParameters),
            _ => {
                resolved.push('/');
                resolved.push_str(segment);
            }
        }
    }
    if open {
        resolved.push('/');
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What can be read in one way only is written in one way.
    #[test]
    fn paths_that_are_normalised() {
        for (raw, path) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("//", "/"),
            ("//a///b//", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61dmin", "/admin"),
            ("/a%7eb", "/a~b"),
            ("/a%3ab%c3%a9", "/a%3Ab%C3%A9"),
            ("/é", "/%C3%A9"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/a\"<b>^`{|}", "/a%22%3Cb%3E%5E%60%7B%7C%7D"),
            ("/a[0]!$&'()*+,;=:@", "/a[0]!$&'()*+,;=:@"),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(path), "{raw}");
        }
    }

    /// What the next parser may read differently is refused.
    #[test]
    fn paths_that_are_refused() {
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("/a%2fb", PathError::EscapedSlash),
            ("/a%2F..%2fb", PathError::EscapedSlash),
            ("/a%5cb", PathError::EscapedSlash),
            ("/a\\b", PathError::Backslash),
            ("/..\\admin", PathError::Backslash),
            ("/a%00", PathError::Control),
            ("/a\0", PathError::Control),
            ("/a b", PathError::Control),
            ("/a\x7f", PathError::Control),
            ("/a%", PathError::BadEscape),
            ("/a%2", PathError::BadEscape),
            ("/a%zz", PathError::BadEscape),
            ("/a%+1", PathError::BadEscape),
            ("/a#b", PathError::Fragment),
            ("/..", PathError::AboveRoot),
            ("/a/../../b", PathError::AboveRoot),
            ("/%2e%2e/a", PathError::AboveRoot),
            ("/a/..;/b", PathError::DotParameters),
            ("/a/.;x/b", PathError::DotParameters),
            ("/a/..%3b/b", PathError::DotParameters),
            ("/a/.%3B/b", PathError::DotParameters),
            ("/a/%2e%2e;x/b", PathError::DotParameters),
        ] {
            assert_eq!(normalise(raw), Err(error), "{raw}");
        }
    }

    /// In a query only what no URI may hold is escaped; a fragment and controls are refused.
    #[test]
    fn queries() {
        for (raw, query) in [
            ("", Ok("")),
            ("a=1&b[]=%2f%zz/../?", Ok("a=1&b[]=%2f%zz/../?")),
            ("\"<>\\^`{|}", Ok("%22%3C%3E%5C%5E%60%7B%7C%7D")),
            ("é", Ok("%C3%A9")),
            ("a#b", Err(PathError::Fragment)),
            ("a b", Err(PathError::Control)),
            ("a\0", Err(PathError::Control)),
            ("\x7f", Err(PathError::Control)),
        ] {
            assert_eq!(normalise_query(raw).as_deref().map_err(|error| *error), query, "{raw}");
        }
    }

    proptest! {
        /// A normalised path stays as it is, and holds nothing that a stage could read in a second way.
        #[test]
        fn normalising_settles(raw in "/([a-c./;%\"<{]|%2[eEfF5]|%5c|é){0,12}") {
            if let Ok(path) = normalise(&raw) {
                prop_assert_eq!(normalise(&path), Ok(path.clone()));
                prop_assert!(!path.contains("//") && !path.contains('\\') && path.is_ascii());
                prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(!path.to_ascii_lowercase().contains("%2f"));
            }
        }
    }
}
