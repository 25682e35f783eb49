//! CORS filters (HTTPCORSFilter): which origins, methods and headers.

use tidegate_model::traffic::{Cors, OriginPattern};
use tidegate_objects::route::Cors as Spec;
use tidegate_traffic::redirect::well_known;

use super::Refusal;
use crate::listener::parse_hostname;
use crate::rule::is_token;

pub(super) fn read(asked: &Spec) -> Result<Cors, Refusal> {
    if asked.max_age == 0 {
        return Err(Refusal::value("maxAge", "0 seconds is below 1, the least there is"));
    }
    let alone = |field: &str, items: &[String]| match items.len() > 1 && items.iter().any(|item| item == "*")
    {
        true => Err(Refusal::value(field, "* stands for everything, so nothing stands beside it")),
        false => Ok(()),
    };
    alone("allowOrigins", &asked.allow_origins)?;
    let origins = asked.allow_origins.iter().enumerate().map(|(index, text)| {
        origin(text).map_err(|why| Refusal::value(format!("allowOrigins[{index}]"), why))
    });
    let names = |field: &str, items: &[String]| {
        alone(field, items)?;
        match items.iter().find(|item| *item != "*" && !is_token(item)) {
            Some(bad) => Err(Refusal::value(field, format!("{bad:?} is no valid name"))),
            None => Ok(items.to_vec()),
        }
    };
    let lower = |items: Vec<String>| items.into_iter().map(|item| item.to_ascii_lowercase()).collect();
    Ok(Cors {
        origins: origins.collect::<Result<_, _>>()?,
        credentials: asked.allow_credentials,
        methods: names("allowMethods", &asked.allow_methods)?,
        headers: lower(names("allowHeaders", &asked.allow_headers)?),
        expose: lower(names("exposeHeaders", &asked.expose_headers)?),
        max_age_secs: asked.max_age,
    })
}

/// Reads `*` or `scheme://host[:port]`, the host perhaps beginning with `*.`; what a browser sends in `Origin` is in
/// lower case and without the scheme's own port (RFC 6454 section 6.2).
fn origin(text: &str) -> Result<OriginPattern, String> {
    if text == "*" {
        return Ok(OriginPattern::Any);
    }
    let bad = |why: &str| format!("{text:?} is no origin: {why}");
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) =
        lower.split_once("://").ok_or_else(|| bad("it is written as https://www.example.com"))?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme {
        return Err(bad("its scheme is none"));
    }
    let (host, port) = split_port(rest).ok_or_else(|| bad("its port is none"))?;
    let port = port.filter(|port| well_known(scheme) != Some(*port));
    if let Some(parent) = host.strip_prefix("*.") {
        parse_hostname(parent).map_err(|why| bad(&why))?;
        return Ok(OriginPattern::Under { scheme: scheme.into(), parent: parent.into(), port });
    }
    if host.parse::<std::net::Ipv4Addr>().is_err() && !is_bracketed_v6(host) {
        parse_hostname(host).map_err(|why| bad(&why))?;
    }
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(OriginPattern::Exact(format!("{scheme}://{host}{port}")))
}

/// Host and port; none if what follows the last colon is no port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if authority.ends_with(']') {
        return Some((authority, None));
    }
    match authority.rsplit_once(':') {
        None => Some((authority, None)),
        Some((host, port)) => match port.parse() {
            Ok(port) if port > 0 && port_digits(authority) => Some((host, Some(port))),
            _ => None,
        },
    }
}

/// A port is digits only: `parse` would take a sign too.
fn port_digits(authority: &str) -> bool {
    authority.rsplit(':').next().is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_bracketed_v6(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Origins are read as browsers write them; what no browser could send is refused.
    #[test]
    fn origins() {
        let exact = |text: &str| Some(OriginPattern::Exact(text.into()));
        let under = |scheme: &str, parent: &str, port| {
            Some(OriginPattern::Under { scheme: scheme.into(), parent: parent.into(), port })
        };
        for (text, expected) in [
            ("*", Some(OriginPattern::Any)),
            ("https://www.example.com", exact("https://www.example.com")),
            ("HTTPS://WWW.Example.com:443", exact("https://www.example.com")),
            ("http://www.example.com:8080", exact("http://www.example.com:8080")),
            ("https://10.0.0.1:8443", exact("https://10.0.0.1:8443")),
            ("http://[2001:db8::1]:80", exact("http://[2001:db8::1]")),
            ("capacitor://localhost", exact("capacitor://localhost")),
            ("https://*.example.com", under("https", "example.com", None)),
            ("https://*.example.com:8443", under("https", "example.com", Some(8443))),
            ("https://*", None),
            ("https://a.*.example.com", None),
            ("www.example.com", None),
            ("https://www.example.com/", None),
            ("https://www.example.com:+80", None),
            ("https://www.example.com:0", None),
            ("https://www.example.com:99999", None),
            ("://www.example.com", None),
            ("", None),
        ] {
            assert_eq!(origin(text).ok(), expected, "{text}");
        }
    }
}
