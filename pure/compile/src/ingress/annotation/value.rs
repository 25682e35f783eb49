//! What annotations hold: each kind of value read strictly, or refused with a sentence.
//!
//! Nothing that is read here is ever pasted into a text that something else reads: a value is a number, a name, a network.

use std::time::Duration;

use ipnet::IpNet;
use tidegate_model::traffic::filter::Piece;
use tidegate_model::traffic::{Balancing, HashKey, HostPattern};
use tidegate_traffic::path::normalise;

use super::settings::{Next, Protocol};
use crate::listener::parse_hostname;
use crate::rule::is_token;

/// Networks, names and the like in one annotation.
const ITEMS_MAX: usize = 1000;
/// The longest time that is taken, in seconds: a year.
const SECS_MAX: u64 = 365 * 24 * 3600;
/// The longest value.
const BYTES_MAX: usize = 64 * 1024;

/// What has no place in any value, since in the configuration of ingress-nginx it would end it and begin another.
pub(super) fn clean(value: &str, is_expression: bool) -> Result<(), String> {
    if value.len() > BYTES_MAX {
        return Err(format!("the value is longer than {BYTES_MAX} bytes"));
    }
    let stray = |letter: &char| {
        letter.is_control()
            || (!is_expression && matches!(letter, '"' | '\'' | '`' | ';' | '#' | '{' | '}' | '\\'))
    };
    match value.chars().find(stray) {
        Some(letter) => Err(format!("the value holds {letter:?}, which has no place in it")),
        None => Ok(()),
    }
}

pub(super) fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("{other:?} is neither \"true\" nor \"false\"")),
    }
}

pub(super) fn number(value: &str, least: u64, most: u64) -> Result<u64, String> {
    let wrong = || format!("{value:?} is no whole number from {least} to {most}");
    match value.bytes().all(|byte| byte.is_ascii_digit()) {
        true => value.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(wrong),
        false => Err(wrong()),
    }
}

/// Seconds, as a number or with `s` behind it.
pub(super) fn seconds(value: &str) -> Result<Duration, String> {
    number(value.strip_suffix('s').unwrap_or(value), 1, SECS_MAX)
        .map(Duration::from_secs)
        .map_err(|_| format!("{value:?} is no number of seconds from 1 to {SECS_MAX}"))
}

/// Bytes: a number, perhaps with `k`, `m` or `g` behind it; 0 stands for no limit.
pub(super) fn bytes(value: &str) -> Result<Option<u64>, String> {
    let wrong = || format!("{value:?} is no size; write bytes, or a number with k, m or g such as 8m");
    let lower = value.to_ascii_lowercase();
    let (digits, shift) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 10),
        Some(b'm') => (&lower[..lower.len() - 1], 20),
        Some(b'g') => (&lower[..lower.len() - 1], 30),
        _ => (lower.as_str(), 0),
    };
    let number = number(digits, 0, u64::MAX >> shift).map_err(|_| wrong())?;
    Ok((number > 0).then_some(number << shift))
}

/// Items with commas between; blank ones are passed over.
pub(super) fn items(value: &str) -> Result<Vec<&str>, String> {
    let items: Vec<&str> = value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    match items.len() {
        0 => Err("the value is empty".to_owned()),
        many if many > ITEMS_MAX => Err(format!("there are {many} items; {ITEMS_MAX} are the most")),
        _ => Ok(items),
    }
}

/// Networks; an address alone is a network of one.
pub(super) fn networks(value: &str) -> Result<Vec<IpNet>, String> {
    let network = |item: &str| {
        let alone = item.parse::<std::net::IpAddr>().map(IpNet::from);
        item.parse::<IpNet>()
            .or(alone)
            .map(|net| net.trunc())
            .map_err(|_| format!("{item:?} is no network such as 192.0.2.0/24"))
    };
    items(value)?.into_iter().map(network).collect()
}

/// A name of a header or cookie.
pub(super) fn token(value: &str) -> Result<String, String> {
    match is_token(value) && value.len() <= 128 {
        true => Ok(value.to_owned()),
        false => Err(format!("{value:?} is no name of a header or cookie")),
    }
}

/// A host name without wildcard.
pub(super) fn host(value: &str) -> Result<String, String> {
    match parse_hostname(value) {
        Ok(HostPattern::Exact(name)) => Ok(name),
        Ok(HostPattern::Under(_)) => Err(format!("{value:?} is a pattern, not a name")),
        Err(why) => Err(why),
    }
}

/// An absolute path, in its normal form, without a query.
pub(super) fn path(value: &str) -> Result<String, String> {
    if value.contains(['?', '$']) {
        return Err(format!("{value:?} is no plain path: it has a query or a variable"));
    }
    normalise(value)
        .map(|path| path.into_owned())
        .map_err(|error| format!("{value:?} cannot be a path: {error}"))
}

/// A path with `$1` to `$9` for what groups of the path's expression have matched.
pub(super) fn template(value: &str) -> Result<Vec<Piece>, String> {
    if !value.starts_with(['/', '$']) {
        return Err(format!("{value:?} is no path: it begins with a slash"));
    }
    let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), value.chars());
    while let Some(letter) = rest.next() {
        if letter != '$' {
            text.push(letter);
            continue;
        }
        let group = rest.next().and_then(|digit| digit.to_digit(10)).filter(|digit| *digit > 0);
        let group = group.ok_or_else(|| {
            format!("{value:?} has a variable; only $1 to $9 stand for something, what groups have matched")
        })?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Group(group as usize));
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    let texts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Group(_) => "",
    });
    path(&format!("/{}", texts.collect::<String>()))?;
    Ok(pieces)
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// To this URL.
    Fixed(String),
    /// To this origin, with the path and query of the request.
    Origin { scheme: &'static str, host: String, port: Option<u16> },
}

/// A URL, or a path; `$request_uri` behind an origin stands for path and query of the request.
pub(super) fn location(value: &str) -> Result<Location, String> {
    let bad = |why: &str| Err(format!("{value:?} is no URL: {why}"));
    let fits = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'^' | b'|'))
    };
    let (url, keeps) = match value.strip_suffix("$request_uri") {
        Some(url) => (url, true),
        None => (value, false),
    };
    if url.contains('$') || !fits(url) {
        return bad("it has a variable, or what no URL may hold; $request_uri alone is known, at its end");
    }
    if url.starts_with('/') && !url.starts_with("//") && !keeps {
        return Ok(Location::Fixed(url.to_owned()));
    }
    let scheme = match url.split_once("://") {
        Some(("http", _)) => "http",
        Some(("https", _)) => "https",
        _ => return bad("it begins with http:// or https://"),
    };
    let rest = &url[scheme.len() + 3..];
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (name, port) = match authority.split_once(':') {
        None => (authority, None),
        Some((name, port)) => match number(port, 1, 65_535) {
            Ok(port) => (name, u16::try_from(port).ok()),
            Err(_) => return bad("its port is none"),
        },
    };
    if name.parse::<std::net::Ipv4Addr>().is_err() {
        host(name).map_err(|why| format!("{value:?} is no URL: {why}"))?;
    }
    match keeps {
        false => Ok(Location::Fixed(url.to_owned())),
        true if rest == authority => Ok(Location::Origin { scheme, host: name.to_ascii_lowercase(), port }),
        true => bad("$request_uri begins with a slash and stands right behind the host"),
    }
}

/// What a consistent hash is taken over, in nginx's words.
pub(super) fn hash_key(value: &str) -> Result<Balancing, String> {
    let key = match value {
        "$remote_addr" | "$binary_remote_addr" => HashKey::SourceIp,
        "$request_uri" => HashKey::Target,
        other => match (other.strip_prefix("$http_"), other.strip_prefix("$cookie_")) {
            (Some(name), _) => HashKey::Headers(vec![token(&name.replace('_', "-"))?.to_ascii_lowercase()]),
            (_, Some(name)) => HashKey::Cookie { name: token(name)?, ttl: None, attributes: Vec::new() },
            _ => {
                return Err(format!(
                    "{other:?} is not served; served are $remote_addr, $request_uri, $http_NAME and $cookie_NAME"
                ));
            }
        },
    };
    Ok(Balancing::ConsistentHash { key, table_size: 65_537 })
}

pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_uppercase().as_str() {
        "HTTP" => Ok(Protocol::Http),
        "HTTPS" => Ok(Protocol::Https),
        "GRPC" => Ok(Protocol::Grpc),
        "GRPCS" => Ok(Protocol::Grpcs),
        _ => Err(format!("{text:?} is not served; served are HTTP, HTTPS, GRPC and GRPCS")),
    }
}

pub(super) fn balancing(text: &str) -> Result<Balancing, String> {
    match text {
        "round_robin" => Ok(Balancing::RoundRobin),
        "ewma" => Ok(Balancing::PeakEwma),
        _ => Err(format!("{text:?} is not served; served are round_robin and ewma")),
    }
}

pub(super) fn redirect_code(text: &str) -> Result<u16, String> {
    match number(text, 300, 308)? as u16 {
        code @ (301 | 302 | 303 | 307 | 308) => Ok(code),
        code => Err(format!("{code} does not redirect; 301, 302, 303, 307 and 308 do")),
    }
}

pub(super) fn next_upstream(text: &str) -> Result<Next, String> {
    let mut next = Next::default();
    for word in text.split_whitespace() {
        match word {
            "error" | "invalid_header" => next.errors = true,
            "timeout" => next.timeouts = true,
            "off" => return Ok(Next::default()),
            "non_idempotent" => {}
            _ => {
                let code = word.strip_prefix("http_").and_then(|code| code.parse().ok());
                let code = code.filter(|code| matches!(code, 403 | 404 | 429 | 500 | 502 | 503 | 504));
                next.codes.insert(
                    code.ok_or_else(|| format!("{word:?} is no word of nginx's proxy_next_upstream"))?,
                );
            }
        }
    }
    Ok(next)
}

pub(super) fn same_site(text: &str) -> Result<&'static str, String> {
    let known = ["None", "Lax", "Strict"].into_iter().find(|known| known.eq_ignore_ascii_case(text));
    known.ok_or_else(|| format!("{text:?} is none of None, Lax and Strict"))
}

pub(super) fn one_of(text: &str, known: &[&str]) -> Result<(), String> {
    match known.contains(&text) {
        true => Ok(()),
        false => Err(format!("{text:?} is not served; served is {}", known.join(", "))),
    }
}

pub(super) fn header_value(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.is_ascii() {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no value of a header")),
    }
}

pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    Ok(items(text)?.into_iter().map(str::to_owned).collect())
}

pub(super) fn tokens(text: &str) -> Result<Vec<String>, String> {
    let name = |item: &str| if item == "*" { Ok(item.to_owned()) } else { token(item) };
    items(text)?.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers, sizes and times are digits with the one suffix that each may have.
    #[test]
    fn numbers() {
        for (text, expected) in
            [("8m", Some(8 << 20)), ("1024", Some(1024)), ("2K", Some(2048)), ("1g", Some(1 << 30))]
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        assert_eq!(bytes("0"), Ok(None));
        for text in ["", "m", "-1", "+1", "1.5m", "8 m", "99999999999999999999", "99999999999g", "8mb"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(seconds("60"), Ok(Duration::from_secs(60)));
        assert_eq!(seconds("60s"), Ok(Duration::from_secs(60)));
        for text in ["", "0", "s", "1m", "-1", "99999999999"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    /// A template is a path with groups; no variable, query or host stands in it.
    #[test]
    fn templates() {
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(template("/"), Ok(vec![text("/")]));
        assert_eq!(template("/a/$2"), Ok(vec![text("/a/"), Piece::Group(2)]));
        assert_eq!(template("$1"), Ok(vec![Piece::Group(1)]));
        assert_eq!(
            template("/$1-$2/x"),
            Ok(vec![text("/"), Piece::Group(1), text("-"), Piece::Group(2), text("/x")])
        );
        for bad in
            ["", "a", "/$", "/$0", "/$a", "/$request_uri", "/a?b=$1", "https://a.example/", "/../a", "/a%2fb"]
        {
            assert!(template(bad).is_err(), "{bad}");
        }
    }

    /// A redirect leads to a URL whose host is one, or keeps the path where it says so.
    #[test]
    fn locations() {
        let fixed = |url: &str| Ok(Location::Fixed(url.to_owned()));
        for url in ["https://a.example", "http://a.example:8080/x?y=1", "/there", "http://192.0.2.1/"] {
            assert_eq!(location(url), fixed(url));
        }
        let kept = Location::Origin { scheme: "https", host: "a.example".into(), port: Some(8443) };
        assert_eq!(location("https://A.example:8443$request_uri"), Ok(kept));
        for bad in [
            "",
            "//a.example",
            "a.example",
            "javascript:alert(1)",
            "https://",
            "https://a b",
            "https://a.example/$uri",
            "https://a.example:0",
            "https://user@a.example",
            "https://a.example/x$request_uri",
            "ftp://a.example",
            "$request_uri",
        ] {
            assert!(location(bad).is_err(), "{bad}");
        }
    }

    /// What could end a value in somebody's configuration is refused in every value but an expression.
    #[test]
    fn strays() {
        for bad in ["a\nb", "a;b", "a#b", "{a", "a}", "\"a\"", "'a'", "a\r", "a\\b", "a`b", "a\0"] {
            assert!(clean(bad, false).is_err(), "{bad:?}");
        }
        assert!(clean("https://a.example/x?y=1&z=$request_uri, *", false).is_ok());
        assert!(clean("^a{2}$", true).is_ok());
        assert!(clean("a\nb", true).is_err());
    }

    /// Networks are written with or without a length.
    #[test]
    fn nets() {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        assert_eq!(
            networks("10.0.0.0/8, 192.0.2.1,2001:db8::/32"),
            Ok(vec![net("10.0.0.0/8"), net("192.0.2.1/32"), net("2001:db8::/32")])
        );
        for bad in ["", ",", "10.0.0.0/33", "a", "10.0.0.0/8;"] {
            assert!(networks(bad).is_err(), "{bad}");
        }
    }
}
