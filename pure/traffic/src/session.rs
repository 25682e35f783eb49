//! A client stays with its endpoint (SessionPersistence of gateway.networking.k8s.io/v1, GEP-1619).
//!
//! The client carries a token: start and last use of the session and a keyed hash of the endpoint's address, under a
//! keyed checksum. It names no address and trusts none: it is only compared with the endpoints that the rule has at
//! the moment, of all its backends whatever their weight. Gateways with the same key understand each other's tokens;
//! nobody keeps a table.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tidegate_model::traffic::{CookieAttributes, SessionCarrier, SessionPersistence};

use crate::request::HeaderLines;
use crate::siphash::siphash;
use crate::text::push_number;

/// The bytes of a token as text.
const TEXT_BYTES: usize = 32;
/// The same before they are written in base 64.
const TOKEN_BYTES: usize = 24;
/// Cookies of one name that are tried; a browser may send several, for other paths.
const TRIED_MAX: usize = 8;

/// The secret that tokens are made with; the same on every gateway of a set. 32 random bytes.
#[derive(Clone)]
pub struct SessionKey {
    endpoints: [u8; 16],
    seal: [u8; 16],
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(secret)")
    }
}

/// What stands for an endpoint in tokens. Worth keeping beside it: a lookup compares many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointTag(u64);

impl SessionKey {
    /// From 32 random bytes.
    pub fn new(secret: [u8; 32]) -> SessionKey {
        let (mut endpoints, mut seal) = ([0; 16], [0; 16]);
        endpoints.copy_from_slice(&secret[..16]);
        seal.copy_from_slice(&secret[16..]);
        SessionKey { endpoints, seal }
    }

    /// The tag of an endpoint, the same on every gateway.
    pub fn tag(&self, endpoint: SocketAddr) -> EndpointTag {
        let mut name = [0; 18];
        let address = match endpoint.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        name[..16].copy_from_slice(&address.octets());
        name[16..].copy_from_slice(&endpoint.port().to_be_bytes());
        EndpointTag(siphash(&self.endpoints, &name))
    }

    fn checksum(&self, session: &str, token: &[u8; 16]) -> u64 {
        let mut sealed = [0; 24];
        sealed[..16].copy_from_slice(token);
        sealed[16..].copy_from_slice(&siphash(&self.seal, session.as_bytes()).to_le_bytes());
        siphash(&self.seal, &sealed)
    }
}

/// A session that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The endpoint it stays with, if it is still there.
    pub endpoint: EndpointTag,
    started_secs: u32,
    /// Whether the client needs a fresh token for its idle timeout to be counted from now.
    due: bool,
}

/// The session that a request carries; nothing if it carries none, or none that is ours and still runs.
///
/// `now_secs` is the time of the wall clock since 1970. A token from the future, by a clock that went wrong, is as new.
pub fn held(
    settings: &SessionPersistence,
    key: &SessionKey,
    lines: &dyn HeaderLines,
    now_secs: u64,
) -> Option<Held> {
    let lines = (0..).map_while(|index| lines.line(index));
    let now_secs = clipped(now_secs);
    let open = |text: &[u8]| Token::open(settings, key, text)?.held(settings, now_secs);
    match settings.carrier {
        SessionCarrier::Header => lines
            .filter(|(name, _)| name.eq_ignore_ascii_case(&settings.name))
            .take(TRIED_MAX)
            .find_map(|(_, value)| open(value)),
        SessionCarrier::Cookie { .. } => lines
            .filter(|(name, _)| name.len() == 6 && name.eq_ignore_ascii_case("cookie"))
            .flat_map(|(_, value)| cookies(value))
            .filter(|(name, _)| *name == settings.name.as_bytes())
            .take(TRIED_MAX)
            .find_map(|(_, value)| open(value)),
    }
}

/// Names and values of a `Cookie` field (RFC 6265 section 4.2.1). Names count with their case.
pub(crate) fn cookies(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|&byte| byte == b';').filter_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|&byte| byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}

/// Writes the header line that gives the client its session with `endpoint`, if it needs one: it holds none, it stayed
/// with another endpoint, or its idle timeout must be counted anew. `secure` says whether the client came by TLS.
pub fn write_line(
    settings: &SessionPersistence,
    key: &SessionKey,
    held: Option<&Held>,
    endpoint: SocketAddr,
    now_secs: u64,
    secure: bool,
    out: &mut Vec<u8>,
) {
    let (endpoint, now_secs) = (key.tag(endpoint), clipped(now_secs));
    let same = held.filter(|held| held.endpoint == endpoint);
    if same.is_some_and(|held| !held.due) {
        return;
    }
    let started_secs = same.map_or(now_secs, |held| held.started_secs);
    let token = Token { started_secs, seen_secs: now_secs, endpoint };
    match &settings.carrier {
        SessionCarrier::Header => {
            for part in [settings.name.as_bytes(), b": ", &token.seal(settings, key), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        SessionCarrier::Cookie { path, permanent, attributes } => {
            let name = settings.name.as_bytes();
            for part in [b"set-cookie: ", name, b"=", &token.seal(settings, key)] {
                out.extend_from_slice(part);
            }
            write_attributes(path, attributes, secure, out);
            if let (true, Some(timeout)) = (permanent, settings.absolute_timeout) {
                out.extend_from_slice(b"; Max-Age=");
                let age_secs = u64::from(now_secs.saturating_sub(started_secs));
                push_number(out, timeout.as_secs().saturating_sub(age_secs));
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Nobody but the browser needs the cookie.
fn write_attributes(path: &str, attributes: &CookieAttributes, secure: bool, out: &mut Vec<u8>) {
    // A semicolon in a path would end the attribute (RFC 6265 section 4.1.1).
    let fits = path.starts_with('/') && path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';');
    let secure = if secure || attributes.secure { "; Secure" } else { "" };
    let (before, site) = attributes.same_site.map_or(("", ""), |site| ("; SameSite=", site));
    let (before_domain, domain) = attributes.domain.as_deref().map_or(("", ""), |name| ("; Domain=", name));
    let path = if fits { path } else { "/" };
    for part in ["; Path=", path, "; HttpOnly", secure, before, site, before_domain, domain] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn clipped(now_secs: u64) -> u32 {
    u32::try_from(now_secs).unwrap_or(u32::MAX)
}

struct Token {
    started_secs: u32,
    seen_secs: u32,
    endpoint: EndpointTag,
}

impl Token {
    fn seal(&self, settings: &SessionPersistence, key: &SessionKey) -> [u8; TEXT_BYTES] {
        let mut token = [0; 16];
        token[..4].copy_from_slice(&self.started_secs.to_be_bytes());
        token[4..8].copy_from_slice(&self.seen_secs.to_be_bytes());
        token[8..].copy_from_slice(&self.endpoint.0.to_be_bytes());
        let mut sealed = [0; TOKEN_BYTES];
        sealed[..16].copy_from_slice(&token);
        sealed[16..].copy_from_slice(&key.checksum(&settings.name, &token).to_be_bytes());
        to_text(&sealed)
    }

    fn open(settings: &SessionPersistence, key: &SessionKey, text: &[u8]) -> Option<Token> {
        let sealed = from_text(text.try_into().ok()?)?;
        let ([started, seen, high, low, sum_high, sum_low], _) = sealed.as_chunks::<4>() else { return None };
        let (token, _) = sealed.split_first_chunk::<16>()?;
        if key.checksum(&settings.name, token) != wide(*sum_high, *sum_low) {
            return None;
        }
        Some(Token {
            started_secs: u32::from_be_bytes(*started),
            seen_secs: u32::from_be_bytes(*seen),
            endpoint: EndpointTag(wide(*high, *low)),
        })
    }

    fn held(&self, settings: &SessionPersistence, now_secs: u32) -> Option<Held> {
        let age = |since: u32| Duration::from_secs(now_secs.saturating_sub(since).into());
        let (age, idle) = (age(self.started_secs), age(self.seen_secs));
        let is_over = settings.absolute_timeout.is_some_and(|timeout| age >= timeout)
            || settings.idle_timeout.is_some_and(|timeout| idle >= timeout);
        // Not at every request: the line costs more than a little lag in the count.
        let due =
            settings.idle_timeout.is_some_and(|timeout| idle >= (timeout / 8).max(Duration::from_secs(1)));
        (!is_over).then_some(Held { endpoint: self.endpoint, started_secs: self.started_secs, due })
    }
}

fn wide(high: [u8; 4], low: [u8; 4]) -> u64 {
    u64::from(u32::from_be_bytes(high)) << 32 | u64::from(u32::from_be_bytes(low))
}

/// Base 64 for URLs (RFC 4648 section 5); 24 bytes need no padding.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn to_text(bytes: &[u8; TOKEN_BYTES]) -> [u8; TEXT_BYTES] {
    let mut text = [0; TEXT_BYTES];
    for (four, three) in text.chunks_exact_mut(4).zip(bytes.chunks_exact(3)) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for (index, letter) in four.iter_mut().enumerate() {
            *letter = ALPHABET[(bits >> (18 - 6 * index)) as usize & 63];
        }
    }
    text
}

fn from_text(text: &[u8; TEXT_BYTES]) -> Option<[u8; TOKEN_BYTES]> {
    let mut bytes = [0; TOKEN_BYTES];
    for (three, four) in bytes.chunks_exact_mut(3).zip(text.chunks_exact(4)) {
        let bits = four.iter().try_fold(0, |bits, &letter| Some(bits << 6 | value(letter)?))?;
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    Some(
        match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        }
        .into(),
    )
}

#[cfg(test)]
mod tests;
