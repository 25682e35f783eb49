//! What a message must be (RFC 9113 section 8): names and values byte by byte, pseudo-headers, lengths, authority.
//! Never decodes and never answers.

use crate::error::Malformed;
use crate::fields::Fields;

/// What the rules need to know of a name; kept beside each entry of the header tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A pseudo-header: its place in `Fields`.
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    UnknownPseudo,
    Host,
    ContentLength,
    Cookie,
    Te,
    Connection,
    /// Not a name at all.
    Unsound,
    Other,
}

/// The kind of a name; `Unsound` is not recognised here.
pub(crate) const fn classify(name: &[u8]) -> Kind {
    match name {
        b":method" => Kind::Method,
        b":scheme" => Kind::Scheme,
        b":authority" => Kind::Authority,
        b":path" => Kind::Path,
        b":protocol" => Kind::Protocol,
        b":status" => Kind::Status,
        [b':', ..] => Kind::UnknownPseudo,
        b"host" => Kind::Host,
        b"content-length" => Kind::ContentLength,
        b"cookie" => Kind::Cookie,
        b"te" => Kind::Te,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Kind::Connection
        }
        _ => Kind::Other,
    }
}

/// The kind of a name that came as a literal.
#[inline]
pub(crate) fn classify_literal(name: &[u8]) -> Kind {
    match classify(name) {
        Kind::Other if !is_lower_token(name) => Kind::Unsound,
        kind => kind,
    }
}

const TOKEN: u8 = 1;
const UPPER: u8 = 2;
const SCHEME: u8 = 4;
const AUTHORITY: u8 = 8;
const PATH: u8 = 16;

/// For each byte, where it may stand.
static CLASS: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let graphic = byte > 0x20 && byte < 0x7f;
        let mark = matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
        let separator =
            matches!(byte, b'(' | b')' | b',' | b'/' | b':' | b';' | b'=' | b'?' | b'@' | b'[' | b']');
        // `mark` holds three that a token may: ^ ` |
        if graphic && !separator && (!mark || matches!(byte, b'^' | b'`' | b'|')) {
            classes[at] |= TOKEN;
        }
        if byte.is_ascii_uppercase() {
            classes[at] |= UPPER;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.') {
            classes[at] |= SCHEME;
        }
        if graphic && !mark && !matches!(byte, b'@' | b'/' | b'?' | b'#') {
            classes[at] |= AUTHORITY;
        }
        if byte > 0x20 && byte != 0x7f && byte != b'#' {
            classes[at] |= PATH;
        }
        at += 1;
    }
    classes
};

/// Whether all bytes may stand where `class` says.
#[inline]
fn all_of(bytes: &[u8], class: u8) -> bool {
    bytes.iter().fold(class, |classes, &byte| classes & CLASS[usize::from(byte)]) == class
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && all_of(name, TOKEN)
}

fn is_lower_token(name: &[u8]) -> bool {
    let (all, any) = name.iter().fold((TOKEN, 0), |(all, any), &byte| {
        let class = CLASS[usize::from(byte)];
        (all & class, any | class)
    });
    !name.is_empty() && all == TOKEN && any & UPPER == 0
}

/// Whether a field value has no control character but HTAB, and no white space around it.
#[inline]
pub(crate) fn value_is_sound(value: &[u8]) -> bool {
    let (Some(first), Some(last)) = (value.first(), value.last()) else { return true };
    let bad = value.iter().fold(false, |bad, &byte| bad | (byte < 0x20 && byte != b'\t') | (byte == 0x7f));
    !bad && !matches!(first, b' ' | b'\t') && !matches!(last, b' ' | b'\t')
}

/// A number as `content-length` has it: one to 18 digits.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, &byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

fn is_scheme(scheme: &[u8]) -> bool {
    matches!(scheme, b"http" | b"https")
        || (scheme.first().is_some_and(u8::is_ascii_alphabetic) && all_of(scheme, SCHEME))
}

/// Whether `host[:port]` has no user, no path and nothing that a reader could take for one.
fn is_authority(authority: &[u8]) -> bool {
    !authority.is_empty() && all_of(authority, AUTHORITY)
}

fn is_path(path: &[u8], method: &[u8]) -> bool {
    match path {
        b"*" => method == b"OPTIONS",
        [b'/', rest @ ..] => all_of(rest, PATH),
        _ => false,
    }
}

/// What a connection must know of a request that it lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestFacts {
    /// DATA to come, if `content-length` says so.
    pub content_length: Option<u64>,
}

/// Checks a request's header list (RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4).
pub(crate) fn check_request(
    fields: &Fields,
    extended_connect: bool,
    end: bool,
) -> Result<RequestFacts, Malformed> {
    fields.fault()?;
    let missing = Malformed::PseudoMissing;
    if fields.status_text().is_some() {
        return Err(Malformed::PseudoUnknown);
    }
    let method = fields.method().ok_or(missing)?;
    // PRI is the beginning of the preface, and never a method (section 11.6).
    if !is_token(method) || method == b"PRI" {
        return Err(Malformed::Method);
    }
    if let Some(authority) = fields.pseudo_authority() {
        if !is_authority(authority) {
            return Err(Malformed::Authority);
        }
        if fields.host_line().is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
            return Err(Malformed::Host);
        }
    } else if fields.host_line().is_some_and(|host| !is_authority(host)) {
        return Err(Malformed::Authority);
    }
    let connect = method == b"CONNECT";
    if fields.protocol().is_some() && !(extended_connect && connect) {
        return Err(Malformed::PseudoUnknown);
    }
    if connect && fields.protocol().is_none() {
        if fields.scheme().is_some() || fields.path().is_some() {
            return Err(Malformed::PseudoUnknown);
        }
        fields.pseudo_authority().ok_or(missing)?;
    } else {
        if !is_scheme(fields.scheme().ok_or(missing)?) {
            return Err(Malformed::Scheme);
        }
        if !is_path(fields.path().ok_or(missing)?, method) {
            return Err(Malformed::Path);
        }
        if connect {
            fields.pseudo_authority().ok_or(missing)?;
        }
    }
    if fields.protocol().is_some_and(|protocol| !is_token(protocol)) {
        return Err(Malformed::PseudoUnknown);
    }
    let content_length = fields.content_length();
    if end && content_length.is_some_and(|length| length > 0) {
        return Err(Malformed::BodyLength);
    }
    Ok(RequestFacts { content_length })
}

/// Checks a response's header list (RFC 9113 sections 8.1 and 8.3.2) and says its status.
pub(crate) fn check_response(fields: &Fields, end: bool) -> Result<u16, Malformed> {
    fields.fault()?;
    if fields.has_request_pseudo() {
        return Err(Malformed::PseudoUnknown);
    }
    let status = match fields.status_text().ok_or(Malformed::PseudoMissing)? {
        &[a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(Malformed::Status),
    };
    match status {
        101 => Err(Malformed::Status),
        100..200 if end => Err(Malformed::Interim),
        _ => Ok(status),
    }
}

/// Checks trailers: no pseudo-headers (RFC 9113 section 8.1), and nothing that frames or routes a message (RFC 9110
/// section 6.5.1).
pub(crate) fn check_trailers(fields: &Fields) -> Result<(), Malformed> {
    fields.fault()?;
    if fields.has_pseudo() {
        return Err(Malformed::PseudoUnknown);
    }
    if fields.content_length().is_some() || fields.host_line().is_some() {
        return Err(Malformed::TrailerField);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No byte that ends a line, or that some reader may take for one, passes in a value.
    #[test]
    fn values_hold_no_control_characters() {
        for byte in 0..=255u8 {
            let control = (byte < 0x20 && byte != b'\t') || byte == 0x7f;
            assert_eq!(value_is_sound(&[b'a', byte, b'b']), !control, "{byte:#x}");
        }
        for (value, sound) in
            [(&b""[..], true), (b" a", false), (b"a\t", false), (b" ", false), (b"a b", true)]
        {
            assert_eq!(value_is_sound(value), sound);
        }
    }

    /// Each class holds exactly the bytes its grammar names (RFC 9110 section 5.6.2, RFC 3986 sections 3.1 to 3.3).
    #[test]
    fn classes_hold_their_bytes() {
        let held = |class: u8| -> String {
            (0..128u8).filter(|&byte| all_of(&[byte], class)).map(char::from).collect()
        };
        let (digits, upper, lower) =
            ("0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz");
        assert_eq!(held(TOKEN), format!("!#$%&'*+-.{digits}{upper}^_`{lower}|~"));
        assert_eq!(held(SCHEME), format!("+-.{digits}{upper}{lower}"));
        assert_eq!(held(AUTHORITY), format!("!$%&'()*+,-.{digits}:;={upper}[]_{lower}~"));
        assert_eq!(held(PATH), format!("!\"$%&'()*+,-./{digits}:;<=>?@{upper}[\\]^_`{lower}{{|}}~"));
        assert!(
            (128..=255)
                .all(|byte| !all_of(&[byte], TOKEN) && !all_of(&[byte], AUTHORITY) && all_of(&[byte], PATH))
        );
        assert!(
            is_lower_token(b"x-a") && !is_lower_token(b"X-a") && !is_lower_token(b"") && !is_token(b"a b")
        );
    }

    /// A number is digits only, few enough not to overflow.
    #[test]
    fn numbers_are_digits() {
        for (text, value) in [
            (&b"0"[..], Some(0)),
            (b"0042", Some(42)),
            (b"999999999999999999", Some(999_999_999_999_999_999)),
            (b"1000000000000000000", None),
            (b"", None),
            (b"+1", None),
            (b"1, 1", None),
            (b"1 ", None),
            (b"0x1", None),
        ] {
            assert_eq!(number(text), value);
        }
    }
}
