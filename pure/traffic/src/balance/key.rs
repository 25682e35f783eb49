//! What a consistent hash is taken over: the client's address, headers, or a cookie that the gateway may give.

use std::net::IpAddr;
use std::time::Duration;

use tidegate_model::traffic::HashKey;

use super::hash;
use crate::client::{Believed, is_claim};
use crate::request::HeaderLines;
use crate::session::cookies;
use crate::text::push_number;

/// The hash of a request; nothing if it has none of what is hashed: then it goes in turn, or is given a
/// [`FreshCookie`].
pub fn of_request(
    key: &HashKey,
    (path, query): (&str, Option<&str>),
    lines: &dyn HeaderLines,
    believed: &Believed<'_>,
) -> Option<u64> {
    let all = || (0..).map_while(|index| lines.line(index));
    match key {
        HashKey::SourceIp => Some(hash::of_client(believed.origin.client)),
        HashKey::Target => {
            hash::of_values([path, query.unwrap_or_default()].iter().map(|part| part.as_bytes()))
        }
        HashKey::Headers(names) if names.iter().any(|name| is_claim(name.as_bytes())) => {
            of_believed(names, lines, believed)
        }
        HashKey::Headers(names) => hash::of_values(names.iter().flat_map(|wanted| {
            all().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        })),
        HashKey::Cookie { name: wanted, .. } => all()
            .filter(|(name, _)| name.eq_ignore_ascii_case("cookie"))
            .flat_map(|(_, value)| cookies(value))
            .find(|(name, _)| *name == wanted.as_bytes())
            .map(|(_, value)| hash::of_bytes(value)),
    }
}

/// Where a header says whence a request comes: of what is believed of that, as the backend reads it.
fn of_believed(names: &[String], lines: &dyn HeaderLines, believed: &Believed<'_>) -> Option<u64> {
    let values = names.iter().flat_map(|wanted| {
        if is_claim(wanted.as_bytes()) {
            return believed.value(wanted, true).into_iter().collect();
        }
        let all = (0..).map_while(|index| lines.line(index));
        let same = all.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        same.map(|(_, value)| value.to_vec()).collect::<Vec<_>>()
    });
    let values: Vec<_> = values.collect();
    hash::of_values(values.iter().map(Vec::as_slice))
}

/// The hash of a connection or session, of which only the client is known.
pub fn of_client(key: &HashKey, client: IpAddr) -> Option<u64> {
    matches!(key, HashKey::SourceIp).then(|| hash::of_client(client))
}

/// The value of a cookie that a client gets because it had none; what it is hashed to now, it is hashed to later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshCookie([u8; 16]);

impl FreshCookie {
    /// A value for a client without the cookie, if the key says that it is given one. `random` is uniform over all of
    /// u64; the value is no secret.
    pub fn new(key: &HashKey, random: u64) -> Option<FreshCookie> {
        let HashKey::Cookie { ttl: Some(_), .. } = key else { return None };
        let digit = |index: usize| b"0123456789abcdef"[(random >> (60 - 4 * index)) as usize & 15];
        Some(FreshCookie(std::array::from_fn(digit)))
    }

    /// Its hash.
    pub fn hash(&self) -> u64 {
        hash::of_bytes(&self.0)
    }

    /// Writes the `set-cookie` line of the response. It is for every path and for no script, unless the attributes
    /// say otherwise (RFC 6265 section 4.1); `secure` says whether the client came by TLS.
    pub fn write_line(&self, key: &HashKey, secure: bool, out: &mut Vec<u8>) {
        let HashKey::Cookie { name, ttl: Some(ttl), attributes } = key else { return };
        let says = |wanted: &str| attributes.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        for part in [b"set-cookie: ", name.as_bytes(), b"=", &self.0] {
            out.extend_from_slice(part);
        }
        if *ttl > Duration::ZERO && !says("max-age") {
            out.extend_from_slice(b"; Max-Age=");
            push_number(out, ttl.as_secs().max(1));
        }
        let usual = [("Path=/", "path", true), ("HttpOnly", "httponly", true), ("Secure", "secure", secure)];
        for (text, _, _) in usual.iter().filter(|(_, name, wanted)| *wanted && !says(name)) {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(text.as_bytes());
        }
        for (name, value) in attributes.iter().filter(|(name, value)| is_sound(name) && is_sound(value)) {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(name.as_bytes());
            if !value.is_empty() {
                out.push(b'=');
                out.extend_from_slice(value.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A semicolon would end the attribute (RFC 6265 section 4.1.1).
fn is_sound(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
}

#[cfg(test)]
mod tests {
    use tidegate_model::traffic::Trust;

    use super::*;
    use crate::client::Origin;

    fn cookie(ttl: Option<u64>, attributes: &[(&str, &str)]) -> HashKey {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let attributes = attributes.iter().map(owned).collect();
        HashKey::Cookie { name: "shard".into(), ttl: ttl.map(Duration::from_secs), attributes }
    }

    fn hashed(key: &HashKey, lines: &[(&str, &str)]) -> Option<u64> {
        let lines = lines.to_vec();
        let seen = Origin { client: "192.0.2.1".parse().unwrap(), ..Origin::UNKNOWN };
        of_request(key, ("/", None), &lines, &Believed::of(seen, &Trust::default(), &lines))
    }

    /// Each kind of key hashes what it names and nothing else; a request without any of it has no hash.
    #[test]
    fn what_is_hashed() {
        let headers = HashKey::Headers(vec!["x-user".into(), "x-tenant".into()]);
        let value = |text: &str| Some(hash::of_bytes(text.as_bytes()));
        for (key, lines, expected) in [
            (&HashKey::SourceIp, &[][..], Some(hash::of_client("::ffff:192.0.2.1".parse().unwrap()))),
            (&headers, &[("X-User", "anna"), ("accept", "*/*")], value("anna")),
            (&headers, &[("accept", "*/*")], None),
            (&headers, &[("x-tenant", "t"), ("x-user", "u")], hash::of_values([&b"u"[..], b"t"])),
            (&cookie(None, &[]), &[("Cookie", "a=1; shard=7f; b=2")], value("7f")),
            (&cookie(None, &[]), &[("cookie", "a=1"), ("cookie", "shard=7f")], value("7f")),
            (&cookie(None, &[]), &[("cookie", "Shard=7f; xshard=7f")], None),
        ] {
            assert_eq!(hashed(key, lines), expected, "{key:?} {lines:?}");
        }
        // Whatever a request says about its own origin, the backend and the hash see what the gateway does.
        let claims = HashKey::Headers(vec!["x-real-ip".into(), "X-Forwarded-For".into()]);
        let forged = &[("x-real-ip", "10.0.0.1"), ("x-forwarded-for", "10.0.0.1")];
        assert_eq!(hashed(&claims, forged), value("192.0.2.1"));
        let client = "192.0.2.1".parse().unwrap();
        assert_eq!(of_client(&HashKey::SourceIp, client), Some(hash::of_client(client)));
        assert_eq!(of_client(&headers, client), None);
    }

    /// The cookie that is given, sent back, has the hash by which the endpoint was chosen.
    #[test]
    fn a_cookie_comes_back() {
        let key = cookie(Some(60), &[]);
        let fresh = FreshCookie::new(&key, 0x0123_4567_89ab_cdef).unwrap();
        let mut out = Vec::new();
        fresh.write_line(&key, true, &mut out);
        let line = String::from_utf8(out).unwrap();
        assert_eq!(line, "set-cookie: shard=0123456789abcdef; Max-Age=60; Path=/; HttpOnly; Secure\r\n");
        assert_eq!(hashed(&key, &[("cookie", "shard=0123456789abcdef")]), Some(fresh.hash()));
        assert_eq!(FreshCookie::new(&cookie(None, &[]), 1), None, "without a time to live none is given");
        assert_eq!(FreshCookie::new(&HashKey::SourceIp, 1), None);
    }

    /// What the attributes say replaces what is usual, and nothing in them ends the line or the attribute.
    #[test]
    fn attributes() {
        for (key, tail) in [
            (cookie(Some(0), &[("SameSite", "Lax")]), "; Path=/; HttpOnly; SameSite=Lax\r\n"),
            (cookie(Some(0), &[("Path", "/a"), ("Secure", "")]), "; HttpOnly; Path=/a; Secure\r\n"),
            (cookie(Some(0), &[("Path", "/a;b"), ("X", "\r\ny")]), "; HttpOnly\r\n"),
        ] {
            let mut out = Vec::new();
            FreshCookie::new(&key, 0).unwrap().write_line(&key, false, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("set-cookie: shard=0000000000000000{tail}"));
        }
    }
}
